//! A published checkpoint: one manifest naming whole files.
//!
//! Invariant: newest is the highest (epoch, number), whatever the clocks said, so a ghost of an old
//! epoch never wins; only what a manifest names is ever restored.

use crate::{Epoch, JobId, Timestamp, Tree};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which checkpoint: ordered by epoch, then number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    pub epoch: Epoch,
    /// From 1, within the epoch.
    pub number: u32,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.number)
    }
}

/// What is published last, by conditional put, and makes a checkpoint exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointManifest {
    /// Version of this document: 1.
    pub version: u32,
    pub job: JobId,
    #[serde(flatten)]
    pub id: CheckpointId,
    /// When the agent saw the files complete: work after this is lost at a restart from it.
    pub taken_at: Timestamp,
    pub tree: Tree,
}
