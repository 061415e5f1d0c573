//! What a failed call to GCP means: one table of reasons, one of an operation's codes, and the rule for the rest.
//!
//! Invariants: the reason decides before the HTTP status, because 403 stands for a quota, a rate and a missing
//! permission alike; a create that failed in a way without a row is of unknown outcome, never refused; an
//! answer that cannot be read is never an empty one. The words of a message decide nothing.

mod table;

use crate::credentials::unauthenticated;
use fleet_provider::ProviderError;
use fleet_provider_kit::{Effect, Reply};
use fleet_types::{Fault, Scope};
use google_cloud_auth::errors::CredentialsError;
use google_cloud_compute_v1::model::Operation;
use google_cloud_compute_v1::model::operation::error::Errors;
use google_cloud_gax::error::rpc::{Code, StatusDetails};
use serde_json::Value;
use std::error::Error as _;
use std::time::Duration;

/// The limit that counts the GPUs of all regions together.
const ALL_REGIONS: &str = "GPUS-ALL-REGIONS-per-project";

/// Turns a failed call into what it means.
pub(crate) fn classify(
    operation: &'static str,
    effect: Effect,
    error: &google_cloud_gax::error::Error,
) -> ProviderError {
    if let Some(cause) = error.source().and_then(|s| s.downcast_ref::<CredentialsError>()) {
        return unauthenticated(operation, cause);
    }
    if let Some(status) = error.http_status_code().filter(|s| *s >= 300) {
        let after = error.http_headers().and_then(|h| h.get("retry-after")?.to_str().ok());
        let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let (codes, words) = told(error);
        return answered(operation, effect, &codes, status).message(words).retry_after(after);
    }
    if error.is_connect() {
        return ProviderError::new(Fault::Transient, Scope::Request, operation, "unreachable")
            .message(causes(error));
    }
    if error.is_binding() || error.is_serialization() {
        return ProviderError::new(Fault::Rejected, Scope::Request, operation, "unsendable")
            .message(causes(error));
    }
    effect.unreadable(operation, causes(error))
}

/// The same for a service that is called by hand. Those only read.
pub(crate) fn by_hand(reply: &Reply) -> ProviderError {
    let body = reply.parsed().unwrap_or_default();
    let error = body.get("error").unwrap_or(&Value::Null);
    let text = |of: &Value, field: &str| of.get(field).and_then(Value::as_str).map(str::to_owned);
    let rows = ["details", "errors"].iter().filter_map(|f| error.get(*f)?.as_array()).flatten();
    let mut codes: Vec<String> = rows.filter_map(|r| text(r, "reason")).collect();
    codes.extend(text(error, "status"));
    answered(reply.operation(), Effect::Read, &codes, reply.status())
        .message(text(error, "message").unwrap_or_else(|| reply.excerpt()))
        .retry_after(reply.retry_after())
}

/// Why an operation failed, if it did. Its create was accepted, so a code without a row proves nothing.
pub(crate) fn late(operation: &Operation) -> Option<ProviderError> {
    let errors = &operation.error.as_ref()?.errors;
    let code = |e: &Errors| e.code.clone().unwrap_or_default();
    let named = errors.iter().find_map(|e| Some((e, table::late(&code(e))?)));
    let call = crate::provider::INSERT;
    let (told, (fault, scope)) = match named {
        Some(found) => found,
        None => (errors.first()?, (Fault::Unknown, Scope::Request)),
    };
    let scope = match fault {
        Fault::Quota if limits(told).any(|limit| limit == ALL_REGIONS) => Scope::Provider,
        _ => scope,
    };
    let shown = Some(code(told)).filter(|c| !c.is_empty()).unwrap_or_else(|| "unnamed".to_owned());
    Some(
        ProviderError::new(fault, scope, call, shown)
            .message(told.message.clone().unwrap_or_default()),
    )
}

/// The limits that a quota error names.
fn limits(error: &Errors) -> impl Iterator<Item = &str> {
    error.error_details.iter().filter_map(|d| d.quota_info.as_ref()?.limit_name.as_deref())
}

/// Reasons that Google gives, its own status word last; and its words.
fn told(error: &google_cloud_gax::error::Error) -> (Vec<String>, String) {
    let Some(status) = error.status() else {
        let body = error.http_payload().map(|b| String::from_utf8_lossy(b).trim().to_owned());
        return (Vec::new(), body.unwrap_or_default());
    };
    let reason = |detail: &StatusDetails| match detail {
        StatusDetails::ErrorInfo(info) => Some(info.reason.clone()).filter(|r| !r.is_empty()),
        _ => None,
    };
    let mut codes: Vec<String> = status.details.iter().filter_map(reason).collect();
    codes.extend((status.code != Code::Unknown).then(|| status.code.name().to_owned()));
    (codes, status.message.clone())
}

/// An answer that the cloud gave.
fn answered(
    operation: &'static str,
    effect: Effect,
    codes: &[String],
    status: u16,
) -> ProviderError {
    let row = codes.iter().find_map(|c| Some((c, table::reason(c, effect)?)));
    let shown = row.as_ref().map(|(code, _)| (*code).clone());
    let shown = shown.or_else(|| codes.first().cloned());
    let (fault, scope) = match (row.map(|(_, meaning)| meaning), effect, status) {
        (Some((Fault::Unknown, scope)), Effect::Create, _) => (Fault::Unknown, scope),
        (Some((Fault::Unknown, scope)), ..) => (Fault::Transient, scope),
        (Some(known), ..) => known,
        // Who we are is looked at before anything is done.
        (None, _, 401) => (Fault::Auth, Scope::Provider),
        (None, Effect::Create, _) => (Fault::Unknown, Scope::Request),
        (None, _, 429) => (Fault::Throttled, Scope::Provider),
        (None, _, 403) => (Fault::Auth, Scope::Provider),
        (None, _, 404) => (Fault::NotFound, Scope::Request),
        (None, _, 300..=399 | 500..) => (Fault::Transient, Scope::Request),
        (None, ..) => (Fault::Rejected, Scope::Request),
    };
    let shown = shown.unwrap_or_else(|| format!("HTTP {status}"));
    let mut error = ProviderError::new(fault, scope, operation, shown);
    error.maybe_applied |= effect == Effect::Change && status >= 500;
    error
}

/// An error and its sources in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text += &format!(": {part}");
        }
        next = cause.source();
    }
    text
}

/// Every row as `when code`, for the test that holds fixtures against them.
#[cfg(test)]
pub(crate) fn rows() -> impl Iterator<Item = String> {
    let sync = table::REASONS.iter().map(|(code, ..)| format!("now {code}"));
    sync.chain(table::CODES.iter().map(|(code, ..)| format!("late {code}")))
}
