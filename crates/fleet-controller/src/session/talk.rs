//! The conversation with an agent: pursue the goal, take in what it reports.
//!
//! Invariant: orders are level, like the goal: after a reconnect the agent's whole state says what is
//! still to be asked for. Invariant 16: `Start` leaves only under the goal `Run`, after the newest published
//! checkpoint is in place and this epoch has fenced the older ones.

use super::put::{BlobSource, send_blobs};
use super::reach::Reached;
use super::relay::{Relay, sizes};
use super::{Parting, SessionScene};
use crate::mail::Pull;
use bytes::Bytes;
use fleet_agent_api::{
    AgentState, Decoder, Frame, FromAgent, PROTOCOL, Slot, Source, StopOrder, StopReason,
    TaskState, TaskStep, ToAgent, Want, encode_message,
};
use fleet_lifecycle::{Happening, Restored, SessionGoal, StopKind};
use fleet_storage::{CheckpointStore, RelayStore};
use fleet_types::{Epoch, EventBody, Timestamp, Tree, Usd};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

mod acks;
mod store;
mod take;

use acks::Acks;
use store::StoreTalk;
pub(crate) use take::exit;
use take::{note, tell_notice};

/// Contact is shown to the agent this often.
const PING: Duration = Duration::from_secs(4);
/// Without a word from the agent for so long the connection is taken for dead; follows the time scale …
const MUTE: Duration = Duration::from_secs(30);
/// … but not below this.
const SHORTEST_MUTE: Duration = Duration::from_secs(5);

