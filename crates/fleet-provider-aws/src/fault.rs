//! What a failed call to AWS means: one table from code to fault and scope, and the rule for the rest.
//!
//! Invariants: the code decides before the HTTP status (a capacity refusal is an HTTP 500, throttling a
//! 503); a create that failed in a way without a row is of unknown outcome, never refused; an answer that
//! cannot be read is never an empty one. The words of a message decide nothing.

mod table;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use fleet_provider::ProviderError;
use fleet_provider_kit::Effect;
use fleet_types::{Fault, Scope};
use hyper_util::client::legacy;
use std::error::Error;
use std::time::Duration;

/// Finds the row of a code.
pub(crate) fn row(code: &str) -> Option<(Fault, Scope)> {
    // Old endpoints put the blamed side before the code.
    let code =
        code.strip_prefix("Client.").or_else(|| code.strip_prefix("Server.")).unwrap_or(code);
    table::ROWS.iter().find(|(c, ..)| *c == code).map(|(_, fault, scope)| (*fault, *scope))
}

/// Turns a failed call into what it means.
pub(crate) fn classify<E>(
    operation: &'static str,
    effect: Effect,
    error: &SdkError<E, HttpResponse>,
) -> ProviderError
where
    E: ProvideErrorMetadata + RequestId + Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            let raw = service.raw();
            let header = |name: &str| raw.headers().get(name).and_then(|v| v.trim().parse().ok());
            let (inner, status) = (service.err(), raw.status().as_u16());
            if inner.code().is_none() && (200..400).contains(&status) {
                let why = format!("unreadable answer, HTTP {status}: {}", causes(inner));
                return effect.unreadable(operation, why);
            }
            answered(operation, effect, inner.code(), status)
                .message(inner.message().unwrap_or_default())
                .retry_after(header("retry-after").map(Duration::from_secs))
                .request_id(inner.request_id())
        }
        SdkError::ResponseError(response) => {
            let status = response.raw().status().as_u16();
            effect.unreadable(operation, format!("unreadable answer, HTTP {status}"))
        }
        SdkError::ConstructionFailure(_) => match find::<CredentialsError>(error) {
            Some(cause) => no_credentials(operation, cause),
            None => ProviderError::new(Fault::Rejected, Scope::Request, operation, "unsendable")
                .message(causes(error)),
        },
        SdkError::DispatchFailure(_) => {
            unsent(operation, error).unwrap_or_else(|| effect.unreadable(operation, causes(error)))
        }
        _ => effect.unreadable(operation, causes(error)),
    }
}

/// An answer that the cloud gave.
fn answered(
    operation: &'static str,
    effect: Effect,
    code: Option<&str>,
    status: u16,
) -> ProviderError {
    let shown = code.map_or_else(|| format!("HTTP {status}"), str::to_owned);
    let new = |fault, scope| {
        let mut error = ProviderError::new(fault, scope, operation, shown.as_str());
        error.maybe_applied = fault == Fault::Unknown;
        error
    };
    let (fault, scope) = match (code.and_then(row), effect, status) {
        (Some((Fault::Unknown, scope)), Effect::Create, _) => (Fault::Unknown, scope),
        (Some((Fault::Unknown, scope)), ..) => (Fault::Transient, scope),
        (Some(known), ..) => known,
        (None, Effect::Create, _) => (Fault::Unknown, Scope::Request),
        (None, _, 429) => (Fault::Throttled, Scope::Request),
        (None, _, 401 | 403) => (Fault::Auth, Scope::Provider),
        (None, _, 500..) => (Fault::Transient, Scope::Request),
        (None, ..) => (Fault::Rejected, Scope::Request),
    };
    new(fault, scope)
}

/// A call that provably never left: no credentials, no name, no connection.
fn unsent(operation: &'static str, error: &(dyn Error + 'static)) -> Option<ProviderError> {
    if let Some(cause) = find::<CredentialsError>(error) {
        return Some(no_credentials(operation, cause));
    }
    let refused = find::<legacy::Error>(error).is_some_and(legacy::Error::is_connect);
    refused.then(|| {
        ProviderError::new(Fault::Transient, Scope::Request, operation, "unreachable")
            .message(causes(error))
    })
}

fn no_credentials(operation: &'static str, cause: &CredentialsError) -> ProviderError {
    ProviderError::new(Fault::Auth, Scope::Provider, operation, "NoCredentials").message(format!(
        "{}; run `aws sso login` or `aws configure`, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        causes(cause)
    ))
}

fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        next = cause.source();
    }
    None
}

/// An error and its sources in one line.
fn causes(error: &(dyn Error + 'static)) -> String {
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

/// Every code that has a row.
#[cfg(test)]
pub(crate) fn codes() -> impl Iterator<Item = &'static str> {
    table::ROWS.iter().map(|(code, ..)| *code)
}
