//! The one place of the controller that asks the wall clock.

use fleet_types::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, by this machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as i64)
}