/// Talks until the connection ends.
pub(super) async fn talk(s: &mut SessionScene, reached: Reached) -> Parting {
    let Reached { session, channel, host, warning } = reached;
    let (mut reader, mut writer) = tokio::io::split(channel);
    let (out, mut queue) = mpsc::channel::<Bytes>(32);
    let writing = tokio::spawn(async move {
        while let Some(frame) = queue.recv().await {
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    });
    let mut talk = Talk::new(s, out, host, warning);
    let parting = talk.run(s, &mut reader).await;
    drop(talk);
    writing.abort();
    session.close().await;
    parting
}

struct Talk {
    epoch: Epoch,
    out: mpsc::Sender<Bytes>,
    host: String,
    /// How long its cloud warns before it takes the machine.
    warning: Duration,
    relay: Relay,
    /// The agent's state as last told; `None` before its welcome.
    agent: Option<AgentState>,
    /// Trees still to be put, in order.
    to_put: VecDeque<(Slot, Tree, BlobSource)>,
    putting: Option<(Slot, HashMap<String, u64>, BlobSource)>,
    prepared: bool,
    restored: Option<Restored>,
    store: StoreTalk,
    restore_asked: bool,
    start_asked: bool,
    stop_asked: bool,
    pulls: HashMap<u32, Pull>,
    next_pull: u32,
    acks: Acks,
    /// The agent is settled; its log ends there.
    settled: Option<u64>,
    /// Transfers to the machine that broke off.
    failed: (mpsc::Sender<String>, mpsc::Receiver<String>),
}

impl Talk {
    fn new(s: &SessionScene, out: mpsc::Sender<Bytes>, host: String, warning: Duration) -> Self {
        let doc = &s.scene.doc;
        let epoch = s.attempt.borrow().epoch;
        let keep = doc.task.checkpoint.keep;
        let relay = Relay::new(s.scene.inner.clone(), doc.facts.id.clone(), epoch, keep);
        Self {
            epoch,
            out,
            host,
            warning,
            relay,
            agent: None,
            to_put: VecDeque::new(),
            putting: None,
            prepared: false,
            restored: None,
            store: StoreTalk::default(),
            restore_asked: false,
            start_asked: false,
            stop_asked: false,
            pulls: HashMap::new(),
            next_pull: 0,
            acks: Acks::default(),
            settled: None,
            failed: mpsc::channel(4),
        }
    }

    async fn run<R>(&mut self, s: &mut SessionScene, reader: &mut R) -> Parting
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        let facts = s.scene.doc.facts.clone();
        let log_from = s.journal.log_offset(self.epoch).await;
        let hello =
            ToAgent::Hello { protocol: PROTOCOL, job: facts.id, epoch: self.epoch, log_from };
        if let Err(p) = self.say(&hello).await {
            return p;
        }
        let mut decoder = Decoder::default();
        let mut buffer = vec![0; 256 << 10];
        let mut ping = tokio::time::interval(PING);
        let mut heard = tokio::time::Instant::now();
        let mut mute = 0;
        let patience = facts.time_scale.span(MUTE).max(SHORTEST_MUTE);
        loop {
            let step = tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => Err(Parting::Lost("the agent hung up".into())),
                    Err(e) => Err(Parting::Lost(e.to_string())),
                    Ok(n) => {
                        heard = tokio::time::Instant::now();
                        mute = 0;
                        if self.agent.is_some() {
                            s.contact.hear();
                        }
                        decoder.push(&buffer[..n]);
                        self.frames(s, &mut decoder).await
                    }
                },
                changed = s.goal.changed() => match changed {
                    Ok(()) => self.pursue(s).await,
                    Err(_) => Err(Parting::Lost("no longer wanted".into())),
                },
                Some(pull) = s.pulls.recv() => self.pull(pull).await,
                durable = self.acks.durable() => self.acknowledge(s, durable).await,
                Some(why) = self.failed.1.recv() => {
                    Err(Parting::Lost(format!("files could not be sent: {why}")))
                }
                _ = ping.tick() => {
                    if heard.elapsed() > patience {
                        // Our own sleep looks like theirs: ask again, and hang up only if that is not answered.
                        heard += patience;
                        mute += 1;
                    }
                    if mute > 1 {
                        Err(Parting::Lost("the agent is silent".into()))
                    } else {
                        self.tend(s).await
                    }
                }
            };
            if let Err(parting) = step {
                return parting;
            }
        }
    }

    async fn frames(&mut self, s: &mut SessionScene, decoder: &mut Decoder) -> Result<(), Parting> {
        let odd = |e: fleet_agent_api::FrameError| Parting::Lost(format!("the agent's words: {e}"));
        while let Some(frame) = decoder.next_frame().map_err(odd)? {
            match frame {
                Frame::Blob(blob) => match self.relay.piece(blob).await {
                    Ok(done) => {
                        for source in done {
                            self.arrived(s, source).await?;
                        }
                    }
                    Err(e) => return Err(Parting::Lost(format!("storing what it sent: {e}"))),
                },
                Frame::Json(_) => {
                    let message = frame.message::<FromAgent>().map_err(odd)?;
                    self.hear(s, message).await?;
                }
            }
        }
        Ok(())
    }

    async fn hear(&mut self, s: &mut SessionScene, message: FromAgent) -> Result<(), Parting> {
        let epoch = self.epoch;
        match message {
            FromAgent::Welcome { protocol, epoch: theirs, state, .. } => {
                if protocol != PROTOCOL || theirs != epoch {
                    return Err(Parting::Unfit(format!(
                        "its agent speaks version {protocol} for epoch {theirs}, not {PROTOCOL} for {epoch}"
                    )));
                }
                self.welcome(s, state).await
            }
            FromAgent::Need { slot, blobs } => self.need(slot, blobs),
            FromAgent::Placed { slot } => self.placed(s, slot).await,
            FromAgent::PutFailed { slot: Slot::Checkpoint, reason } if self.store.restoring => {
                // The store may answer the next time; the limit for preparing bounds it.
                Err(Parting::Lost(format!("the checkpoint could not be fetched: {reason}")))
            }
            FromAgent::PutFailed { slot, reason } => {
                Err(Parting::Unfit(format!("{slot:?} could not be put there: {reason}")))
            }
            FromAgent::Task { state } => self.task(s, state).await,
            FromAgent::Log { records } => self.log(s, records).await,
            FromAgent::Ready(invitation) => self.ready(s, invitation).await,
            FromAgent::NotReady { source, reason } => {
                if let Source::Pull(request) = source {
                    self.answer_pull(request, Err(reason));
                } else {
                    note(s, EventBody::CheckpointRefused { epoch, reason }).await;
                }
                Ok(())
            }
            FromAgent::Notice(notice) => {
                tell_notice(s, epoch, notice).await;
                Ok(())
            }
            FromAgent::Settled { log_end, .. } => {
                self.settled = Some(log_end);
                self.settle(s).await
            }
            FromAgent::Beat(_) => Ok(()),
            message @ (FromAgent::Saved(_) | FromAgent::Sign { .. } | FromAgent::Slow { .. }) => {
                self.hear_of_store(s, message).await
            }
            FromAgent::Mounted { .. } | FromAgent::MountFailed { .. } => {
                Err(Parting::Lost("the agent speaks of a mount that it was not given".into()))
            }
            FromAgent::Refused { reason }
                if self.start_asked
                    && self.agent.as_ref().is_some_and(|a| a.task == TaskState::Idle) =>
            {
                Err(Parting::Unfit(format!("its agent does not start the task: {reason}")))
            }
            FromAgent::Refused { reason } => {
                tracing::warn!(job = %s.scene.doc.facts.id, "the agent refused an order: {reason}");
                Ok(())
            }
        }
    }

    async fn welcome(&mut self, s: &mut SessionScene, state: AgentState) -> Result<(), Parting> {
        let epoch = self.epoch;
        let host = self.host.clone();
        s.contact.hear();
        s.scene.tell(Happening::Connected { epoch, host }).await;
        s.scene.tell(Happening::Heard { epoch }).await;
        if let Some(notice) = state.notice.clone() {
            tell_notice(s, epoch, notice).await;
        }
        let doc = s.scene.doc.clone();
        let snapshots = s.scene.inner.snapshots.clone();
        let mut slots = Vec::new();
        if let Some(digest) = &doc.workdir {
            slots.push((Slot::Workdir, digest.clone()));
        }
        for mount in &doc.mounts {
            slots.push((Slot::Mount(mount.target.clone()), mount.digest.clone()));
        }
        let fresh = state.task == TaskState::Idle;
        for (slot, digest) in slots {
            if fresh && !state.placed.contains(&slot) {
                let tree =
                    snapshots.tree(&digest).map_err(|e| Parting::Lost(e.to_string()))?.ok_or_else(
                        || Parting::Unfit(format!("the snapshot {digest} is gone from the home")),
                    )?;
                self.to_put.push_back((slot, tree, BlobSource::Snapshot(snapshots.clone())));
            }
        }
        let task = state.task.clone();
        let (settled, log_end) = (state.settled, state.log_end);
        let saved = state.saved.clone();
        self.agent = Some(state);
        self.name_store(s).await?;
        if let Some(saved) = saved {
            self.saved(s, &saved).await;
        }
        self.task(s, task).await?;
        if settled {
            self.settled = Some(log_end);
            self.settle(s).await?;
        }
        self.put_next(s).await
    }

    /// Reports that all is home, once every line is: the machine may be ended after that.
    async fn settle(&mut self, s: &SessionScene) -> Result<(), Parting> {
        let Some(log_end) = self.settled else { return Ok(()) };
        if s.journal.log_offset(self.epoch).await < log_end {
            return Ok(());
        }
        self.settled = None;
        s.journal.sync().await.map_err(|e| Parting::Lost(e.to_string()))?;
        s.scene.tell(Happening::Settled { epoch: self.epoch }).await;
        Ok(())
    }

    /// Puts the next tree, or goes on to the goal.
    async fn put_next(&mut self, s: &mut SessionScene) -> Result<(), Parting> {
        if self.putting.is_some() {
            return Ok(());
        }
        if let Some((slot, tree, source)) = self.to_put.pop_front() {
            self.putting = Some((slot.clone(), sizes(&tree), source));
            return self.say(&ToAgent::Put { slot, tree }).await;
        }
        if !self.prepared {
            self.prepared = true;
            s.scene.tell(Happening::Prepared { epoch: self.epoch }).await;
        }
        self.pursue(s).await
    }

    fn need(&mut self, slot: Slot, blobs: Vec<Want>) -> Result<(), Parting> {
        let Some((putting, sizes, source)) = &self.putting else { return Ok(()) };
        if *putting != slot {
            return Ok(());
        }
        let (sizes, source, out) = (sizes.clone(), source.clone(), self.out.clone());
        let failed = self.failed.0.clone();
        tokio::spawn(async move {
            if let Err(e) = send_blobs(source, blobs, sizes, out).await
                && failed.send(e).await.is_err()
            {
                tracing::debug!("files were being sent when the connection ended");
            }
        });
        Ok(())
    }

    async fn placed(&mut self, s: &mut SessionScene, slot: Slot) -> Result<(), Parting> {
        if self.putting.as_ref().is_some_and(|(p, ..)| *p == slot) {
            self.putting = None;
        }
        if slot == Slot::Checkpoint {
            self.store.restoring = false;
        }
        if let Some(agent) = &mut self.agent {
            agent.placed.push(slot);
        }
        self.put_next(s).await
    }

    /// Does what the goal asks for next.
    async fn pursue(&mut self, s: &mut SessionScene) -> Result<(), Parting> {
        let goal = s.goal.borrow_and_update().clone();
        let Some(agent) = &self.agent else { return Ok(()) };
        let idle = agent.task == TaskState::Idle;
        match goal {
            SessionGoal::Prepare => Ok(()),
            SessionGoal::Run if !idle || !self.prepared || self.putting.is_some() => Ok(()),
            SessionGoal::Run if self.store.restoring => Ok(()),
            SessionGoal::Run if !self.restore_asked => self.restore(s).await,
            SessionGoal::Run if !self.start_asked => {
                self.start_asked = true;
                let spec = Box::new(crate::run_spec::run_spec(&s.scene, self.epoch, self.warning)?);
                self.say(&ToAgent::Start { spec }).await
            }
            SessionGoal::Run => Ok(()),
            SessionGoal::Stop { kind, until } if !self.stop_asked => {
                self.stop_asked = true;
                let reason = match kind {
                    StopKind::Notice => StopReason::Notice,
                    StopKind::Cancel => StopReason::Cancel,
                    StopKind::Limit => StopReason::Limit,
                };
                let within_ms = Some(until.since(s.scene.now()).as_millis() as u64);
                self.say(&ToAgent::Stop(StopOrder { reason, within_ms })).await
            }
            SessionGoal::Stop { .. } => Ok(()),
        }
    }

    /// Fences the older epochs and puts the newest published checkpoint in place.
    async fn restore(&mut self, s: &mut SessionScene) -> Result<(), Parting> {
        self.restore_asked = true;
        if s.scene.doc.task.checkpoint.store.is_some() {
            return self.restore_from_store(s).await;
        }
        let store = s.scene.inner.checkpoints.clone();
        let job = s.scene.doc.facts.id.clone();
        let lost = |e: fleet_storage::Error| Parting::Lost(format!("the checkpoint store: {e}"));
        store.open_epoch(&job, self.epoch).await.map_err(lost)?;
        let Some(manifest) = store.newest(&job).await.map_err(lost)? else {
            return Box::pin(self.pursue(s)).await;
        };
        let there = self.agent.as_ref().is_some_and(|a| a.placed.contains(&Slot::Checkpoint));
        let (id, bytes) = (manifest.id, manifest.tree.size());
        // Over the user's own line: nobody bills it.
        self.restored = Some(Restored { id, bytes, egress_usd: Usd::ZERO });
        if there {
            return Box::pin(self.pursue(s)).await;
        }
        let source = BlobSource::Checkpoint(store, job);
        self.to_put.push_back((Slot::Checkpoint, manifest.tree, source));
        Box::pin(self.put_next(s)).await
    }

    async fn task(&mut self, s: &mut SessionScene, state: TaskState) -> Result<(), Parting> {
        let epoch = self.epoch;
        if let Some(agent) = &mut self.agent {
            agent.task = state.clone();
        }
        match state {
            TaskState::Idle => {}
            TaskState::Active { step, since, .. } => {
                self.tell_step(s, step, since).await;
                if step == TaskStep::Run {
                    let instance = s.attempt.borrow().instance.clone();
                    crate::sandbox::running(&s.scene, &instance).await;
                }
            }
            TaskState::Ended(end) => {
                // A task that ended between two connections also began.
                self.tell_step(s, end.step, end.at).await;
                s.scene.tell(Happening::Exited { epoch, exit: exit(&end) }).await;
            }
        }
        Ok(())
    }

    async fn tell_step(&mut self, s: &SessionScene, step: TaskStep, at: Timestamp) {
        let (epoch, restored) = (self.epoch, self.restored.take());
        let told = match step {
            TaskStep::Setup => Happening::Begun { epoch, at, restored },
            TaskStep::Run => Happening::Started { epoch, at, restored },
        };
        s.scene.tell(told).await;
    }

    /// Shows contact, and does what waited for a better moment.
    async fn tend(&mut self, s: &mut SessionScene) -> Result<(), Parting> {
        self.say(&ToAgent::Ping).await?;
        if self.agent.is_none() {
            return Ok(());
        }
        self.name_store(s).await?;
        self.pursue(s).await
    }

    async fn say(&self, message: &ToAgent) -> Result<(), Parting> {
        let frame = encode_message(message).map_err(|e| Parting::Lost(e.to_string()))?;
        self.out.send(frame).await.map_err(|_| Parting::Lost("the connection is gone".into()))
    }
}
