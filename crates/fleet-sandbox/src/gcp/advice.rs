//! Google's advice on spot capacity: how likely one is to be had, how long it lives, what was taken of late.
//!
//! The figures are drawn from the seed; a pool that is sold out is not obtainable.

use super::places::{price, with_site};
use super::{Answer, Request, invalid, no_such};
use crate::clock::iso_seconds;
use crate::facts::gcp::{Region, Shape, find, find_region, zones};
use crate::text::fraction;
use fleet_types::Market;
use serde_json::{Value, json};
use std::time::Duration;

/// Days of history.
const DAYS: u64 = 3;

/// The shape that a selection names: a machine type, and the GPUs attached to it.
fn shape(machine: &Value, accelerators: &Value) -> Option<Shape> {
    let kind = find(machine.as_str()?)?;
    let Some(config) = accelerators.as_array().and_then(|a| a.first()) else {
        return Some(kind.bare());
    };
    let wanted = config["acceleratorType"].as_str()?.rsplit('/').next()?;
    let count = config["acceleratorCount"].as_u64()?;
    kind.attached().into_iter().find(|s| {
        s.gpu.is_some_and(|(g, n)| g.kind == wanted && u64::from(n) == count)
    })
}

impl Request<'_> {
    fn advised_region(&self, name: &str) -> Result<&'static Region, super::Refusal> {
        find_region(name).ok_or_else(|| no_such(&format!("regions/{name}")))
    }

    pub(super) fn capacity(&self, region: &str) -> Answer {
        let region = self.advised_region(region)?;
        let spot = self.body["instanceProperties"]["scheduling"]["provisioningModel"] == "SPOT";
        let selections = self.body["instanceFlexibilityPolicy"]["instanceSelections"].as_object();
        let selection = selections.and_then(|s| s.values().next());
        let shape = selection
            .and_then(|s| shape(&s["machineTypes"][0], &s["guestAccelerators"]))
            .filter(|_| spot && self.body["size"].as_u64().is_some_and(|n| n > 0))
            .ok_or_else(|| invalid("Invalid value for field 'body': no spot selection of a known type"))?;
        let here: Vec<String> = zones()
            .filter(|(r, zone)| r.name == region.name && shape.is_sold_in(zone))
            .map(|(_, zone)| zone)
            .collect();
        let has = |zone: &String| {
            let anchor = shape.is_anchor(zone);
            with_site(&shape, zone, Market::Spot, |s| self.world.stock(s, anchor, self.now)) > 0
        };
        let zone = here.iter().find(|z| has(z));
        let draw = fraction(self.world.seed, &["gcp-advice", &shape.name(), region.name]);
        let chance = if zone.is_some() { 0.5 + 0.45 * draw } else { 0.0 };
        let uptime = 7200 + (draw * 130_000.0) as u64;
        let shard = zone.or(here.first()).map(|zone| {
            json!({"zone": format!("zones/{zone}"), "machineType": shape.kind.name,
                "instanceCount": 1, "provisioningModel": "SPOT"})
        });
        let scores = json!({"obtainability": chance, "estimatedUptime": format!("{uptime}s")});
        Ok(json!({"recommendations": [{"scores": scores, "shards": Vec::from_iter(shard)}]}))
    }

    pub(super) fn capacity_history(&self, region: &str) -> Answer {
        let region = self.advised_region(region)?;
        let properties = &self.body["instanceProperties"];
        let shape = shape(&properties["machineType"], &properties["guestAccelerators"])
            .ok_or_else(|| invalid("Invalid value for field 'instanceProperties.machineType'"))?;
        let location = self.body["locationPolicy"]["location"].as_str().unwrap_or("").to_owned();
        let asked = |kind: &str| {
            self.body["types"].as_array().is_some_and(|t| t.iter().any(|k| k == kind))
        };
        let day = Duration::from_secs(24 * 3600);
        let interval = |ago: u32| {
            let end = self.now.minus(day * ago);
            json!({"startTime": iso_seconds(end.minus(day)), "endTime": iso_seconds(end)})
        };
        let mut answer = json!({"machineType": shape.kind.name, "location": location});
        if asked("PREEMPTION") {
            let rate = |ago: u64| {
                let parts = ["gcp-history", &shape.name(), region.name, &ago.to_string()];
                (fraction(self.world.seed, &parts) * 0.6 * 1000.0).round() / 1000.0
            };
            let records = (0..DAYS).map(|ago| json!({"interval": interval(ago as u32), "preemptionRate": rate(ago)}));
            answer["preemptionHistory"] = records.collect();
        }
        if asked("PRICE") {
            let micros = price(self.world, &shape, region, Market::Spot, self.now).micros();
            let money = json!({"currencyCode": "USD", "units": (micros / 1_000_000).to_string(),
                "nanos": micros % 1_000_000 * 1000});
            answer["priceHistory"] = json!([{"interval": interval(0), "listPrice": money}]);
        }
        Ok(answer)
    }
}
