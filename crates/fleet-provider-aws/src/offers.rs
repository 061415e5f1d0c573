//! What EC2 sells: machine types that match, in every zone of every enabled region, at their price now.
//!
//! All regions at once; in each, the types first and then zones and spot prices of just those types.
//! Prices on demand, the spot advisor and placement scores are for the asking, and an offer without
//! them is an offer all the same. Invariants: a price that did not come is `None`, never 0 and never a
//! table's; a region that fails is warned of, and only if all fail is the answer an error.

mod hazard;
mod price;
mod shape;

use crate::client::Clients;
use crate::provider::regions;
use crate::wire::{filter, needed, time};
use aws_sdk_ec2::types::{LocationType, RiProductDescription, SpotPrice, UsageClassType};
use aws_smithy_types::DateTime;
use fleet_provider::Result;
use fleet_provider_kit::Effect;
use fleet_types::{
    Availability, MachineClass, Market, Offer, OfferQuery, Place, PlacePattern, ProviderId,
    Timestamp, Trust, Usd,
};
use futures_util::future::join_all;
use shape::Shape;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::SystemTime;

/// Most types that EC2 takes in one filter.
const FILTER_MAX: usize = 200;

/// What one region answered.
#[derive(Debug, Default)]
struct Region {
    name: String,
    shapes: BTreeMap<String, Shape>,
    /// Type and zone of everything sold there.
    sold: BTreeSet<(String, String)>,
    spot: HashMap<(String, String), Spot>,
}

/// A spot price in force.
#[derive(Debug, Clone)]
struct Spot {
    since: Timestamp,
    price: Option<Usd>,
    zone_id: Option<String>,
}

/// Every offer that matches.
pub(crate) async fn find(clients: &Clients, query: &OfferQuery) -> Result<Vec<Offer>> {
    if !query.places.is_empty() && !query.places.iter().any(ours) {
        return Ok(Vec::new());
    }
    let names = regions(clients).await?.into_iter();
    let names: Vec<_> = names.filter(|region| wanted_region(query, region)).collect();
    let spot = wanted_market(query, Market::Spot);
    let (answers, advice) =
        tokio::join!(join_all(names.iter().map(|name| region(clients, query, name))), async {
            if spot { hazard::advice(clients).await } else { hazard::Advice::default() }
        },);
    let mut failed = None;
    let mut open = Vec::new();
    for (name, answer) in names.iter().zip(answers) {
        match answer {
            Ok(region) => open.push(region),
            Err(e) => {
                tracing::warn!(region = %name, error = %e, "no offers from this region");
                failed.get_or_insert(e);
            }
        }
    }
    if open.is_empty() {
        return failed.map_or(Ok(Vec::new()), Err);
    }
    let types: BTreeSet<&str> =
        open.iter().flat_map(|r| r.sold.iter().map(|(kind, _)| kind.as_str())).collect();
    let selling: Vec<&str> =
        open.iter().filter(|r| !r.sold.is_empty()).map(|r| r.name.as_str()).collect();
    let (on_demand, scores) = tokio::join!(price::on_demand(clients, &types, &selling), async {
        if spot { hazard::scores(clients, &types, &selling).await } else { HashMap::new() }
    });
    let known = Known { advice, on_demand, scores };
    Ok(open.iter().flat_map(|region| rows(query, region, &known)).collect())
}

/// What is known of the whole account beside the regions.
#[derive(Debug)]
struct Known {
    advice: hazard::Advice,
    on_demand: price::OnDemand,
    /// By zone id.
    scores: HashMap<String, i32>,
}

fn ours(pattern: &PlacePattern) -> bool {
    pattern.provider.is_none_or(|p| p == ProviderId::Aws)
}

fn wanted_region(query: &OfferQuery, region: &str) -> bool {
    let same = |r: &String| r.eq_ignore_ascii_case(region);
    query.places.is_empty()
        || query.places.iter().any(|p| ours(p) && p.region.as_ref().is_none_or(same))
}

fn wanted_market(query: &OfferQuery, market: Market) -> bool {
    query.markets.is_empty() || query.markets.contains(&market)
}

async fn region(clients: &Clients, query: &OfferQuery, name: &str) -> Result<Region> {
    let shapes = shapes(clients, query, name).await?;
    if shapes.is_empty() {
        return Ok(Region { name: name.to_owned(), ..Region::default() });
    }
    let types: Vec<&str> = shapes.keys().map(String::as_str).collect();
    let spot = wanted_market(query, Market::Spot);
    let (sold, spot) = tokio::try_join!(zones(clients, name, &types), async {
        if spot { spot_prices(clients, name, &types).await } else { Ok(HashMap::new()) }
    })?;
    Ok(Region { name: name.to_owned(), shapes, sold, spot })
}

/// The matching types of a region.
async fn shapes(
    clients: &Clients,
    query: &OfferQuery,
    region: &str,
) -> Result<BTreeMap<String, Shape>> {
    let operation = "DescribeInstanceTypes";
    let (mut found, mut next) = (BTreeMap::new(), None);
    loop {
        let page = clients
            .ec2(region)
            .describe_instance_types()
            .set_filters(Some(shape::filters(query)))
            .max_results(100)
            .set_next_token(next)
            .send()
            .await;
        let page = match page {
            Ok(page) => page,
            Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
        };
        let types = needed(operation, page.instance_types)?;
        let shapes = types.iter().filter_map(Shape::read).filter(|s| s.fits(query));
        found.extend(shapes.map(|s| (s.name.clone(), s)));
        next = page.next_token.filter(|t| !t.is_empty());
        if next.is_none() {
            return Ok(found);
        }
    }
}

