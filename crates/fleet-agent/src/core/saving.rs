//! What the core does with the job's store: hands over, hears, remembers.
//!
//! Invariant: one checkpoint is in transfer and at most one newer waits; what is told as saved is remembered
//! before; the outcome record is asked for when everything else is in the store, and `Settled` said
//! when it is there.

use super::{Core, Event, Wire};
use crate::base::Memory;
use crate::error::Result;
use crate::journal::{self, Journal};
use crate::notice::margin;
use crate::parcel::Parcel;
use crate::publish::{Kept, Order, Publisher, Told};
use crate::restore;
use crate::session::Desk;
use crate::store::Store;
use crate::watch;
use fleet_agent_api::{FromAgent, OutcomeRecord, Slot, Source, TaskEnd, TaskState};
use fleet_types::{CheckpointId, Epoch, StoredTree};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// After the task's end the store is tried often for so long: the machine may be taken.
const LAST_HURRY: Duration = Duration::from_secs(120);

/// What is on its way into the store or out of it.
pub(super) struct Saving {
    pub(super) store: Arc<Store>,
    publisher: Publisher,
    journal: Option<Journal>,
    /// The checkpoint in transfer, by the number under which it was handed over.
    busy: Option<u32>,
    waiting: Option<Parcel>,
    is_output_open: bool,
    is_outcome_asked: bool,
    /// The last picture was lost once and taken again.
    is_retaken: bool,
    /// What does not work now, for whoever comes into contact.
    trouble: Option<(Source, String)>,
    slow: Option<FromAgent>,
    restoring: Option<Restoring>,
    tickets: u64,
    /// Everything must be over then.
    until: Option<Instant>,
}

/// A checkpoint that is being fetched.
struct Restoring {
    ticket: u64,
    stored: Box<StoredTree>,
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Saving {
    pub(super) fn new(desk: &Desk, memory: &Memory, wire: &Wire) -> Self {
        let store = Arc::new(Store::default());
        let base = last_checkpoint(memory, desk.epoch);
        let job = (desk.job.clone(), desk.epoch);
        let publisher =
            Publisher::start(job, Arc::clone(&store), wire.clone(), memory.offered, base);
        Self {
            store,
            publisher,
            journal: None,
            busy: None,
            waiting: None,
            is_output_open: false,
            is_outcome_asked: false,
            is_retaken: false,
            trouble: None,
            slow: None,
            restoring: None,
            tickets: 0,
            until: None,
        }
    }

    pub(super) fn is_restoring(&self) -> bool {
        self.restoring.is_some()
    }

    /// Everything must be over this long from now, if that is known.
    pub(super) fn hurry(&mut self, left: Option<Duration>) {
        let Some(left) = left else { return };
        let Some(until) = Instant::now().checked_add(left) else { return };
        self.until = Some(self.until.map_or(until, |before| before.min(until)));
        self.publisher.hurry(left);
    }

    /// All output is in the spool.
    pub(super) fn task_ended(&self) {
        if let Some(journal) = &self.journal {
            journal.finish();
        }
        self.publisher.hurry(LAST_HURRY);
    }

    /// What a new session must hear again.
    pub(super) fn again(&self) -> Vec<FromAgent> {
        let trouble = self.trouble.clone();
        let trouble = trouble.map(|(source, reason)| FromAgent::NotReady { source, reason });
        trouble.into_iter().chain(self.slow.clone()).collect()
    }
}

/// The newest checkpoint that the epoch published or began with.
fn last_checkpoint(memory: &Memory, epoch: Epoch) -> Option<CheckpointId> {
    let saved = memory.saved.as_ref().map(|s| CheckpointId { epoch, number: s.number });
    saved.or(memory.restored)
}

impl Core {
    /// Whether there is a store that may still be written to.
    pub(crate) fn is_saving(&self) -> bool {
        let memory = &self.memory;
        memory.limits.to_store && !memory.settled && self.saving.store.bucket().is_some()
    }

