//! Vast: the machines of a marketplace, made from the seed.
//!
//! Fixed: which GPUs, how many machines of each, and their price level. Drawn: country, host,
//! reliability, bandwidth, CPU, and which of the later machines of a kind are doubtful (unverified,
//! unreliable, ending soon). The first four of a kind are always sound, so that ordinary filters
//! leave several places.

use crate::text::{fraction, hash};
use fleet_types::Usd;

/// A GPU as Vast names it.
pub(crate) struct Gpu {
    /// As fleet spells it.
    pub(crate) name: &'static str,
    pub(crate) wire: &'static str,
    pub(crate) ram_mb: u32,
    pub(crate) compute_cap: u32,
    pub(crate) tflops: f64,
    /// On demand, dollars an hour and GPU.
    on_demand: f64,
    /// Spot as a share of it.
    spot_share: f64,
    /// Machines on offer by GPU count.
    fleet: &'static [(u32, u32)],
}

#[rustfmt::skip]
#[expect(clippy::too_many_arguments, reason = "one row of the table below, in the order of its columns")]
const fn gpu(
    name: &'static str, wire: &'static str, ram_mb: u32, compute_cap: u32, tflops: f64,
    on_demand: f64, spot_share: f64, fleet: &'static [(u32, u32)],
) -> Gpu {
    Gpu { name, wire, ram_mb, compute_cap, tflops, on_demand, spot_share, fleet }
}

#[rustfmt::skip]
pub(crate) const GPUS: &[Gpu] = &[
    gpu("T4",          "Tesla T4",       15360,  750,   8.1, 0.34, 0.66, &[(1, 8), (2, 1)]),
    gpu("V100",        "Tesla V100",     16384,  700,  14.1, 1.70, 0.72, &[(1, 3)]),
    gpu("L4",          "L4",             23034,  890,  30.3, 0.52, 0.72, &[(1, 3)]),
    gpu("L40S",        "L40S",           46068,  890,  91.6, 1.05, 0.78, &[(1, 3), (2, 1)]),
    gpu("A100",        "A100 SXM4",      40960,  800,  19.5, 1.45, 0.82, &[(1, 3), (8, 3)]),
    gpu("A100-80GB",   "A100 SXM4",      81920,  800,  19.5, 1.90, 0.82, &[(1, 3), (2, 1), (8, 3)]),
    gpu("H100",        "H100 SXM",       81559,  900,  66.9, 3.20, 0.82, &[(1, 4), (2, 1), (4, 1), (8, 3)]),
    gpu("H200",        "H200",          143771,  900,  66.9, 4.60, 0.82, &[(1, 2), (8, 2)]),
    gpu("B200",        "B200",          183359, 1000,  74.5, 7.60, 0.84, &[(8, 1)]),
    gpu("A10",         "A10",            23028,  860,  31.2, 0.36, 0.60, &[(1, 2)]),
    gpu("A6000",       "RTX A6000",      49140,  860,  38.7, 0.45, 0.60, &[(1, 3), (4, 1)]),
    gpu("RTX6000-Ada", "RTX 6000Ada",    49140,  890,  91.1, 0.72, 0.62, &[(1, 2)]),
    gpu("RTX3090",     "RTX 3090",       24576,  860,  35.6, 0.21, 0.55, &[(1, 4), (4, 2)]),
    gpu("RTX4090",     "RTX 4090",       24564,  890,  82.6, 0.40, 0.55, &[(1, 6), (2, 2), (4, 2), (8, 1)]),
    gpu("RTX5090",     "RTX 5090",       32607, 1200, 104.8, 0.52, 0.58, &[(1, 4), (2, 1), (8, 1)]),
    gpu("RTXPRO6000",  "RTX PRO 6000 WS",97887, 1200, 125.0, 1.00, 0.66, &[(1, 2)]),
];

const COUNTRIES: &[(&str, &str)] = &[
    ("US", "Oregon, US"),
    ("US", "Michigan, US"),
    ("US", "Texas, US"),
    ("CA", "Alberta, CA"),
    ("SE", "Sweden, SE"),
    ("NO", "Norway, NO"),
    ("CZ", "Czechia, CZ"),
    ("PL", "Poland, PL"),
    ("FR", "France, FR"),
    ("BG", "Bulgaria, BG"),
    ("RO", "Romania, RO"),
    ("TW", "Taiwan, TW"),
    ("KR", "South Korea, KR"),
    ("JP", "Japan, JP"),
    ("VN", "Vietnam, VN"),
];

