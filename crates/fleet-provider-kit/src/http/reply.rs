//! An answer of a cloud, and what it means when there is none.
//!
//! Invariant: what cannot be read is never taken as empty. For a create it is an unknown outcome; for
//! everything else it is a passing failure.

use fleet_provider::ProviderError;
use fleet_types::{Fault, Scope};
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::Duration;

/// Longest piece of an answer that is kept for people to read.
const EXCERPT_MAX: usize = 4 * 1024;
const RETRY_MAX: u64 = 60;

/// What a call may leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Read,
    /// A thing that bills.
    Create,
    /// A change that can be asked for again with the same result (delete, label).
    Change,
}

impl Effect {
    /// The error for an answer that makes no sense.
    pub fn unreadable(self, operation: &'static str, why: impl Into<String>) -> ProviderError {
        self.unanswered(operation, "unreadable", why)
    }

    /// The error for a call that was sent and got no answer.
    pub(super) fn unanswered(
        self,
        operation: &'static str,
        code: &str,
        why: impl Into<String>,
    ) -> ProviderError {
        let fault = match self {
            Self::Create => Fault::Unknown,
            Self::Read | Self::Change => Fault::Transient,
        };
        let mut error = ProviderError::new(fault, Scope::Request, operation, code).message(why);
        error.maybe_applied = self != Self::Read;
        error
    }
}

/// The parts of an answer that come before its body.
#[derive(Debug)]
pub(super) struct Head {
    status: u16,
    retry_after: Option<Duration>,
    pub(super) request_id: Option<String>,
}

impl Head {
    pub(super) fn of(answer: &reqwest::Response) -> Self {
        Self {
            status: answer.status().as_u16(),
            retry_after: retry_after(answer.headers()),
            request_id: ["x-request-id", "x-amzn-requestid", "cf-ray"].iter().find_map(|name| {
                answer.headers().get(*name).and_then(|v| v.to_str().ok()).map(str::to_owned)
            }),
        }
    }
}

/// One answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    operation: &'static str,
    effect: Effect,
    head: Head,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn new(operation: &'static str, effect: Effect, head: Head, body: Vec<u8>) -> Self {
        Self { operation, effect, head, body }
    }
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status
    }
    /// Whether the status is 2xx.
    pub fn success(&self) -> bool {
        (200..300).contains(&self.head.status)
    }
    /// The name of the call that this answers.
    pub fn operation(&self) -> &'static str {
        self.operation
    }
    /// When the cloud says to come back: 0 to 60 s, whatever it says.
    pub fn retry_after(&self) -> Option<Duration> {
        self.head.retry_after
    }
    /// The body as JSON, or the failure that an unreadable answer is.
    pub fn json(&self) -> Result<Value, ProviderError> {
        self.parsed().ok_or_else(|| {
            let what =
                if self.body.is_empty() { "an empty answer" } else { "an answer that is no JSON" };
            self.unreadable(format!("{what} (HTTP {}): {}", self.head.status, self.excerpt()))
        })
    }
    /// The body as JSON, if it is.
    pub fn parsed(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
    /// The beginning of the body as text.
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(EXCERPT_MAX)]).trim().to_owned()
    }
    /// The failure that an answer of the wrong form is.
    pub fn unreadable(&self, why: impl Into<String>) -> ProviderError {
        self.effect.unreadable(self.operation, why).request_id(self.head.request_id.clone())
    }
    /// A classified refusal, with the cloud's words, its time to come back and its id of the request.
    pub fn refused(
        &self,
        fault: Fault,
        scope: Scope,
        code: impl Into<String>,
        words: impl Into<String>,
    ) -> ProviderError {
        ProviderError::new(fault, scope, self.operation, code)
            .message(words)
            .retry_after(self.head.retry_after)
            .request_id(self.head.request_id.clone())
    }
    /// The failure for an answer that the driver's table has no row for: unknown for a create, passing for
    /// 5xx, rejected for the rest.
    pub fn unlisted(&self, code: impl Into<String>, words: impl Into<String>) -> ProviderError {
        let fault = match (self.effect, self.head.status) {
            (Effect::Create, _) => Fault::Unknown,
            (_, 300..=399 | 500..) => Fault::Transient,
            _ => Fault::Rejected,
        };
        let mut error = self.refused(fault, Scope::Request, code, words);
        error.maybe_applied |= self.effect == Effect::Change && self.head.status >= 500;
        error
    }
}

/// Whole seconds only: dates need a clock, and nonsense is no time at all.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(text.parse().unwrap_or(RETRY_MAX).min(RETRY_MAX)))
}
