//! List prices: the Cloud Billing catalogue's texts, read into parts, and a machine's price summed from them.
//!
//! The catalogue has no machine types. It has a core, a GiB of memory, a GPU and local SSD of a family, in a
//! region, in a market, each described in words. Invariants: a text that is not plainly the pay-as-you-go price
//! of one part is no price; a sum with a part missing is unknown.

use super::shape::Shape;
use super::unreadable;
use crate::client::Clients;
use fleet_provider::Result;
use fleet_provider_kit::{Call, wire};
use fleet_types::{Market, Usd};
use serde_json::Value;
use std::collections::HashMap;

const OPERATION: &str = "services.skus.list";
/// Compute Engine, among the services of the catalogue.
const PATH: &str = "/v1/services/6F81-5844-456A/skus";
/// Pages of 5000 texts: far above what there are.
const PAGES_MAX: usize = 40;
const MONTH_HOURS: f64 = 730.0;

/// Texts with one of these are about another way to buy, or another thing.
const OTHERS: [&str; 12] = [
    "custom",
    "commitment",
    "sole tenancy",
    "reserved",
    "premium",
    "dws ",
    "calendar",
    "flex start",
    "suspended",
    "vws",
    "workstation",
    "confidential",
];

/// A part that has a price.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// An hour of a core of this family (`n1`, `g2`, `a3plus`).
    Core(String),
    /// An hour of a GiB.
    Memory(String),
    /// An hour of a GPU, by Google's spelling.
    Gpu(&'static str),
    /// An hour of a GiB of local SSD.
    Ssd,
    /// An hour of a GiB of the boot disk's kind.
    Disk,
}

/// Words in a text by which a GPU is known, the longer ones first: all of them must be there.
#[rustfmt::skip]
const GPUS: &[(&[&str], &str)] = &[
    (&["h100", "mega"],  "nvidia-h100-mega-80gb"),
    // A3 Mega was once called Plus.
    (&["h100", "plus"],  "nvidia-h100-mega-80gb"),
    (&["h100"],          "nvidia-h100-80gb"),
    (&["h200"],          "nvidia-h200-141gb"),
    (&["b200"],          "nvidia-b200"),
    (&["a100", "80gb"],  "nvidia-a100-80gb"),
    (&["a100"],          "nvidia-tesla-a100"),
    (&["l4"],            "nvidia-l4"),
    (&["t4"],            "nvidia-tesla-t4"),
    (&["v100"],          "nvidia-tesla-v100"),
    (&["p100"],          "nvidia-tesla-p100"),
    (&["p4"],            "nvidia-tesla-p4"),
    (&["rtx", "6000"],   "nvidia-rtx-pro-6000"),
];

/// Every price that could be read, in billionths of a dollar an hour.
#[derive(Debug, Default)]
pub(super) struct Prices(HashMap<(String, Market), HashMap<Part, i64>>);

impl Prices {
    /// The whole machine, in a region and market.
    pub(super) fn of(&self, shape: &Shape, region: &str, market: Market) -> Option<Usd> {
        let parts = self.0.get(&(region.to_owned(), market))?;
        let times = |part: Part, count: f64| Some(*parts.get(&part)? as f64 * count);
        let gpus = match shape.gpu_kind() {
            None => 0.0,
            Some(kind) => {
                let known = GPUS.iter().find(|(_, k)| *k == kind)?.1;
                times(Part::Gpu(known), f64::from(shape.gpus()))?
            }
        };
        if is_whole_in_gpu(&shape.name) {
            return Usd::price(gpus / 1e9);
        }
        let host = families(&shape.name).into_iter().find_map(|family| {
            let cores = times(Part::Core(family.clone()), shape.vcpus)?;
            Some(cores + times(Part::Memory(family), shape.memory_gib)?)
        })?;
        let ssd = match shape.ssd_gib {
            none if none <= 0.0 => 0.0,
            gib => times(Part::Ssd, gib)?,
        };
        Usd::price((gpus + host + ssd) / 1e9)
    }

    /// A GiB of the boot disk for an hour.
    pub(super) fn disk(&self, region: &str) -> Option<Usd> {
        let parts = self.0.get(&(region.to_owned(), Market::OnDemand))?;
        parts.get(&Part::Disk).and_then(|nanos| Usd::price(*nanos as f64 / 1e9))
    }

