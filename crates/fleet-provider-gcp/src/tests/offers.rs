//! Offers: types of every zone, attached GPUs, sums of prices, advice, and what is missing.

use super::replay::{Answer, Asked, Replay, config, error, scopes};
use crate::connect;
use fleet_provider::Provider as _;
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, Fault, Market, Offer, OfferQuery, PlacePattern,
    ProviderId, Usd,
};
use serde_json::{Value, json};

fn machine(name: &str, cpus: u32, mb: u32, gpu: Option<(&str, u32)>) -> Value {
    let mut m = json!({"name": name, "guestCpus": cpus, "memoryMb": mb});
    if let Some((kind, count)) = gpu {
        m["accelerators"] = json!([{"guestAcceleratorType": kind, "guestAcceleratorCount": count}]);
    }
    m
}

fn sku(text: &str, group: &str, usage: &str, nanos: u64) -> Value {
    json!({"description": text, "serviceRegions": ["us-central1", "us-east1"],
        "category": {"resourceFamily": "Compute", "resourceGroup": group, "usageType": usage},
        "pricingInfo": [{"pricingExpression": {"tieredRates": [{"unitPrice":
            {"currencyCode": "USD", "units": "0", "nanos": nanos}}]}}]})
}

/// Two zones with L4 machines, one of which has T4s to attach.
fn world(asked: &Asked) -> Answer {
    let l4 = machine("g2-standard-4", 4, 16_384, Some(("nvidia-l4", 1)));
    let n1 = machine("n1-standard-8", 8, 30_720, None);
    let both = [l4.clone(), n1.clone()];
    let zones: [(&str, &[Value]); 2] =
        [("zones/us-central1-a", &both), ("zones/us-east1-b", &both)];
    match asked.call.as_str() {
        "GET aggregated/machineTypes" => (200, scopes("machineType", "machineTypes", &zones)),
        "GET aggregated/acceleratorTypes" => {
            let kinds =
                [json!({"name": "nvidia-tesla-t4"}), json!({"name": "nvidia-tesla-t4-vws"})];
            let there = [("zones/us-east1-b", &kinds[..])];
            (200, scopes("acceleratorType", "acceleratorTypes", &there))
        }
        "GET v1/services/6F81-5844-456A/skus" => {
            let rows = match asked.get("pageToken") {
                "" => vec![
                    sku("G2 Instance Core running in Americas", "CPU", "OnDemand", 25_000_000),
                    sku("G2 Instance Ram running in Americas", "RAM", "OnDemand", 3_000_000),
                    sku("Nvidia L4 GPU running in Americas", "GPU", "OnDemand", 560_000_000),
                    sku("Nvidia Tesla T4 GPU running in Americas", "GPU", "OnDemand", 350_000_000),
                ],
                _ => vec![
                    sku(
                        "N1 Predefined Instance Core running in Americas",
                        "N1Standard",
                        "OnDemand",
                        30_000_000,
                    ),
                    sku(
                        "N1 Predefined Instance Ram running in Americas",
                        "N1Standard",
                        "OnDemand",
                        4_000_000,
                    ),
                    sku(
                        "Spot Preemptible G2 Instance Core running in Americas",
                        "CPU",
                        "Preemptible",
                        10_000_000,
                    ),
                    sku(
                        "Spot Preemptible G2 Instance Ram running in Americas",
                        "RAM",
                        "Preemptible",
                        1_000_000,
                    ),
                    sku(
                        "Nvidia L4 GPU attached to Spot Preemptible VMs running in Americas",
                        "GPU",
                        "Preemptible",
                        220_000_000,
                    ),
                ],
            };
            let next = if asked.get("pageToken").is_empty() { "more" } else { "" };
            (200, json!({"skus": rows, "nextPageToken": next}))
        }
        "POST regions/us-central1/advice/capacity" => {
            let scores = json!({"obtainability": 0.8, "estimatedUptime": "36000s"});
            (200, json!({"recommendations": [{"scores": scores}]}))
        }
        "POST regions/us-central1/advice/capacityHistory" => {
            let interval =
                json!({"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-02T00:00:00Z"});
            (200, json!({"preemptionHistory": [{"interval": interval, "preemptionRate": 0.4}]}))
        }
        _ => error(403, "forbidden"),
    }
}

fn asks(gpu: &str, markets: &[Market]) -> OfferQuery {
    OfferQuery {
        accelerators: vec![AcceleratorRequest::Named(Accelerator::new(gpu, 1))],
        markets: markets.to_vec(),
        disk_gib: 50,
        ..OfferQuery::default()
    }
}

fn shown(offers: &[Offer]) -> Vec<(&str, &str, Market, Option<f64>)> {
    let row = |o: &'_ Offer| (o.market, o.price_usd_per_hour.map(Usd::dollars));
    offers
        .iter()
        .map(|o| {
            let (market, price) = row(o);
            (o.place.zone.as_str(), o.instance_type.as_str(), market, price)
        })
        .collect()
}