    /// The task is to be started, or was: from now on the store gets what it leaves.
    pub(super) fn begin_saving(&mut self) {
        let memory = &self.memory;
        if !memory.limits.to_store {
            return;
        }
        let (desk, saving) = (&self.desk, &mut self.saving);
        saving.publisher.order(Order::Prepare);
        let every = memory.limits.log_every_ms.map(Duration::from_millis);
        let journal = Journal::start(
            desk.epoch,
            &desk.spool,
            (&saving.store, &saving.publisher),
            self.wire.clone(),
            memory.shipped,
            every,
        );
        if matches!(memory.task, TaskState::Ended(_)) {
            journal.finish();
        }
        saving.journal = Some(journal);
    }

    pub(super) fn restore(&mut self, stored: Box<StoredTree>) {
        let placed = (Slot::Checkpoint, stored.tree().digest());
        let is_here = self.memory.placed.contains(&placed);
        if is_here && self.memory.restored == Some(stored.manifest.id) {
            return self.say(&FromAgent::Placed { slot: Slot::Checkpoint });
        }
        if self.saving.restoring.as_ref().is_some_and(|r| r.stored == stored) {
            // The answer comes when it is here.
            return;
        }
        if self.memory.started {
            return self.put_failed("the task was started: its folders are its own now".into());
        }
        if let Err(e) = restore::check(&stored) {
            return self.put_failed(e.to_string());
        }
        let before = self.saving.restoring.take();
        if let Some(before) = &before {
            before.is_over.store(true, Ordering::Relaxed);
        }
        self.saving.tickets += 1;
        let (ticket, is_over) = (self.saving.tickets, Arc::new(AtomicBool::new(false)));
        let (base, store) = (self.desk.base.clone(), Arc::clone(&self.saving.store));
        let (wire, over, what) = (self.wire.clone(), Arc::clone(&is_over), stored.clone());
        let thread = thread::spawn(move || {
            if let Some(before) = before {
                // A panicked thread is as gone as one that returned.
                let _ = before.thread.join();
            }
            let outcome = restore::restore(&base, &store, &what, &over);
            // The daemon is leaving when nobody listens.
            let _ = wire.send(Event::Restored(ticket, outcome));
        });
        self.saving.restoring = Some(Restoring { ticket, stored, is_over, thread });
    }

    fn put_failed(&self, reason: String) {
        self.say(&FromAgent::PutFailed { slot: Slot::Checkpoint, reason });
    }

    pub(super) fn restored(&mut self, ticket: u64, outcome: Result<()>) {
        let restoring = &mut self.saving.restoring;
        let Some(Restoring { stored, .. }) = restoring.take_if(|r| r.ticket == ticket) else {
            return;
        };
        match outcome {
            Ok(()) => {
                self.memory.restored = Some(stored.manifest.id);
                self.saving.publisher.restored(&stored);
                self.placed(Slot::Checkpoint, stored.tree().digest());
            }
            Err(e) => self.put_failed(e.to_string()),
        }
    }

    /// Saves a picture, now or when the one in transfer is there.
    pub(super) fn save_checkpoint(&mut self, parcel: Parcel, is_last: bool) {
        let Some(busy) = self.saving.busy else { return self.hand_over(parcel) };
        let time = self.saving.until.map(|t| t.saturating_duration_since(Instant::now()));
        let outlook = self.saving.publisher.outlook(&parcel);
        if is_last && time.is_some_and(|time| outlook.should_yield(time)) {
            self.saving.publisher.abandon(busy);
        } else {
            self.saving.publisher.outdate(busy);
        }
        self.saving.waiting = Some(parcel);
    }

    fn hand_over(&mut self, parcel: Parcel) {
        self.offers.number += 1;
        let number = self.offers.number;
        // A restarted agent must not use the number again.
        self.save();
        self.saving.busy = Some(number);
        self.saving.publisher.order(Order::Checkpoint(number, parcel));
    }

    pub(super) fn save_output(&mut self, parcel: Parcel) {
        if self.memory.output != Some(parcel.tree.digest()) {
            self.saving.is_output_open = true;
            self.saving.publisher.order(Order::Output(parcel));
        }
    }

