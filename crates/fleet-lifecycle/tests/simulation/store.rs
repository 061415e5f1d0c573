//! What survives a crash: the job's state and rows, and the published checkpoints.
//!
//! Invariant: only committed things are here; a row that is final is never written again; a checkpoint is
//! published only where no higher epoch has begun.

use fleet_lifecycle::{Anchor, JobState};
use fleet_types::{CheckpointId, Epoch, MachineRow, Timestamp, Token};
use std::collections::BTreeMap;
use std::time::Duration;

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) state: JobState,
    pub(crate) rows: BTreeMap<Token, MachineRow>,
    /// The time as it was last known.
    pub(crate) anchor: Option<Anchor>,
    /// When the newest commit was made, by the controller's clock.
    pub(crate) newest: Timestamp,
}

impl Store {
    /// Inserts or replaces a row; one that is final stays.
    pub(crate) fn put_row(&mut self, row: MachineRow) -> bool {
        if self.rows.get(&row.token).is_some_and(|r| r.state.is_final()) {
            return false;
        }
        self.rows.insert(row.token.clone(), row);
        true
    }
    pub(crate) fn live_rows(&self) -> Vec<MachineRow> {
        self.rows.values().filter(|r| !r.state.is_final()).cloned().collect()
    }
}

/// The checkpoint store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    pub(crate) published: BTreeMap<CheckpointId, Duration>,
    pub(crate) fence: Epoch,
}

impl Shelf {
    /// Epoch `epoch` begins: older ones publish nothing more. False: a newer one has begun.
    pub(crate) fn open_epoch(&mut self, epoch: Epoch) -> bool {
        self.fence = self.fence.max(epoch);
        self.fence == epoch
    }
    /// Conditional put; false: it comes too late.
    pub(crate) fn publish(&mut self, id: CheckpointId, progress: Duration, fenced: bool) -> bool {
        let ahead = self.published.keys().next_back().is_some_and(|newest| *newest > id);
        if self.published.contains_key(&id) {
            return true;
        }
        if fenced && (ahead || id.epoch < self.fence) {
            return false;
        }
        self.published.insert(id, progress);
        true
    }
    pub(crate) fn newest(&self) -> Option<(CheckpointId, Duration)> {
        self.published.iter().next_back().map(|(id, p)| (*id, *p))
    }
}