#[tokio::test]
async fn bundled_gpus_are_offered_in_every_zone_at_the_sum_of_their_parts() {
    let replay = Replay::start(world).await;
    let offers = replay.provider().await.offers(&asks("L4", &[])).await.unwrap();
    let (spot, dear) = (Some(0.276), Some(0.708));
    assert_eq!(
        shown(&offers),
        [
            ("us-central1-a", "g2-standard-4", Market::Spot, spot),
            ("us-central1-a", "g2-standard-4", Market::OnDemand, dear),
            ("us-east1-b", "g2-standard-4", Market::Spot, spot),
            ("us-east1-b", "g2-standard-4", Market::OnDemand, dear),
        ]
    );
    assert!(offers.iter().all(|o| o.available == Availability::Unknown && o.key.is_empty()));
    assert!(offers.iter().all(|o| o.place.provider == ProviderId::Gcp));
    assert_eq!(offers[0].on_demand_usd_per_hour, Usd::price(0.708));
    assert_eq!(
        (offers[0].place.region.as_str(), offers[0].gpu_memory_gb),
        ("us-central1", Some(24.0))
    );
    // Google estimates ten hours for the first region, and was not to be asked about the second.
    assert!((offers[0].hazard_per_hour.unwrap() - std::f64::consts::LN_2 / 10.0).abs() < 1e-9);
    let said =
        "estimated uptime 10.0 h, obtainability 0.80, 40 % of ended spot machines were taken";
    assert_eq!(offers[0].hazard_source.as_deref(), Some(said));
    assert_eq!((offers[1].hazard_per_hour, offers[2].hazard_per_hour), (None, None));
    let question = replay.asked("POST regions/us-central1/advice/capacity").remove(0).body;
    assert_eq!(question["instanceProperties"]["scheduling"]["provisioningModel"], "SPOT");
    let types =
        &question["instanceFlexibilityPolicy"]["instanceSelections"]["fleet"]["machineTypes"];
    assert_eq!(*types, json!(["g2-standard-4"]));
    assert!(replay.asked("GET aggregated/acceleratorTypes").is_empty(), "L4 is never attached");
}

#[tokio::test]
async fn attached_gpus_are_offered_where_they_are() {
    let replay = Replay::start(world).await;
    let offers = replay.provider().await.offers(&asks("T4", &[Market::OnDemand])).await.unwrap();
    let price = Some(0.35 + 8.0 * 0.03 + 30.0 * 0.004);
    assert_eq!(shown(&offers), [("us-east1-b", "n1-standard-8+1xT4", Market::OnDemand, price)]);
    let spot = replay.provider().await.offers(&asks("T4", &[Market::Spot])).await.unwrap();
    assert_eq!(spot[0].price_usd_per_hour, None, "no price of a spot T4 is listed");
}

#[tokio::test]
async fn places_and_names_narrow_what_is_offered() {
    let replay = Replay::start(world).await;
    let provider = replay.provider().await;
    let there = PlacePattern::parse("gcp/us-east1").unwrap();
    let query = OfferQuery { places: vec![there], ..asks("L4", &[Market::Spot]) };
    let offers = provider.offers(&query).await.unwrap();
    assert!(offers.len() == 1 && offers[0].place.zone == "us-east1-b", "{offers:?}");
    let named = OfferQuery { instance_type: Some("n1-standard-8".into()), ..asks("T4", &[]) };
    let offers = provider.offers(&named).await.unwrap();
    assert!(offers.iter().all(|o| o.instance_type == "n1-standard-8+1xT4") && offers.len() == 2);
    let last = replay.asked("GET aggregated/machineTypes").pop().unwrap();
    assert_eq!(last.get("filter"), "name eq \"n1-standard-8\"");
    let before = replay.asked("").len();
    let elsewhere = PlacePattern::parse("aws/us-east-1").unwrap();
    let query = OfferQuery { places: vec![elsewhere], ..asks("L4", &[]) };
    assert!(provider.offers(&query).await.unwrap().is_empty());
    assert_eq!(
        replay.asked("").len(),
        before,
        "another cloud's places are none of Google's business"
    );
}

#[tokio::test]
async fn without_prices_offers_are_listed_without_a_price() {
    for answer in [error(403, "SERVICE_DISABLED"), (200, json!({"skus": null})), (500, Value::Null)]
    {
        let replay = Replay::start(move |asked| match asked.call.starts_with("GET v1/services") {
            true => answer.clone(),
            false => world(asked),
        })
        .await;
        let offers = replay.provider().await.offers(&asks("L4", &[])).await.unwrap();
        assert_eq!(offers.len(), 4);
        assert!(offers.iter().all(|o| o.price_usd_per_hour.is_none()));
    }
}

#[tokio::test]
async fn without_types_there_is_no_answer() {
    for (answer, fault) in [
        (error(401, "authError"), Fault::Auth),
        (error(403, "forbidden"), Fault::Auth),
        (error(503, "backendError"), Fault::Transient),
        ((200, json!({"kind": "other"})), Fault::Transient),
    ] {
        let replay = Replay::start(move |asked| match asked.call.as_str() {
            "GET aggregated/machineTypes" => answer.clone(),
            _ => world(asked),
        })
        .await;
        let found = replay.provider().await.offers(&asks("L4", &[])).await.unwrap_err();
        assert_eq!(found.fault, fault, "{found}");
    }
}

#[tokio::test]
async fn the_price_list_may_be_elsewhere() {
    let (compute, billing) = (Replay::start(world).await, Replay::start(world).await);
    let mut config = config(&compute.url);
    config.endpoint.services.insert("billing".into(), billing.url.clone());
    let offers = connect(config).await.unwrap().offers(&asks("L4", &[])).await.unwrap();
    assert!(offers[0].price_usd_per_hour.is_some());
    assert!(compute.asked("GET v1/services").is_empty());
    assert_eq!(billing.asked("GET v1/services")[0].get("pageSize"), "5000");
}
