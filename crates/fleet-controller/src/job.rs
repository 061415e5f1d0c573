//! One job's mailbox: events in, one step at a time, commit, then the work that the new state asks for.
//!
//! Invariant: a step's state, rows and events are committed together before any of it is acted on; work
//! is started and stopped by comparing what the state wants with what runs, so a restart does the same.

use crate::contact::Contact;
use crate::effects;
use crate::error::Result;
use crate::inner::Inner;
use crate::journal::Journal;
use crate::keeper;
use crate::mail::{Mail, Pull};
use crate::record::{JobDoc, view_of};
use crate::scene::Scene;
use crate::session::{self, SessionScene};
use fleet_lifecycle::{
    Attempt, Happening, InFlight, JobState, Phase, SessionGoal, Turn, Want, invariant, resumed,
    step, view, wants,
};
use fleet_provider::Idempotency;
use fleet_store::Commit;
use fleet_types::{Epoch, Event, EventBody, MachineRow, ProviderId, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often limits are looked at.
const TICK: Duration = Duration::from_millis(500);
/// Two ticks further apart than this: the machine slept, or we were stopped.
const NAP: Duration = Duration::from_secs(30);

/// Starts the mailbox of a stored job.
pub(crate) async fn start(
    inner: &Arc<Inner>,
    doc: JobDoc,
    state: JobState,
    version: u64,
) -> Result<()> {
    let id = doc.facts.id.clone();
    let (tx, rx) = mpsc::channel(1024);
    inner.set_mailbox(id.clone(), tx.clone());
    let journal = Journal::open(&inner.home, &id, &*inner.store).await?;
    if let Some(newest) = journal.newest().await {
        inner.clock.not_before(newest);
    }
    let scene = Scene { inner: inner.clone(), doc: Arc::new(doc), mail: tx };
    let job =
        Job { scene, state, version, journal, work: HashMap::new(), launches: HashMap::new() };
    tokio::spawn(job.run(rx));
    Ok(())
}

/// Running work by what it is; a session keeps running while its goal changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Await,
    Begin,
    Plan(u32),
    Settle(Epoch, u32),
    Watch(Epoch),
    Session(Epoch),
}

struct Work {
    task: JoinHandle<()>,
    goal: Option<watch::Sender<SessionGoal>>,
    attempt: Option<watch::Sender<Attempt>>,
    pulls: Option<mpsc::Sender<Pull>>,
    contact: Option<Arc<Contact>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A create on its way.
struct Launch {
    task: JoinHandle<()>,
    /// Fired by the end of the job: if it has not left yet, it does not leave.
    withdrawn: CancellationToken,
}

struct Job {
    scene: Scene,
    state: JobState,
    version: u64,
    journal: Journal,
    work: HashMap<Key, Work>,
    /// Creates on their way: never aborted, so that no answer is lost that could be had.
    launches: HashMap<(Epoch, u32), Launch>,
}

impl Job {
    async fn run(mut self, mut rx: mpsc::Receiver<Mail>) {
        self.after_restart().await;
        self.pursue();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ticked = self.scene.now();
        while !self.state.is_finished() {
            let mail = tokio::select! {
                mail = rx.recv() => mail,
                _ = tick.tick() => {
                    let slept = self.scene.now().since(ticked);
                    ticked = self.scene.now();
                    if slept > NAP {
                        let slept_ms = slept.as_millis() as u64;
                        self.take(Happening::Woke { slept_ms }).await;
                    }
                    Some(Mail::Happened(Happening::Tick))
                }
            };
            match mail {
                Some(Mail::Happened(happening)) => self.take(happening).await,
                Some(Mail::Cancel { reason, done }) => {
                    self.take(Happening::Cancel { reason }).await;
                    if done.send(Ok(())).is_err() {
                        tracing::debug!("who cancelled did not wait for the answer");
                    }
                }
                Some(Mail::Pull(pull)) => self.pull(pull).await,
                Some(Mail::Journal(answer)) => {
                    if answer.send(self.journal.clone()).is_err() {
                        tracing::debug!("nobody reads the stream any more");
                    }
                }
                Some(Mail::Leave) | None => return,
            }
        }
        self.finish().await;
    }

