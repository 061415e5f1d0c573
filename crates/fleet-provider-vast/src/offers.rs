//! Searches of the marketplace, and its rows as offers.
//!
//! Invariants: machines that cannot be rented now are carried and marked; a price that is not known is
//! `None`; what is shared on the wire under one GPU name is told apart before it is matched. One search
//! is made for each market and each number of GPUs, because searches are few a minute.

use crate::wire::OfferRow;
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, MachineClass, Market, Offer, OfferQuery, Place,
    ProviderId, Trust, accelerator,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Rows that one search may answer.
const ROWS: u32 = 1000;
/// Smallest disk that Vast rents, in GB.
pub(crate) const DISK_MIN: u32 = 8;

/// One search, and what its rows are tested against.
#[derive(Debug)]
pub(crate) struct Search {
    pub market: Market,
    pub body: Value,
    requests: Vec<AcceleratorRequest>,
}

/// The searches that a query takes. None for a query without GPUs: Vast rents no others.
pub(crate) fn searches(query: &OfferQuery) -> Vec<Search> {
    let mut named: BTreeMap<u32, Vec<AcceleratorRequest>> = BTreeMap::new();
    let mut groups = Vec::new();
    for request in &query.accelerators {
        match request {
            AcceleratorRequest::Named(a) => named.entry(a.count).or_default().push(request.clone()),
            AcceleratorRequest::Memory { .. } => groups.push(vec![request.clone()]),
        }
    }
    groups.extend(named.into_values());
    let markets = match query.markets.as_slice() {
        [] => &[Market::Spot, Market::OnDemand][..],
        some => some,
    };
    let each = |market: &Market| {
        let make = |requests: &Vec<AcceleratorRequest>| Search {
            market: *market,
            body: body(query, *market, requests),
            requests: requests.clone(),
        };
        groups.iter().map(make).collect::<Vec<_>>()
    };
    markets.iter().flat_map(each).collect()
}

fn body(query: &OfferQuery, market: Market, requests: &[AcceleratorRequest]) -> Value {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    set("type", json!(if market == Market::Spot { "bid" } else { "on-demand" }));
    set("limit", json!(ROWS));
    set("order", json!([["dph_total", "asc"]]));
    set("allocated_storage", json!(disk(query)));
    set("disk_space", json!({"gte": disk(query)}));
    set("external", json!({"eq": false}));
    set("num_gpus", json!({"eq": requests.first().map_or(1, AcceleratorRequest::count)}));
    match requests {
        [AcceleratorRequest::Memory { min_gb, .. }] => {
            // The same tolerance as the match: cards report a little less than their name.
            set("gpu_ram", json!({"gte": min_gb * 930}));
        }
        some => set("gpu_name", json!({"in": spellings(some)})),
    }
    let filter = &query.filter;
    if let Some(least) = filter.min_reliability {
        set("reliability", json!({"gte": least}));
    }
    let trusted = filter.min_trust.is_some_and(|t| t >= Trust::Semi);
    if filter.verified_only || trusted {
        set("verified", json!({"eq": true}));
    }
    if filter.datacenter_only || trusted {
        set("datacenter", json!({"eq": true}));
    }
    if let Some(seconds) = filter.min_duration_seconds {
        set("duration", json!({"gte": seconds}));
    }
    if let Some(version) = filter.min_cuda {
        set("cuda_max_good", json!({"gte": version}));
    }
    if let Some(mbps) = filter.min_inet_down_mbps {
        set("inet_down", json!({"gte": mbps}));
    }
    Value::Object(body)
}

fn disk(query: &OfferQuery) -> u32 {
    query.disk_gib.max(DISK_MIN)
}

