//! What survives a crash: the job's state and rows, and the published checkpoints.
//!
//! Invariant: only committed things are here; a row that is final is never written again; a checkpoint is
//! published only where no higher epoch has begun.

use fleet_lifecycle::JobState;
use fleet_types::{CheckpointId, Epoch, MachineRow, Token};
use std::collections::BTreeMap;
use std::time::Duration;

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    pub state: JobState,
    pub rows: BTreeMap<Token, MachineRow>,
}

impl Store {
    /// Inserts or replaces a row; one that is final stays.
    pub fn put_row(&mut self, row: MachineRow) -> bool {
        if self.rows.get(&row.token).is_some_and(|r| r.state.is_final()) {
            return false;
        }
        self.rows.insert(row.token.clone(), row);
        true
    }
    pub fn live_rows(&self) -> Vec<MachineRow> {
        self.rows.values().filter(|r| !r.state.is_final()).cloned().collect()
    }
}

/// The checkpoint store.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    pub published: BTreeMap<CheckpointId, Duration>,
    pub fence: Epoch,
}

impl Shelf {
    /// Epoch `epoch` begins: older ones publish nothing more. False: a newer one has begun.
    pub fn open_epoch(&mut self, epoch: Epoch) -> bool {
        self.fence = self.fence.max(epoch);
        self.fence == epoch
    }
    /// Conditional put; false: it comes too late.
    pub fn publish(&mut self, id: CheckpointId, progress: Duration, fenced: bool) -> bool {
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
    pub fn newest(&self) -> Option<(CheckpointId, Duration)> {
        self.published.iter().next_back().map(|(id, p)| (*id, *p))
    }
}
