//! The agent's state and everything that changes it.
//!
//! One thread takes events from all others and is the only writer of state, so nothing is half told. The
//! same state goes into `Welcome` after every reconnect. Invariant: a task is started at most once an
//! epoch; after a stop order or a notice none is started; `Settled` is said only when no process of the
//! task is left and all that it left was published or declined. It never waits for the network: threads do.

mod relay;
mod saving;

use crate::base::{Limits, Memory};
use crate::checkpoint::{self, Camera, Taken};
use crate::clock;
use crate::error::{Doing, Result};
use crate::notice::margin;
use crate::offers::Offers;
use crate::outbox::Outbox;
use crate::parcel::Parcel;
use crate::publish::Told;
use crate::pull;
use crate::session::Desk;
use crate::supervise::{Ending, Order};
use crate::task::{self, Running};
use crate::watch::{self, Watch};
use fleet_agent_api::{
    AgentState, FromAgent, GpuSample, Notice, PROTOCOL, RunSpec, Slot, Source, StopReason, TaskEnd,
    TaskState, TaskStep, ToAgent,
};
use saving::Saving;
use std::fs;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

/// How the other threads reach the core. Bounded: a flood holds its sender back.
pub(crate) type Wire = SyncSender<Event>;

/// What the other threads tell.
pub(crate) enum Event {
    /// A session said hello and wants logs from an offset. Answered when it was welcomed.
    Joined(Arc<Outbox>, u64, SyncSender<()>),
    Left(u64),
    Said(u64, ToAgent),
    Placed(Slot, String),
    Active(TaskStep, u32),
    Ended(Ending),
    Checkpoint(Parcel),
    NoCheckpoint(String),
    LastCheckpoint(Result<Taken>),
    Output(Result<Parcel>),
    Pulled(u64, u32, Result<Parcel>),
    /// What was offered can no longer be read as it was.
    Lost(Source, String),
    /// What came of a restore, by its ticket.
    Restored(u64, Result<()>),
    Told(Told),
    Noticed(Notice, Duration),
    Gpus(Vec<GpuSample>),
}

/// The state.
pub(crate) struct Core {
    pub(crate) desk: Arc<Desk>,
    pub(crate) memory: Memory,
    pub(crate) session: Option<Arc<Outbox>>,
    pub(crate) gpus: Vec<GpuSample>,
    pub(crate) running: Option<Running>,
    /// Nothing more is wanted: leave when the task is gone.
    pub(crate) is_released: bool,
    wire: Wire,
    offers: Offers,
    watch: Option<Watch>,
    stop: Option<StopReason>,
    /// Last pictures that are still being taken: the checkpoint's and the output's.
    pictures: u8,
    saving: Saving,
}

impl Core {
    /// Goes on from what is remembered.
    pub(crate) fn new(desk: Arc<Desk>, memory: Memory, wire: Wire) -> Result<Self> {
        let offers = Offers::after(memory.offered);
        let saving = Saving::new(&desk, &memory, &wire);
        let mut core = Self {
            desk,
            memory,
            session: None,
            gpus: Vec::new(),
            running: None,
            is_released: false,
            wire,
            offers,
            watch: None,
            stop: None,
            pictures: 0,
            saving,
        };
        if core.memory.started && !core.memory.settled {
            core.begin_saving();
        }
        match &core.memory.task {
            TaskState::Ended(_) if !core.memory.settled => core.last_pictures(),
            TaskState::Ended(_) => {}
            _ if core.memory.started => task::outlive(&core.desk.base, &core.memory, &core.wire)?,
            _ => {}
        }
        Ok(core)
    }

    pub(crate) fn say(&self, message: &FromAgent) {
        if let Some(session) = &self.session {
            session.say(message);
        }
    }

    fn save(&mut self) {
        self.memory.offered = self.offers.number;
        if let Err(e) = self.desk.base.save(&self.memory) {
            crate::note(&format!("a restart of the agent would know less: {e}"));
        }
    }

    /// Takes one event.
    pub(crate) fn take(&mut self, event: Event) {
        match event {
            Event::Joined(outbox, log_from, welcomed) => {
                self.joined(outbox, log_from);
                // The session may be gone already.
                let _ = welcomed.send(());
            }
            Event::Left(number) => {
                if self.is_current(number) {
                    self.session = None;
                    self.saving.store.signer.session(None);
                }
            }
            Event::Said(number, message) => {
                if self.is_current(number) {
                    self.said(message);
                }
            }
            Event::Placed(slot, digest) => self.placed(slot, digest),
            Event::Active(step, pid) => {
                self.memory.task = TaskState::Active { step, since: clock::now(), pid };
                self.save();
                self.say(&FromAgent::Task { state: self.memory.task.clone() });
            }
            Event::Ended(ending) => self.ended(&ending),
            Event::Checkpoint(parcel) => self.checkpoint(parcel),
            Event::NoCheckpoint(reason) => self.no_checkpoint(reason),
            Event::LastCheckpoint(taken) => self.last_checkpoint(taken),
            Event::Output(parcel) => self.output(parcel),
            Event::Pulled(number, request, parcel) => self.pulled(number, request, parcel),
            Event::Lost(source, reason) => self.lost(source, reason),
            Event::Restored(ticket, outcome) => self.restored(ticket, outcome),
            Event::Told(told) => self.told(told),
            Event::Noticed(notice, left) => {
                self.say(&FromAgent::Notice(notice.clone()));
                self.memory.notice = Some(notice);
                self.save();
                self.stop(StopReason::Notice, Some(left));
            }
            Event::Gpus(gpus) => self.gpus = gpus,
        }
    }

