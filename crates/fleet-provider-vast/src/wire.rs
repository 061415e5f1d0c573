//! The rows that Vast sends, as far as fleet reads them.
//!
//! Invariant: what is missing or senseless is `None`; only a row without an id is no row at all.

use fleet_provider_kit::wire::{Odd, count, flag, needed_text, number, port, price, text};
use fleet_types::{Accelerator, Usd, accelerator};
use serde_json::Value;

/// An offer of the search.
#[derive(Clone, Debug)]
pub(crate) struct OfferRow {
    pub ask: String,
    pub machine: String,
    pub country: String,
    pub accelerator: Option<Accelerator>,
    pub gpu_memory_gb: Option<f64>,
    pub vcpus: Option<f64>,
    pub memory_gib: Option<f64>,
    pub disk_gib: Option<f64>,
    pub min_bid: Option<Usd>,
    pub on_demand: Option<Usd>,
    pub storage_per_gib_hour: Option<Usd>,
    pub egress_per_gb: Option<Usd>,
    pub rentable: Option<bool>,
    pub rented: Option<bool>,
    pub reliability: Option<f64>,
    pub verified: Option<bool>,
    pub datacenter: Option<bool>,
    pub cuda: Option<f64>,
    pub inet_down_mbps: Option<f64>,
    pub inet_up_mbps: Option<f64>,
    pub ends_in_seconds: Option<f64>,
}

impl OfferRow {
    /// Reads a row; `disk_gib` is what the search allocated, and `dph_total` holds its price.
    pub(crate) fn read(row: &Value, disk_gib: u32) -> Result<Self, Odd> {
        let storage_month = number(row, "storage_cost").filter(|v| *v >= 0.0);
        let storage_hour = storage_month.map(|v| v / HOURS_PER_MONTH);
        Ok(Self {
            ask: needed_text(row, "id")?,
            machine: needed_text(row, "machine_id")?,
            country: country(row),
            accelerator: gpus(row),
            gpu_memory_gb: number(row, "gpu_ram").filter(|v| *v > 0.0).map(|mb| mb / 1024.0),
            vcpus: number(row, "cpu_cores_effective").or_else(|| number(row, "cpu_cores")),
            memory_gib: memory_share(row),
            disk_gib: number(row, "disk_space"),
            min_bid: price(row, "min_bid"),
            on_demand: on_demand(row, storage_hour, disk_gib),
            storage_per_gib_hour: storage_hour.and_then(Usd::from_dollars),
            egress_per_gb: number(row, "inet_up_cost")
                .filter(|v| *v >= 0.0)
                .and_then(Usd::from_dollars),
            rentable: flag(row, "rentable"),
            rented: flag(row, "rented"),
            reliability: number(row, "reliability2")
                .or_else(|| number(row, "reliability"))
                .filter(|r| (0.0..=1.0).contains(r)),
            verified: text(row, "verification").map(|v| v == "verified"),
            datacenter: flag(row, "datacenter")
                .or_else(|| count(row, "hosting_type").map(|kind| kind == 1)),
            cuda: number(row, "cuda_max_good").filter(|v| *v > 0.0),
            inet_down_mbps: number(row, "inet_down"),
            inet_up_mbps: number(row, "inet_up"),
            ends_in_seconds: number(row, "duration").filter(|v| *v >= 0.0),
        })
    }
}

/// Vast bills storage by the month of 730 hours.
const HOURS_PER_MONTH: f64 = 730.0;

/// Price of the machine alone on demand: `dph_base`, or `dph_total` less the storage in it.
fn on_demand(row: &Value, storage_hour: Option<f64>, disk_gib: u32) -> Option<Usd> {
    price(row, "dph_base").or_else(|| {
        let total = number(row, "dph_total")?;
        Usd::price(total - storage_hour.unwrap_or(0.0) * f64::from(disk_gib))
    })
}

/// The row's GPUs under their unified name, told apart by memory where Vast uses one name for two.
fn gpus(row: &Value) -> Option<Accelerator> {
    let gpu_count = u32::try_from(count(row, "num_gpus")?).ok().filter(|n| (1..=64).contains(n))?;
    let name = accelerator::unify(&text(row, "gpu_name")?);
    let memory = number(row, "gpu_ram").map(|mb| mb / 1024.0);
    Some(Accelerator { name: accelerator::sized(name, memory), count: gpu_count })
}

/// Memory shown is the machine's; ours is the share of its cores that we rent.
fn memory_share(row: &Value) -> Option<f64> {
    let total = number(row, "cpu_ram")? / 1024.0;
    let share = match (number(row, "cpu_cores_effective"), number(row, "cpu_cores")) {
        (Some(ours), Some(all)) if all > 0.0 && ours > 0.0 => (ours / all).min(1.0),
        _ => 1.0,
    };
    Some(total * share).filter(|v| *v > 0.0)
}

/// The two letters of the country: `country_code`, or the end of `California, US`. `ZZ` is unknown.
fn country(row: &Value) -> String {
    let code = |t: &str| {
        let t = t.trim();
        (t.len() == 2 && t.bytes().all(|b| b.is_ascii_alphabetic())).then(|| t.to_ascii_uppercase())
    };
    text(row, "country_code")
        .as_deref()
        .and_then(code)
        .or_else(|| text(row, "geolocation")?.rsplit(',').next().and_then(code))
        .unwrap_or_else(|| "ZZ".to_owned())
}

/// A contract of ours.
#[derive(Clone, Debug)]
pub(crate) struct InstanceRow {
    pub id: String,
    pub label: Option<String>,
    pub machine: Option<String>,
    pub country: String,
    pub accelerator: Option<Accelerator>,
    pub bid: Option<bool>,
    pub actual_status: Option<String>,
    pub intended_status: Option<String>,
    pub cur_state: Option<String>,
    pub next_state: Option<String>,
    pub public_ip: Option<String>,
    pub direct_port: Option<u16>,
    pub ssh_host: Option<String>,
    pub ssh_port: Option<u16>,
    pub jupyter: bool,
    pub price: Option<Usd>,
    pub start_seconds: Option<f64>,
}

impl InstanceRow {
    pub(crate) fn read(row: &Value) -> Result<Self, Odd> {
        let direct = row.get("ports").and_then(|p| p.get("22/tcp")).and_then(|p| p.get(0));
        Ok(Self {
            id: needed_text(row, "id")?,
            label: text(row, "label"),
            machine: text(row, "machine_id"),
            country: country(row),
            accelerator: gpus(row),
            bid: flag(row, "is_bid"),
            actual_status: text(row, "actual_status"),
            intended_status: text(row, "intended_status"),
            cur_state: text(row, "cur_state"),
            next_state: text(row, "next_state"),
            public_ip: text(row, "public_ipaddr").map(|ip| ip.trim().to_owned()),
            direct_port: direct.and_then(|d| port(d, "HostPort")),
            ssh_host: text(row, "ssh_host"),
            ssh_port: port(row, "ssh_port"),
            jupyter: text(row, "image_runtype").is_some_and(|t| t.contains("jupyter")),
            price: price(row, "dph_base").or_else(|| price(row, "dph_total")),
            start_seconds: number(row, "start_date").filter(|s| *s > 0.0),
        })
    }
}

#[cfg(test)]
mod tests;
