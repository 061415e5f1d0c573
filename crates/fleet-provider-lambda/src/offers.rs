//! Instance types × regions as offers.
//!
//! Invariants: there is no spot, so a query for spot alone is answered without a call; a type stays listed in
//! every region, marked sold out where Lambda names no capacity; a price that is not known is `None`.

use crate::wire::TypeRow;
use fleet_types::{
    Availability, MachineClass, Market, Offer, OfferQuery, Place, ProviderId, Trust,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// Whether Lambda can have what the query asks for.
pub(crate) fn answerable(query: &OfferQuery) -> bool {
    query.markets.is_empty() || query.markets.contains(&Market::OnDemand)
}

/// The place of a region: Lambda tells of no zones.
pub(crate) fn place(region: &str) -> Place {
    Place { provider: ProviderId::Lambda, region: region.to_owned(), zone: region.to_owned() }
}

/// Every type that the query asks for, in every region that it allows.
pub(crate) fn offers(query: &OfferQuery, types: &Value, regions: &[String]) -> Vec<Offer> {
    let rows = types.as_object().into_iter().flatten();
    let rows: Vec<TypeRow> = rows.map(|(name, entry)| TypeRow::read(name, entry)).collect();
    // A region that only the capacity names is a region too.
    let named = rows.iter().flat_map(|r| r.regions.iter().flatten());
    let regions: BTreeSet<&String> = regions.iter().chain(named).collect();
    let mut found = Vec::new();
    for row in rows.iter().filter(|r| wanted(query, r)) {
        for region in &regions {
            let place = place(region);
            if query.places.is_empty() || query.places.iter().any(|p| p.matches(&place)) {
                found.push(offer(row, place));
            }
        }
    }
    found
}

/// GPUs and type as asked. Without either, a machine without GPUs is meant.
fn wanted(query: &OfferQuery, row: &TypeRow) -> bool {
    if query.instance_type.as_ref().is_some_and(|t| *t != row.name) {
        return false;
    }
    match &row.accelerator {
        _ if query.accelerators.is_empty() && query.instance_type.is_some() => true,
        Some(gpus) => query.accelerators.iter().any(|a| a.accepts(gpus, row.gpu_memory_gb)),
        None => query.accelerators.is_empty(),
    }
}

fn offer(row: &TypeRow, place: Place) -> Offer {
    let available = match &row.regions {
        None => Availability::Unknown,
        Some(regions) if regions.contains(&place.region) => Availability::Available,
        Some(_) => Availability::SoldOut,
    };
    Offer {
        place,
        instance_type: row.name.clone(),
        market: Market::OnDemand,
        key: String::new(),
        accelerator: row.accelerator.clone(),
        gpu_memory_gb: row.gpu_memory_gb,
        vcpus: row.vcpus.unwrap_or(0.0),
        memory_gib: row.memory_gib.unwrap_or(0.0),
        disk_gib: row.storage_gib,
        price_usd_per_hour: row.price,
        on_demand_usd_per_hour: row.price,
        disk_usd_per_gib_hour: None,
        egress_usd_per_gb: None,
        available,
        hazard_per_hour: None,
        hazard_source: None,
        reliability: None,
        verified: None,
        datacenter: None,
        cuda: None,
        inet_down_mbps: None,
        inet_up_mbps: None,
        ends_in_seconds: None,
        class: MachineClass::Vm,
        trust: Trust::Trusted,
    }
}

#[cfg(test)]
mod tests;
