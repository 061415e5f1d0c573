//! A job as `status --json` shows it (CLI.md, "JSON shapes"): the stable outside view.
//!
//! Invariant: field names and words here are a contract with scripts; they may grow, never change.

use crate::{Epoch, JobId, Market, ProviderId, Timestamp, Usd};
use serde::{Deserialize, Serialize};

/// The phases as scripts know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseName {
    Queued,
    Planning,
    Launching,
    Connecting,
    Preparing,
    Running,
    Recovering,
    Stopping,
    Finished,
}

impl std::fmt::Display for PhaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Launching => "launching",
            Self::Connecting => "connecting",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Recovering => "recovering",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
        })
    }
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The task exited 0.
    Succeeded,
    /// The task failed, or nothing could be had for it.
    Failed,
    /// Somebody asked for it.
    Cancelled,
    /// Budget, deadline, `max_duration` or policy ended it.
    Stopped,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stopped => "stopped",
        })
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndCause {
    Done,
    UserError,
    Preempted,
    HostLost,
    LaunchFailed,
    Cancelled,
    Budget,
    Deadline,
}

/// Money by part, in dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostParts {
    pub compute: Usd,
    pub disk: Usd,
    pub network: Usd,
    pub egress_estimated: Usd,
}

impl CostParts {
    /// All parts together.
    pub fn total(&self) -> Usd {
        self.compute + self.disk + self.network + self.egress_estimated
    }
}

/// One placement's try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    pub epoch: Epoch,
    pub provider: ProviderId,
    pub region: String,
    pub zone: String,
    pub instance_type: String,
    pub market: Market,
    pub price_usd_per_hour: Usd,
    pub instance_id: String,
    pub host: Option<String>,
    pub launched_at: Option<Timestamp>,
    pub running_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub end_cause: Option<EndCause>,
    pub cost_usd: Usd,
    /// Seconds of work done after the last checkpoint that outlived the attempt.
    #[serde(default)]
    pub lost_work_seconds: Option<f64>,
    /// Last checkpoint published by this attempt.
    #[serde(default)]
    pub checkpoint: Option<u32>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub id: JobId,
    pub name: Option<String>,
    pub phase: PhaseName,
    pub outcome: Option<Outcome>,
    pub reason: Option<String>,
    /// Exit code of the task, where it ended by itself.
    pub exit_code: Option<i32>,
    pub created_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub cost_usd: Usd,
    pub cost_parts: CostParts,
    /// What the same running time would have cost on demand, where known.
    #[serde(default)]
    pub on_demand_usd: Option<Usd>,
    pub workdir_hash: Option<String>,
    pub group: Option<String>,
    pub attempts: Vec<AttemptView>,
    /// The task ends at the latest then, whoever is awake.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Things a person should look at: credentials refused while a machine lives, silence, odd answers.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Where its checkpoints and outputs lie on this machine.
    #[serde(default)]
    pub checkpoint_dir: Option<String>,
    #[serde(default)]
    pub output_dir: Option<String>,
    #[serde(default)]
    pub sandbox: bool,
}
