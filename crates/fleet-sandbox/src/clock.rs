//! The one place of this crate that reads the wall clock, and how its clouds write times.

use fleet_types::Timestamp;

/// Now, in the milliseconds that the whole project counts in.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// `2026-01-02T03:04:05.000Z`, as EC2 writes times.
pub(crate) fn iso(at: Timestamp) -> String {
    at.to_string()
}

/// `2026-01-02T03:04:05Z`: whole seconds, as metadata documents have them.
pub(crate) fn iso_seconds(at: Timestamp) -> String {
    strftime(at, "%Y-%m-%dT%H:%M:%SZ")
}

/// `2026-01-02 03:04:05 GMT`, as EC2 puts it into transition reasons.
pub(crate) fn gmt(at: Timestamp) -> String {
    strftime(at, "%Y-%m-%d %H:%M:%S GMT")
}

/// Reads RFC 3339, with or without a zone as AWS clients send it.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")))
}

fn strftime(at: Timestamp, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at.millis())
        .map(|t| t.strftime(form).to_string())
        .unwrap_or_default()
}
