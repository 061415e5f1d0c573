//! The catalogue and the bids become offers.

use super::*;
use fleet_types::{OfferFilter, PlacePattern};
use serde_json::Value;

fn query(name: &str, count: u32) -> OfferQuery {
    let wanted = AcceleratorRequest::Named(Accelerator::new(name, count));
    OfferQuery { accelerators: vec![wanted], ..OfferQuery::default() }
}

fn gpus(count: u32, cloud: Cloud) -> Vec<GpuRow> {
    let text = include_str!("../../fixtures/gpus.json");
    let rows: Value = serde_json::from_str(text).expect("a fixture");
    let rows = rows["gpus"].as_array().expect("rows").clone();
    rows.iter().filter_map(|row| GpuRow::read(row, count, cloud).ok().flatten()).collect()
}

fn data_centers() -> Vec<DataCenterRow> {
    let a100 = ["NVIDIA A100 80GB PCIe", "NVIDIA A100-SXM4-80GB"].map(str::to_owned);
    let center = |id: &str, gpus: &[String]| DataCenterRow { id: id.into(), gpus: gpus.to_vec() };
    let l4 = ["NVIDIA L4".to_owned()];
    vec![center("EU-RO-1", &l4), center("CA-MTL-1", &l4), center("US-TX-3", &a100)]
}

fn bid(gpu: &str, dc: &str, least: f64, stock: Stock) -> SpotRow {
    let (gpu, data_center) = (gpu.to_owned(), dc.to_owned());
    let least = Usd::price(least);
    SpotRow { gpu, data_center, sold: true, least, stock, vcpus: Some(8.0), memory_gib: Some(31.0) }
}

fn offers(query: &OfferQuery, cloud: Cloud, count: u32, bids: Vec<SpotRow>) -> Vec<Offer> {
    let data_centers = data_centers();
    let gpus = gpus(count, cloud);
    Catalogue { query, cloud, count, gpus, data_centers: &data_centers, bids }.offers()
}

#[test]
fn places_and_types_can_be_read_back() {
    for (dc, region) in [
        ("US-TX-3", "US"),
        ("CA-MTL-1", "CA"),
        ("EU-RO-1", "RO"),
        ("EUR-IS-1", "IS"),
        ("OC-AU-1", "AU"),
        ("AP-JP-1", "JP"),
        ("EU", "EU"),
        ("", "ZZ"),
    ] {
        assert_eq!(place(Some(dc)).region, region, "{dc}");
        assert_eq!(place(Some(dc)).zone, dc);
    }
    for (gpu, n, cloud, text) in [
        ("NVIDIA L4", 1, Cloud::Secure, "1x_NVIDIA_L4_SECURE"),
        ("NVIDIA A100 80GB PCIe", 8, Cloud::Community, "8x_NVIDIA_A100_80GB_PCIe_COMMUNITY"),
        ("NVIDIA A100-SXM4-80GB", 2, Cloud::Secure, "2x_NVIDIA_A100-SXM4-80GB_SECURE"),
    ] {
        assert_eq!(instance_type(gpu, n, cloud), text);
        assert_eq!(parse_type(text), Some((gpu.to_owned(), n, cloud)));
    }
    for bad in
        ["", "x_L4_SECURE", "0x_L4_SECURE", "1x_L4", "1x__SECURE", "1x_L4_OTHER", "99x_L4_SECURE"]
    {
        assert_eq!(parse_type(bad), None, "{bad}");
    }
}

#[test]
fn a_pool_stays_listed_where_its_data_centre_has_the_type() {
    let found = offers(&query("L4", 1), Cloud::Secure, 1, Vec::new());
    let shown: Vec<_> = found.iter().map(|o| (o.place.zone.as_str(), o.available)).collect();
    assert_eq!(shown, [("CA-MTL-1", Availability::SoldOut), ("EU-RO-1", Availability::Available)]);
    let first = &found[1];
    assert_eq!((first.market, first.price_usd_per_hour), (Market::OnDemand, Usd::price(0.44)));
    assert_eq!((first.trust, first.datacenter), (Trust::Trusted, Some(true)));
    assert!(first.key.is_empty(), "a pool, not an ask");
}

