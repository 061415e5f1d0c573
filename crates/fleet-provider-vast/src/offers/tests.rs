//! Queries become searches, rows become offers.

use super::*;
use fleet_types::{OfferFilter, PlacePattern, Usd};

fn query(accelerators: Vec<AcceleratorRequest>) -> OfferQuery {
    OfferQuery { accelerators, disk_gib: 50, ..OfferQuery::default() }
}

fn named(name: &str, count: u32) -> AcceleratorRequest {
    AcceleratorRequest::Named(Accelerator::new(name, count))
}

fn rows() -> Vec<Value> {
    let text = include_str!("../../fixtures/offers.json");
    let answer: Value = serde_json::from_str(text).expect("a fixture");
    answer["offers"].as_array().expect("a list").clone()
}

#[test]
fn one_search_for_each_market_and_number_of_gpus() {
    let mut q = query(vec![named("A100", 1), named("H100", 1), named("A100", 8)]);
    assert_eq!(searches(&q).len(), 4);
    q.markets = vec![Market::Spot];
    assert_eq!(searches(&q).len(), 2);
    assert!(searches(&query(Vec::new())).is_empty(), "Vast rents nothing without a GPU");
}

#[test]
fn filters_of_the_query_go_on_the_wire() {
    let mut q = query(vec![named("RTX 4090", 2)]);
    q.markets = vec![Market::Spot];
    q.filter = OfferFilter {
        min_reliability: Some(0.98),
        verified_only: true,
        datacenter_only: true,
        min_duration_seconds: Some(86_400.0),
        min_cuda: Some(12.4),
        min_inet_down_mbps: Some(500.0),
        ..OfferFilter::default()
    };
    let body = &searches(&q)[0].body;
    for (field, value) in [
        ("type", json!("bid")),
        ("num_gpus", json!({"eq": 2})),
        ("reliability", json!({"gte": 0.98})),
        ("verified", json!({"eq": true})),
        ("datacenter", json!({"eq": true})),
        ("duration", json!({"gte": 86_400.0})),
        ("cuda_max_good", json!({"gte": 12.4})),
        ("inet_down", json!({"gte": 500.0})),
        ("allocated_storage", json!(50)),
    ] {
        assert_eq!(body[field], value, "{field}");
    }
    let names = body["gpu_name"]["in"].as_array().expect("names");
    assert!(names.contains(&json!("RTX 4090")), "names have spaces on the wire: {names:?}");
}

#[test]
fn both_sizes_of_a_gpu_are_searched_and_told_apart() {
    let q = query(vec![named("A100-80GB", 1)]);
    let search = &searches(&q)[0];
    let names = search.body["gpu_name"]["in"].as_array().expect("names");
    assert!(names.contains(&json!("A100 SXM4")), "{names:?}");
    let (offers, _) = search.offers(&q, &rows());
    assert!(!offers.is_empty());
    assert!(offers.iter().all(|o| o.accelerator == Some(Accelerator::new("A100-80GB", 1))));
}

#[test]
fn sold_out_rows_are_marked_and_unknown_prices_stay_unknown() {
    let q = query(vec![named("RTX4090", 1)]);
    let all = searches(&q);
    let (spot, odd) = all[0].offers(&q, &rows());
    assert_eq!(odd, 1, "the row without an id is counted");
    let by_key =
        |offers: &[Offer], key: &str| offers.iter().find(|o| o.key == key).cloned().expect("a row");
    let first = by_key(&spot, "7001");
    assert_eq!(first.price_usd_per_hour, Usd::price(0.18));
    assert_eq!(first.on_demand_usd_per_hour, Usd::price(0.38));
    assert_eq!((first.place.region.as_str(), first.place.zone.as_str()), ("SE", "4101"));
    assert_eq!((first.trust, first.instance_type.as_str()), (Trust::Semi, "RTX4090x1"));
    assert_eq!(by_key(&spot, "7002").available, Availability::SoldOut);
    assert_eq!(by_key(&spot, "7003").price_usd_per_hour, None);
    assert_eq!(by_key(&spot, "7003").trust, Trust::Untrusted);
    let (on_demand, _) = all[1].offers(&q, &rows());
    assert_eq!(by_key(&on_demand, "7001").price_usd_per_hour, Usd::price(0.38));
}

#[test]
fn places_and_memory_select() {
    let mut q = query(vec![AcceleratorRequest::Memory { min_gb: 24, max_gb: None, count: 1 }]);
    let (everywhere, _) = searches(&q)[0].offers(&q, &rows());
    q.places = vec![PlacePattern::parse("vast/SE").expect("a pattern")];
    let (sweden, _) = searches(&q)[0].offers(&q, &rows());
    assert!(!sweden.is_empty() && sweden.len() < everywhere.len());
    assert!(everywhere.iter().all(|o| o.gpu_memory_gb.is_some_and(|gb| gb > 22.0)));
}