/// One machine of a host, offered whole.
pub(crate) struct Machine {
    pub(crate) gpu: &'static Gpu,
    pub(crate) num_gpus: u32,
    pub(crate) machine_id: u64,
    pub(crate) ask_id: u64,
    pub(crate) host_id: u64,
    pub(crate) country: &'static str,
    pub(crate) geolocation: &'static str,
    pub(crate) on_demand: Usd,
    /// Level of the lowest bid that is accepted, whole machine.
    pub(crate) min_bid: Usd,
    pub(crate) reliability: f64,
    pub(crate) verified: bool,
    pub(crate) datacenter: bool,
    pub(crate) cuda: f64,
    pub(crate) inet_down: f64,
    pub(crate) inet_up: f64,
    pub(crate) cpu_cores: u32,
    pub(crate) cpu_ram_mb: u32,
    pub(crate) disk_space_gb: f64,
    /// Dollars for a GB and month.
    pub(crate) storage_cost: f64,
    /// Seconds after the sandbox's start at which the offer ends.
    pub(crate) ends_after: f64,
    /// The calm sandbox never sells it out by itself.
    pub(crate) anchor: bool,
}

/// All machines of a seed, the same ones every time.
pub(crate) fn machines(seed: u64) -> Vec<Machine> {
    let kinds = GPUS.iter().flat_map(|g| g.fleet.iter().map(move |(n, many)| (g, *n, *many)));
    let mut all: Vec<Machine> =
        kinds.flat_map(|(g, n, many)| (0..many).map(move |i| machine(seed, g, n, i))).collect();
    for (i, m) in all.iter_mut().enumerate() {
        // Spread by a hash, made unique by the index.
        m.machine_id = 10_000 + hash(seed, &["machine", &i.to_string()]) % 400 * 100 + i as u64;
        m.ask_id = 20_000_000 + hash(seed, &["ask", &i.to_string()]) % 70_000 * 100 + i as u64;
    }
    all
}

fn machine(seed: u64, gpu: &'static Gpu, num_gpus: u32, index: u32) -> Machine {
    let draw =
        |what: &str| fraction(seed, &[what, gpu.name, &num_gpus.to_string(), &index.to_string()]);
    let between = |what: &str, low: f64, high: f64| low + (high - low) * draw(what);
    let sound = index < 4;
    let (country, geolocation) = COUNTRIES[(draw("country") * COUNTRIES.len() as f64) as usize];
    let on_demand = gpu.on_demand * f64::from(num_gpus) * between("price", 1.0, 1.25);
    let doubtful = !sound && draw("doubt") < 0.5;
    let datacenter = sound || draw("datacenter") < 0.4;
    Machine {
        gpu,
        num_gpus,
        machine_id: 0,
        ask_id: 0,
        host_id: 1_000 + hash(seed, &["host", geolocation, gpu.name]) % 90_000,
        country,
        geolocation,
        on_demand: Usd::from_dollars(on_demand).unwrap_or_default(),
        min_bid: Usd::from_dollars(on_demand * gpu.spot_share).unwrap_or_default(),
        reliability: if doubtful {
            between("reliability", 0.80, 0.95)
        } else {
            between("reliability", 0.985, 0.9995)
        },
        verified: !doubtful,
        datacenter,
        cuda: if doubtful { 12.1 } else { 12.8 },
        inet_down: between("down", if sound { 800.0 } else { 90.0 }, 8000.0),
        inet_up: between("up", if sound { 600.0 } else { 40.0 }, 6000.0),
        cpu_cores: 16 * num_gpus.max(2),
        cpu_ram_mb: 64_000 * num_gpus,
        disk_space_gb: between("disk", 400.0, 3000.0).round(),
        storage_cost: between("storage", 0.10, 0.20),
        ends_after: 86_400.0 * if doubtful { 0.1 } else { between("ends", 30.0, 200.0) },
        anchor: sound,
    }
}
