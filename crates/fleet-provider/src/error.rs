//! A failed call: fault × scope, the cloud's own code and words, and whether it may have been done.
//!
//! Invariant: text from a cloud is cut to 512 characters, its control characters escaped and secrets
//! struck out when the error is made, so that no later sink has to think about it.

use fleet_types::{Fault, Refusal, Scope};
use std::fmt;
use std::time::Duration;

/// What a call to a cloud can fail with.
#[derive(Clone, Debug)]
pub struct ProviderError {
    pub fault: Fault,
    pub scope: Scope,
    /// Which call (`RunInstances`).
    pub operation: &'static str,
    /// The cloud's own code, or the HTTP status where it has none.
    pub code: String,
    message: String,
    pub retry_after: Option<Duration>,
    /// The call may have taken effect: a create with this set is UNKNOWN, never refused.
    pub maybe_applied: bool,
    pub request_id: Option<String>,
    unconfigured: bool,
}

impl ProviderError {
    /// An error that is known to have changed nothing, unless `fault` is [`Fault::Unknown`].
    pub fn new(
        fault: Fault,
        scope: Scope,
        operation: &'static str,
        code: impl Into<String>,
    ) -> Self {
        Self {
            fault,
            scope,
            operation,
            code: clean(&code.into(), 80),
            message: String::new(),
            retry_after: None,
            maybe_applied: fault == Fault::Unknown,
            request_id: None,
            unconfigured: false,
        }
    }
    /// No credential is configured at all: nobody here is a customer of this cloud.
    pub fn unconfigured(operation: &'static str, how: impl Into<String>) -> Self {
        let error = Self::new(Fault::Auth, Scope::Provider, operation, "no-credentials");
        Self { unconfigured: true, ..error }.message(how)
    }
    /// Whether no credential is configured at all, as against one that was refused.
    pub fn is_unconfigured(&self) -> bool {
        self.unconfigured
    }
    /// A call whose outcome nobody knows: timed out, reset, 5xx, or unreadable.
    pub fn unknown(operation: &'static str, why: impl Into<String>) -> Self {
        Self::new(Fault::Unknown, Scope::Request, operation, "unknown").message(why)
    }
    /// A passing failure of a call that changes nothing.
    pub fn transient(operation: &'static str, why: impl Into<String>) -> Self {
        Self::new(Fault::Transient, Scope::Request, operation, "transient").message(why)
    }
    /// Sets the cloud's words, cut and escaped.
    #[must_use]
    pub fn message(mut self, text: impl Into<String>) -> Self {
        self.message = clean(&text.into(), 512);
        self
    }
    /// Sets when the cloud says to come back; clamped to a minute.
    #[must_use]
    pub fn retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after.map(|d| d.min(Duration::from_secs(60)));
        self
    }
    /// Sets the cloud's id of the request.
    #[must_use]
    pub fn request_id(mut self, id: Option<impl Into<String>>) -> Self {
        self.request_id = id.map(|i| clean(&i.into(), 80));
        self
    }
    /// The cloud's words.
    pub fn text(&self) -> &str {
        &self.message
    }
    /// Strikes `secret` out of the words, in case the cloud echoed it.
    #[must_use]
    pub fn redact(mut self, secret: &str) -> Self {
        if secret.len() >= 6 && self.message.contains(secret) {
            self.message = self.message.replace(secret, "[redacted]");
        }
        self
    }
    /// This error as a proven refusal of a create; `None` where the outcome is not known.
    pub fn refusal(&self) -> Option<Refusal> {
        (!self.maybe_applied).then(|| Refusal {
            fault: self.fault,
            scope: self.scope,
            code: self.code.clone(),
            message: self.message.clone(),
            retry_after_ms: self.retry_after.map(|d| d.as_millis() as u64),
        })
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.operation, self.fault.label(), self.code)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ProviderError {}

/// Cuts to `max` characters and escapes control and bidi characters.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.chars().take(max) {
        let bidi = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || bidi {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_a_refusal() {
        assert!(ProviderError::unknown("RunInstances", "timeout").refusal().is_none());
        let e = ProviderError::new(Fault::Capacity, Scope::Zone, "RunInstances", "X");
        assert_eq!(e.refusal().unwrap().fault, Fault::Capacity);
    }

    #[test]
    fn no_credential_and_a_refused_one_are_told_apart() {
        let none = ProviderError::unconfigured("connect", "set KEY");
        let refused = ProviderError::new(Fault::Auth, Scope::Provider, "list", "no-credentials");
        assert_eq!((none.fault, none.code.as_str()), (refused.fault, refused.code.as_str()));
        assert!(none.is_unconfigured() && !refused.is_unconfigured());
    }

    #[test]
    fn words_of_clouds_cannot_reach_a_terminal_raw() {
        let e = ProviderError::transient("list", "\x1b[31mred\u{202e}").redact("secret");
        assert!(!e.to_string().contains('\x1b') && !e.to_string().contains('\u{202e}'));
        let e = ProviderError::transient("list", "key sk-12345678 bad").redact("sk-12345678");
        assert!(!e.to_string().contains("sk-1234"));
    }
}