    fn is_current(&self, number: u64) -> bool {
        self.session.as_ref().is_some_and(|s| s.number == number)
    }

    fn joined(&mut self, outbox: Arc<Outbox>, log_from: u64) {
        let memory = &self.memory;
        let state = AgentState {
            task: memory.task.clone(),
            log_end: self.desk.spool.end(),
            notice: memory.notice.clone(),
            placed: memory.placed.iter().map(|(slot, _)| slot.clone()).collect(),
            settled: memory.settled,
            published_at: memory.published_at,
            saved: memory.saved.clone(),
            mounted: Vec::new(),
        };
        outbox.say(&FromAgent::Welcome {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            job: self.desk.job.clone(),
            epoch: self.desk.epoch,
            state,
        });
        outbox.send_logs(log_from);
        for invitation in self.offers.again() {
            outbox.say(&FromAgent::Ready(invitation));
        }
        for message in self.saving.again() {
            outbox.say(&message);
        }
        if self.memory.settled {
            outbox.say(&self.settled());
        }
        self.saving.store.signer.session(Some(Arc::clone(&outbox)));
        self.session = Some(outbox);
        self.save();
    }

    fn said(&mut self, message: ToAgent) {
        match message {
            ToAgent::Start { spec } => self.start(*spec),
            ToAgent::LogAck { offset } => self.desk.spool.ack(offset),
            ToAgent::Want { source, blobs } => self.want(source, &blobs),
            ToAgent::Published { source } => self.close(&source, true),
            ToAgent::Declined { source, reason } => {
                crate::note(&format!("{source:?} was declined: {}", reason.escape_debug()));
                self.close(&source, false);
            }
            ToAgent::Stop(order) => {
                self.stop(order.reason, order.within_ms.map(Duration::from_millis));
            }
            ToAgent::Pull { request, path } => {
                let number = self.session.as_ref().map_or(0, |s| s.number);
                let (base, wire) = (self.desk.base.clone(), self.wire.clone());
                thread::spawn(move || {
                    let _ = wire.send(Event::Pulled(number, request, pull::pull(&base, &path)));
                });
            }
            ToAgent::Release => self.release(),
            ToAgent::Store { access } => self.saving.store.name(*access),
            ToAgent::Restore { stored } => self.restore(stored),
            ToAgent::Signed { request, calls } => {
                self.saving.store.signer.answer(request, Ok(calls));
            }
            ToAgent::NotSigned { request, reason } => {
                self.saving.store.signer.answer(request, Err(reason));
            }
            ToAgent::Mount(_) => {
                let reason = "this machine mounts no store".to_owned();
                self.say(&FromAgent::Refused { reason });
            }
            // Contact was noted where it was heard; the session answers the other two itself.
            ToAgent::Ping | ToAgent::Hello { .. } | ToAgent::Put { .. } => {}
        }
    }

    fn placed(&mut self, slot: Slot, digest: String) {
        if slot == Slot::Checkpoint {
            // What was restored need not be saved again.
            self.memory.kept = Some(digest.clone());
            self.memory.whole =
                checkpoint::whole(&self.desk.base.checkpoint()).into_keys().collect();
        }
        self.memory.placed.retain(|(s, _)| *s != slot);
        self.memory.placed.push((slot.clone(), digest));
        self.desk.shared().placed = self.memory.placed.clone();
        self.save();
        self.say(&FromAgent::Placed { slot });
    }

