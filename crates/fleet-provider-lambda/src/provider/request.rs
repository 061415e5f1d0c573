//! The body of a launch.
//!
//! Invariants: only on-demand leaves; every tag has the form that Lambda takes; the user data holds the login
//! key and the first host key and no credential of any cloud.

use crate::fault::call;
use crate::instance::{SENT, USER};
use fleet_provider::{Candidate, LaunchRequest, ProviderError, Result};
use fleet_provider_kit::boot::{CLOUD_CONFIG_MAX, cloud_config};
use fleet_provider_kit::mark;
use fleet_types::{Fault, Market, Offer, ProviderId, Scope, Timestamp};
use serde_json::{Value, json};

/// Longest key and value of a tag.
const TAG: (usize, usize) = (55, 128);

/// The place to try, or why it cannot be one.
pub(super) fn candidate(request: &LaunchRequest) -> Result<&Candidate> {
    let candidate = request.candidates.first().ok_or_else(|| {
        rejected(Scope::Request, "no-candidate", "the request holds no place to try")
    })?;
    let offer = &candidate.offer;
    if offer.place.provider != ProviderId::Lambda || offer.market != request.market {
        let why =
            format!("{} {} is not a {} offer of Lambda", offer.place, offer.market, request.market);
        return Err(rejected(Scope::Offer, "wrong-market", why));
    }
    if request.market == Market::Spot {
        return Err(rejected(Scope::RegionMarket, "no-spot", "Lambda sells no spot"));
    }
    if offer.price_usd_per_hour.is_none_or(|p| p > candidate.limit_usd_per_hour) {
        let why = "the on-demand price is unknown or above the limit";
        return Err(
            ProviderError::new(Fault::Price, Scope::Offer, call::LAUNCH, "over-limit").message(why)
        );
    }
    Ok(candidate)
}

/// Writes the launch.
pub(super) fn body(
    request: &LaunchRequest,
    offer: &Offer,
    key: &str,
    sent: Timestamp,
) -> Result<Value> {
    let user_data = cloud_config(&request.boot, USER);
    if user_data.len() > CLOUD_CONFIG_MAX {
        return Err(rejected(Scope::Provider, "user-data-too-long", "the user data is over 16 KB"));
    }
    let mut body = json!({
        "region_name": offer.place.region,
        "instance_type_name": offer.instance_type,
        "ssh_key_names": [key],
        "name": format!("fleet-{}-{}", request.job, request.epoch),
        "user_data": user_data,
        "tags": tags(request, sent),
    });
    if let Some(image) = &request.image {
        // `family:NAME`, or the id of an image.
        body["image"] = match image.strip_prefix("family:") {
            Some(family) => json!({"family": family}),
            None => json!({"id": image}),
        };
    }
    Ok(body)
}

/// Our marks and the user's labels, as far as Lambda takes their form; the rest is told in the log.
fn tags(request: &LaunchRequest, sent: Timestamp) -> Vec<Value> {
    let sent = (SENT.to_owned(), sent.millis().to_string());
    let all = mark::tags(request).into_iter().filter(|(key, _)| key != mark::NAME && key != SENT);
    let fits = |(key, value): &(String, String)| {
        let taken = is_key(key) && key.len() <= TAG.0 && value.len() <= TAG.1;
        if !taken {
            tracing::warn!(label = key, "Lambda takes no such tag; the label is left out");
        }
        taken
    };
    all.chain([sent]).filter(fits).map(|(key, value)| json!({"key": key, "value": value})).collect()
}

/// `^[a-z][a-z0-9-:]+$`
fn is_key(key: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b':');
    key.len() > 1 && key.as_bytes()[0].is_ascii_lowercase() && key.bytes().all(inner)
}

fn rejected(scope: Scope, code: &str, why: impl Into<String>) -> ProviderError {
    ProviderError::new(Fault::Rejected, scope, call::LAUNCH, code).message(why)
}
