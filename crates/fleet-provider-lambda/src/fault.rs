//! What Lambda's refusals mean, as a table: call × status × code → fault × scope.
//!
//! Lambda names each refusal by a code, and one status stands for many (400 is want of capacity, a quota and a
//! bad body). The first row that fits wins, so the exact rows stand first. Invariants: words are never matched;
//! every row has a recorded answer in `fixtures/faults.json`; a create without a row is an unknown outcome, so
//! the codes of the cloud behind Lambda (`provider/…`) are.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Reply, wire};
use fleet_types::{Fault, Scope};
use std::time::Duration;

/// Names of the calls, as errors show them.
pub(crate) mod call {
    pub(crate) const TYPES: &str = "list_instance_types";
    pub(crate) const REGIONS: &str = "list_regions";
    pub(crate) const LIST: &str = "list_instances";
    pub(crate) const SHOW: &str = "get_instance";
    pub(crate) const LAUNCH: &str = "launch_instance";
    pub(crate) const TERMINATE: &str = "terminate_instance";
    pub(crate) const KEYS: &str = "list_ssh_keys";
    pub(crate) const ADD_KEY: &str = "add_ssh_key";
    pub(crate) const DELETE_KEY: &str = "delete_ssh_key";
}

/// Least time between two launches.
pub(crate) const LAUNCH_DISTANCE: Duration = Duration::from_secs(12);

/// One row: `None` is anything.
struct Row {
    call: Option<&'static str>,
    status: Option<u16>,
    code: Option<&'static str>,
    fault: Fault,
    scope: Scope,
}

const fn row(
    call: Option<&'static str>,
    status: Option<u16>,
    code: Option<&'static str>,
    fault: Fault,
    scope: Scope,
) -> Row {
    Row { call, status, code, fault, scope }
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    row(None,                  Some(429), None,                                Fault::Throttled, Scope::Provider),
    row(None,                  None,      Some("global/invalid-api-key"),      Fault::Auth,      Scope::Provider),
    row(None,                  None,      Some("global/account-inactive"),     Fault::Auth,      Scope::Provider),
    row(None,                  None,      Some("global/invalid-address"),      Fault::Auth,      Scope::Provider),
    row(None,                  Some(401), None,                                Fault::Auth,      Scope::Provider),
    row(None,                  Some(403), None,                                Fault::Auth,      Scope::Provider),
    row(Some(call::LAUNCH),    None,      Some("instance-operations/launch/insufficient-capacity"), Fault::Capacity, Scope::Zone),
    row(Some(call::LAUNCH),    None,      Some("global/quota-exceeded"),       Fault::Quota,     Scope::Provider),
    // Type, region, image or key: what was named is not there.
    row(Some(call::LAUNCH),    None,      Some("global/object-does-not-exist"), Fault::Rejected, Scope::Offer),
    row(Some(call::LAUNCH),    None,      Some("instance-operations/launch/file-system-in-wrong-region"), Fault::Rejected, Scope::Request),
    row(Some(call::SHOW),      Some(404), None,                                Fault::NotFound,  Scope::Request),
    row(Some(call::TERMINATE), Some(404), None,                                Fault::NotFound,  Scope::Request),
    row(Some(call::DELETE_KEY), Some(404), None,                               Fault::NotFound,  Scope::Request),
    row(Some(call::ADD_KEY),   None,      Some("global/duplicate"),            Fault::Conflict,  Scope::Request),
    // It is being changed; the same call works a little later.
    row(None,                  Some(409), None,                                Fault::Transient, Scope::Request),
    row(None,                  Some(400), Some("global/invalid-parameters"),   Fault::Rejected,  Scope::Request),
];

/// The error that an answer stands for. Call it for every answer that is no success.
pub(crate) fn classify(reply: &Reply) -> ProviderError {
    let (code, words) = parts(reply);
    let found = position(reply.operation(), reply.status(), code.as_deref());
    let shown = code.clone().unwrap_or_else(|| format!("HTTP {}", reply.status()));
    match found.map(|i| &TABLE[i]) {
        Some(r) => {
            let error = reply.refused(r.fault, r.scope, shown, words);
            // Lambda does not say when to come back, so the documented distances stand in.
            match (r.fault, reply.retry_after(), reply.operation()) {
                (Fault::Throttled, None, call::LAUNCH) => error.retry_after(Some(LAUNCH_DISTANCE)),
                (Fault::Throttled, None, _) => error.retry_after(Some(Duration::from_secs(1))),
                _ => error,
            }
        }
        None => reply.unlisted(shown, words),
    }
}

/// The first row that fits.
fn position(call: &str, status: u16, code: Option<&str>) -> Option<usize> {
    TABLE.iter().position(|r| {
        r.call.is_none_or(|c| c == call)
            && r.status.is_none_or(|s| s == status)
            && r.code.is_none_or(|c| Some(c) == code)
    })
}

/// The code and the words of an answer: `{"error": {code, message, suggestion}}`, or plain text.
fn parts(reply: &Reply) -> (Option<String>, String) {
    let body = reply.parsed().unwrap_or_default();
    let Some(error) = body.get("error").filter(|e| e.is_object()) else {
        return (None, reply.excerpt());
    };
    let words = [wire::text(error, "message"), wire::text(error, "suggestion")];
    let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (wire::text(error, "code"), words)
}

#[cfg(test)]
mod tests;
