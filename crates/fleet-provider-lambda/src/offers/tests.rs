//! Types become offers.

use super::*;
use fleet_types::{Accelerator, AcceleratorRequest, PlacePattern, Usd};

fn types() -> Value {
    let text = include_str!("../../fixtures/instance_types.json");
    serde_json::from_str::<Value>(text).expect("a fixture")["data"].take()
}

fn regions() -> Vec<String> {
    ["us-east-1", "us-west-1", "europe-central-1"].map(str::to_owned).to_vec()
}

fn query(name: &str, count: u32) -> OfferQuery {
    let wanted = AcceleratorRequest::Named(Accelerator::new(name, count));
    OfferQuery { accelerators: vec![wanted], ..OfferQuery::default() }
}

#[test]
fn a_type_is_listed_in_every_region_and_sold_out_where_no_capacity_is_named() {
    let found = offers(&query("A10", 1), &types(), &regions());
    let shown: Vec<_> = found.iter().map(|o| (o.place.region.as_str(), o.available)).collect();
    use Availability::{Available, SoldOut};
    assert_eq!(
        shown,
        [
            ("europe-central-1", SoldOut),
            ("us-east-1", SoldOut),
            ("us-south-9", Available),
            ("us-west-1", Available)
        ]
    );
    let first = &found[0];
    assert_eq!((first.price_usd_per_hour, first.market), (Usd::price(1.29), Market::OnDemand));
    assert_eq!((first.vcpus, first.memory_gib, first.disk_gib), (30.0, 200.0, Some(1400.0)));
    assert!(first.key.is_empty(), "a pool, not an ask");
}

#[test]
fn sizes_forms_and_numbers_of_gpus_are_told_apart() {
    for (name, count, kinds) in [
        ("A100", 1, &["gpu_1x_a100_sxm4"][..]),
        ("A100-80GB", 8, &["gpu_8x_a100_80gb_sxm4"]),
        ("A100-80GB", 1, &[]),
        ("H100", 1, &[]),
        ("H100-PCIE", 1, &["gpu_1x_h100_pcie"]),
        ("T4", 1, &[]),
    ] {
        let found = offers(&query(name, count), &types(), &regions());
        let found: BTreeSet<_> = found.iter().map(|o| o.instance_type.as_str()).collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), kinds, "{name}:{count}");
    }
    let memory = AcceleratorRequest::Memory { min_gb: 40, max_gb: None, count: 1 };
    let query = OfferQuery { accelerators: vec![memory], ..OfferQuery::default() };
    let found = offers(&query, &types(), &regions());
    assert!(found.iter().all(|o| o.gpu_memory_gb.is_some_and(|gb| gb >= 40.0)));
    assert!(!found.is_empty());
}

#[test]
fn a_price_that_is_not_told_is_unknown_and_places_select() {
    let mut query = query("H100-PCIE", 1);
    query.places = vec![PlacePattern::parse("lambda/us-west-1").expect("a pattern")];
    let found = offers(&query, &types(), &regions());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].price_usd_per_hour, None);
}

#[test]
fn no_gpu_asked_means_none_unless_a_type_is_named() {
    let kinds = |query: &OfferQuery| {
        let found = offers(query, &types(), &regions());
        found.into_iter().map(|o| o.instance_type).collect::<BTreeSet<_>>()
    };
    let mut query = OfferQuery::default();
    assert_eq!(kinds(&query), BTreeSet::from(["cpu_4x_general".to_owned()]));
    query.instance_type = Some("gpu_1x_a10".into());
    assert_eq!(kinds(&query), BTreeSet::from(["gpu_1x_a10".to_owned()]));
}

#[test]
fn spot_is_not_sold() {
    let mut query = query("A10", 1);
    assert!(answerable(&query));
    query.markets = vec![Market::Spot];
    assert!(!answerable(&query));
    query.markets.push(Market::OnDemand);
    assert!(answerable(&query));
}
