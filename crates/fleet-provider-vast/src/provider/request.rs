//! The body of a create.
//!
//! Invariants: a spot create always holds a bid, because without one Vast quietly rents on demand; the bid
//! is the candidate's limit and nothing else; no credential and no value of the user's environment is in it.

use crate::client::number;
use crate::fault::call;
use crate::offers::DISK_MIN;
use fleet_provider::{Candidate, LaunchRequest, ProviderError, Result};
use fleet_provider_kit::boot::{ONSTART_MAX, container_onstart};
use fleet_provider_kit::mark::Mark;
use fleet_types::{Fault, Market, ProviderId, Scope};
use serde_json::{Map, Value, json};

/// Vast's own image with CUDA; the tag lets Vast pick what fits the host's driver.
const IMAGE: &str = "vastai/base-image:@vastai-automatic-tag";
/// Bids that the API takes, in dollars an hour.
const BIDS: std::ops::RangeInclusive<f64> = 0.001..=128.0;

/// A create, ready to send.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) ask: u64,
    pub(super) candidate: &'a Candidate,
    pub(super) body: Value,
}

/// Writes the create for the first candidate, or says why it cannot be one. Sends nothing.
pub(super) fn order(request: &LaunchRequest) -> Result<Order<'_>> {
    let candidate = request.candidates.first().ok_or_else(|| {
        rejected(Scope::Request, "no-candidate", "the request holds no place to try")
    })?;
    let offer = &candidate.offer;
    if offer.place.provider != ProviderId::Vast || offer.market != request.market {
        let why =
            format!("{} {} is not a {} offer of Vast", offer.place, offer.market, request.market);
        return Err(rejected(Scope::Offer, "wrong-market", why));
    }
    let ask = number(&offer.key, call::TAKE)?;
    let onstart = container_onstart(&request.boot);
    if onstart.len() > ONSTART_MAX {
        return Err(rejected(Scope::Provider, "onstart-too-long", "the start script is over 4 KB"));
    }
    let mut body = json!({
        "client_id": "me",
        "image": request.image.as_deref().map_or(IMAGE, |i| i.trim_start_matches("docker:")),
        "disk": request.disk_gib.max(DISK_MIN),
        "label": Mark::of(request).label(),
        "env": ports(&request.ports),
        "onstart": onstart,
        "runtype": "ssh_direc ssh_proxy",
        "target_state": "running",
        "cancel_unavail": true,
    });
    if request.market == Market::Spot {
        let bid = candidate.limit_usd_per_hour.dollars();
        if !BIDS.contains(&bid) {
            let why = format!(
                "a bid of {} an hour is none that Vast takes",
                candidate.limit_usd_per_hour
            );
            return Err(
                ProviderError::new(Fault::Price, Scope::Offer, call::TAKE, "bad-bid").message(why)
            );
        }
        body["price"] = json!(bid);
    } else if offer.price_usd_per_hour.is_none_or(|p| p > candidate.limit_usd_per_hour) {
        let why = "the on-demand price is unknown or above the limit";
        return Err(
            ProviderError::new(Fault::Price, Scope::Offer, call::TAKE, "over-limit").message(why)
        );
    }
    Ok(Order { ask, candidate, body })
}

/// Open ports in Vast's form: a docker flag as the name of a variable.
fn ports(ports: &[u16]) -> Value {
    let flags = ports.iter().map(|p| (format!("-p {p}:{p}"), json!("1")));
    Value::Object(flags.collect::<Map<_, _>>())
}

fn rejected(scope: Scope, code: &str, why: impl Into<String>) -> ProviderError {
    ProviderError::new(Fault::Rejected, scope, call::TAKE, code).message(why)
}
