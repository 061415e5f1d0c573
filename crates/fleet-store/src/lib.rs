//! The durable store: jobs, machine rows, events, realms.
//!
//! One trait; SQLite is the first body of it, and nothing in the trait is SQLite's alone. Invariant: what
//! a call has acknowledged survives SIGKILL and power loss at the next instant; a commit is all or nothing
//! and compares versions, so a stale writer changes nothing. No secret is ever handed to a store.

#[cfg(feature = "testing")]
pub mod conformance;
mod sqlite;

use async_trait::async_trait;
use fleet_types::{Event, JobId, MachineRow, Realm, RealmId, Timestamp, Token};
use serde_json::Value;
use std::fmt::Debug;

pub use sqlite::{SqliteStore, Tuning};

/// A job as stored: facts that never change, and the lifecycle's state.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRecord {
    pub id: JobId,
    pub created_at: Timestamp,
    pub realm: RealmId,
    /// What was accepted, never changed after.
    pub spec: Value,
    /// The lifecycle's state.
    pub state: Value,
    /// Raised by each commit; 0 at acceptance.
    pub version: u64,
    pub finished: bool,
}

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub id: JobId,
    pub created_at: Timestamp,
    pub realm: RealmId,
    pub spec: Value,
    pub state: Value,
    pub events: Vec<Event>,
}

/// One step of a job: state, events and rows together or not at all.
#[derive(Clone, Debug)]
pub struct Commit {
    pub job: JobId,
    /// Version that the step was taken from.
    pub from_version: u64,
    pub state: Value,
    pub finished: bool,
    pub events: Vec<Event>,
    /// Rows inserted or replaced.
    pub rows: Vec<MachineRow>,
}

/// An event with its place in the fleet's one order.
#[derive(Clone, Debug, PartialEq)]
pub struct SeqEvent {
    pub seq: i64,
    pub event: Event,
}

/// What a store can fail with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Somebody committed in between: read again, decide again.
    #[error("job `{job}` moved on: it is at version {found}, not {expected}")]
    Stale { job: JobId, expected: u64, found: u64 },
    #[error("the database does not know job `{0}`")]
    NoSuchJob(JobId),
    /// A newer fleet wrote this database.
    #[error(
        "the database `{path}` has schema {found}, this fleet knows up to {known}; use the newer fleet"
    )]
    Newer { path: String, found: i64, known: i64 },
    #[error(
        "the database `{path}` is damaged: {detail}; restore a backup from the same folder, or move it away and run `fleet reap`"
    )]
    Damaged { path: String, detail: String },
    #[error(
        "the database `{path}` lies on a network file system ({kind}), where locks cannot be trusted; set FLEET_HOME to a local disk"
    )]
    NetworkDisk { path: String, kind: String },
    /// Full, busy, read-only: nothing was committed.
    #[error("the database cannot be written: {0}")]
    Unavailable(String),
    #[error("a stored document is unreadable: {0}")]
    Document(String),
}

/// What every call answers.
pub type Result<T> = std::result::Result<T, Error>;

/// The durable store.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// Accepts jobs, all or none. The same `client_key` answers the jobs that it made the first time.
    async fn accept(&self, client_key: &str, jobs: Vec<NewJob>) -> Result<Vec<JobRecord>>;
    /// One job.
    async fn job(&self, id: &JobId) -> Result<Option<JobRecord>>;
    /// Every job, oldest first; `live_only` leaves out finished ones.
    async fn jobs(&self, live_only: bool) -> Result<Vec<JobRecord>>;
    /// Commits one step; answers the new version. [`Error::Stale`] changed nothing.
    async fn commit(&self, commit: Commit) -> Result<u64>;
    /// Inserts or replaces one row outside a job's step (terminate accepted, proof of death). A row that is
    /// final stays as it is: the answer is then `false`.
    async fn put_row(&self, row: MachineRow) -> Result<bool>;
    /// Rows that are not final.
    async fn live_rows(&self) -> Result<Vec<MachineRow>>;
    /// Rows of one job, by epoch and offer.
    async fn rows(&self, job: &JobId) -> Result<Vec<MachineRow>>;
    /// One row.
    async fn row(&self, token: &Token) -> Result<Option<MachineRow>>;
    /// Appends events that belong to no step (alarms, checkpoints of the relay).
    async fn append(&self, events: Vec<Event>) -> Result<()>;
    /// Events of one job after `seq`, in order, at most `limit`.
    async fn events(&self, job: &JobId, after: i64, limit: usize) -> Result<Vec<SeqEvent>>;
    /// Remembers a realm under its id.
    async fn put_realm(&self, realm: &Realm) -> Result<RealmId>;
    /// A realm.
    async fn realm(&self, id: &RealmId) -> Result<Option<Realm>>;
    /// Every realm.
    async fn realms(&self) -> Result<Vec<Realm>>;
    /// A small fact of the fleet (`admit-address`).
    async fn fact(&self, name: &str) -> Result<Option<String>>;
    /// Sets it.
    async fn set_fact(&self, name: &str, value: &str) -> Result<()>;
}
