//! What is repeated, how often, and after how long.
//!
//! Invariant: a repeat of a create can only find the same machine, and an answer that does not speak of
//! the first try (throttled, not allowed, unreachable) never turns an unknown outcome into a refusal.

use fleet_provider::{ProviderError, Result};
use fleet_types::{Fault, TimeScale};
use std::sync::Mutex;
use std::time::Duration;

const TRIES: u32 = 3;
const BASE: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_secs(10);
const RETRY_AFTER_CAP: Duration = Duration::from_secs(60);

/// How a call may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing, or the same again leads to the same.
    Safe,
    /// A create that the cloud knows by its token.
    SameToken,
    /// A create that would be a second create.
    Never,
}

#[derive(Debug)]
pub(super) struct Retry {
    scale: TimeScale,
    jitter: Mutex<fastrand::Rng>,
}

impl Retry {
    pub(super) fn new(scale: TimeScale, seed: u64) -> Self {
        Self { scale, jitter: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    /// Runs `attempt` until it succeeds, its failure is final, or the tries are used up.
    pub(super) async fn run<T, F>(
        &self,
        repeat: Repeat,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut unknown: Option<ProviderError> = None;
        let mut number = 0;
        loop {
            number += 1;
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => settled(repeat, unknown.take(), error),
            };
            if number == TRIES || !repeatable(repeat, &error) {
                return Err(error);
            }
            tracing::debug!(number, fault = error.fault.label(), "trying the call again");
            tokio::time::sleep(self.pause(number, &error)).await;
            unknown = error.maybe_applied.then_some(error);
        }
    }

    /// Full jitter, but never before the cloud says to come back.
    fn pause(&self, number: u32, error: &ProviderError) -> Duration {
        let ceiling = (BASE * 2_u32.pow(number)).min(CAP);
        let share = self.jitter.lock().unwrap_or_else(|e| e.into_inner()).f64();
        let asked = error.retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
        self.scale.span(asked + ceiling.mul_f64(share))
    }
}

fn repeatable(repeat: Repeat, error: &ProviderError) -> bool {
    match repeat {
        Repeat::Safe => {
            matches!(error.fault, Fault::Transient | Fault::Throttled | Fault::Unknown)
        }
        Repeat::SameToken => error.fault == Fault::Unknown,
        Repeat::Never => false,
    }
}

/// What is known after `error`, given that an earlier try of the same create may have taken effect.
fn settled(repeat: Repeat, unknown: Option<ProviderError>, error: ProviderError) -> ProviderError {
    let speaks_of_the_first = matches!(
        error.fault,
        Fault::Capacity | Fault::Quota | Fault::Price | Fault::Rejected | Fault::Conflict
    );
    match unknown {
        Some(first) if repeat == Repeat::SameToken && !speaks_of_the_first => {
            if error.fault == Fault::Unknown { error } else { first }
        }
        _ => error,
    }
}
