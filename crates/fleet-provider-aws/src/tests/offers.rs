//! Offers over several regions: prices, gaps, and what is never asked.

use super::replay::{Answer, Asked, Replay, error, ok, regions};
use fleet_provider::Provider as _;
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, Fault, Market, OfferQuery, PlacePattern, Usd,
};
use serde_json::json;

const TYPES: &str = include_str!("../../fixtures/describe-instance-types.xml");

fn query(names: &[(&str, u32)], places: &[&str]) -> OfferQuery {
    OfferQuery {
        accelerators: names
            .iter()
            .map(|(n, c)| AcceleratorRequest::Named(Accelerator::new(n, *c)))
            .collect(),
        places: places.iter().map(|p| PlacePattern::parse(p).unwrap()).collect(),
        ..OfferQuery::default()
    }
}

fn rows(set: &str, rows: impl IntoIterator<Item = String>) -> String {
    let items: String = rows.into_iter().map(|r| format!("<item>{r}</item>")).collect();
    format!("<{set}>{items}</{set}>")
}

fn price(kind: &str, zone: &str, id: &str, dollars: &str) -> String {
    format!(
        "<instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>\
         <spotPrice>{dollars}</spotPrice><timestamp>2026-01-02T03:00:00Z</timestamp>\
         <availabilityZone>{zone}</availabilityZone><availabilityZoneId>{id}</availabilityZoneId>"
    )
}

fn product(region: &str, kind: &str, dollars: &str) -> String {
    json!({
        "product": {"attributes": {"regionCode": region, "instanceType": kind}},
        "terms": {"OnDemand": {"A": {"priceDimensions": {"B": {"unit": "Hrs", "pricePerUnit": {"USD": dollars}}}}}},
    })
    .to_string()
}

/// Two regions that sell g5, one that always fails.
fn market(asked: &Asked) -> Answer {
    let (action, region) = (asked.action.as_str(), asked.region.as_str());
    match (action, region) {
        ("DescribeRegions", _) => regions(&["us-east-1", "eu-west-1", "ap-south-1"]),
        ("/spot-advisor-data.json", _) => (
            200,
            json!({"spot_advisor": {"us-east-1": {"Linux": {"g5.xlarge": {"s": 60, "r": 1}}}}})
                .to_string(),
        ),
        ("GetProducts", _) => {
            let list = [
                product("us-east-1", "g5.xlarge", "1.006"),
                product("eu-west-1", "g5.xlarge", "1.123"),
            ];
            (200, json!({"PriceList": list}).to_string())
        }
        (_, "ap-south-1") => error(503, "Unavailable"),
        ("DescribeInstanceTypes", _) => ok(action, TYPES),
        ("DescribeInstanceTypeOfferings", _) => {
            let zones = ["a", "b"].map(|z| {
                format!("<instanceType>g5.xlarge</instanceType><locationType>availability-zone</locationType><location>{region}{z}</location>")
            });
            ok(action, &rows("instanceTypeOfferingSet", zones))
        }
        ("DescribeSpotPriceHistory", _) => {
            let zone = format!("{region}a");
            let first = asked.get("NextToken").is_none();
            let (dollars, next) = if first {
                ("0.4", "<nextToken>n</nextToken>")
            } else {
                ("nonsense", "<nextToken/>")
            };
            let zone = if first { zone } else { format!("{region}c") };
            ok(
                action,
                &(rows("spotPriceHistorySet", [price("g5.xlarge", &zone, "use1-az4", dollars)])
                    + next),
            )
        }
        _ => error(400, "InvalidAction"),
    }
}

