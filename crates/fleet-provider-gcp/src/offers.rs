//! What Compute Engine sells: machine types that match, in every zone, at the sum of their list prices.
//!
//! Types, attachable GPUs and prices are asked for at once; the advice on capacity afterwards, for the cheapest
//! spot places only. Invariants: a price with a part missing is `None`, never less than it is; no stock is told,
//! so availability is unknown; what is sold to reservations only is not offered on demand.

mod advice;
mod price;
mod shape;

pub(crate) use shape::{Parts, parts, shape_name};

use crate::client::Clients;
use crate::wire::{every_scope, last, place};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::{
    Availability, MachineClass, Market, Offer, OfferQuery, Place, PlacePattern, ProviderId, Trust,
};
use google_cloud_compute_v1::model::{AcceleratorTypesScopedList, MachineTypesScopedList};
use price::Prices;
use shape::Shape;
use std::collections::BTreeSet;

/// Every offer that matches.
pub(crate) async fn find(clients: &Clients, query: &OfferQuery) -> Result<Vec<Offer>> {
    if !query.places.is_empty() && !query.places.iter().any(ours) {
        return Ok(Vec::new());
    }
    let (shapes, attachable, prices) =
        tokio::join!(shapes(clients, query), attachable(clients, query), price::list(clients));
    let shapes = shapes?;
    let attachable = known(attachable, "attachable GPUs are unknown")?;
    let prices = known(prices, "prices are unknown")?;
    let mut offers = rows(query, &shapes, &attachable, &prices);
    advice::add(clients, &mut offers).await;
    Ok(offers)
}

/// What makes an answer poorer when it is missing. A credential that is refused is refused everywhere.
fn known<T: Default>(answer: Result<T>, otherwise: &str) -> Result<T> {
    match answer {
        Ok(known) => Ok(known),
        Err(error)
            if error.fault == fleet_types::Fault::Auth && error.code == "UNAUTHENTICATED" =>
        {
            Err(error)
        }
        Err(error) => {
            tracing::warn!(%error, "{otherwise}");
            Ok(T::default())
        }
    }
}

fn ours(pattern: &PlacePattern) -> bool {
    pattern.provider.is_none_or(|p| p == ProviderId::Gcp)
}

fn wanted_place(query: &OfferQuery, place: &Place) -> bool {
    query.places.is_empty() || query.places.iter().any(|p| p.matches(place))
}

/// The machine types of each zone that could match, as they come.
async fn shapes(clients: &Clients, query: &OfferQuery) -> Result<Vec<(Place, Shape)>> {
    let (mut found, mut gaps) = (Vec::new(), Vec::<String>::new());
    let call = || {
        let list = clients.machine_types.aggregated_list().set_project(clients.project());
        list.set_filter(shape::filter(query)).set_max_results(500u32)
    };
    let take = |scope: &str, rows: MachineTypesScopedList| {
        let place = place(last(scope));
        if wanted_place(query, &place) {
            let read = rows.machine_types.iter().filter_map(Shape::read);
            found.extend(read.map(|shape| (place.clone(), shape)));
        }
    };
    let kind = "compute#machineTypeAggregatedList";
    every_scope!(clients, "machineTypes.aggregatedList", call(), kind, &mut gaps, take);
    warn_of("machine types", &gaps);
    Ok(found)
}

/// Zone and kind of the GPUs that can be attached to a machine, where the query could want one.
async fn attachable(
    clients: &Clients,
    query: &OfferQuery,
) -> Result<BTreeSet<(String, &'static str)>> {
    let mut found = BTreeSet::new();
    if !shape::could_attach(query) {
        return Ok(found);
    }
    let mut gaps = Vec::<String>::new();
    let call = || {
        let list = clients.accelerator_types.aggregated_list().set_project(clients.project());
        list.set_max_results(500u32)
    };
    let take = |scope: &str, rows: AcceleratorTypesScopedList| {
        let names = rows.accelerator_types.iter().filter_map(|a| a.name.as_deref());
        let kinds = names.filter_map(shape::attachable_kind);
        found.extend(kinds.map(|kind| (last(scope).to_owned(), kind)));
    };
    let kind = "compute#acceleratorTypeAggregatedList";
    every_scope!(clients, "acceleratorTypes.aggregatedList", call(), kind, &mut gaps, take);
    warn_of("attachable GPUs", &gaps);
    Ok(found)
}

fn warn_of(what: &str, gaps: &[String]) {
    if let Some(gap) = gaps.first() {
        tracing::warn!(what, gap, count = gaps.len(), "some zones did not answer");
    }
}

fn rows(
    query: &OfferQuery,
    shapes: &[(Place, Shape)],
    attachable: &BTreeSet<(String, &'static str)>,
    prices: &Prices,
) -> Vec<Offer> {
    let mut offers = Vec::new();
    for (place, shape) in shapes {
        let there =
            |kind: &str| attachable.iter().any(|(zone, k)| *zone == place.zone && *k == kind);
        let with_gpus = shape.attached().into_iter().filter(|s| s.gpu_kind().is_some_and(there));
        for shape in std::iter::once(shape.clone()).chain(with_gpus).filter(|s| s.fits(query)) {
            for market in [Market::Spot, Market::OnDemand] {
                let wanted = query.markets.is_empty() || query.markets.contains(&market);
                if wanted && shape.is_sold(market) {
                    offers.push(offer(place, &shape, market, prices));
                }
            }
        }
    }
    let order = |o: &Offer| (o.place.clone(), o.instance_type.clone(), o.market);
    offers.sort_by_key(order);
    offers.dedup_by_key(|o| order(o));
    offers
}

fn offer(place: &Place, shape: &Shape, market: Market, prices: &Prices) -> Offer {
    let region = &place.region;
    let sold_on_demand = shape.is_sold(Market::OnDemand);
    Offer {
        place: place.clone(),
        instance_type: shape.name.clone(),
        market,
        key: String::new(),
        accelerator: shape.accelerator.clone(),
        gpu_memory_gb: shape.gpu_memory_gb,
        vcpus: shape.vcpus,
        memory_gib: shape.memory_gib,
        disk_gib: None,
        price_usd_per_hour: prices.of(shape, region, market),
        on_demand_usd_per_hour: prices
            .of(shape, region, Market::OnDemand)
            .filter(|_| sold_on_demand),
        disk_usd_per_gib_hour: prices.disk(region),
        egress_usd_per_gb: None,
        available: Availability::Unknown,
        hazard_per_hour: None,
        hazard_source: None,
        reliability: None,
        verified: None,
        datacenter: Some(true),
        cuda: None,
        inet_down_mbps: None,
        inet_up_mbps: None,
        ends_in_seconds: None,
        class: MachineClass::Vm,
        trust: Trust::Trusted,
    }
}

/// An answer that must be a list of its kind.
fn unreadable(operation: &'static str, why: impl Into<String>) -> ProviderError {
    Effect::Read.unreadable(operation, why)
}
