//! Compute Engine: regions, machine types, attachable GPUs, and the list prices of their parts.
//!
//! Names, shapes and how a price is put together follow the public pages of 2026; the prices themselves are
//! plausible, not recorded, and spot is dearer than in life where AWS would not be the cheapest else. A price is
//! in billionths of a dollar, for an hour, as the catalogue writes it; other regions are dearer by a factor.

use fleet_types::{Market, Usd};

/// A region: name, the words of its prices, price factor, letters of its zones.
pub(crate) struct Region {
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    factor: f64,
    pub(crate) zones: &'static str,
}

const fn region(name: &'static str, words: &'static str, factor: f64, zones: &'static str) -> Region {
    Region { name, words, factor, zones }
}

#[rustfmt::skip]
pub(crate) const REGIONS: &[Region] = &[
    region("us-central1",     "Americas",         1.0,   "abcf"),
    region("us-east1",        "South Carolina",   1.0,   "bcd"),
    region("us-east4",        "Northern Virginia", 1.12, "abc"),
    region("us-west1",        "Oregon",           1.0,   "abc"),
    region("us-west4",        "Las Vegas",        1.13,  "ab"),
    region("europe-west1",    "Belgium",          1.1,   "bcd"),
    region("europe-west4",    "Netherlands",      1.1,   "abc"),
    region("asia-northeast1", "Tokyo",            1.28,  "abc"),
    region("asia-southeast1", "Singapore",        1.23,  "abc"),
];

/// The region of that name.
pub(crate) fn find_region(name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|r| r.name == name)
}

/// Every zone, with its region.
pub(crate) fn zones() -> impl Iterator<Item = (&'static Region, String)> {
    let named = |r: &'static Region| r.zones.chars().map(move |z| (r, format!("{}-{z}", r.name)));
    REGIONS.iter().flat_map(named)
}

/// The region of a zone that exists.
pub(crate) fn region_of(zone: &str) -> Option<&'static Region> {
    zones().find(|(_, name)| name == zone).map(|(region, _)| region)
}

/// A GPU: Google's spelling, fleet's, the catalogue's; on demand and spot.
pub(crate) struct Gpu {
    pub(crate) kind: &'static str,
    pub(crate) name: &'static str,
    pub(crate) words: &'static str,
    on_demand: f64,
    spot: f64,
    /// Attached to N1 machines: how many at most so many vCPUs. Bundled ones have none.
    pub(crate) sets: &'static [(u32, u32)],
    /// Where attachable ones are.
    attachable: &'static str,
}

const fn gpu(
    kind: &'static str,
    name: &'static str,
    words: &'static str,
    on_demand: f64,
    spot: f64,
) -> Gpu {
    Gpu { kind, name, words, on_demand, spot, sets: &[], attachable: "" }
}

const MANY: &str = "us-central1:abcf us-east1:cd us-east4:abc us-west1:ab us-west4:ab \
    europe-west1:bcd europe-west4:abc asia-northeast1:ac asia-southeast1:abc";
const SOME: &str = "us-central1:abcf us-west1:ab europe-west4:abc us-east1:bc";
const FEW: &str = "us-central1:abc us-east4:c europe-west4:ab asia-southeast1:c";
const NEWEST: &str = "us-central1:b us-east4:b us-east1:b us-west1:c europe-west1:b";

#[rustfmt::skip]
pub(crate) const GPUS: &[Gpu] = &[
    Gpu { sets: &[(1, 48), (2, 48), (4, 96)], attachable: MANY,
        ..gpu("nvidia-tesla-t4",   "T4",   "Nvidia Tesla T4",   0.35, 0.32) },
    Gpu { sets: &[(1, 12), (2, 24), (4, 48), (8, 96)], attachable: SOME,
        ..gpu("nvidia-tesla-v100", "V100", "Nvidia Tesla V100", 2.48, 1.06) },
    Gpu { sets: &[(1, 16), (2, 32), (4, 96)], attachable: SOME,
        ..gpu("nvidia-tesla-p100", "P100", "Nvidia Tesla P100", 1.46, 0.58) },
    gpu("nvidia-l4",            "L4",        "Nvidia L4",               0.56,   0.37),
    gpu("nvidia-tesla-a100",    "A100",      "Nvidia Tesla A100",       2.934,  0.92),
    gpu("nvidia-a100-80gb",     "A100-80GB", "Nvidia Tesla A100 80GB",  3.928,  1.571),
    gpu("nvidia-h100-80gb",     "H100",      "Nvidia H100 80GB",        9.796,  2.253),
    gpu("nvidia-h100-mega-80gb","H100",      "Nvidia H100 80GB Plus",  10.207,  2.411),
    gpu("nvidia-h200-141gb",    "H200",      "Nvidia H200 141GB",      10.102,  3.724),
    gpu("nvidia-b200",          "B200",      "A4 Nvidia B200 (1 gpu slice)", 16.109, 6.127),
];

/// The GPU of that spelling.
pub(crate) fn find_gpu(kind: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|g| g.kind == kind)
}

