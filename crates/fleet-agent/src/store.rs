//! The job's store as this machine has it now: the bucket that the controller named, and its key.
//!
//! Who works with it takes the bucket anew for every try, so that a renewed key is used at once. Invariant:
//! the key is in memory alone; a restarted agent waits until it is named again.

use crate::bell::Bell;
use crate::bucket::{Bucket, StoreError};
use crate::error::Error;
use crate::signer::Signer;
use fleet_agent_api::StoreAccess;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The store, shared by all who save into it or restore from it.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) signer: Arc<Signer>,
    /// Rings when the key was renewed, and for whatever else its users wait.
    pub(crate) bell: Bell,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    bucket: Option<Bucket>,
    renewals: u64,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the store's name and key; for the same place it is a renewed key.
    pub(crate) fn name(&self, access: StoreAccess) {
        let mut inner = self.lock();
        inner.renewals += 1;
        match &inner.bucket {
            Some(bucket) if bucket.place() == access.place => bucket.renew(access),
            _ => inner.bucket = Some(Bucket::new(access, Some(self.signer.clone()))),
        }
        drop(inner);
        self.bell.ring();
    }

    /// The bucket, once it was named.
    pub(crate) fn bucket(&self) -> Option<Bucket> {
        self.lock().bucket.clone()
    }

    /// How often it was named.
    pub(crate) fn renewals(&self) -> u64 {
        self.lock().renewals
    }

    /// Waits `span`, less where the key is renewed (it was named `seen` times before) or `is_over`.
    pub(crate) fn rest(&self, span: Duration, seen: u64, is_over: &dyn Fn() -> bool) {
        let until = Instant::now() + span;
        loop {
            let rings = self.bell.count();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.renewals() != seen || is_over() {
                return;
            }
            self.bell.wait(rings, left);
        }
    }
}

/// Why something did not get into the store or out of it.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store did not do it.
    Store {
        /// `write`, `read`.
        doing: &'static str,
        key: String,
        error: StoreError,
    },
    /// What is on this machine is not what it was, or cannot be read or written.
    Local(Error),
    /// It is not wanted any more.
    Outdated,
}

impl Failure {
    /// A request that failed.
    pub(crate) fn of<'a>(
        doing: &'static str,
        key: &'a str,
    ) -> impl FnOnce(StoreError) -> Self + use<'a> {
        move |error| Self::Store { doing, key: key.to_owned(), error }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Store { doing, key, error } => {
                write!(f, "cannot {doing} `{}` in the job's store: {error}", key.escape_debug())
            }
            Self::Local(error) => write!(f, "{error}"),
            Self::Outdated => f.write_str("something newer takes its place"),
        }
    }
}

/// How long to wait before another try.
#[derive(Debug)]
pub(crate) struct Pace {
    passing: Duration,
    lasting: Duration,
}

impl Pace {
    const FIRST_PASSING: Duration = Duration::from_millis(500);
    const LONGEST_PASSING: Duration = Duration::from_secs(30);
    const FIRST_LASTING: Duration = Duration::from_secs(2);
    const LONGEST_LASTING: Duration = Duration::from_secs(120);
    /// When the machine will not be there for long.
    const HURRY: Duration = Duration::from_secs(3);

    pub(crate) fn new() -> Self {
        Self { passing: Self::FIRST_PASSING, lasting: Self::FIRST_LASTING }
    }

    /// The wait after a failure: short for what passes, longer for what somebody must mend.
    pub(crate) fn after(&mut self, error: &StoreError, in_a_hurry: bool) -> Duration {
        let wait = if error.is_passing() {
            let next = (self.passing * 2).min(Self::LONGEST_PASSING);
            std::mem::replace(&mut self.passing, next)
        } else {
            let next = (self.lasting * 2).min(Self::LONGEST_LASTING);
            std::mem::replace(&mut self.lasting, next)
        };
        if in_a_hurry { wait.min(Self::HURRY) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_tried_less_often_than_what_passes_and_a_hurry_bounds_both() {
        let (mut pace, denied) = (Pace::new(), StoreError::NoBucket);
        let passing = StoreError::Passing("x".into());
        let waits: Vec<u64> =
            (0..8).map(|_| pace.after(&passing, false).as_millis() as u64).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        let waits: Vec<u64> = (0..8).map(|_| pace.after(&denied, false).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 120, 120]);
        assert_eq!(pace.after(&denied, true), Pace::HURRY);
    }
}
