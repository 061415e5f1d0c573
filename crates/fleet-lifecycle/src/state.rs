//! The state of a job: a phase that owns what is valid in it, and the record of attempts.
//!
//! Invariant: at most one create is in flight, at most one machine (`outgoing`) still holds the task of
//! an older epoch, and the newest epoch starts its task only when there is none.

use fleet_optimizer::AvoidList;
use fleet_types::{
    Address, CheckpointId, EndCause, Epoch, Fault, InstanceId, MachineClass, Market, Offer,
    Outcome, Place, Timestamp, Token, Trust, Usd,
};
use serde::{Deserialize, Serialize};

/// Everything that changes about a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobState {
    pub phase: Phase,
    /// Number of the newest attempt, allocated when its first create is asked for; 0 before.
    pub epoch: Epoch,
    /// Accepted creates, oldest first.
    pub attempts: Vec<Attempt>,
    /// The older epoch whose task is not proven gone yet.
    pub outgoing: Option<Outgoing>,
    pub avoid: AvoidList,
    /// Newest published checkpoint.
    pub checkpoint: Option<CheckpointId>,
    /// Epochs in a row that ran and left no checkpoint.
    pub barren: u32,
    /// Creates in a row whose machine never ran the task.
    pub stillborn: u32,
    /// Restarts used up by errors of the task's own.
    pub restarts: u32,
}

/// Where a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; waits for the job before it, where there is one.
    Queued,
    /// Offers are asked for and ranked.
    Planning {
        round: u32,
        waiting: Option<Waiting>,
    },
    /// A create is on its way.
    Launching {
        current: InFlight,
        rest: Vec<PlannedPlace>,
        refused: Vec<RefusedPlace>,
    },
    /// The machine exists; SSH is awaited.
    Connecting {
        until: Timestamp,
    },
    /// Agent, files and secrets are put in place; then the older epoch's end is awaited.
    Preparing {
        ready: bool,
        until: Timestamp,
    },
    /// The task works: its `setup` first, which people see as preparing, then its `run`.
    Running {
        #[serde(default)]
        in_setup: bool,
        /// Not heard of since then; nothing is done about it yet.
        silent_since: Option<Timestamp>,
    },
    /// Everything is taken down.
    Stopping {
        goal: Goal,
        /// A create whose outcome was open when the end was decided.
        in_flight: Option<InFlight>,
        /// The task may save until then.
        until: Timestamp,
    },
    Finished {
        goal: Goal,
        at: Timestamp,
    },
}

/// What a job waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub reason: String,
    pub until: Timestamp,
}

/// How a job shall end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    pub outcome: Outcome,
    pub reason: Option<String>,
    pub exit_code: Option<i32>,
    /// What the running attempt's end is called.
    pub cause: EndCause,
}

/// A ranked place with the most that may be paid there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedPlace {
    pub offer: Offer,
    pub effective_usd_per_hour: Usd,
    pub limit_usd_per_hour: Usd,
}

/// A create whose answer is awaited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InFlight {
    /// Counts the offers of the epoch: part of the token.
    pub offer: u32,
    pub token: Token,
    pub place: PlannedPlace,
    /// Its outcome is unknown; it is looked for by token.
    pub unresolved: bool,
    /// Passing failures so far.
    pub retries: u32,
    /// Not before then (throttled).
    pub not_before: Option<Timestamp>,
    /// An earlier life of the controller may have sent it: a refusal says nothing about that one, which
    /// may still be on its way.
    #[serde(default)]
    pub sent_before: bool,
}

/// A place that said no in this plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedPlace {
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    pub fault: Fault,
    pub reason: String,
}