#[test]
fn spot_is_offered_where_there_are_bids_and_marked_where_there_is_no_stock() {
    let bids = vec![
        bid("NVIDIA L4", "EU-RO-1", 0.31, Stock::Some),
        SpotRow { least: None, ..bid("NVIDIA L4", "CA-MTL-1", 0.0, Stock::None) },
    ];
    let found = offers(&query("L4", 1), Cloud::Secure, 1, bids.clone());
    let spot: Vec<_> = found.iter().filter(|o| o.market == Market::Spot).collect();
    assert_eq!((found.len(), spot.len()), (4, 2));
    assert_eq!((spot[0].price_usd_per_hour, spot[0].available), (None, Availability::SoldOut));
    assert_eq!(
        (spot[1].price_usd_per_hour, spot[1].available),
        (Usd::price(0.31), Availability::Available)
    );
    assert_eq!(spot[1].on_demand_usd_per_hour, Usd::price(0.44));
    assert_eq!((spot[1].vcpus, spot[1].memory_gib), (8.0, 31.0));
    let mut only = query("L4", 1);
    only.markets = vec![Market::Spot];
    assert_eq!(offers(&only, Cloud::Secure, 1, bids).len(), 2);
    let unsold = SpotRow { sold: false, ..bid("NVIDIA L4", "EU-RO-1", 0.3, Stock::Some) };
    assert!(offers(&only, Cloud::Secure, 1, vec![unsold]).is_empty(), "never sold as spot");
}

#[test]
fn one_gpu_in_two_forms_is_two_types() {
    let found = offers(&query("A100-80GB", 8), Cloud::Secure, 8, Vec::new());
    let kinds: BTreeSet<_> = found.iter().map(|o| o.instance_type.as_str()).collect();
    assert_eq!(
        kinds,
        BTreeSet::from(["8x_NVIDIA_A100-SXM4-80GB_SECURE", "8x_NVIDIA_A100_80GB_PCIe_SECURE"])
    );
    let pcie = found.iter().find(|o| o.instance_type.contains("PCIe")).expect("an offer");
    assert_eq!(
        (pcie.available, pcie.price_usd_per_hour),
        (Availability::SoldOut, Usd::price(15.92))
    );
    let named =
        OfferQuery { instance_type: Some(pcie.instance_type.clone()), ..query("A100-80GB", 8) };
    assert_eq!(offers(&named, Cloud::Secure, 8, Vec::new()).len(), 1);
}

#[test]
fn other_peoples_machines_are_marked_and_can_be_kept_out() {
    let found = offers(&query("RTX4090", 1), Cloud::Community, 1, Vec::new());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].trust, found[0].price_usd_per_hour), (Trust::Untrusted, Usd::price(0.44)));
    let asks = |filter: OfferFilter| clouds(&OfferQuery { filter, ..OfferQuery::default() });
    assert_eq!(asks(OfferFilter::default()).len(), 2);
    let trusted = OfferFilter { min_trust: Some(Trust::Semi), ..OfferFilter::default() };
    let verified = OfferFilter { verified_only: true, ..OfferFilter::default() };
    let center = OfferFilter { datacenter_only: true, ..OfferFilter::default() };
    for filter in [trusted, verified, center] {
        assert_eq!(asks(filter), [Cloud::Secure]);
    }
}

#[test]
fn places_select_and_no_gpu_asks_nothing() {
    let mut query = query("A100-80GB", 1);
    for (place, zones) in [
        ("runpod/RO", &["EU-RO-1"][..]),
        ("runpod/*/US-TX-3", &["US-TX-3", "US-TX-3"]),
        ("runpod/EU", &[]),
        ("vast", &[]),
    ] {
        query.places = vec![PlacePattern::parse(place).expect("a pattern")];
        let found = offers(&query, Cloud::Secure, 1, Vec::new());
        assert_eq!(
            found.iter().map(|o| o.place.zone.as_str()).collect::<Vec<_>>(),
            zones,
            "{place}"
        );
    }
    assert!(counts(&OfferQuery::default()).is_empty());
}