/// Every spelling that a wanted GPU may have on the wire, those of its sizes with another memory too.
fn spellings(requests: &[AcceleratorRequest]) -> Vec<String> {
    let mut names = Vec::new();
    for request in requests {
        let AcceleratorRequest::Named(Accelerator { name, .. }) = request else { continue };
        let base = name.rsplit_once('-').filter(|(_, size)| size.ends_with("GB"));
        let base = base.map_or(name.as_str(), |(base, _)| base);
        let same = accelerator::MODELS.iter().filter(|m| m.name == name || m.name == base);
        for spelling in same.flat_map(|m| m.aliases.iter().chain([&m.name])) {
            names.extend([(*spelling).to_owned(), spelling.replace('-', " ")]);
        }
        names.push(name.replace('_', " "));
    }
    names.sort();
    names.dedup();
    names
}

impl Search {
    /// The rows of an answer that the query asked for, as offers. Rows that make no sense are left out
    /// and counted.
    pub(crate) fn offers(&self, query: &OfferQuery, rows: &[Value]) -> (Vec<Offer>, usize) {
        let (mut offers, mut odd) = (Vec::new(), 0);
        for row in rows {
            match OfferRow::read(row, disk(query)) {
                Ok(row) => offers.extend(self.offer(query, row)),
                Err(_) => odd += 1,
            }
        }
        (offers, odd)
    }

    fn offer(&self, query: &OfferQuery, row: OfferRow) -> Option<Offer> {
        let gpus = row.accelerator.clone()?;
        if !self.requests.iter().any(|r| r.accepts(&gpus, row.gpu_memory_gb)) {
            return None;
        }
        let place = Place {
            provider: ProviderId::Vast,
            region: row.country.clone(),
            zone: row.machine.clone(),
        };
        let instance_type = instance_type(&gpus);
        let wanted_type = query.instance_type.as_ref().is_none_or(|t| *t == instance_type);
        let wanted_place =
            query.places.is_empty() || query.places.iter().any(|p| p.matches(&place));
        if !wanted_type || !wanted_place {
            return None;
        }
        let spot = self.market == Market::Spot;
        let asked =
            |field: &str| (self.body.get(field) == Some(&json!({"eq": true}))).then_some(true);
        let verified = row.verified.or_else(|| asked("verified"));
        let datacenter = row.datacenter.or_else(|| asked("datacenter"));
        let semi = verified == Some(true) && datacenter == Some(true);
        Some(Offer {
            place,
            instance_type,
            market: self.market,
            key: row.ask.clone(),
            accelerator: Some(gpus),
            gpu_memory_gb: row.gpu_memory_gb,
            vcpus: row.vcpus.unwrap_or(0.0),
            memory_gib: row.memory_gib.unwrap_or(0.0),
            disk_gib: row.disk_gib,
            price_usd_per_hour: if spot { row.min_bid } else { row.on_demand },
            on_demand_usd_per_hour: row.on_demand,
            disk_usd_per_gib_hour: row.storage_per_gib_hour,
            egress_usd_per_gb: row.egress_per_gb,
            available: available(&row, spot),
            hazard_per_hour: None,
            hazard_source: None,
            reliability: row.reliability,
            verified,
            datacenter,
            cuda: row.cuda,
            inet_down_mbps: row.inet_down_mbps,
            inet_up_mbps: row.inet_up_mbps,
            ends_in_seconds: row.ends_in_seconds,
            class: MachineClass::Container,
            trust: if semi { Trust::Semi } else { Trust::Untrusted },
        })
    }
}

/// A machine that another rents can still be had by a higher bid, but not on demand.
fn available(row: &OfferRow, spot: bool) -> Availability {
    match (row.rentable, row.rented) {
        (Some(false), _) => Availability::SoldOut,
        (_, Some(true)) if !spot => Availability::SoldOut,
        (Some(true), _) => Availability::Available,
        (None, _) => Availability::Unknown,
    }
}

/// Vast has no machine types; GPUs and their number stand in (`RTX4090x2`).
pub(crate) fn instance_type(gpus: &Accelerator) -> String {
    format!("{}x{}", gpus.name, gpus.count).replace(' ', "-")
}

#[cfg(test)]
mod tests;
