//! What can happen to a job, as the edges report it.
//!
//! Invariant: every report that belongs to a machine carries its epoch; one below the epochs that the
//! state still cares for changes nothing.

use crate::PlannedPlace;
use fleet_types::{
    Address, CheckpointId, DeathCause, Epoch, Instance, Outcome, Refusal, Timestamp, Usd,
};
use serde::{Deserialize, Serialize};

/// How a task ended on its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code; 128 + signal where a signal killed it.
    pub code: i32,
    /// It failed in `setup`.
    pub in_setup: bool,
    /// It had been told to stop before it ended.
    pub stopped: bool,
    /// It created `$FLEET_DONE_FILE`.
    pub done: bool,
    /// Not the task failed: what watched over it was killed, or its machine started anew.
    #[serde(default)]
    pub lost: bool,
    pub at: Timestamp,
}

/// A checkpoint that was put in place before the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    pub id: CheckpointId,
    pub bytes: u64,
    /// What moving it to the machine cost.
    pub egress_usd: Usd,
}

/// A checkpoint that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub number: u32,
    pub taken_at: Timestamp,
    pub bytes: u64,
    pub files: usize,
    /// What moving it to the store cost.
    pub egress_usd: Usd,
}

/// One report.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The job may begin: nothing stands before it.
    Begin,
    /// The job before it in the pipeline ended otherwise than well.
    PredecessorEnded { outcome: Outcome },
    /// The plan of `round`, best first.
    Planned { round: u32, places: Vec<PlannedPlace>, rejected: usize, reasons: Vec<String> },
    /// No cloud could be asked.
    PlanFailed { round: u32, reason: String, credentials: bool },
    /// A create was accepted.
    Accepted { epoch: Epoch, offer: u32, instance: Box<Instance> },
    /// A create was refused; nothing was made.
    Refused { epoch: Epoch, offer: u32, refusal: Refusal },
    /// Nobody knows what came of a create.
    Unresolved { epoch: Epoch, offer: u32 },
    /// An earlier life of the controller may have sent this create; its cloud knows tokens, so it is sent
    /// again.
    SentBefore { epoch: Epoch, offer: u32 },
    /// It was looked for until it could not be missed, and is not there.
    Absent { epoch: Epoch, offer: u32 },
    /// The machine has an address, or bills since another moment than was thought, by the cloud's word.
    Addressed {
        epoch: Epoch,
        address: Option<Address>,
        user: String,
        launched_at: Option<Timestamp>,
    },
    /// SSH and agent answer.
    Connected { epoch: Epoch, host: String },
    /// Everything is in place; the task may start.
    Prepared { epoch: Epoch },
    /// The machine cannot be used: wrong host key, no room, agent does not run.
    Unfit { epoch: Epoch, reason: String },
    /// The task has begun with its `setup`.
    Begun { epoch: Epoch, at: Timestamp, restored: Option<Restored> },
    /// The task's `run` runs, after its setup where it has one. `restored` comes with the first word of the
    /// two.
    Started { epoch: Epoch, at: Timestamp, restored: Option<Restored> },
    /// The cloud will take the machine.
    Notice { epoch: Epoch, source: String, deadline: Timestamp },
    /// A checkpoint was published.
    Saved { epoch: Epoch, saved: Saved },
    /// The task ended; no process of it is left.
    Exited { epoch: Epoch, exit: Exit },
    /// All that the ended task left is home.
    Settled { epoch: Epoch },
    /// It has not been heard of since then.
    Silent { epoch: Epoch, since: Timestamp },
    /// Silent for so long, all of it while we were awake and its cloud called it running, that it is given up.
    Lost { epoch: Epoch },
    /// It is heard again.
    Heard { epoch: Epoch },
    /// Proof that the machine's task is dead.
    Dead { epoch: Epoch, cause: DeathCause, at: Timestamp },
    /// A terminate was accepted, or the machine is proven gone: billing is over.
    Released { epoch: Epoch, at: Timestamp },
    /// Somebody wants the job to end.
    Cancel { reason: String },
    /// Time has passed; limits are looked at.
    Tick,
    /// This machine slept so long, in milliseconds: what waited for bytes to come home waits on.
    Woke { slept_ms: u64 },
}

impl Happening {
    /// The epoch that the report speaks of, where it speaks of one.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Accepted { epoch, .. }
            | Self::Refused { epoch, .. }
            | Self::Unresolved { epoch, .. }
            | Self::SentBefore { epoch, .. }
            | Self::Absent { epoch, .. }
            | Self::Addressed { epoch, .. }
            | Self::Connected { epoch, .. }
            | Self::Prepared { epoch }
            | Self::Unfit { epoch, .. }
            | Self::Begun { epoch, .. }
            | Self::Started { epoch, .. }
            | Self::Notice { epoch, .. }
            | Self::Saved { epoch, .. }
            | Self::Exited { epoch, .. }
            | Self::Settled { epoch }
            | Self::Silent { epoch, .. }
            | Self::Lost { epoch }
            | Self::Heard { epoch }
            | Self::Dead { epoch, .. }
            | Self::Released { epoch, .. } => Some(*epoch),
            Self::Begin
            | Self::PredecessorEnded { .. }
            | Self::Planned { .. }
            | Self::PlanFailed { .. }
            | Self::Cancel { .. }
            | Self::Tick
            | Self::Woke { .. } => None,
        }
    }
}
