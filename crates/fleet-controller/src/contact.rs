//! What is known of a machine's life right now, shared by the session (its agent) and the watch (its cloud).
//!
//! Invariant: silence counts only against the cloud's own word, given in the same moment, that the machine
//! runs; that word also proves that our own line works. And a machine whose agent speaks is not dead.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Signs of life of one machine.
#[derive(Debug, Default)]
pub(crate) struct Contact {
    heard: Mutex<Option<Instant>>,
    running: Mutex<Option<Instant>>,
    look: Notify,
}

impl Contact {
    /// The agent spoke.
    pub(crate) fn hear(&self) {
        set(&self.heard);
    }
    /// The cloud says that it runs.
    pub(crate) fn runs(&self) {
        set(&self.running);
    }
    /// Whether the agent spoke at or after `since`.
    pub(crate) fn heard_since(&self, since: Instant) -> bool {
        get(&self.heard).is_some_and(|at| at >= since)
    }
    /// Whether the agent spoke within `span`.
    pub(crate) fn heard_within(&self, span: Duration) -> bool {
        get(&self.heard).is_some_and(|at| at.elapsed() <= span)
    }
    /// Whether the cloud said at or after `since` that it runs.
    pub(crate) fn runs_since(&self, since: Instant) -> bool {
        get(&self.running).is_some_and(|at| at >= since)
    }
    /// Asks the watch to look at once.
    pub(crate) fn nudge(&self) {
        self.look.notify_one();
    }
    /// Waits to be asked.
    pub(crate) async fn nudged(&self) {
        self.look.notified().await;
    }
}

fn set(cell: &Mutex<Option<Instant>>) {
    *cell.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

fn get(cell: &Mutex<Option<Instant>>) -> Option<Instant> {
    *cell.lock().unwrap_or_else(PoisonError::into_inner)
}