/// A family's core and GiB of memory: on demand and spot.
pub(crate) struct Family {
    pub(crate) words: &'static str,
    /// How its machine types begin.
    prefix: &'static str,
    pub(crate) group: [&'static str; 2],
    core: [f64; 2],
    memory: [f64; 2],
}

#[rustfmt::skip]
pub(crate) const FAMILIES: &[Family] = &[
    Family { words: "N1 Predefined Instance", prefix: "n1-",          group: ["N1Standard", "N1Standard"], core: [0.031611, 0.00667], memory: [0.004237, 0.00089] },
    Family { words: "G2 Instance",            prefix: "g2-",          group: ["CPU", "RAM"],               core: [0.024988, 0.009995], memory: [0.002927, 0.001171] },
    Family { words: "A2 Instance",            prefix: "a2-",          group: ["CPU", "RAM"],               core: [0.031611, 0.009483], memory: [0.004237, 0.001271] },
    Family { words: "A3Plus Instance",        prefix: "a3-megagpu-",  group: ["CPU", "RAM"],               core: [0.029, 0.0087],      memory: [0.00252, 0.00076] },
    Family { words: "A3 Instance",            prefix: "a3-",          group: ["CPU", "RAM"],               core: [0.02935, 0.0088],    memory: [0.00255, 0.00077] },
];

/// Local SSD, a GiB for a month.
const SSD: [f64; 2] = [0.08, 0.048];
/// The boot disk, a GiB for a month.
pub(crate) const DISK_MONTH: f64 = 0.1;
const MONTH_HOURS: f64 = 730.0;
/// Local SSDs come in pieces of so many GiB.
pub(crate) const SSD_GIB: u32 = 375;

/// A machine type.
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) vcpus: u32,
    pub(crate) memory_gib: u32,
    pub(crate) gpu: Option<(&'static str, u32)>,
    pub(crate) ssds: u32,
    sold: &'static str,
}

const fn plain(name: &'static str, vcpus: u32, memory_gib: u32) -> Type {
    Type { name, vcpus, memory_gib, gpu: None, ssds: 0, sold: EVERYWHERE }
}

const fn bundled(
    name: &'static str,
    vcpus: u32,
    memory_gib: u32,
    gpu: (&'static str, u32),
    ssds: u32,
    sold: &'static str,
) -> Type {
    Type { name, vcpus, memory_gib, gpu: Some(gpu), ssds, sold }
}

const EVERYWHERE: &str = "*";

#[rustfmt::skip]
pub(crate) const TYPES: &[Type] = &[
    plain("n1-standard-1",   1,  4),
    plain("n1-standard-2",   2,  8),
    plain("n1-standard-4",   4, 15),
    plain("n1-standard-8",   8, 30),
    plain("n1-standard-32", 32, 120),
    plain("n1-standard-64", 64, 240),
    bundled("g2-standard-4",    4,   16, ("nvidia-l4", 1),             0, MANY),
    bundled("g2-standard-8",    8,   32, ("nvidia-l4", 1),             0, MANY),
    bundled("g2-standard-24",  24,   96, ("nvidia-l4", 2),             0, MANY),
    bundled("g2-standard-48",  48,  192, ("nvidia-l4", 4),             0, MANY),
    bundled("g2-standard-96",  96,  384, ("nvidia-l4", 8),             0, SOME),
    bundled("a2-highgpu-1g",   12,   85, ("nvidia-tesla-a100", 1),     0, SOME),
    bundled("a2-highgpu-2g",   24,  170, ("nvidia-tesla-a100", 2),     0, SOME),
    bundled("a2-highgpu-8g",   96,  680, ("nvidia-tesla-a100", 8),     0, SOME),
    bundled("a2-ultragpu-1g",  12,  170, ("nvidia-a100-80gb", 1),      1, FEW),
    bundled("a2-ultragpu-8g",  96, 1360, ("nvidia-a100-80gb", 8),      8, FEW),
    bundled("a3-highgpu-1g",   26,  234, ("nvidia-h100-80gb", 1),      2, FEW),
    bundled("a3-highgpu-8g",  208, 1872, ("nvidia-h100-80gb", 8),     16, FEW),
    bundled("a3-megagpu-8g",  208, 1872, ("nvidia-h100-mega-80gb", 8), 16, FEW),
    bundled("a3-ultragpu-8g", 224, 2952, ("nvidia-h200-141gb", 8),    32, NEWEST),
    bundled("a4-highgpu-8g",  224, 3968, ("nvidia-b200", 8),          32, NEWEST),
];

/// The type of that name.
pub(crate) fn find(name: &str) -> Option<&'static Type> {
    TYPES.iter().find(|t| t.name == name)
}

fn named(sold: &str, zone: &str) -> bool {
    sold == EVERYWHERE
        || sold.split_whitespace().filter_map(|s| s.split_once(':')).any(|(region, letters)| {
            let letter = zone.strip_prefix(region).and_then(|rest| rest.strip_prefix('-'));
            letter.is_some_and(|l| l.len() == 1 && letters.contains(l))
        })
}

