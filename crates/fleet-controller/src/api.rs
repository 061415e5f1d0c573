//! What goes in and out of the controller, as documents: the server's routes carry exactly these.
//!
//! Invariant: credentials and secrets travel only in [`Account::environment`] and
//! [`TaskSubmission::secrets`], which are sealed in the home on arrival and never stored, logged or
//! streamed.

use fleet_spec::{Execution, Task};
use fleet_types::{Epoch, JobId, Market, Offer, Place, ProviderId, Realm, Timestamp, Usd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where a request plays, and with whose credentials.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Account {
    pub realm: Realm,
    /// Variables that drivers may read: account selectors, and credentials that exist only in the
    /// environment. Never printed.
    pub environment: BTreeMap<String, String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// `fleet launch`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// Same key, same jobs, however often it is sent.
    pub client_key: String,
    pub account: Account,
    pub group: Option<String>,
    pub execution: Execution,
    pub tasks: Vec<TaskSubmission>,
}

/// One task, its files frozen already.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct TaskSubmission {
    pub task: Task,
    pub secrets: BTreeMap<String, String>,
    /// Digest of the workdir's tree in the home's snapshot store.
    pub workdir: Option<String>,
    pub mounts: Vec<MountSnapshot>,
}

impl std::fmt::Debug for TaskSubmission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskSubmission")
            .field("task", &self.task)
            .field("workdir", &self.workdir)
            .field("mounts", &self.mounts)
            .finish_non_exhaustive()
    }
}

/// A frozen local file mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSnapshot {
    pub target: String,
    pub digest: String,
}

/// An offer with its place in the ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankedOffer {
    #[serde(flatten)]
    pub offer: Offer,
    /// Price × (1 + expected loss).
    pub effective_usd_per_hour: Usd,
    /// Interruptions per hour used in the ranking, prior included.
    pub hazard_used_per_hour: f64,
    /// Why it stands where it stands, in a few words.
    pub why: String,
}

/// An offer that is not taken, and the one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedOffer {
    #[serde(flatten)]
    pub offer: Offer,
    pub reason: String,
    /// The reason without the offer's own numbers: what it has in common with others.
    pub kind: String,
}

/// A cloud that could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderTrouble {
    pub provider: ProviderId,
    pub message: String,
    /// The next command.
    pub hint: Option<String>,
    /// It is a matter of credentials (exit code 4 when nothing else answered).
    pub credentials: bool,
}

/// The ranked places of a task: `launch --dry-run --json` and the plan table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanView {
    pub candidates: Vec<RankedOffer>,
    pub rejected: Vec<RejectedOffer>,
    pub expected_cost_usd: Option<Usd>,
    pub expected_hours: Option<f64>,
    /// Who pays, by cloud.
    pub accounts: Vec<AccountLine>,
    pub troubles: Vec<ProviderTrouble>,
    /// Plain sentences a person should read before saying yes (fallback, limits, expiry cover, relay).
    pub notes: Vec<String>,
    pub expires_in_seconds: f64,
}

/// Who pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLine {
    pub provider: ProviderId,
    pub account: String,
    pub principal: String,
    pub source: String,
    pub expires_at: Option<Timestamp>,
}

/// `fleet check` of one cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    pub provider: ProviderId,
    pub usable: bool,
    pub identity: Option<AccountLine>,
    pub notes: Vec<String>,
    /// How much may still be rented, or how that is learned.
    pub quota: Option<String>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

/// `fleet reap`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReapOptions {
    /// Only what is past its expiry.
    pub expired: bool,
    /// Another fleet than the home's own.
    pub fleet: Option<String>,
    pub dry_run: bool,
}

/// A thing that reap looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReapItem {
    pub provider: ProviderId,
    /// `machine`, `key-pair`, …
    pub kind: String,
    pub id: String,
    pub place: Place,
    /// Of a machine.
    pub instance_type: Option<String>,
    /// Of a machine.
    pub market: Option<Market>,
    /// Of a machine: what its cloud says, else, where it is only looked at, what such a one costs there now.
    pub price_usd_per_hour: Option<Usd>,
    /// Since when it bills, by the cloud's clock.
    pub since: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub job: Option<String>,
    pub verdict: ReapVerdict,
    /// The verdict in words: `ended`, `would end`, `kept: job j-… runs on it`, `failed: …`.
    pub action: String,
    pub failed: bool,
}

/// What became of a thing that reap looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReapVerdict {
    Ended,
    /// Only looked at.
    WouldEnd,
    /// It has an owner, is not due, or costs nothing and goes with the next reap.
    Kept,
    /// It bills on.
    Failed,
}

/// What reap did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReapReport {
    pub items: Vec<ReapItem>,
    /// Places that did not answer: nothing can be said about them.
    pub gaps: Vec<ReapGap>,
}

/// What reap could not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReapGap {
    pub provider: ProviderId,
    pub reason: GapReason,
    /// In the cloud's or the driver's words.
    pub message: String,
}

/// Why reap did not see a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// No credential is configured: whoever is no customer has no machine there.
    NoAccount,
    /// The credentials were refused.
    Credentials,
    /// It did not answer, or not so that it could be read.
    Unanswered,
}

/// How to reach a job's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineAccess {
    pub job: JobId,
    pub epoch: Epoch,
    pub host: String,
    pub port: u16,
    pub user: String,
    /// File with the job's login key, mode 0600.
    pub key_path: PathBuf,
    /// OpenSSH known_hosts file with the pinned key.
    pub known_hosts_path: PathBuf,
    /// The pinned key's OpenSSH line.
    pub host_key: String,
    /// Where the job lies there.
    #[serde(default)]
    pub folders: Folders,
    /// What fleet puts into the task's environment besides paths. Neither the task file's variables nor
    /// secrets.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
}

/// A job's folders on its machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folders {
    /// The job's own, below the login user's home.
    pub base: String,
    /// In which the task runs, below `base`.
    pub workdir: String,
    /// The task's variables that hold paths, each below `base`.
    pub paths: BTreeMap<String, String>,
}

/// `fleet server status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    pub running: bool,
    pub pid: Option<u32>,
    pub version: Option<String>,
    pub started_at: Option<Timestamp>,
    pub jobs_live: usize,
}

/// Work left behind by `server stop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftRunning {
    pub job: JobId,
    pub instance_id: String,
    pub place: Place,
    pub market: Market,
    pub price_usd_per_hour: Usd,
}
