//! The one place of this crate that asks the wall clock: a signature says when it was made.

use fleet_types::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}

/// `2013-05-24T00:00:00Z`.
pub(crate) fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

/// `20130524T000000Z`.
pub(crate) fn compact(at: Timestamp) -> String {
    seconds(at).replace(['-', ':'], "")
}
