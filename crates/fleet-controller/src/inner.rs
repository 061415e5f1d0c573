//! What every part of the controller shares.

use crate::api::Account;
use crate::clock::Clock;
use crate::clouds::Clouds;
use crate::home::Home;
use crate::mail::Mail;
use crate::stores::Stores;
use crate::vault::Vault;
use fleet_storage::{LocalCheckpoints, SnapshotStore};
use fleet_store::Store;
use fleet_types::{JobId, RealmId, Token};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// The shared parts. Handles only; no state that a decision rests on.
pub(crate) struct Inner {
    pub home: Home,
    pub clock: Clock,
    pub store: Arc<dyn Store>,
    pub vault: Vault,
    pub clouds: Clouds,
    pub snapshots: Arc<SnapshotStore>,
    pub checkpoints: Arc<LocalCheckpoints>,
    pub stores: Stores,
    pub agent: AgentBinary,
    pub version: String,
    jobs: Mutex<HashMap<JobId, mpsc::Sender<Mail>>>,
    keepers: Mutex<HashSet<Token>>,
    reconcilers: Mutex<HashSet<RealmId>>,
    alarms: Mutex<HashMap<JobId, Vec<String>>>,
    given_up: Mutex<Vec<(Instant, JobId)>>,
    /// The stream of an ended job is brought level by one reader at a time.
    pub ended_streams: tokio::sync::Mutex<()>,
    /// Counts ended jobs, so that who waits for one looks again.
    pub ended: watch::Sender<u64>,
}

/// The agent that is put on machines.
#[derive(Clone, Debug)]
pub(crate) struct AgentBinary {
    pub path: PathBuf,
    /// First half of its SHA-256: part of its name on the machine, so that another build is another file.
    pub digest: String,
}

impl Inner {
    #[expect(clippy::too_many_arguments, reason = "called once, at the start")]
    pub(crate) fn new(
        home: Home,
        clock: Clock,
        store: Arc<dyn Store>,
        vault: Vault,
        clouds: Clouds,
        snapshots: Arc<SnapshotStore>,
        checkpoints: Arc<LocalCheckpoints>,
        agent: AgentBinary,
        version: String,
    ) -> Self {
        Self {
            home,
            clock,
            store,
            vault,
            clouds,
            snapshots,
            checkpoints,
            stores: Stores::default(),
            agent,
            version,
            jobs: Mutex::default(),
            keepers: Mutex::default(),
            reconcilers: Mutex::default(),
            alarms: Mutex::default(),
            given_up: Mutex::default(),
            ended_streams: tokio::sync::Mutex::default(),
            ended: watch::Sender::new(0),
        }
    }

    /// The mailbox of a live job.
    pub(crate) fn mailbox(&self, job: &JobId) -> Option<mpsc::Sender<Mail>> {
        lock(&self.jobs).get(job).filter(|tx| !tx.is_closed()).cloned()
    }
    pub(crate) fn set_mailbox(&self, job: JobId, tx: mpsc::Sender<Mail>) {
        lock(&self.jobs).insert(job, tx);
    }
    pub(crate) fn drop_mailbox(&self, job: &JobId) {
        lock(&self.jobs).remove(job);
        self.ended.send_modify(|n| *n += 1);
    }
    /// Live jobs.
    pub(crate) fn live_jobs(&self) -> usize {
        lock(&self.jobs).len()
    }
    /// Takes the keeping of a row; `false` where somebody keeps it already.
    pub(crate) fn take_keeper(&self, token: &Token) -> bool {
        lock(&self.keepers).insert(token.clone())
    }
    pub(crate) fn drop_keeper(&self, token: &Token) {
        lock(&self.keepers).remove(token);
    }
    /// Rows that are being seen to their end.
    pub(crate) fn kept_rows(&self) -> usize {
        lock(&self.keepers).len()
    }
    /// No live job and no row to see to its end.
    pub(crate) fn is_idle(&self) -> bool {
        self.live_jobs() == 0 && self.kept_rows() == 0
    }
    /// Takes the reconciling of a realm, once.
    pub(crate) fn take_reconciler(&self, realm: &RealmId) -> bool {
        lock(&self.reconcilers).insert(realm.clone())
    }
    /// Raises an alarm that `status` shows; answers whether it is a new one.
    pub(crate) fn raise(&self, job: &JobId, text: &str) -> bool {
        let mut alarms = lock(&self.alarms);
        let of_job = alarms.entry(job.clone()).or_default();
        let new = !of_job.iter().any(|a| a == text);
        if new {
            of_job.push(text.to_owned());
        }
        new
    }
    /// Raises an alarm that concerns every live job.
    pub(crate) fn raise_all(&self, text: &str) {
        let jobs: Vec<_> = lock(&self.jobs).keys().cloned().collect();
        for job in jobs {
            self.raise(&job, text);
        }
    }
    /// Takes back the alarms of every job that start so.
    pub(crate) fn calm_all(&self, prefix: &str) {
        for of_job in lock(&self.alarms).values_mut() {
            of_job.retain(|a| !a.starts_with(prefix));
        }
    }
    /// Takes back the alarms that start so.
    pub(crate) fn calm(&self, job: &JobId, prefix: &str) {
        if let Some(of_job) = lock(&self.alarms).get_mut(job) {
            of_job.retain(|a| !a.starts_with(prefix));
        }
    }
    /// Alarms of a job.
    pub(crate) fn alarms(&self, job: &JobId) -> Vec<String> {
        lock(&self.alarms).get(job).cloned().unwrap_or_default()
    }
    /// The storm brake of invariant 11: when many machines fall silent at once, it is us. At most one, or a
    /// fifth of the live jobs, is given up for silence in five minutes.
    pub(crate) fn may_give_up(&self, job: &JobId) -> bool {
        let allowed = (self.live_jobs() / 5).max(1);
        let mut given_up = lock(&self.given_up);
        given_up.retain(|(at, _)| at.elapsed() < Duration::from_secs(300));
        if given_up.iter().any(|(_, j)| j == job) {
            return true;
        }
        if given_up.len() >= allowed {
            drop(given_up);
            self.raise(job, "silent, and so are others: it is taken for a fault on this side");
            return false;
        }
        given_up.push((Instant::now(), job.clone()));
        true
    }
    /// The account of a realm.
    pub(crate) async fn account(&self, realm: &RealmId) -> crate::error::Result<Account> {
        self.clouds.account(realm).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
