//! What can be had now: types with their price and the regions that have capacity.

use super::{Request, data};
use crate::facts::lambda::{REGIONS, Region, TYPES, Type};
use crate::http::Reply;
use crate::scenario::Site;
use crate::world::World;
use fleet_types::{Market, ProviderId, Timestamp};
use serde_json::{Map, Value, json};

/// The pool of a type in a region as rules see it.
pub(super) fn site(t: &'static Type, region: &'static str) -> Site<'static> {
    Site {
        provider: ProviderId::Lambda,
        region,
        zone: region,
        instance_type: t.name,
        gpu: t.gpu,
        market: Market::OnDemand,
    }
}

/// Cents an hour. The list price does not move by itself; of several rules on regions the dearest counts,
/// because a type has one price.
pub(super) fn cents(w: &World, t: &'static Type, now: Timestamp) -> u32 {
    let elapsed = w.elapsed(now);
    let factors = t.regions().map(|(r, _)| w.price_factor(site(t, r.name), elapsed));
    let factor =
        factors.fold(None, |dearest: Option<f64>, f| Some(dearest.map_or(f, |d| d.max(f))));
    (f64::from(t.cents) * factor.unwrap_or(1.0)).round() as u32
}

/// Whether the region has one of the type now.
pub(super) fn has_capacity(w: &World, t: &'static Type, region: &str, now: Timestamp) -> bool {
    t.regions().any(|(r, anchor)| r.name == region && w.stock(site(t, r.name), anchor, now) > 0)
}

pub(super) fn region_json(r: &Region) -> Value {
    json!({"name": r.name, "description": r.description})
}

/// The type as the API shows it.
pub(super) fn type_json(t: &Type, cents: u32) -> Value {
    let description = match t.gpus {
        0 => format!("{}x CPU General ({} GiB)", t.vcpus, t.memory_gib),
        n => format!("{n}x {}", t.gpu_wire),
    };
    json!({
        "name": t.name, "description": description, "gpu_description": t.gpu_wire,
        "price_cents_per_hour": cents,
        "specs": {"vcpus": t.vcpus, "memory_gib": t.memory_gib, "storage_gib": t.storage_gib,
            "gpus": t.gpus},
    })
}

pub(super) fn regions() -> Reply {
    data(REGIONS.iter().map(region_json).collect())
}

impl Request<'_> {
    pub(super) fn list_types(&mut self) -> Reply {
        let mut all = Map::new();
        for t in TYPES {
            let here = |r: &Region| has_capacity(self.world, t, r.name, self.now);
            let regions: Vec<Value> =
                t.regions().map(|(r, _)| r).filter(|r| here(r)).map(region_json).collect();
            let kind = type_json(t, cents(self.world, t, self.now));
            let entry = json!({"instance_type": kind, "regions_with_capacity_available": regions});
            all.insert(t.name.to_owned(), entry);
        }
        data(Value::Object(all))
    }
}