impl Gpu {
    /// Whether it can be attached in a zone.
    pub(crate) fn is_attachable_in(&self, zone: &str) -> bool {
        !self.sets.is_empty() && named(self.attachable, zone)
    }

    /// One GPU for an hour in a region, in billionths of a dollar.
    pub(crate) fn nanos(&self, region: &Region, market: Market) -> i64 {
        nanos([self.on_demand, self.spot], region, market)
    }
}

impl Family {
    /// One core for an hour.
    pub(crate) fn core(&self, region: &Region, market: Market) -> i64 {
        nanos(self.core, region, market)
    }
    /// One GiB of memory for an hour.
    pub(crate) fn memory(&self, region: &Region, market: Market) -> i64 {
        nanos(self.memory, region, market)
    }
}

/// A GiB of local SSD for a month, as it is listed.
pub(crate) fn ssd_month(region: &Region, market: Market) -> i64 {
    nanos(SSD, region, market)
}

fn nanos(pair: [f64; 2], region: &Region, market: Market) -> i64 {
    let dollars = match market {
        Market::OnDemand => pair[0],
        Market::Spot => pair[1],
    };
    (dollars * region.factor * 1e9).round() as i64
}

/// A machine with the GPUs in it or attached to it, as it is bought.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) kind: &'static Type,
    pub(crate) gpu: Option<(&'static Gpu, u32)>,
}

impl Type {
    /// Whether it is sold in a zone.
    pub(crate) fn is_sold_in(&self, zone: &str) -> bool {
        named(self.sold, zone)
    }

    /// The type as it is, without anything attached.
    pub(crate) fn bare(&'static self) -> Shape {
        let gpu = self.gpu.and_then(|(kind, count)| Some((find_gpu(kind)?, count)));
        Shape { kind: self, gpu }
    }

    /// With each set of GPUs that can be attached to it.
    pub(crate) fn attached(&'static self) -> Vec<Shape> {
        if !self.name.starts_with("n1-") {
            return Vec::new();
        }
        let sets = GPUS.iter().flat_map(|g| g.sets.iter().map(move |set| (g, *set)));
        sets.filter(|(_, (_, most))| self.vcpus <= *most)
            .map(|(g, (count, _))| Shape { kind: self, gpu: Some((g, count)) })
            .collect()
    }
}

impl Shape {
    /// As fleet and the ledger name it: `n1-standard-8+2xT4` where GPUs are attached.
    pub(crate) fn name(&self) -> String {
        match self.gpu {
            Some((gpu, count)) if self.kind.gpu.is_none() => {
                format!("{}+{count}x{}", self.kind.name, gpu.name)
            }
            _ => self.kind.name.to_owned(),
        }
    }

    /// Whether a zone has it.
    pub(crate) fn is_sold_in(&self, zone: &str) -> bool {
        let attached = self.kind.gpu.is_none();
        let gpus = self.gpu.is_none_or(|(g, _)| !attached || g.is_attachable_in(zone));
        self.kind.is_sold_in(zone) && gpus
    }

    /// Whether it is the zone of its region in which the calm sandbox never sells out.
    pub(crate) fn is_anchor(&self, zone: &str) -> bool {
        let first = region_of(zone).and_then(|region| {
            let mut names = region.zones.chars().map(|z| format!("{}-{z}", region.name));
            names.find(|name| self.is_sold_in(name))
        });
        first.as_deref() == Some(zone)
    }

    /// The whole machine for an hour, the sum that a reader of the catalogue comes to. `factor` multiplies the
    /// price of its GPUs, as it does in the catalogue.
    pub(crate) fn price(&self, region: &Region, market: Market, factor: f64) -> Usd {
        let gpus = self.gpu.map_or(0.0, |(gpu, count)| {
            scaled(gpu.nanos(region, market), factor) as f64 * f64::from(count)
        });
        // The B200's price is the machine's.
        let family = FAMILIES.iter().find(|f| self.kind.name.starts_with(f.prefix));
        let host = family.map_or(0.0, |f| {
            f.core(region, market) as f64 * f64::from(self.kind.vcpus)
                + f.memory(region, market) as f64 * f64::from(self.kind.memory_gib)
        });
        let hourly = (ssd_month(region, market) as f64 / MONTH_HOURS).round();
        let ssd = family.map_or(0.0, |_| hourly * f64::from(self.kind.ssds * SSD_GIB));
        Usd::from_dollars((gpus + host + ssd) / 1e9).unwrap_or_default()
    }
}

/// A listed price under a scenario's factor.
pub(crate) fn scaled(nanos: i64, factor: f64) -> i64 {
    (nanos as f64 * factor).round() as i64
}

/// A GiB of the boot disk for an hour.
pub(crate) fn disk_hour(gib: u32) -> Usd {
    Usd::from_dollars(f64::from(gib) * DISK_MONTH / MONTH_HOURS).unwrap_or_default()
}
