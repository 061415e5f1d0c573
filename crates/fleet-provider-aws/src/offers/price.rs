//! On-demand prices, from the Pricing service: one question a type, for all regions at once.
//!
//! Invariant: a price is taken only from a plain Linux, shared, hourly rate in US dollars; what cannot
//! be read or asked (the permission `pricing:GetProducts` is often missing) is unknown.

use crate::client::Clients;
use aws_sdk_pricing::types::{Filter, FilterType};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::Effect;
use fleet_types::Usd;
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Questions at once.
const CONCURRENT: usize = 8;
/// Pages of one type: far above what all regions fill.
const PAGES_MAX: usize = 20;

/// Dollars an hour by region and type.
pub(super) type OnDemand = HashMap<(String, String), Usd>;

/// Every price that can be had.
pub(super) async fn on_demand(
    clients: &Clients,
    types: &BTreeSet<&str>,
    regions: &[&str],
) -> OnDemand {
    // With one region its rows alone are asked for; with more, one question brings them all.
    let region = match regions {
        [one] => Some(*one),
        _ => None,
    };
    let pricing = clients.pricing();
    let questions: Vec<_> =
        types.iter().map(|kind| of_type(clients, &pricing, kind, region)).collect();
    let answers: Vec<Result<OnDemand>> =
        stream::iter(questions).buffer_unordered(CONCURRENT).collect().await;
    let mut prices = OnDemand::new();
    let mut failed: Option<ProviderError> = None;
    for answer in answers {
        match answer {
            Ok(some) => prices.extend(some),
            Err(e) => failed = Some(e),
        }
    }
    if let Some(error) = failed {
        tracing::warn!(%error, "some on-demand prices are unknown");
    }
    prices
}

async fn of_type(
    clients: &Clients,
    pricing: &aws_sdk_pricing::Client,
    kind: &str,
    region: Option<&str>,
) -> Result<OnDemand> {
    let operation = "GetProducts";
    let (mut prices, mut next) = (OnDemand::new(), None);
    for _ in 0..PAGES_MAX {
        let call = pricing
            .get_products()
            .service_code("AmazonEC2")
            .set_filters(Some(filters(kind, region)))
            .max_results(100)
            .set_next_token(next);
        let page = match call.send().await {
            Ok(page) => page,
            Err(e) => return Err(clients.failed(operation, Effect::Read, e).await),
        };
        prices.extend(page.price_list().iter().filter_map(|text| read(text)));
        next = page.next_token.filter(|t| !t.is_empty());
        if next.is_none() {
            break;
        }
    }
    Ok(prices)
}

fn filters(kind: &str, region: Option<&str>) -> Vec<Filter> {
    let plain = [
        ("instanceType", kind),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("capacitystatus", "Used"),
        ("preInstalledSw", "NA"),
    ];
    let all = plain.into_iter().chain(region.map(|r| ("regionCode", r)));
    let filter = |(field, value): (&str, &str)| {
        Filter::builder().r#type(FilterType::TermMatch).field(field).value(value).build().ok()
    };
    all.filter_map(filter).collect()
}

/// One product: `product.attributes`, and the only hourly dimension of its on-demand terms.
fn read(text: &str) -> Option<((String, String), Usd)> {
    let product: Value = serde_json::from_str(text).ok()?;
    let attribute = |name: &str| product["product"]["attributes"][name].as_str();
    let key = (attribute("regionCode")?.to_owned(), attribute("instanceType")?.to_owned());
    let terms = product["terms"]["OnDemand"].as_object()?;
    let dimensions = terms.values().filter_map(|t| t["priceDimensions"].as_object());
    let price = dimensions
        .flat_map(|d| d.values())
        .filter(|d| d["unit"] == "Hrs")
        .filter_map(|d| d["pricePerUnit"]["USD"].as_str()?.parse().ok())
        .find_map(Usd::price)?;
    Some((key, price))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_an_hourly_price_in_dollars_is_a_price() {
        let product = |unit: &str, usd: Value| {
            json!({
                "product": {"attributes": {"regionCode": "us-east-1", "instanceType": "g5.xlarge"}},
                "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C":
                    {"unit": unit, "pricePerUnit": {"USD": usd}}}}}},
            })
            .to_string()
        };
        let key = ("us-east-1".to_owned(), "g5.xlarge".to_owned());
        let price = Usd::price(1.006).unwrap();
        assert_eq!(read(&product("Hrs", json!("1.0060000000"))), Some((key, price)));
        for odd in [("Quantity", json!("1")), ("Hrs", json!("0.0000000000")), ("Hrs", json!(null))]
        {
            assert_eq!(read(&product(odd.0, odd.1)), None);
        }
        assert_eq!(read("<html>"), None);
    }
}