    /// Hears what came of what was handed over.
    pub(super) fn told(&mut self, told: Told) {
        match told {
            Told::Saved(kept) => self.saved(*kept),
            Told::Unsaved { handed, lost } => self.unsaved(handed, lost),
            Told::Output(outcome) => {
                self.saving.is_output_open = false;
                match outcome {
                    Ok(digest) => {
                        self.saving.trouble = None;
                        self.memory.output = Some(digest);
                    }
                    Err(reason) => {
                        self.say(&FromAgent::NotReady { source: Source::Output, reason });
                    }
                }
                self.save();
            }
            Told::Outcome => {
                self.saving.trouble = None;
                self.memory.recorded = true;
                self.save();
            }
            Told::Logs(offset) => {
                self.memory.shipped = self.memory.shipped.max(offset);
                self.save();
            }
            Told::Trouble(source, reason) => {
                self.saving.trouble = Some((source.clone(), reason.clone()));
                self.say(&FromAgent::NotReady { source, reason });
            }
        }
        self.settle();
    }

    fn saved(&mut self, kept: Kept) {
        let Kept { saved, digest, whole, sent, .. } = kept;
        self.offers.number = self.offers.number.max(saved.number);
        let memory = &mut self.memory;
        memory.published = Some(saved.number);
        memory.published_at = Some(saved.taken_at);
        memory.kept = Some(digest);
        memory.whole = whole;
        memory.saved = Some(saved.clone());
        self.save();
        self.say(&FromAgent::Saved(saved));
        self.saving.trouble = None;
        self.look_at_pace(sent);
        self.next();
    }

    /// The one in transfer is over: the one that waits has its turn.
    fn next(&mut self) {
        self.saving.busy = None;
        if let Some(newer) = self.saving.waiting.take() {
            self.hand_over(newer);
        }
    }

    fn unsaved(&mut self, handed: u32, lost: Option<String>) {
        if let Some(reason) = lost {
            self.say(&FromAgent::NotReady { source: Source::Checkpoint(handed), reason });
            if let Some(watch) = &mut self.watch {
                watch.retake();
            } else if !std::mem::replace(&mut self.saving.is_retaken, true) {
                self.pictures += 1;
                let (mut camera, wire) = (self.camera(), self.wire.clone());
                thread::spawn(move || {
                    let _ = wire.send(Event::LastCheckpoint(watch::last_picture(&mut camera)));
                });
            }
        }
        self.next();
    }

    /// Whether what was just sent would have been sent in time after a notice.
    fn look_at_pace(&mut self, (bytes, took): (u64, Duration)) {
        let Some(warning_ms) = self.memory.limits.warning_ms.filter(|_| bytes > 0) else { return };
        let warning = Duration::from_millis(warning_ms);
        if took <= warning - margin(warning) {
            self.saving.slow = None;
            return;
        }
        let per_second = u128::from(bytes) * 1000 / took.as_millis().max(1);
        let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
        let slow = FromAgent::Slow { bytes, per_second, warning_ms };
        if self.saving.slow.replace(slow.clone()).is_none() {
            self.say(&slow);
        }
    }

    /// Whether the store has all that the task left, how it ended included; what is missing is asked for.
    pub(super) fn is_all_saved(&mut self) -> bool {
        let (memory, saving) = (&self.memory, &self.saving);
        if !memory.limits.to_store || memory.recorded {
            return true;
        }
        let is_open = saving.busy.is_some() || saving.is_output_open;
        if is_open || memory.shipped < self.desk.spool.end() {
            return false;
        }
        if let TaskState::Ended(end) = &memory.task
            && !saving.is_outcome_asked
        {
            let record = self.outcome(end.clone());
            self.saving.is_outcome_asked = true;
            self.saving.publisher.order(Order::Outcome(Box::new(record)));
        }
        false
    }

    fn outcome(&self, end: TaskEnd) -> OutcomeRecord {
        let (desk, memory) = (&self.desk, &self.memory);
        OutcomeRecord {
            version: 1,
            job: desk.job.clone(),
            epoch: desk.epoch,
            end,
            last_checkpoint: last_checkpoint(memory, desk.epoch),
            has_output: memory.output.is_some(),
            log_end: desk.spool.end(),
            // The log objects have them in any case.
            log_tail: journal::tail(&desk.spool).unwrap_or_default(),
        }
    }
}