    fn add(&mut self, sku: &Value) -> Option<()> {
        let (part, market) = part(sku)?;
        let nanos =
            rate(sku)? / if matches!(part, Part::Ssd | Part::Disk) { MONTH_HOURS } else { 1.0 };
        for region in sku.get("serviceRegions")?.as_array()?.iter().filter_map(Value::as_str) {
            let prices = self.0.entry((region.to_owned(), market)).or_default();
            prices.insert(part.clone(), nanos.round() as i64);
        }
        Some(())
    }
}

/// Reads the whole catalogue of Compute Engine.
pub(super) async fn list(clients: &Clients) -> Result<Prices> {
    let (mut prices, mut next) = (Prices::default(), None::<String>);
    for _ in 0..PAGES_MAX {
        let mut call =
            Call::get(OPERATION, PATH).query("pageSize", "5000").query("currencyCode", "USD");
        if let Some(token) = next.take() {
            call = call.query("pageToken", token);
        }
        let page = clients.billing(call).await?.json()?;
        let skus =
            wire::list(&page, "skus").map_err(|odd| unreadable(OPERATION, odd.to_string()))?;
        for sku in skus {
            prices.add(sku);
        }
        next = wire::text(&page, "nextPageToken");
        if next.is_none() {
            return Ok(prices);
        }
    }
    Err(unreadable(OPERATION, format!("more than {PAGES_MAX} pages")))
}

/// The families under which a machine's cores are listed, the closest first.
fn families(machine: &str) -> Vec<String> {
    let mut words = machine.split('-');
    let (family, class) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let own = match (family, class) {
        ("a3", "megagpu") => return vec!["a3plus".to_owned(), "a3mega".to_owned()],
        ("a3", "ultragpu") => Some("a3ultra".to_owned()),
        _ => None,
    };
    own.into_iter().chain([family.to_owned()]).collect()
}

/// A4 has no price for cores and memory: they are in the GPU's.
fn is_whole_in_gpu(machine: &str) -> bool {
    machine.starts_with("a4-") || machine.starts_with("a4x-")
}

/// What a text is the price of, and in which market. `None`: of nothing that is bought here.
fn part(sku: &Value) -> Option<(Part, Market)> {
    let category = sku.get("category")?;
    let text =
        |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(str::to_lowercase);
    let said = text(sku, "description")?;
    if OTHERS.iter().any(|word| said.contains(word)) {
        return None;
    }
    // Some prices of spot B200 are filed under OnDemand.
    let spot_words = said.contains("preemptible");
    let market = match text(category, "usageType")?.as_str() {
        "preemptible" => Market::Spot,
        "ondemand" if spot_words => Market::Spot,
        "ondemand" => Market::OnDemand,
        _ => return None,
    };
    let group = text(category, "resourceGroup")?;
    let part = match (text(category, "resourceFamily")?.as_str(), group.as_str()) {
        ("compute", "gpu") => gpu(&said)?,
        ("compute", "cpu" | "ram" | "n1standard") => host(&said)?,
        ("storage", "localssd") if said.starts_with("ssd backed local storage") => Part::Ssd,
        ("storage", _) if said.starts_with("balanced pd capacity") => Part::Disk,
        _ => return None,
    };
    Some((part, market))
}

fn gpu(said: &str) -> Option<Part> {
    let before = said.split(" gpu").next()?;
    let words: Vec<&str> = before.split([' ', '(', ')']).collect();
    let known = GPUS.iter().find(|(needed, _)| needed.iter().all(|n| words.contains(n)))?;
    Some(Part::Gpu(known.1))
}

/// `Spot Preemptible N1 Predefined Instance Core running in Americas`: the family is the first word, and
/// nothing but its maker stands before `Instance`.
fn host(said: &str) -> Option<Part> {
    let said = said.strip_prefix("spot ").unwrap_or(said);
    let said = said.strip_prefix("preemptible ").unwrap_or(said);
    let (before, after) = said.split_once(" instance ")?;
    let mut words = before.split(' ');
    let family = words.next()?.to_owned();
    if !words.all(|w| matches!(w, "predefined" | "amd" | "arm" | "intel")) {
        return None;
    }
    match after.split(' ').next()? {
        "core" => Some(Part::Core(family)),
        "ram" => Some(Part::Memory(family)),
        _ => None,
    }
}