    fn start(&mut self, spec: RunSpec) {
        if self.memory.started {
            return self.say(&FromAgent::Task { state: self.memory.task.clone() });
        }
        if let Some(reason) = self.stop {
            let reason = format!("a stop was ordered before the start ({reason:?})");
            return self.say(&FromAgent::Refused { reason });
        }
        if self.saving.is_restoring() {
            let reason = "a checkpoint is being restored; start when it is placed".to_owned();
            return self.say(&FromAgent::Refused { reason });
        }
        self.memory.started = true;
        self.memory.limits = Limits::of(&spec);
        // Not remembered, it could be started twice.
        if let Err(e) = self.desk.base.save(&self.memory) {
            self.memory.started = false;
            return self.say(&FromAgent::Refused { reason: e.to_string() });
        }
        self.desk.shared().started = true;
        self.begin_saving();
        let quiet = Duration::from_millis(spec.quiet_ms);
        match Watch::start(self.desk.base.checkpoint(), self.camera(), quiet, self.wire.clone()) {
            Ok(watch) => self.watch = Some(watch),
            Err(e) => self.no_checkpoint(e.to_string()),
        }
        match Running::start(&self.desk, spec, &self.wire) {
            Ok(running) => self.running = Some(running),
            Err(e) => {
                self.say(&FromAgent::Refused { reason: e.to_string() });
                let step = TaskStep::Run;
                self.ended(&Ending {
                    step,
                    code: Some(127),
                    signal: None,
                    stopped: false,
                    lost: false,
                });
            }
        }
    }

    fn camera(&self) -> Camera {
        let (base, memory) = (&self.desk.base, &self.memory);
        let limits = memory.limits;
        let limit = if limits.to_store { u64::MAX } else { limits.checkpoint_limit };
        let (folder, stage) = (base.checkpoint(), base.stage());
        Camera::new(folder, stage, limit, memory.kept.clone(), &memory.whole)
    }

    /// Stops the task, whoever asks. `left`: everything must be over then.
    pub(crate) fn stop(&mut self, reason: StopReason, left: Option<Duration>) {
        self.stop.get_or_insert(reason);
        let kill_in = match left {
            Some(left) => left - margin(left),
            None => Duration::from_millis(self.memory.limits.grace_ms),
        };
        if reason == StopReason::Notice {
            self.tell_deadline(kill_in);
        }
        self.saving.hurry(left);
        if let Some(running) = &mut self.running {
            let kill_in_ms = u64::try_from(kill_in.as_millis()).unwrap_or(u64::MAX);
            if let Err(e) = running.order(&Order::Stop { kill_in_ms }) {
                crate::note(&format!("the stop did not reach the task: {e}"));
            }
        } else if !self.memory.started {
            // Nothing runs and nothing will: that is settled.
            self.settle();
        }
    }

    /// Tells the task, in a file that appears, until when it may go on.
    fn tell_deadline(&self, kill_in: Duration) {
        let text = format!("{}\n", clock::now().plus(kill_in));
        if let Err(e) = crate::base::write_whole(&self.desk.base.preemption(), text.as_bytes()) {
            crate::note(&e.to_string());
        }
    }

    fn release(&mut self) {
        self.is_released = true;
        if let Some(running) = &mut self.running {
            // An error means that the supervisor is on its way out already.
            let _ = running.order(&Order::Stop { kill_in_ms: 0 });
        }
    }

    fn ended(&mut self, ending: &Ending) {
        self.running = None;
        self.memory.task = TaskState::Ended(TaskEnd {
            step: ending.step,
            code: ending.code,
            signal: ending.signal,
            stopped: if ending.stopped { self.stop } else { None },
            done: self.desk.base.done().exists(),
            lost: ending.lost,
            at: clock::now(),
        });
        for script in ["setup.sh", "run.sh"] {
            // Only long scripts have a file.
            let _ = fs::remove_file(self.desk.base.root().join(script));
        }
        self.save();
        self.say(&FromAgent::Task { state: self.memory.task.clone() });
        self.saving.task_ended();
        if !self.is_released {
            self.last_pictures();
        }
    }

    /// After the end nobody writes any more: what is there is the last checkpoint and the output.
    fn last_pictures(&mut self) {
        self.pictures = 2;
        if let Some(mut watch) = self.watch.take() {
            watch.finish();
        } else {
            let (mut camera, wire) = (self.camera(), self.wire.clone());
            thread::spawn(move || {
                let _ = wire.send(Event::LastCheckpoint(watch::last_picture(&mut camera)));
            });
        }
        let (output, wire) = (self.desk.base.output(), self.wire.clone());
        thread::spawn(move || {
            let found = output.metadata().doing(|| "find the output folder".into());
            let _ = wire.send(Event::Output(found.and_then(|_| pull::folder(&output))));
        });
    }

    fn settled(&self) -> FromAgent {
        let last_checkpoint = self.memory.published;
        FromAgent::Settled { last_checkpoint, log_end: self.desk.spool.end() }
    }

    /// Says `Settled` when all is over, once.
    fn settle(&mut self) {
        let is_over = match self.memory.task {
            TaskState::Ended(_) => {
                self.pictures == 0 && !self.offers.is_open() && self.is_all_saved()
            }
            _ => !self.memory.started,
        };
        if is_over && !self.memory.settled {
            self.memory.settled = true;
            self.save();
            self.say(&self.settled());
        }
    }
}
