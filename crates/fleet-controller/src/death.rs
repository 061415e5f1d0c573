//! Rule (b) of "proof of death": not found by id, and omitted by complete listings for long enough.

use crate::clock::now;
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
    /// By the wall clock, for the books, and by one that no jump can move, for the proof.
    since: Option<(Timestamp, Instant)>,
    omitted: u32,
}

impl Absence {
    pub(crate) fn new(launched_at: Timestamp) -> Self {
        Self { launched_at, since: None, omitted: 0 }
    }
    /// It was there again.
    pub(crate) fn seen(&mut self) {
        self.since = None;
        self.omitted = 0;
    }
    /// Since when it is missing: if its death is proven, the latest moment at which it ended.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.since.map(|(at, _)| at)
    }
    /// Takes one more not-found in, with a listing beside it; answers whether death is proven.
    pub(crate) async fn proven(
        &mut self,
        provider: &dyn Provider,
        owner: &OwnerTag,
        instance: &InstanceId,
        scale: TimeScale,
    ) -> bool {
        let visible = scale.span(provider.capabilities().visibility);
        if now().since(self.launched_at) <= visible {
            return false;
        }
        match provider.list(owner).await {
            Ok(listing) if listing.instances.iter().any(|i| i.id == *instance) => self.seen(),
            Ok(listing) if listing.complete => {
                self.since.get_or_insert_with(|| (now(), Instant::now()));
                self.omitted += 1;
            }
            // Incomplete or failed: evidence of nothing.
            Ok(_) | Err(_) => {}
        }
        self.omitted >= LISTINGS
            && self.since.is_some_and(|(_, at)| at.elapsed() >= scale.span(SPAN))
    }
}