/// Which of these types is sold in which zone.
async fn zones(
    clients: &Clients,
    region: &str,
    types: &[&str],
) -> Result<BTreeSet<(String, String)>> {
    let operation = "DescribeInstanceTypeOfferings";
    let mut sold = BTreeSet::new();
    for some in types.chunks(FILTER_MAX) {
        let mut next = None;
        loop {
            let page = clients
                .ec2(region)
                .describe_instance_type_offerings()
                .location_type(LocationType::AvailabilityZone)
                .filters(filter("instance-type", some.iter().copied()))
                .max_results(1000)
                .set_next_token(next)
                .send()
                .await;
            let page = match page {
                Ok(page) => page,
                Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
            };
            for row in needed(operation, page.instance_type_offerings)? {
                if let (Some(kind), Some(zone)) = (row.instance_type, row.location) {
                    sold.insert((kind.as_str().to_owned(), zone));
                }
            }
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(sold)
}

/// The spot price in force of each of these types in each zone.
async fn spot_prices(
    clients: &Clients,
    region: &str,
    types: &[&str],
) -> Result<HashMap<(String, String), Spot>> {
    let operation = "DescribeSpotPriceHistory";
    let now = DateTime::from(SystemTime::now());
    let mut prices = HashMap::new();
    for some in types.chunks(FILTER_MAX) {
        let mut next = None;
        loop {
            let types = some.iter().map(|t| (*t).into()).collect();
            let page = clients
                .ec2(region)
                .describe_spot_price_history()
                .set_instance_types(Some(types))
                .product_descriptions("Linux/UNIX")
                .start_time(now)
                .max_results(1000)
                .set_next_token(next)
                .send()
                .await;
            let page = match page {
                Ok(page) => page,
                Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
            };
            for row in needed(operation, page.spot_price_history)? {
                keep_newest(&mut prices, row);
            }
            next = page.next_token.filter(|t| !t.is_empty());
            if next.is_none() {
                break;
            }
        }
    }
    Ok(prices)
}

fn keep_newest(prices: &mut HashMap<(String, String), Spot>, row: SpotPrice) {
    use RiProductDescription::{LinuxUnix, LinuxUnixAmazonVpc};
    if !matches!(row.product_description, None | Some(LinuxUnix | LinuxUnixAmazonVpc)) {
        return;
    }
    let (Some(kind), Some(zone)) = (row.instance_type, row.availability_zone) else { return };
    let since = row.timestamp.as_ref().and_then(time).unwrap_or_default();
    let price = row.spot_price.and_then(|p| p.trim().parse().ok()).and_then(Usd::price);
    let new = Spot { since, price, zone_id: row.availability_zone_id };
    match prices.entry((kind.as_str().to_owned(), zone)) {
        std::collections::hash_map::Entry::Occupied(mut held) if held.get().since < new.since => {
            held.insert(new);
        }
        std::collections::hash_map::Entry::Occupied(_) => {}
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(new);
        }
    }
}

/// The offers of one region.
fn rows(query: &OfferQuery, region: &Region, known: &Known) -> Vec<Offer> {
    let mut offers = Vec::new();
    for (kind, zone) in &region.sold {
        let Some(shape) = region.shapes.get(kind) else { continue };
        let place =
            Place { provider: ProviderId::Aws, region: region.name.clone(), zone: zone.clone() };
        if !query.places.is_empty() && !query.places.iter().any(|p| p.matches(&place)) {
            continue;
        }
        let on_demand = known.on_demand.get(&(region.name.clone(), kind.clone())).copied();
        for (market, class) in
            [(Market::Spot, UsageClassType::Spot), (Market::OnDemand, UsageClassType::OnDemand)]
        {
            if wanted_market(query, market) && shape.classes.contains(&class) {
                let spot = region.spot.get(&(kind.clone(), zone.clone()));
                offers.push(offer(shape, &place, market, spot, on_demand, known));
            }
        }
    }
    offers
}

fn offer(
    shape: &Shape,
    place: &Place,
    market: Market,
    spot: Option<&Spot>,
    on_demand: Option<Usd>,
    known: &Known,
) -> Offer {
    let (price, hazard) = match market {
        Market::Spot => {
            let score = spot.and_then(|s| s.zone_id.as_ref()).and_then(|id| known.scores.get(id));
            let hazard = known.advice.hazard(&place.region, &shape.name, score.copied());
            (spot.and_then(|s| s.price), hazard)
        }
        Market::OnDemand => (on_demand, None),
    };
    let (hazard_per_hour, hazard_source) =
        hazard.map_or((None, None), |h| (h.per_hour, Some(h.source)));
    Offer {
        place: place.clone(),
        instance_type: shape.name.clone(),
        market,
        key: format!("{}@{}", shape.name, place.zone),
        accelerator: shape.accelerator.clone(),
        gpu_memory_gb: shape.gpu_memory_gb,
        vcpus: shape.vcpus,
        memory_gib: shape.memory_gib,
        // EBS, cut to measure; its price and that of traffic differ by region and are not asked for.
        disk_gib: None,
        price_usd_per_hour: price,
        on_demand_usd_per_hour: on_demand,
        disk_usd_per_gib_hour: None,
        egress_usd_per_gb: None,
        available: Availability::Unknown,
        hazard_per_hour,
        hazard_source,
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

#[cfg(test)]
mod tests;