#[tokio::test]
async fn every_zone_and_market_is_offered_with_what_is_known_of_it() {
    let replay = Replay::start(market).await;
    let offers = replay.provider().await.offers(&query(&[("A10G", 1)], &[])).await.unwrap();
    let shown: Vec<_> = offers
        .iter()
        .map(|o| (o.key.as_str(), o.market, o.price_usd_per_hour, o.on_demand_usd_per_hour))
        .collect();
    let (spot, east, west) = (Usd::price(0.4), Usd::price(1.006), Usd::price(1.123));
    assert_eq!(
        shown,
        [
            ("g5.xlarge@eu-west-1a", Market::Spot, spot, west),
            ("g5.xlarge@eu-west-1a", Market::OnDemand, west, west),
            ("g5.xlarge@eu-west-1b", Market::Spot, None, west),
            ("g5.xlarge@eu-west-1b", Market::OnDemand, west, west),
            ("g5.xlarge@us-east-1a", Market::Spot, spot, east),
            ("g5.xlarge@us-east-1a", Market::OnDemand, east, east),
            ("g5.xlarge@us-east-1b", Market::Spot, None, east),
            ("g5.xlarge@us-east-1b", Market::OnDemand, east, east),
        ]
    );
    let east_spot = &offers[4];
    assert_eq!(east_spot.hazard_source.as_deref(), Some("spot advisor 5-10 % a month"));
    assert!(east_spot.hazard_per_hour.is_some_and(|h| h > 1e-4 && h < 1.2e-4));
    assert_eq!((offers[0].hazard_per_hour, offers[0].hazard_source.as_ref()), (None, None));
    assert_eq!(east_spot.accelerator, Some(Accelerator::new("A10G", 1)));
    assert_eq!(
        (east_spot.vcpus, east_spot.memory_gib, east_spot.gpu_memory_gb),
        (4.0, 16.0, Some(24.0))
    );
    assert_eq!(east_spot.available, Availability::Unknown);
}

#[tokio::test]
async fn only_the_regions_and_markets_that_were_asked_for_are_asked() {
    let replay = Replay::start(market).await;
    let provider = replay.provider().await;
    let mut query = query(&[("A10G", 1)], &["aws/us-east-1/us-east-1b"]);
    query.markets = vec![Market::OnDemand];
    let offers = provider.offers(&query).await.unwrap();
    let keys: Vec<_> = offers.iter().map(|o| (o.key.as_str(), o.market)).collect();
    assert_eq!(keys, [("g5.xlarge@us-east-1b", Market::OnDemand)]);
    assert!(replay.asked("DescribeSpotPriceHistory").is_empty());
    assert!(replay.asked("/spot-advisor-data.json").is_empty());
    assert!(replay.asked("DescribeInstanceTypes").iter().all(|a| a.region == "us-east-1"));
    let elsewhere = super::offers::query(&[("A10G", 1)], &["vast"]);
    assert!(provider.offers(&elsewhere).await.unwrap().is_empty());
    assert_eq!(replay.asked("DescribeRegions").len(), 1, "another cloud's query asks nothing");
}

#[tokio::test]
async fn nothing_at_all_is_an_error_and_prices_alone_are_not() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeRegions" => regions(&["us-east-1", "eu-west-1"]),
        _ => error(503, "RequestLimitExceeded"),
    })
    .await;
    let failed = replay.provider().await.offers(&query(&[("A10G", 1)], &[])).await.unwrap_err();
    assert_eq!(failed.fault, Fault::Throttled);
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "GetProducts" => {
            (400, "{\"__type\":\"AccessDeniedException\",\"message\":\"no\"}".to_owned())
        }
        "/spot-advisor-data.json" => (503, "<html>".to_owned()),
        _ => market(asked),
    })
    .await;
    let offers = replay.provider().await.offers(&query(&[("A10G", 1)], &[])).await.unwrap();
    assert_eq!(offers.len(), 8);
    assert!(
        offers.iter().all(|o| o.on_demand_usd_per_hour.is_none() && o.hazard_per_hour.is_none())
    );
    assert_eq!(offers[0].price_usd_per_hour, Usd::price(0.4));
}

#[tokio::test]
async fn types_that_do_not_match_cost_no_further_question() {
    let replay = Replay::start(market).await;
    let offers = replay.provider().await.offers(&query(&[("H100", 8)], &[])).await.unwrap();
    assert!(offers.is_empty());
    for action in ["DescribeSpotPriceHistory", "DescribeInstanceTypeOfferings", "GetProducts"] {
        assert!(replay.asked(action).is_empty(), "{action}");
    }
}
