//! The agent's two clocks: the wall, for people, and time since boot, for limits.
//!
//! Invariant: no limit depends on the wall clock, which may be ten years off or jump; time since boot
//! also counts while the machine is suspended, so a frozen machine wakes up expired.

use fleet_types::Timestamp;
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Time since the machine's boot, suspension included.
pub(crate) fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

/// A system call's timeout that never rounds a short wait down to none.
pub(crate) fn poll_timeout(wait: Duration) -> nix::poll::PollTimeout {
    let millis = u16::try_from(wait.as_millis() + 1).unwrap_or(u16::MAX);
    nix::poll::PollTimeout::from(millis)
}
