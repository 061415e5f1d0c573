//! One condition that wakes a writer, whoever has something for it.
//!
//! Spool, core and readers ring; writers wait for a count other than the one they saw before they looked
//! for work. Invariant: a ring between the look and the wait is not lost.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A counter with waiters.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: Mutex<u64>,
    condition: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.condition.notify_all();
    }
    pub(crate) fn count(&self) -> u64 {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Waits until the count differs from `seen`, at most `wait`.
    pub(crate) fn wait(&self, seen: u64, wait: Duration) {
        let rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        let _unused = self.condition.wait_timeout_while(rings, wait, |count| *count == seen);
    }
}