    /// What an earlier life of the controller left between a row and the job: told first of all.
    async fn after_restart(&mut self) {
        let id = self.scene.doc.facts.id.clone();
        let rows = loop {
            match self.scene.inner.store.rows(&id).await {
                Ok(rows) => break rows,
                Err(e) => tracing::warn!(job = %id, "its rows cannot be read yet: {e}"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let repeatable = match self.in_flight() {
            Some(flight) => self.is_repeatable(flight.place.offer.place.provider).await,
            None => false,
        };
        for happening in resumed(&self.state, &rows, repeatable) {
            self.take(happening).await;
        }
    }

    /// Whether the cloud knows tokens, so that a create may be sent again.
    async fn is_repeatable(&self, provider: ProviderId) -> bool {
        let driver = self.scene.inner.clouds.get(&self.scene.doc.facts.realm, provider).await;
        driver.is_ok_and(|d| d.capabilities().idempotency == Idempotency::Token)
    }

    /// Takes one step and commits it; a commit that fails changes nothing and is tried again.
    async fn take(&mut self, happening: Happening) {
        self.answered(&happening);
        let mut pause = Duration::from_millis(100);
        loop {
            let at = self.scene.now();
            let accrued = view(&self.scene.doc.facts, &self.state, at).cost_usd;
            let doc = self.scene.doc.clone();
            let turn = step(&doc.facts, self.state.clone(), happening.clone(), at, accrued);
            if turn.state == self.state && turn.rows.is_empty() && turn.events.is_empty() {
                // A throttled create may be due by now.
                return self.pursue();
            }
            match self.commit(turn).await {
                Ok(()) => return,
                Err(crate::Error::Store(fleet_store::Error::Stale { .. })) => {
                    match self.reload().await {
                        Ok(()) => self.pursue(),
                        Err(e) => tracing::error!(job = %doc.facts.id, "cannot be read again: {e}"),
                    }
                }
                Err(e) => tracing::warn!(job = %doc.facts.id, "a step is not committed yet: {e}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }

    /// A create has its answer: only now may the same one be sent again.
    fn answered(&mut self, happening: &Happening) {
        if let Happening::Accepted { epoch, offer, .. }
        | Happening::Refused { epoch, offer, .. }
        | Happening::Unresolved { epoch, offer } = happening
        {
            self.launches.remove(&(*epoch, *offer));
        }
    }

    async fn commit(&mut self, turn: Turn<'_>) -> Result<()> {
        let Turn { facts, now: at, state, events, rows: changes, .. } = turn;
        let store = self.scene.inner.store.clone();
        let mut rows: HashMap<_, MachineRow> = HashMap::new();
        for change in &changes {
            let token = change.token().clone();
            let before = match rows.get(&token) {
                Some(row) => Some(row.clone()),
                None => store.row(&token).await?,
            };
            if let Some(row) = change.apply(before, at) {
                rows.insert(token, row);
            }
        }
        let rows: Vec<_> = rows.into_values().collect();
        if rows.is_empty() && events.is_empty() && state == self.state {
            return Ok(());
        }
        let events: Vec<_> = events
            .into_iter()
            .map(|body| Event {
                at,
                job_id: facts.id.clone(),
                body: self.complete(body, &state, at),
            })
            .collect();
        let commit = Commit {
            job: facts.id.clone(),
            from_version: self.version,
            state: serde_json::to_value(&state)
                .map_err(|e| crate::Error::internal("writing a job's state", e))?,
            finished: state.is_finished(),
            events,
            rows: rows.clone(),
        };
        self.version = store.commit(commit).await?;
        self.state = state;
        self.check().await;
        if let Err(e) = self.journal.catch_up(&facts.id, &*store).await {
            tracing::warn!(job = %facts.id, "the stream lags: {e}");
        }
        for row in &rows {
            keeper::keep(&self.scene.inner, row);
        }
        self.pursue();
        Ok(())
    }

    /// The last event shows what only this machine knows: where checkpoints and outputs lie.
    fn complete(&self, body: EventBody, state: &JobState, at: Timestamp) -> EventBody {
        match body {
            EventBody::Finished { .. } => {
                let job = view_of(&self.scene.inner.home, &self.scene.doc, state, at);
                EventBody::Finished { job: Box::new(job) }
            }
            other => other,
        }
    }

    /// The invariants that can be read off state and rows; a violation is an alarm, never a crash.
    async fn check(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let id = &self.scene.doc.facts.id;
        let Ok(rows) = self.scene.inner.store.rows(id).await else { return };
        for violated in invariant::violations(&self.state, &rows) {
            tracing::error!(job = %id, "invariant violated: {violated}");
        }
    }

    async fn reload(&mut self) -> Result<()> {
        let id = &self.scene.doc.facts.id;
        let record = self.scene.inner.store.job(id).await?;
        let record = record.ok_or_else(|| crate::Error::NoSuchJob(id.to_string()))?;
        let (_, state) = crate::record::read(&record)?;
        self.state = state;
        self.version = record.version;
        Ok(())
    }

    /// Compares what the state wants with what runs.
    fn pursue(&mut self) {
        let after = self.scene.doc.facts.after.clone();
        let wanted = wants(after.as_ref(), &self.state);
        let keys: Vec<_> = wanted.iter().filter_map(key).collect();
        self.work.retain(|key, _| keys.contains(key));
        for want in wanted {
            self.want(want);
        }
        for (key, work) in &self.work {
            let epoch = match key {
                Key::Session(epoch) => *epoch,
                Key::Await | Key::Begin | Key::Plan(_) | Key::Settle(..) | Key::Watch(_) => {
                    continue;
                }
            };
            if let (Some(tx), Some(attempt)) = (&work.attempt, self.state.attempt(epoch)) {
                tx.send_if_modified(|a| {
                    let changed = a.address != attempt.address || a.user != attempt.user;
                    if changed {
                        a.clone_from(attempt);
                    }
                    changed
                });
            }
        }
    }

    fn want(&mut self, want: Want) {
        if let Want::Launch { epoch, offer, not_before } = &want {
            // A create that is not due yet is not sent out to wait: after a cancel none may leave.
            if not_before.is_none_or(|at| at <= self.scene.now()) {
                self.launch(*epoch, *offer);
            }
            return;
        }
        let Some(key) = key(&want) else { return };
        if let Some(work) = self.work.get(&key) {
            if let (Some(tx), Want::Session { goal, .. }) = (&work.goal, want) {
                tx.send_if_modified(|g| {
                    let changed = *g != goal;
                    *g = goal;
                    changed
                });
            }
            return;
        }
        let scene = self.scene.clone();
        let work = match want {
            Want::Await { job } => plain(tokio::spawn(await_job(scene, job))),
            Want::Begin => plain(tokio::spawn(async move { scene.tell(Happening::Begin).await })),
            Want::Plan { round } => {
                plain(tokio::spawn(effects::plan::run(scene, round, self.state.clone())))
            }
            Want::Launch { .. } => return,
            Want::Settle { epoch, offer } => {
                // The create itself may still answer; looking for it waits for that.
                let Some(flight) = self.in_flight() else { return };
                let launch = self.launches.remove(&(epoch, offer));
                if let Some(launch) = &launch {
                    launch.withdrawn.cancel();
                }
                plain(tokio::spawn(async move {
                    if let Some(Launch { task, .. }) = launch
                        && task.await.is_err()
                    {
                        tracing::warn!("a create's task broke off; it is looked for");
                    }
                    effects::settle::run(scene, epoch, flight).await;
                }))
            }
            Want::Watch { epoch } => {
                let Some(attempt) = self.state.attempt(epoch).cloned() else { return };
                let contact = Arc::new(Contact::default());
                let task = tokio::spawn(effects::watch::run(
                    scene,
                    attempt,
                    contact.clone(),
                    self.journal.clone(),
                ));
                Work { task, goal: None, attempt: None, pulls: None, contact: Some(contact) }
            }
            Want::Session { epoch, goal } => {
                let Some(work) = self.session(epoch, goal) else { return };
                work
            }
        };
        self.work.insert(key, work);
    }

    fn launch(&mut self, epoch: Epoch, offer: u32) {
        let Some(flight) = self.in_flight() else { return };
        if self.launches.contains_key(&(epoch, offer)) {
            return;
        }
        let withdrawn = CancellationToken::new();
        let create = effects::launch::run(self.scene.clone(), epoch, flight, withdrawn.clone());
        self.launches.insert((epoch, offer), Launch { task: tokio::spawn(create), withdrawn });
    }

    fn session(&self, epoch: Epoch, goal: SessionGoal) -> Option<Work> {
        let attempt = self.state.attempt(epoch).cloned()?;
        let (goal_tx, goal) = watch::channel(goal);
        let (attempt_tx, attempt) = watch::channel(attempt);
        let (pulls_tx, pulls) = mpsc::channel(16);
        let contact =
            self.work.get(&Key::Watch(epoch)).and_then(|w| w.contact.clone()).unwrap_or_default();
        let journal = self.journal.clone();
        let scene =
            SessionScene { scene: self.scene.clone(), attempt, goal, journal, contact, pulls };
        let task = tokio::spawn(session::run(scene));
        Some(Work {
            task,
            goal: Some(goal_tx),
            attempt: Some(attempt_tx),
            pulls: Some(pulls_tx),
            contact: None,
        })
    }

    fn in_flight(&self) -> Option<InFlight> {
        match &self.state.phase {
            Phase::Launching { current, .. } => Some(current.clone()),
            Phase::Stopping { in_flight, .. } => in_flight.clone(),
            Phase::Queued
            | Phase::Planning { .. }
            | Phase::Connecting { .. }
            | Phase::Preparing { .. }
            | Phase::Running { .. }
            | Phase::Finished { .. } => None,
        }
    }

    async fn pull(&self, pull: Pull) {
        let session = self.work.get(&Key::Session(self.state.epoch)).and_then(|w| w.pulls.as_ref());
        // Never waited for: a machine that is not reached takes no requests, and the job goes on.
        let refused = match session {
            None => Some(pull),
            Some(tx) => match tx.try_send(pull) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full(pull))
                | Err(mpsc::error::TrySendError::Closed(pull)) => Some(pull),
            },
        };
        if let Some(pull) = refused
            && pull.answer.send(Err("the job has no connected machine now".into())).is_err()
        {
            tracing::debug!("nobody waits for the files any more");
        }
    }

    /// The job is over: secrets are forgotten, a one-shot sandbox ends.
    async fn finish(&mut self) {
        self.work.clear();
        let facts = self.scene.doc.facts.clone();
        let inner = self.scene.inner.clone();
        inner.vault.forget(&format!("job-{}", facts.id));
        inner.drop_mailbox(&facts.id);
        if let Ok(account) = inner.account(&facts.realm).await {
            crate::reconcile::after_job(&inner, &account).await;
        }
    }
}

fn plain(task: JoinHandle<()>) -> Work {
    Work { task, goal: None, attempt: None, pulls: None, contact: None }
}

fn key(want: &Want) -> Option<Key> {
    Some(match want {
        Want::Await { .. } => Key::Await,
        Want::Begin => Key::Begin,
        Want::Plan { round } => Key::Plan(*round),
        Want::Launch { .. } => return None,
        Want::Settle { epoch, offer } => Key::Settle(*epoch, *offer),
        Want::Watch { epoch } => Key::Watch(*epoch),
        Want::Session { epoch, .. } => Key::Session(*epoch),
    })
}

/// Waits for the job before this one in its pipeline.
async fn await_job(scene: Scene, job: fleet_types::JobId) {
    let mut ended = scene.inner.ended.subscribe();
    loop {
        ended.mark_unchanged();
        let record = scene.inner.store.job(&job).await;
        let outcome = match record {
            Ok(Some(record)) if record.finished => match crate::record::read(&record) {
                Ok((_, JobState { phase: Phase::Finished { goal, .. }, .. })) => Some(goal.outcome),
                Ok(_) | Err(_) => None,
            },
            Ok(_) | Err(_) => None,
        };
        match outcome {
            Some(fleet_types::Outcome::Succeeded) => return scene.tell(Happening::Begin).await,
            Some(outcome) => return scene.tell(Happening::PredecessorEnded { outcome }).await,
            None => {}
        }
        tokio::select! {
            changed = ended.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }
}
