//! The controller's handle: accept, show, cancel, stream, leave.
//!
//! Invariant 12: what `submit` and `cancel` have answered survives SIGKILL at the next instant.

use crate::api::{
    Account, LeftRunning, MachineAccess, ReapOptions, ReapReport, ServerStatus, Submission,
    TaskSubmission,
};
use crate::clock::{self, Clock};
use crate::clouds::Clouds;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::inner::{AgentBinary, Inner};
use crate::job;
use crate::keys::JobKeys;
use crate::mail::{Mail, Pull};
use crate::record::{JobDoc, read, view_of};
use crate::vault::Vault;
use crate::{journal, planning, reap, reconcile, run_spec};
use async_trait::async_trait;
use fleet_lifecycle::{JobFacts, JobState};
use fleet_spec::Execution;
use fleet_storage::{LocalCheckpoints, SnapshotStore};
use fleet_store::{JobRecord, NewJob, SqliteStore, Store};
use fleet_types::{Event, EventBody, JobId, JobView, RowState, Timestamp, Token};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// What a controller is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// The agent that is put on machines.
    pub agent_binary: PathBuf,
    pub version: String,
    pub seed: Option<u64>,
}

/// A running controller. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
    started_at: Timestamp,
}

impl Controller {
    /// Opens the home's database and takes every live job and row up where they were left.
    pub async fn start(home: Home, options: Options) -> Result<Self> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&home.db_path()).await?);
        let vault = Vault::open(&home)?;
        let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
        let clouds = Clouds::new(store.clone(), vault.clone(), seed);
        let fail = |e: fleet_storage::Error| Error::internal("the stores of the fleet home", e);
        let snapshots = Arc::new(SnapshotStore::open(&home.snapshots_dir()).map_err(fail)?);
        let checkpoints = Arc::new(LocalCheckpoints::open(&home.checkpoints_dir()).map_err(fail)?);
        let agent = agent_binary(options.agent_binary)?;
        let (stakes, known) = clock::at_stake(&*store).await?;
        let clock = Clock::open(&home, stakes, known);
        clock.settle(stakes).await;
        let inner = Arc::new(Inner::new(
            home,
            clock,
            store,
            vault,
            clouds,
            snapshots,
            checkpoints,
            agent,
            options.version,
        ));
        let controller = Self { started_at: inner.clock.now(), inner };
        controller.resume().await?;
        tokio::spawn(clock::watch(Arc::downgrade(&controller.inner)));
        Ok(controller)
    }

    async fn resume(&self) -> Result<()> {
        for record in self.inner.store.jobs(true).await? {
            // A poisoned row affects only its own job (invariant 24).
            self.take_up_for_sure(&record).await;
        }
        reconcile::resume(&self.inner).await
    }

    /// Takes a job up; where that fails now, it is tried again every minute, and `status` says so.
    async fn take_up_for_sure(&self, record: &JobRecord) {
        let Err(e) = self.take_up(record).await else { return };
        let id = record.id.clone();
        tracing::error!(job = %id, "cannot be taken up: {e}");
        self.inner.raise(&id, &format!("cannot be taken up: {e}"));
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(60)).await;
                match this.inner.store.job(&id).await {
                    Ok(Some(r)) if r.finished || this.inner.mailbox(&id).is_some() => return,
                    Ok(Some(record)) => match this.take_up(&record).await {
                        Ok(()) => return this.inner.calm(&id, "cannot be taken up"),
                        Err(e) => tracing::error!(job = %id, "cannot be taken up: {e}"),
                    },
                    Ok(None) => return,
                    Err(e) => tracing::error!(job = %id, "cannot be read: {e}"),
                }
            }
        });
    }

    async fn take_up(&self, record: &JobRecord) -> Result<()> {
        let (doc, state) = read(record)?;
        reconcile::start(&self.inner, &record.realm);
        job::start(&self.inner, doc, state, record.version).await
    }

    /// Accepts tasks as jobs; durable when it returns. The same client key answers the same jobs.
    pub async fn submit(&self, submission: Submission) -> Result<Vec<JobView>> {
        // A caller that hangs up must not leave a job accepted that nobody runs.
        let this = self.clone();
        let accepting = tokio::spawn(async move { this.accept(submission).await });
        accepting.await.unwrap_or_else(|e| Err(Error::internal("accepting a job", e)))
    }

    async fn accept(&self, submission: Submission) -> Result<Vec<JobView>> {
        if submission.tasks.is_empty() {
            return Err(Error::Invalid("no task to launch".into()));
        }
        for task in &submission.tasks {
            self.has_snapshots(task)?;
        }
        let realm = self.inner.clouds.remember(&submission.account).await?;
        self.inner.clock.before_jobs(&submission.account.realm, !self.inner.is_idle()).await;
        let at = self.inner.clock.now();
        let mut jobs = Vec::new();
        let mut before: Option<JobId> = None;
        let mut waits = Duration::ZERO;
        for task in &submission.tasks {
            let after = before.take().filter(|_| submission.execution == Execution::Serial);
            let mut facts = self.facts(&submission, task, &realm, at, after);
            if submission.execution == Execution::Serial {
                // Its life begins when the jobs before it have ended.
                facts.expires_at = facts.expires_at.plus(waits);
                waits += planning::max_duration(&task.task);
            }
            self.inner.vault.seal(&format!("job-{}", facts.id), &task.secrets)?;
            before = Some(facts.id.clone());
            let accepted = Event {
                at,
                job_id: facts.id.clone(),
                body: EventBody::Accepted {
                    name: facts.name.clone(),
                    workdir_hash: facts.workdir_hash.clone(),
                    expires_at: facts.expires_at,
                    group: facts.group.clone(),
                },
            };
            let odd = |e: serde_json::Error| Error::internal("writing a job", e);
            jobs.push(NewJob {
                id: facts.id.clone(),
                created_at: at,
                realm: realm.clone(),
                spec: serde_json::to_value(JobDoc::new(facts, task)).map_err(odd)?,
                state: serde_json::to_value(JobState::new()).map_err(odd)?,
                events: vec![accepted],
            });
        }
        let made: Vec<JobId> = jobs.iter().map(|j| j.id.clone()).collect();
        let records = self.inner.store.accept(&submission.client_key, jobs).await?;
        // The key was used before: the jobs of then count, and the secrets sealed for these are not needed.
        for id in made.iter().filter(|id| !records.iter().any(|r| r.id == **id)) {
            self.inner.vault.forget(&format!("job-{id}"));
        }
        let mut views = Vec::new();
        for record in &records {
            if self.inner.mailbox(&record.id).is_none() && !record.finished {
                self.take_up_for_sure(record).await;
            }
            views.push(self.view(record)?);
        }
        Ok(views)
    }

    fn has_snapshots(&self, task: &TaskSubmission) -> Result<()> {
        for digest in task.workdir.iter().chain(task.mounts.iter().map(|m| &m.digest)) {
            let found = self.inner.snapshots.tree(digest);
            if !found.is_ok_and(|tree| tree.is_some()) {
                return Err(Error::NoSnapshot(digest.clone()));
            }
        }
        Ok(())
    }

    fn facts(
        &self,
        submission: &Submission,
        task: &TaskSubmission,
        realm: &fleet_types::RealmId,
        at: Timestamp,
        after: Option<JobId>,
    ) -> JobFacts {
        let t = &task.task;
        JobFacts {
            id: JobId::from_bits(uuid::Uuid::now_v7().as_u128() as u64 ^ fastrand::u64(..) >> 4),
            fleet: self.inner.home.fleet_id().clone(),
            realm: realm.clone(),
            name: t.name.clone(),
            group: submission.group.clone(),
            workdir_hash: task.workdir.clone(),
            created_at: at,
            expires_at: at.plus(planning::max_duration(t)),
            budget: t.spot.budget_usd,
            market: planning::market(t),
            fallback: t.spot.fallback,
            any_class: t.machine_any,
            after,
            max_restarts: t.recovery.max_restarts_on_errors,
            recover_codes: t.recovery.recover_on_exit_codes.clone(),
            disk_gib: planning::disk_gib(t),
            grace_ms: t.checkpoint.grace.as_millis() as u64,
            time_scale: submission.account.realm.time_scale,
            sandbox: submission.account.realm.sandbox,
        }
    }

    fn view(&self, record: &JobRecord) -> Result<JobView> {
        let (doc, state) = read(record)?;
        let mut view = view_of(&self.inner.home, &doc, &state, self.inner.clock.now());
        view.alarms = self.inner.alarms(&record.id);
        Ok(view)
    }

    /// Every job, oldest first, ended ones too. One that cannot be read is left out and told.
    pub async fn jobs(&self) -> Result<Vec<JobView>> {
        let records = self.inner.store.jobs(false).await?;
        Ok(records
            .iter()
            .filter_map(|r| match self.view(r) {
                Ok(view) => Some(view),
                Err(e) => {
                    tracing::error!(job = %r.id, "cannot be shown: {e}");
                    None
                }
            })
            .collect())
    }

    /// One job, by id or by a name that only one job has.
    pub async fn job(&self, id: &str) -> Result<JobView> {
        self.view(&self.find(id).await?)
    }

    async fn find(&self, id: &str) -> Result<JobRecord> {
        if JobId::is_valid(id)
            && let Some(record) = self.inner.store.job(&JobId::new(id)).await?
        {
            return Ok(record);
        }
        let named: Vec<_> = self
            .inner
            .store
            .jobs(false)
            .await?
            .into_iter()
            .filter(|r| read(r).is_ok_and(|(doc, _)| doc.facts.name.as_deref() == Some(id)))
            .collect();
        match named.len() {
            0 => Err(Error::NoSuchJob(id.chars().take(80).collect())),
            1 => named.into_iter().next().ok_or_else(|| Error::NoSuchJob(id.to_owned())),
            n => Err(Error::Ambiguous(id.to_owned(), n)),
        }
    }

    /// Cancels; durable when it returns, and nothing new is created for the job after that.
    pub async fn cancel(&self, id: &str) -> Result<JobView> {
        let record = self.find(id).await?;
        if self.inner.mailbox(&record.id).is_none() && !record.finished {
            self.take_up(&record).await?;
        }
        if let Some(mailbox) = self.inner.mailbox(&record.id) {
            let (done, answer) = oneshot::channel();
            let reason = "cancelled by the user".to_owned();
            if mailbox.send(Mail::Cancel { reason, done }).await.is_ok() {
                match answer.await {
                    Ok(result) => result?,
                    // It ended in between: nothing is left to cancel.
                    Err(_) => tracing::debug!(job = %record.id, "ended before it was cancelled"),
                }
            }
        }
        self.job(record.id.as_str()).await
    }

    /// The job's stream from its start, one JSON object a line; with `follow` until `job.finished`.
    pub async fn stream(&self, id: &str, follow: bool) -> Result<mpsc::Receiver<String>> {
        let record = self.find(id).await?;
        let store = &*self.inner.store;
        // A job that lives is read through its own writer; one that ended through its file alone.
        if let Some(mailbox) = self.inner.mailbox(&record.id) {
            let (answer, journal) = oneshot::channel();
            if mailbox.send(Mail::Journal(answer)).await.is_ok()
                && let Ok(journal) = journal.await
            {
                return Ok(journal.read(follow));
            }
        }
        let _one = self.inner.ended_streams.lock().await;
        let journal = journal::Journal::open(&self.inner.home, &record.id, store).await?;
        Ok(journal.read(false))
    }

    /// How to reach the job's machine.
    pub async fn machine(&self, id: &str) -> Result<MachineAccess> {
        let record = self.find(id).await?;
        let (doc, state) = read(&record)?;
        let none = || Error::NoMachine(doc.facts.id.to_string());
        let attempt = state.current().filter(|a| a.ended_at.is_none()).ok_or_else(none)?;
        let address = attempt.address.as_ref().ok_or_else(none)?;
        let account = self.inner.account(&record.realm).await?;
        let port = address.port.or(account.realm.ssh_port).unwrap_or(22);
        let keys = JobKeys::of(&self.inner.home, &doc.facts.id);
        let host_key = keys.rotated_host(&attempt.token)?.public_line;
        Ok(MachineAccess {
            job: doc.facts.id.clone(),
            epoch: attempt.epoch,
            host: address.host.clone(),
            port,
            user: attempt.user.clone(),
            key_path: keys.login_path(),
            known_hosts_path: keys.known_hosts(attempt.epoch, &address.host, port, &host_key)?,
            host_key,
            folders: run_spec::folders(&doc.facts.id),
            environment: run_spec::variables(&doc, attempt.epoch),
        })
    }

    /// Copies files of a running job to `dest`; answers how many bytes.
    pub async fn pull(&self, id: &str, path: &str, dest: &Path) -> Result<u64> {
        let record = self.find(id).await?;
        let mailbox = self
            .inner
            .mailbox(&record.id)
            .ok_or_else(|| Error::NoMachine(record.id.to_string()))?;
        let (answer, copied) = oneshot::channel();
        let pull = Pull { path: path.to_owned(), dest: dest.to_owned(), answer };
        if mailbox.send(Mail::Pull(pull)).await.is_err() {
            return Err(Error::NoMachine(record.id.to_string()));
        }
        match copied.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(reason)) => Err(Error::Invalid(format!("`{}`: {reason}", path.escape_debug()))),
            Err(_) => Err(Error::NoMachine(record.id.to_string())),
        }
    }

    /// Ends what carries the fleet's mark and no live job owns.
    pub async fn reap(&self, account: Account, options: ReapOptions) -> Result<ReapReport> {
        reap::run(&self.inner.home, &account, &options, self, self.inner.clock.now()).await
    }

    /// How the server is.
    pub async fn status(&self) -> ServerStatus {
        ServerStatus {
            running: true,
            pid: Some(std::process::id()),
            version: Some(self.inner.version.clone()),
            started_at: Some(self.started_at),
            jobs_live: self.inner.live_jobs(),
        }
    }

    /// What goes on running, and billing, when the server stops.
    pub async fn left_running(&self) -> Vec<LeftRunning> {
        let Ok(records) = self.inner.store.jobs(true).await else { return Vec::new() };
        let mut out = Vec::new();
        for record in records {
            let Ok((doc, state)) = read(&record) else { continue };
            for a in state.attempts.iter().filter(|a| a.ended_at.is_none()) {
                out.push(LeftRunning {
                    job: doc.facts.id.clone(),
                    instance_id: a.instance.to_string(),
                    place: a.place.clone(),
                    market: a.market,
                    price_usd_per_hour: a.price_usd_per_hour,
                });
            }
        }
        out
    }

    /// No live job and no row to see to its end.
    pub async fn is_idle(&self) -> bool {
        self.inner.is_idle()
    }

    /// Stops working and leaves everything as it is; the next start resumes it.
    pub async fn shutdown(&self) {
        let Ok(records) = self.inner.store.jobs(true).await else { return };
        for record in records {
            if let Some(mailbox) = self.inner.mailbox(&record.id)
                && mailbox.send(Mail::Leave).await.is_err()
            {
                tracing::debug!(job = %record.id, "left already");
            }
        }
    }
}

#[async_trait]
impl reap::Owners for Controller {
    async fn holds(&self, token: &Token) -> Option<String> {
        let row = match self.inner.store.row(token).await {
            Ok(row) => row?,
            Err(e) => return Some(format!("the database does not say whose it is: {e}")),
        };
        let ending = matches!(row.state, RowState::Ending { .. }) || row.state.is_final();
        (!ending && self.inner.mailbox(&row.job).is_some())
            .then(|| format!("job {} runs on it", row.job))
    }
}

fn agent_binary(path: PathBuf) -> Result<AgentBinary> {
    let bytes = std::fs::read(&path).map_err(|e| {
        Error::internal(
            "the agent",
            format!("`{}`: {e}; build it with `cargo xtask agent`", path.display()),
        )
    })?;
    let digest = hex::encode(&Sha256::digest(bytes)[..8]);
    Ok(AgentBinary { path, digest })
}
