//! What is fixed when a job is accepted.

use fleet_types::{Fallback, FleetId, JobId, Market, RealmId, TimeScale, Timestamp, Usd};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The facts of a job that decisions need; they never change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobFacts {
    pub id: JobId,
    pub fleet: FleetId,
    pub realm: RealmId,
    pub name: Option<String>,
    pub group: Option<String>,
    pub workdir_hash: Option<String>,
    pub created_at: Timestamp,
    /// End of `max_duration`: on the machines themselves, and the end of the job.
    pub expires_at: Timestamp,
    pub budget: Option<Usd>,
    /// What is tried first.
    pub market: Market,
    pub fallback: Fallback,
    /// Recovery may cross between VM and container.
    pub any_class: bool,
    /// Job of the same pipeline that must succeed first.
    pub after: Option<JobId>,
    /// How often a task that failed by itself is run again.
    pub max_restarts: u32,
    /// Exit codes that stand for a lost machine.
    pub recover_codes: Vec<i32>,
    pub disk_gib: u32,
    /// From a stop signal to SIGKILL.
    pub grace_ms: u64,
    pub time_scale: TimeScale,
    pub sandbox: bool,
}

/// Spans of the lifecycle. All but the task's own grace follow the time scale.
#[derive(Clone, Copy, Debug)]
pub struct Timing(TimeScale);

impl JobFacts {
    /// From a stop signal to SIGKILL.
    pub fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
    /// The spans that hold for this job.
    pub fn timing(&self) -> Timing {
        Timing(self.time_scale)
    }
}

impl Timing {
    /// A machine that cannot be reached this long after its create is given up. Containers pull images.
    pub fn connect(self, container: bool) -> Duration {
        self.0.secs(if container { 900.0 } else { 420.0 }).max(Duration::from_secs(30))
    }
    /// Agent, files and checks must be in place within this.
    pub fn prepare(self) -> Duration {
        self.0.secs(1800.0).max(Duration::from_secs(120))
    }
    /// Silence of a machine that its cloud calls running, before it is given up (reliability.md C2).
    pub fn silence(self) -> Duration {
        self.0.secs(900.0).max(Duration::from_secs(30))
    }
    /// Checkpoints and outputs of an ended task must be home within this.
    pub fn drain(self) -> Duration {
        self.0.secs(1800.0).max(Duration::from_secs(120))
    }
    /// A cancelled task may save this long before its machine is ended.
    pub fn cancel_grace(self, grace: Duration) -> Duration {
        grace.min(Duration::from_secs(10))
    }
    /// Between two plans while waiting for capacity.
    pub fn replan(self, round: u32) -> Duration {
        self.0.secs(30.0 * f64::from(1 + round.min(9)))
    }
    /// A place that took a machine away is left alone this long.
    pub fn preempted_place(self) -> Duration {
        self.0.secs(1800.0)
    }
    /// A place whose machine never came up is left alone this long.
    pub fn broken_place(self) -> Duration {
        self.0.secs(3600.0)
    }
}
