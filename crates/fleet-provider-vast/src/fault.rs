//! What Vast's refusals mean, as a table: call × status × code → fault × scope.
//!
//! Vast reuses its codes (`invalid_args` is a missing offer in one answer and a bad body in another) and its
//! statuses (404 is a bad key in a search), so a row may need both. The first row that fits wins, so the
//! exact rows stand first. Invariants: words are never matched; every row has a recorded answer in
//! `fixtures/faults.json`; a create without a row is an unknown outcome.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Reply, wire};
use fleet_types::{Fault, Scope};
use std::time::Duration;

/// Names of the calls, as errors show them.
pub(crate) mod call {
    pub(crate) const SEARCH: &str = "search_offers";
    pub(crate) const TAKE: &str = "create_instance";
    pub(crate) const LIST: &str = "show_instances";
    pub(crate) const SHOW: &str = "show_instance";
    pub(crate) const DESTROY: &str = "destroy_instance";
    pub(crate) const USER: &str = "show_user";
}

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
    row(None,                Some(429), None,                      Fault::Throttled, Scope::Provider),
    row(None,                Some(401), None,                      Fault::Auth,      Scope::Provider),
    row(None,                None,      Some("auth_error"),        Fault::Auth,      Scope::Provider),
    // An unknown key is answered with 404 by the search alone.
    row(Some(call::SEARCH),  Some(404), None,                      Fault::Auth,      Scope::Provider),
    row(Some(call::TAKE),    None,      Some("no_such_ask"),       Fault::Capacity,  Scope::Offer),
    row(Some(call::TAKE),    Some(404), None,                      Fault::Capacity,  Scope::Offer),
    row(Some(call::TAKE),    Some(410), None,                      Fault::Capacity,  Scope::Offer),
    row(Some(call::TAKE),    None,      Some("insufficient_credit"), Fault::Quota,   Scope::Provider),
    row(Some(call::TAKE),    Some(402), None,                      Fault::Quota,     Scope::Provider),
    row(Some(call::TAKE),    Some(400), Some("invalid_price"),     Fault::Price,     Scope::Offer),
    row(Some(call::TAKE),    Some(400), Some("no_ssh_key_for_vm"), Fault::Rejected,  Scope::Offer),
    row(Some(call::TAKE),    Some(400), Some("invalid_args"),      Fault::Rejected,  Scope::Request),
    // "Hosts can only rent their own machines."
    row(Some(call::TAKE),    Some(403), Some("invalid_args"),      Fault::Rejected,  Scope::Offer),
    row(None,                Some(403), None,                      Fault::Auth,      Scope::Provider),
    row(Some(call::SHOW),    Some(404), None,                      Fault::NotFound,  Scope::Request),
    row(Some(call::DESTROY), Some(404), None,                      Fault::NotFound,  Scope::Request),
    row(Some(call::SEARCH),  Some(400), None,                      Fault::Rejected,  Scope::Request),
    row(Some(call::LIST),    Some(400), None,                      Fault::Rejected,  Scope::Request),
    row(Some(call::DESTROY), Some(400), None,                      Fault::Rejected,  Scope::Request),
];

/// Seconds that a too early create is held against the caller, on top of the gate.
pub(crate) const PENALTY: Duration = Duration::from_secs(12);

/// The error that an answer stands for. Call it for every answer that is no success.
pub(crate) fn classify(reply: &Reply) -> ProviderError {
    let (code, words) = parts(reply);
    let found = position(reply.operation(), reply.status(), code.as_deref());
    let shown = code.clone().unwrap_or_else(|| format!("HTTP {}", reply.status()));
    match found.map(|i| &TABLE[i]) {
        Some(r) => {
            let error = reply.refused(r.fault, r.scope, shown, words);
            // Vast never says when to come back, so the documented distances stand in.
            match (r.fault, reply.retry_after()) {
                (Fault::Throttled, None) => error.retry_after(Some(PENALTY)),
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

/// The code and the words of an answer: `{error, msg}`, `{detail}`, or plain text.
fn parts(reply: &Reply) -> (Option<String>, String) {
    let Some(body) = reply.parsed().filter(serde_json::Value::is_object) else {
        return (None, reply.excerpt());
    };
    let words = wire::text(&body, "msg").or_else(|| wire::text(&body, "detail"));
    (wire::text(&body, "error"), words.unwrap_or_default())
}

#[cfg(test)]
mod tests;