/// Billionths of a dollar for a unit: the first rate above zero of the newest price.
fn rate(sku: &Value) -> Option<f64> {
    let newest = sku.get("pricingInfo")?.as_array()?.last()?;
    let rates = newest.get("pricingExpression")?.get("tieredRates")?.as_array()?;
    let nanos = |rate: &Value| {
        let price = rate.get("unitPrice")?;
        if wire::text(price, "currencyCode").is_some_and(|c| c != "USD") {
            return None;
        }
        let units = wire::number(price, "units").unwrap_or(0.0);
        Some(units * 1e9 + wire::number(price, "nanos").unwrap_or(0.0))
    };
    rates.iter().filter_map(nanos).find(|n| *n > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sku(text: &str, family: &str, group: &str, usage: &str, nanos: i64) -> Value {
        json!({"description": text, "serviceRegions": ["us-central1"],
            "category": {"resourceFamily": family, "resourceGroup": group, "usageType": usage},
            "pricingInfo": [{"pricingExpression": {"tieredRates": [{"unitPrice":
                {"currencyCode": "USD", "units": (nanos / 1_000_000_000).to_string(), "nanos": nanos % 1_000_000_000}}]}}]})
    }

    fn prices(rows: &[(&str, &str, &str, i64)]) -> Prices {
        let mut prices = Prices::default();
        for (text, group, usage, nanos) in rows {
            let family =
                if *group == "LocalSSD" || *group == "SSD" { "Storage" } else { "Compute" };
            prices.add(&sku(text, family, group, usage, *nanos));
        }
        prices
    }

    fn shape(name: &str, cpus: u32, gib: u32, gpu: Option<(&str, u32)>, ssds: u32) -> Shape {
        let mut m = json!({"name": name, "guestCpus": cpus, "memoryMb": gib * 1024,
            "bundledLocalSsds": {"partitionCount": ssds}});
        if let Some((kind, count)) = gpu {
            m["accelerators"] =
                json!([{"guestAcceleratorType": kind, "guestAcceleratorCount": count}]);
        }
        Shape::read(&serde_json::from_value(m).expect("a type")).expect("a shape")
    }

    #[test]
    fn a_machine_is_the_sum_of_its_parts_and_unknown_without_one() {
        let mut rows = vec![
            ("G2 Instance Core running in Americas", "CPU", "OnDemand", 24_988_000),
            ("G2 Instance Ram running in Americas", "RAM", "OnDemand", 2_927_000),
            ("Nvidia L4 GPU running in Americas", "GPU", "OnDemand", 560_004_000),
            (
                "Spot Preemptible G2 Instance Core running in Americas",
                "CPU",
                "Preemptible",
                9_995_000,
            ),
            (
                "Spot Preemptible G2 Instance Ram running in Americas",
                "RAM",
                "Preemptible",
                1_171_000,
            ),
        ];
        let g2 = shape("g2-standard-4", 4, 16, Some(("nvidia-l4", 1)), 0);
        let before = prices(&rows);
        assert_eq!(before.of(&g2, "us-central1", Market::OnDemand), Usd::price(0.706_788));
        assert_eq!(before.of(&g2, "us-central1", Market::Spot), None, "its GPU has no price");
        assert_eq!(before.of(&g2, "us-east1", Market::OnDemand), None);
        rows.push((
            "Nvidia L4 GPU attached to Spot Preemptible VMs running in Americas",
            "GPU",
            "Preemptible",
            224_002_000,
        ));
        assert_eq!(prices(&rows).of(&g2, "us-central1", Market::Spot), Usd::price(0.282_718));
    }

    #[test]
    fn other_ways_to_buy_are_no_price() {
        for (text, group, usage) in [
            ("G2 Custom Instance Core running in Americas", "CPU", "OnDemand"),
            ("Commitment v1: G2 Core in Americas for 1 Year", "CPU", "Commit1Yr"),
            ("G2 Sole Tenancy Instance Core running in Americas", "CPU", "OnDemand"),
            ("Reserved Nvidia L4 GPU in Americas", "GPU", "OnDemand"),
            ("Sole Tenancy Premium for G2 Instance Core", "CPU", "OnDemand"),
            ("DWS Defined Duration G2 Instance Core running in Americas", "CPU", "OnDemand"),
            ("Nvidia Tesla T4 Virtual Workstation GPU running", "GPU", "OnDemand"),
            ("G2 Something Instance Core running in Americas", "CPU", "OnDemand"),
            ("G2 Instance Core running in Americas", "CPU", "Commit3Yr"),
            ("Network Egress via Carrier Peering", "PeeringOrInterconnectEgress", "OnDemand"),
        ] {
            assert_eq!(part(&sku(text, "Compute", group, usage, 1)), None, "{text}");
        }
        assert_eq!(rate(&sku("x", "Compute", "CPU", "OnDemand", 0)), None, "0 is unknown");
    }

    #[test]
    fn the_texts_of_gpus_are_told_apart() {
        for (text, kind) in [
            (
                "Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in EMEA",
                "nvidia-tesla-t4",
            ),
            ("Nvidia Tesla A100 GPU running in Americas", "nvidia-tesla-a100"),
            ("Nvidia Tesla A100 80GB GPU running in Americas", "nvidia-a100-80gb"),
            ("Nvidia H100 80GB GPU running in Americas", "nvidia-h100-80gb"),
            ("Nvidia H100 80GB Mega GPU running in Americas", "nvidia-h100-mega-80gb"),
            ("Nvidia H100 80GB Plus GPU attached to Spot Preemptible VMs", "nvidia-h100-mega-80gb"),
            ("Nvidia H200 141GB GPU attached to Spot Preemptible VMs", "nvidia-h200-141gb"),
            ("Nvidia Tesla P100 GPU running in Americas", "nvidia-tesla-p100"),
            ("Nvidia Tesla P4 GPU running in Americas", "nvidia-tesla-p4"),
            ("Nvidia RTX PRO 6000 96GB GPU running in Americas", "nvidia-rtx-pro-6000"),
        ] {
            assert_eq!(gpu(&text.to_lowercase()), Some(Part::Gpu(kind)), "{text}");
        }
        assert_eq!(gpu("nvidia quantum 9000 gpu running in americas"), None);
    }

    #[test]
    fn the_odd_families_have_their_prices() {
        let b200 =
            "A4 Nvidia B200 (1 gpu slice) attached to Spot Preemptible VMs running in Virginia";
        let rows = [
            // Filed under OnDemand, and spot by its words.
            (b200, "GPU", "OnDemand", 4_000_000_000),
            ("A3Plus Instance Core running in Americas", "CPU", "OnDemand", 29_000_000),
            ("A3Plus Instance Ram running in Americas", "RAM", "OnDemand", 2_500_000),
            ("Nvidia H100 80GB Plus GPU running in Americas", "GPU", "OnDemand", 9_000_000_000),
            ("SSD backed Local Storage in Americas", "LocalSSD", "OnDemand", 80_000_000),
            ("Balanced PD Capacity in Americas", "SSD", "OnDemand", 100_000_000),
            (
                "N1 Predefined Instance Core running in Americas",
                "N1Standard",
                "OnDemand",
                31_611_000,
            ),
            ("N1 Predefined Instance Ram running in Americas", "N1Standard", "OnDemand", 4_237_000),
            ("A3 Instance Core running in Americas", "CPU", "OnDemand", 30_000_000),
            ("A3 Instance Ram running in Americas", "RAM", "OnDemand", 2_600_000),
            ("Nvidia H200 141GB GPU running in Americas", "GPU", "OnDemand", 9_500_000_000),
        ];
        let prices = prices(&rows);
        let price = |s: &Shape, m: Market| prices.of(s, "us-central1", m).map(Usd::dollars);
        let a4 = shape("a4-highgpu-8g", 224, 3968, Some(("nvidia-b200", 8)), 32);
        assert_eq!(price(&a4, Market::Spot), Some(32.0), "the GPU's price is the machine's");
        assert_eq!(price(&a4, Market::OnDemand), None);
        let mega = shape("a3-megagpu-8g", 208, 1872, Some(("nvidia-h100-mega-80gb", 8)), 16);
        let ssd = 16.0 * 375.0 * 80_000_000.0_f64 / 730.0 / 1e9;
        let sum = 208.0 * 0.029 + 1872.0 * 0.0025 + 72.0 + ssd;
        assert!((price(&mega, Market::OnDemand).expect("a price") - sum).abs() < 1e-3);
        let ultra = shape("a3-ultragpu-8g", 224, 2952, Some(("nvidia-h200-141gb", 8)), 0);
        assert!(
            price(&ultra, Market::OnDemand).is_some(),
            "where it has no cores of its own, A3's"
        );
        let n1 = shape("n1-standard-8", 8, 30, None, 0);
        assert!((price(&n1, Market::OnDemand).expect("a price") - 0.379_998).abs() < 1e-6);
        assert!(prices.disk("us-central1").is_some() && prices.disk("us-east1").is_none());
    }
}
