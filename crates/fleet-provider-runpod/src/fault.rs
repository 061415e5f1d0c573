//! What RunPod's refusals mean, as a table: call × status × beginning of the words → fault × scope.
//!
//! RunPod has no codes for its own refusals: REST answers a status and words (problem+json), GraphQL 200 and
//! words. The first row that fits wins, so the exact rows stand first. Invariants: words are matched in one row
//! alone, by their beginning, because nothing else tells want of capacity from a broken rule; every row has a
//! recorded answer in `fixtures/faults.json`; a create without a row is an unknown outcome.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Reply, wire};
use fleet_types::{Fault, Scope};
use serde_json::Value;

/// Names of the calls, as errors show them.
pub(crate) mod call {
    pub(crate) const GPUS: &str = "list_gpus";
    pub(crate) const DATA_CENTERS: &str = "list_data_centers";
    pub(crate) const LIST: &str = "list_pods";
    pub(crate) const SHOW: &str = "get_pod";
    pub(crate) const CREATE: &str = "create_pod";
    pub(crate) const DELETE: &str = "delete_pod";
    pub(crate) const KEYS: &str = "list_ssh_keys";
    /// GraphQL: who the key belongs to.
    pub(crate) const MYSELF: &str = "myself";
    /// GraphQL: bids and stock.
    pub(crate) const PRICES: &str = "gpuTypes";
    /// GraphQL: rents a spot pod.
    pub(crate) const RENT: &str = "podRentInterruptable";
}

/// Code of the refusal where GraphQL, and spot with it, is gone.
pub(crate) const SPOT_UNSUPPORTED: &str = "spot-unsupported";

/// How every wording of "none left" begins: with or without enough disk, requested or request.
const NONE_LEFT: &str = "There are no longer any instances available";

/// One row: `None` is anything. `sign` is the beginning of the words, or GraphQL's code.
struct Row {
    call: Option<&'static str>,
    status: Option<u16>,
    sign: Option<&'static str>,
    fault: Fault,
    scope: Scope,
}

const fn row(
    call: Option<&'static str>,
    status: Option<u16>,
    sign: Option<&'static str>,
    fault: Fault,
    scope: Scope,
) -> Row {
    Row { call, status, sign, fault, scope }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(None,               Some(429), None,                   Fault::Throttled, Scope::Provider),
    row(None,               Some(401), None,                   Fault::Auth,      Scope::Provider),
    row(None,               None,      Some("UNAUTHENTICATED"), Fault::Auth,     Scope::Provider),
    row(None,               None,      Some("FORBIDDEN"),      Fault::Auth,      Scope::Provider),
    row(Some(call::CREATE), Some(400), Some(NONE_LEFT),        Fault::Capacity,  Scope::Zone),
    row(Some(call::RENT),   Some(200), Some(NONE_LEFT),        Fault::Capacity,  Scope::Zone),
    // A rule across fields, or want of capacity in words we do not know: the vendor says, the next candidate.
    row(Some(call::CREATE), Some(400), None,                   Fault::Rejected,  Scope::Offer),
    row(Some(call::CREATE), Some(402), None,                   Fault::Quota,     Scope::Provider),
    // The account has no access to this pool.
    row(Some(call::CREATE), Some(403), None,                   Fault::Rejected,  Scope::Offer),
    row(Some(call::CREATE), Some(404), None,                   Fault::Rejected,  Scope::Offer),
    row(Some(call::CREATE), Some(422), None,                   Fault::Rejected,  Scope::Request),
    // The document was refused before anything ran.
    row(None,               None,      Some("GRAPHQL_VALIDATION_FAILED"), Fault::Rejected, Scope::Request),
    row(None,               None,      Some("BAD_USER_INPUT"), Fault::Rejected,  Scope::Request),
    // A restricted key may use REST and not GraphQL: it is spot that it may not rent.
    row(Some(call::MYSELF), Some(403), None,                   Fault::Auth,      Scope::RegionMarket),
    row(Some(call::PRICES), Some(403), None,                   Fault::Auth,      Scope::RegionMarket),
    row(Some(call::RENT),   Some(403), None,                   Fault::Auth,      Scope::RegionMarket),
    row(None,               Some(403), None,                   Fault::Auth,      Scope::Provider),
    row(Some(call::SHOW),   Some(404), None,                   Fault::NotFound,  Scope::Request),
    row(Some(call::DELETE), Some(404), None,                   Fault::NotFound,  Scope::Request),
    row(Some(call::DELETE), Some(409), None,                   Fault::Rejected,  Scope::Request),
    row(Some(call::MYSELF), Some(404), None,                   Fault::Rejected,  Scope::RegionMarket),
    row(Some(call::MYSELF), Some(410), None,                   Fault::Rejected,  Scope::RegionMarket),
    row(Some(call::PRICES), Some(404), None,                   Fault::Rejected,  Scope::RegionMarket),
    row(Some(call::PRICES), Some(410), None,                   Fault::Rejected,  Scope::RegionMarket),
    row(Some(call::RENT),   Some(404), None,                   Fault::Rejected,  Scope::RegionMarket),
    row(Some(call::RENT),   Some(410), None,                   Fault::Rejected,  Scope::RegionMarket),
];

/// The error that an answer stands for. Call it for every answer that is no success, and for one of GraphQL
/// that holds `errors`.
pub(crate) fn classify(reply: &Reply) -> ProviderError {
    let (code, words) = parts(reply);
    let status = reply.status();
    let found = position(reply.operation(), status, code.as_deref(), &words).map(|i| &TABLE[i]);
    let shown = code.unwrap_or_else(|| format!("HTTP {status}"));
    match found {
        Some(r) if r.scope == Scope::RegionMarket && r.fault == Fault::Rejected => {
            let why = format!("RunPod's GraphQL API, and spot with it, is gone (HTTP {status})");
            reply.refused(r.fault, r.scope, SPOT_UNSUPPORTED, why)
        }
        Some(r) => reply.refused(r.fault, r.scope, shown, words),
        // GraphQL says 200 whatever happened: without a row nobody knows what did.
        None if reply.success() => reply.unreadable(words),
        None => reply.unlisted(shown, words),
    }
}

/// Whether spot is not to be had from this API at all.
pub(crate) fn is_unsupported(error: &ProviderError) -> bool {
    error.code == SPOT_UNSUPPORTED
}

/// The first row that fits.
fn position(call: &str, status: u16, code: Option<&str>, words: &str) -> Option<usize> {
    TABLE.iter().position(|r| {
        r.call.is_none_or(|c| c == call)
            && r.status.is_none_or(|s| s == status)
            && r.sign.is_none_or(|s| code == Some(s) || (s == NONE_LEFT && words.starts_with(s)))
    })
}

/// The code, where there is one, and the words of an answer: problem+json, GraphQL's errors, or plain text.
fn parts(reply: &Reply) -> (Option<String>, String) {
    let body = reply.parsed().unwrap_or_default();
    if let Some(error) = body.get("errors").and_then(|e| e.get(0)).filter(|e| e.is_object()) {
        let code = error.get("extensions").and_then(|e| wire::text(e, "code"));
        return (code, wire::text(error, "message").unwrap_or_default());
    }
    let Some(detail) = wire::text(&body, "detail") else { return (None, reply.excerpt()) };
    let violations = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let said: Vec<&str> = violations.filter_map(Value::as_str).collect();
    (None, [&[detail.as_str()], &said[..]].concat().join("; "))
}

#[cfg(test)]
mod tests;
