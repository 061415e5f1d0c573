//! The Cloud Billing catalogue of Compute Engine: prices of parts, in words, and other texts that are no prices.
//!
//! Invariant: what a reader sums up from here is what the sandbox bills for the machine.

use super::places::factor;
use super::{Answer, Request, invalid};
use crate::facts::gcp::{DISK_MONTH, FAMILIES, GPUS, REGIONS, Region, scaled, ssd_month};
use crate::text::hash;
use fleet_types::Market;
use serde_json::{Value, json};

const PAGE_MAX: usize = 5000;

/// One text of the catalogue.
struct Sku<'a> {
    text: String,
    family: &'a str,
    group: &'a str,
    usage: &'a str,
    unit: &'a str,
    nanos: i64,
    region: &'a Region,
}

impl Sku<'_> {
    fn json(&self) -> Value {
        let id = format!("{:012X}", hash(0, &[&self.text, self.usage]) & 0xffff_ffff_ffff);
        let id = format!("{}-{}-{}", &id[..4], &id[4..8], &id[8..12]);
        let price = json!({"currencyCode": "USD", "units": (self.nanos / 1_000_000_000).to_string(),
            "nanos": self.nanos % 1_000_000_000});
        let (unit, words) = match self.unit {
            "h" => ("h", "hour"),
            "GiBy.h" => ("GiBy.h", "gibibyte hour"),
            _ => ("GiBy.mo", "gibibyte month"),
        };
        json!({
            "name": format!("services/6F81-5844-456A/skus/{id}"), "skuId": id, "description": self.text,
            "category": {"serviceDisplayName": "Compute Engine", "resourceFamily": self.family,
                "resourceGroup": self.group, "usageType": self.usage},
            "serviceRegions": [self.region.name], "serviceProviderName": "Google",
            "geoTaxonomy": {"type": "REGIONAL", "regions": [self.region.name]},
            "pricingInfo": [{"summary": "", "currencyConversionRate": 1.0,
                "effectiveTime": "2026-01-01T00:00:00Z",
                "pricingExpression": {"usageUnit": unit, "usageUnitDescription": words,
                    "baseUnit": "s", "baseUnitDescription": "second", "baseUnitConversionFactor": 3600.0,
                    "displayQuantity": 1.0,
                    "tieredRates": [{"startUsageAmount": 0.0, "unitPrice": price}]}}],
        })
    }
}

fn usage(market: Market) -> &'static str {
    match market {
        Market::OnDemand => "OnDemand",
        Market::Spot => "Preemptible",
    }
}

impl Request<'_> {
    pub(super) fn skus(&self) -> Answer {
        let number = |name: &str, otherwise: usize| match self.param(name) {
            None => Ok(otherwise),
            Some(text) => text.parse().map_err(|_| invalid(format!("{name}: '{text}'"))),
        };
        let (start, size) = (number("pageToken", 0)?, number("pageSize", PAGE_MAX)?);
        let size = size.clamp(1, PAGE_MAX);
        let all = self.all_skus();
        let next = if all.len() > start + size { (start + size).to_string() } else { String::new() };
        let page: Vec<Value> = all.into_iter().skip(start).take(size).collect();
        Ok(json!({"skus": page, "nextPageToken": next}))
    }

    fn all_skus(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for region in REGIONS {
            others(region, &mut all);
            for market in [Market::OnDemand, Market::Spot] {
                hosts(region, market, &mut all);
                self.gpus(region, market, &mut all);
                let words = if market == Market::Spot { " attached to Spot Preemptible VMs" } else { "" };
                all.push(Sku {
                    text: format!("SSD backed Local Storage{words} in {}", region.words),
                    family: "Storage",
                    group: "LocalSSD",
                    usage: usage(market),
                    unit: "GiBy.mo",
                    nanos: ssd_month(region, market),
                    region,
                });
            }
        }
        all.iter().map(Sku::json).collect()
    }

    fn gpus<'a>(&self, region: &'a Region, market: Market, all: &mut Vec<Sku<'a>>) {
        for gpu in GPUS {
            let times = factor(self.world, gpu, region, market, self.now);
            let spot = market == Market::Spot;
            let attached = if spot { " attached to Spot Preemptible VMs" } else { "" };
            let name = if gpu.words.ends_with(')') { gpu.words.to_owned() } else { format!("{} GPU", gpu.words) };
            // Some prices of spot B200 are filed under the other usage, as in life.
            let misfiled = spot && gpu.name == "B200";
            all.push(Sku {
                text: format!("{name}{attached} running in {}", region.words),
                family: "Compute",
                group: "GPU",
                usage: if misfiled { "OnDemand" } else { usage(market) },
                unit: "h",
                nanos: scaled(gpu.nanos(region, market), times),
                region,
            });
        }
    }
}

fn hosts<'a>(region: &'a Region, market: Market, all: &mut Vec<Sku<'a>>) {
    let prefix = if market == Market::Spot { "Spot Preemptible " } else { "" };
    for f in FAMILIES {
        let parts = [
            ("Core", f.group[0], "h", f.core(region, market)),
            ("Ram", f.group[1], "GiBy.h", f.memory(region, market)),
        ];
        for (part, group, unit, nanos) in parts {
            all.push(Sku {
                text: format!("{prefix}{} {part} running in {}", f.words, region.words),
                family: "Compute",
                group,
                usage: usage(market),
                unit,
                nanos,
                region,
            });
        }
    }
}

/// Texts about other ways to buy the same parts, and about other things. All are much cheaper than the real
/// prices, so that a reader who takes one for a price is wrong by far.
fn others<'a>(region: &'a Region, all: &mut Vec<Sku<'a>>) {
    let place = region.words;
    let rows = [
        (format!("G2 Custom Instance Core running in {place}"), "Compute", "CPU", "OnDemand"),
        (format!("Commitment v1: G2 Core in {place} for 1 Year"), "Compute", "CPU", "Commit1Yr"),
        (format!("G2 Sole Tenancy Instance Core running in {place}"), "Compute", "CPU", "OnDemand"),
        (format!("Reserved Nvidia L4 GPU in {place}"), "Compute", "GPU", "OnDemand"),
        (format!("Nvidia L4 GPU attached to DWS Defined Duration VMs running in {place}"), "Compute", "GPU", "OnDemand"),
        (format!("Nvidia Tesla T4 Virtual Workstation GPU running in {place}"), "Compute", "GPU", "OnDemand"),
        (format!("N1 Predefined Instance Core Premium running in {place}"), "Compute", "N1Standard", "OnDemand"),
        (format!("Network Inter Region Egress from {place}"), "Network", "InterregionEgress", "OnDemand"),
    ];
    for (text, family, group, usage) in rows {
        all.push(Sku { text, family, group, usage, unit: "h", nanos: 1_000_000, region });
    }
    all.push(Sku {
        text: format!("Balanced PD Capacity in {place}"),
        family: "Storage",
        group: "SSD",
        usage: "OnDemand",
        unit: "GiBy.mo",
        nanos: (DISK_MONTH * 1e9) as i64,
        region,
    });
}
