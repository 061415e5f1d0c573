//! Time limit, rate and concurrency of a single try.
//!
//! Invariant: no try runs longer than its limit, and one that a limit cut off after it was sent is an
//! unknown outcome for a create. Time spent waiting for a turn is not counted and proves nothing was sent.

use super::Kind;
use crate::Gate;
use fleet_provider::{ProviderError, Result};
use fleet_types::TimeScale;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Calls of one cloud in flight at a time.
const CONCURRENT: usize = 16;

#[derive(Debug)]
pub(super) struct Limits {
    scale: TimeScale,
    /// Creates are rarer and dearer than reads, so they have a gate of their own.
    creates: Gate,
    others: Gate,
    permits: Semaphore,
}

impl Limits {
    pub(super) fn new(scale: TimeScale) -> Self {
        Self {
            scale,
            creates: Gate::new(Duration::from_millis(500), 5, scale),
            others: Gate::new(Duration::from_millis(100), 20, scale),
            permits: Semaphore::new(CONCURRENT),
        }
    }

    /// Runs one try when its turn comes.
    pub(super) async fn apply<T>(
        &self,
        kind: Kind,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let _permit = self.permits.acquire().await.map_err(|_| {
            ProviderError::transient(kind.name(), "fleet is shutting its clouds down")
        })?;
        if kind == Kind::Launch {
            self.creates.pass().await
        } else {
            self.others.pass().await
        }
        let limit = self.limit(kind);
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            let why = format!("no answer within {} s", limit.as_secs());
            Err(match kind {
                Kind::Launch => ProviderError::unknown(kind.name(), why),
                _ => ProviderError::transient(kind.name(), why),
            })
        })
    }

    /// Scaled, with a floor that leaves room for a slow machine.
    fn limit(&self, kind: Kind) -> Duration {
        let (seconds, floor) = match kind {
            Kind::Verify | Kind::Describe => (30.0, 10.0),
            Kind::Terminate => (60.0, 15.0),
            Kind::Offers | Kind::List | Kind::Auxiliary => (120.0, 30.0),
            Kind::Launch => (120.0, 20.0),
        };
        self.scale.timeout_secs(seconds).max(Duration::from_secs_f64(floor))
    }
}
