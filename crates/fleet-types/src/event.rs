//! What happened to a job, as `launch --json`, `attach` and `events` stream it.
//!
//! Invariant: one JSON object a line with `at`, `event` and `job_id`; the last line of a job is
//! `job.finished` with the whole job. Names are a contract with scripts: add, never rename.

use crate::{EndCause, Epoch, Fault, JobId, JobView, Market, Place, Timestamp, Usd};
use serde::{Deserialize, Serialize};

/// Which stream of the task a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    Stdout,
    Stderr,
}

/// One line of the task's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub epoch: Epoch,
    pub stream: LogStream,
    pub node: u32,
    pub line: String,
    /// Byte offset behind this line in the agent's spool of this epoch: what makes a line unique.
    pub offset: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub at: Timestamp,
    pub job_id: JobId,
    #[serde(flatten)]
    pub body: EventBody,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event")]
pub enum EventBody {
    #[serde(rename = "job.accepted")]
    Accepted {
        name: Option<String>,
        workdir_hash: Option<String>,
        expires_at: Timestamp,
        group: Option<String>,
    },
    /// The job waits, and for what.
    #[serde(rename = "job.waiting")]
    Waiting { reason: String },
    #[serde(rename = "plan.ranked")]
    Ranked {
        epoch: Epoch,
        /// Best first, at most eight.
        candidates: Vec<RankedPlace>,
        rejected: usize,
    },
    /// A candidate said no; nothing was created.
    #[serde(rename = "plan.refused")]
    Refused {
        epoch: Epoch,
        #[serde(flatten)]
        place: Place,
        instance_type: String,
        market: Market,
        fault: Fault,
        code: String,
        message: String,
    },
    /// Spot was asked for and is not to be had: on-demand is bought, as the job allows.
    #[serde(rename = "plan.fallback")]
    FellBack { epoch: Epoch, reason: String },
    #[serde(rename = "attempt.launching")]
    Launching {
        epoch: Epoch,
        #[serde(flatten)]
        place: Place,
        instance_type: String,
        market: Market,
        price_usd_per_hour: Usd,
    },
    /// A create was accepted: the attempt exists and bills.
    #[serde(rename = "attempt.launched")]
    Launched { epoch: Epoch, instance_id: String },
    #[serde(rename = "attempt.connected")]
    Connected { epoch: Epoch, host: String },
    #[serde(rename = "attempt.running")]
    Running { epoch: Epoch },
    #[serde(rename = "checkpoint.saved")]
    Saved { epoch: Epoch, number: u32, bytes: u64, files: usize },
    #[serde(rename = "checkpoint.restored")]
    Restored { epoch: Epoch, from_epoch: Epoch, number: u32, bytes: u64 },
    #[serde(rename = "checkpoint.refused")]
    CheckpointRefused { epoch: Epoch, reason: String },
    #[serde(rename = "preemption.notice")]
    Notice { epoch: Epoch, source: String, deadline: Timestamp, warning_seconds: f64 },
    /// The machine does not answer; the cloud says that it runs. Nothing is done yet.
    #[serde(rename = "attempt.unreachable")]
    Unreachable { epoch: Epoch, since: Timestamp },
    #[serde(rename = "attempt.reachable")]
    Reachable { epoch: Epoch },
    #[serde(rename = "attempt.ended")]
    Ended {
        epoch: Epoch,
        end_cause: EndCause,
        exit_code: Option<i32>,
        /// Seconds of work that no published checkpoint holds.
        lost_work_seconds: f64,
        cost_usd: Usd,
    },
    #[serde(rename = "recovery.started")]
    Recovering { epoch: Epoch, cause: EndCause, next_epoch: Epoch },
    #[serde(rename = "job.cancelling")]
    Cancelling { reason: String },
    /// Something a person should look at.
    #[serde(rename = "job.alarm")]
    Alarm { message: String },
    #[serde(rename = "log")]
    Log(LogLine),
    #[serde(rename = "job.finished")]
    Finished { job: Box<JobView> },
}

/// A candidate as the plan event shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedPlace {
    #[serde(flatten)]
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    pub price_usd_per_hour: Usd,
    pub effective_usd_per_hour: Usd,
}
