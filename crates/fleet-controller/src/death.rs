//! Rule (b) of "proof of death": not found by id, and omitted by complete listings for long enough.

use fleet_provider::{OwnerTag, Provider};
use fleet_types::{InstanceId, TimeScale, Timestamp};
use std::time::{Duration, Instant};

/// Complete listings that must omit the machine.
const LISTINGS: u32 = 3;
/// Over at least this long.
const SPAN: Duration = Duration::from_secs(120);

/// How long a machine has been missing.
#[derive(Debug)]
pub(crate) struct Absence {
    launched_at: Timestamp,
    /// When it was first missed: if its death is proven, the books end there.
    missing_at: Option<Timestamp>,
    /// From when on listings count, by a clock that no jump can move.
    counted_from: Option<Instant>,
    omitted: u32,
}

impl Absence {
    pub(crate) fn new(launched_at: Timestamp) -> Self {
        Self { launched_at, missing_at: None, counted_from: None, omitted: 0 }
    }
    /// It was there again.
    pub(crate) fn seen(&mut self) {
        self.missing_at = None;
        self.counted_from = None;
        self.omitted = 0;
    }
    /// Since when it is missing: if its death is proven, the latest moment at which it ended.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.missing_at
    }
    /// Takes one more not-found in, with a listing beside it; answers whether death is proven.
    pub(crate) async fn proven(
        &mut self,
        provider: &dyn Provider,
        owner: &OwnerTag,
        instance: &InstanceId,
        scale: TimeScale,
        now: Timestamp,
    ) -> bool {
        let listed = match provider.list(owner).await {
            Ok(listing) if listing.complete => listing,
            // Incomplete or failed: evidence of nothing.
            Ok(_) | Err(_) => return false,
        };
        if listed.instances.iter().any(|i| i.id == *instance) {
            self.seen();
            return false;
        }
        self.missing_at.get_or_insert(now);
        let visible = scale.span(provider.capabilities().visibility);
        if now.since(self.launched_at) <= visible {
            // A new machine may be missing from lists: none of these counts.
            return false;
        }
        self.omitted += 1;
        let counted = self.counted_from.get_or_insert_with(Instant::now);
        self.omitted >= LISTINGS && counted.elapsed() >= scale.span(SPAN)
    }
}