/// One accepted create.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub epoch: Epoch,
    pub token: Token,
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    pub class: MachineClass,
    /// Whose hardware it is: it decides what key for the job's store goes there.
    #[serde(default = "least_trust")]
    pub trust: Trust,
    pub price_usd_per_hour: Usd,
    pub on_demand_usd_per_hour: Option<Usd>,
    /// Disk of the machine, on top of its price.
    pub disk_usd_per_hour: Usd,
    pub instance: InstanceId,
    pub address: Option<Address>,
    pub user: String,
    pub launched_at: Timestamp,
    /// When its task began: with `setup`, or with `run` where there is no setup.
    #[serde(default)]
    pub begun_at: Option<Timestamp>,
    /// When its `run` began.
    pub running_at: Option<Timestamp>,
    /// Terminate accepted, or death: billing is over.
    pub ended_at: Option<Timestamp>,
    pub end_cause: Option<EndCause>,
    pub exit_code: Option<i32>,
    /// Number of its newest published checkpoint.
    pub checkpoint: Option<u32>,
    /// Work before this moment is in a published checkpoint.
    pub saved_until: Option<Timestamp>,
    /// When its task stopped working.
    pub work_ended_at: Option<Timestamp>,
    pub notice_until: Option<Timestamp>,
    /// What its traffic with the job's store has cost so far, estimated.
    #[serde(default)]
    pub egress_usd: Usd,
}

fn least_trust() -> Trust {
    Trust::Untrusted
}

impl Attempt {
    /// Whether anything of its task was ever started: from then on only proof lets the next one start.
    pub fn has_begun(&self) -> bool {
        self.begun_at.is_some() || self.running_at.is_some()
    }
    /// Seconds of work that no published checkpoint holds. A setup is no work.
    pub fn lost_work_seconds(&self, now: Timestamp) -> f64 {
        let Some(start) = self.running_at else { return 0.0 };
        if self.end_cause == Some(EndCause::Done) {
            return 0.0;
        }
        let end = self.work_ended_at.or(self.ended_at).unwrap_or(now);
        end.since(self.saved_until.unwrap_or(start).max(start)).as_secs_f64()
    }
    /// What its compute has cost by `now`.
    pub fn compute_cost(&self, now: Timestamp) -> Usd {
        self.price_usd_per_hour.for_millis(self.billed_millis(now))
    }
    /// What its disk has cost by `now`.
    pub fn disk_cost(&self, now: Timestamp) -> Usd {
        self.disk_usd_per_hour.for_millis(self.billed_millis(now))
    }
    /// How long it has billed by `now`.
    pub fn billed_millis(&self, now: Timestamp) -> i64 {
        (self.ended_at.unwrap_or(now).millis() - self.launched_at.millis()).max(0)
    }
}

/// The attempt whose task must be gone before the next one's may start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outgoing {
    pub epoch: Epoch,
    pub cause: EndCause,
    /// Until then it may save; after that its machine is ended and its death awaited.
    pub until: Timestamp,
    /// The machine was told to end.
    pub ending: bool,
}

impl JobState {
    /// A job just accepted.
    pub fn new() -> Self {
        Self {
            phase: Phase::Queued,
            epoch: Epoch(0),
            attempts: Vec::new(),
            outgoing: None,
            avoid: AvoidList::default(),
            checkpoint: None,
            barren: 0,
            stillborn: 0,
            restarts: 0,
        }
    }
    /// The attempt of `epoch`.
    pub fn attempt(&self, epoch: Epoch) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.epoch == epoch)
    }
    /// The newest attempt, where its create was accepted and its machine is not ended.
    pub fn current(&self) -> Option<&Attempt> {
        self.attempt(self.epoch)
    }
    /// Whether nothing more will happen.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. })
    }
}

impl Default for JobState {
    fn default() -> Self {
        Self::new()
    }
}

impl JobState {
    /// The machine whose task may still be saving, or whose files are still coming home: the outgoing
    /// one where there is one, else the newest that ran. `None` once its end was ordered or booked.
    pub fn saving_epoch(&self) -> Option<Epoch> {
        let epoch = match &self.outgoing {
            Some(o) if o.ending => return None,
            Some(o) => o.epoch,
            None => self.epoch,
        };
        self.attempt(epoch).filter(|a| a.has_begun() && a.ended_at.is_none()).map(|a| a.epoch)
    }
}
