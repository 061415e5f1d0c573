//! The controller's connection to an agent: welcome, reports in order, orders by goal, publishing.
//!
//! Mirrors `fleet-controller`'s session: orders are level, so a new connection asks again for what is
//! still wanted; silence counts only while the controller is awake.

use super::bug::Bug;
use super::dice::{Edge, Kind, Moment};
use super::machine::TaskNow;
use super::sim::{Crash, Event, Sim, Step};
use fleet_lifecycle::{Exit, Happening, Restored, Saved, SessionGoal};
use fleet_types::{CheckpointId, Epoch, Timestamp, Usd};
use std::time::Duration;

/// Silence that is shown, and silence that is a loss.
const SHOWN: Duration = Duration::from_secs(20);

/// One connection and what was told over it.
#[derive(Clone)]
pub(crate) struct Session {
    epoch: Epoch,
    machine: usize,
    connected: bool,
    last: Timestamp,
    silent: Duration,
    silence_told: bool,
    prepared: bool,
    noticed: bool,
    begun: bool,
    started: bool,
    exited: bool,
    settled: bool,
    stop_asked: bool,
    restored: Option<Restored>,
}

impl Session {
    pub(crate) fn new(epoch: Epoch, machine: usize, now: Timestamp) -> Self {
        Self {
            epoch,
            machine,
            connected: false,
            last: now,
            silent: Duration::ZERO,
            silence_told: false,
            prepared: false,
            noticed: false,
            begun: false,
            started: false,
            exited: false,
            settled: false,
            stop_asked: false,
            restored: None,
        }
    }
    fn hang_up(&mut self) {
        let (silent, told) = (self.silent, self.silence_told);
        *self = Self::new(self.epoch, self.machine, self.last);
        (self.silent, self.silence_told) = (silent, told);
    }
}

impl Sim {
    /// One look at the connection; answers when the next is due.
    pub(crate) fn session(
        &mut self,
        mut s: Session,
        goal: SessionGoal,
        id: u64,
    ) -> Result<(Session, Duration), Crash> {
        let pause = Duration::from_secs(5);
        let round = self.now.since(s.last);
        s.last = self.now;
        let addressed = self.store.state.attempt(s.epoch).is_some_and(|a| a.address.is_some());
        if !addressed || !self.machines[s.machine].reachable(self.now) {
            self.unreachable(&mut s, round)?;
            return Ok((s, pause));
        }
        s.silent = Duration::ZERO;
        if std::mem::take(&mut s.silence_told) {
            self.tell_now(Happening::Heard { epoch: s.epoch }, None)?;
        }
        let (now, task) = (self.now, self.task.clone());
        let takes = self.dice.span(1_000, 30_000);
        let agent = &mut self.machines[s.machine].agent;
        agent.contact = Some(now);
        agent.prepared_at.get_or_insert(now.plus(takes));
        agent.advance(&task, now);
        if !std::mem::replace(&mut s.connected, true) {
            let host = "10.0.0.1".to_owned();
            self.tell_now(Happening::Connected { epoch: s.epoch, host }, None)?;
        }
        self.hear(&mut s)?;
        // What was heard may have ended the work or changed its goal.
        let goal = match self.memory().work.values().find(|w| w.id == id) {
            Some(work) => work.goal.clone().unwrap_or(goal),
            None => return Ok((s, pause)),
        };
        self.pursue_goal(&mut s, goal)?;
        if self.strikes(Kind::ConnectionDropped) {
            s.hang_up();
        }
        Ok((s, pause))
    }

    fn unreachable(&mut self, s: &mut Session, round: Duration) -> Step {
        if s.connected {
            s.connected = false;
            s.hang_up();
        }
        // What is beyond a round was our own sleep.
        s.silent += round.min(Duration::from_secs(20));
        if s.silent > SHOWN && !s.silence_told {
            s.silence_told = true;
            let since = self.now.minus(s.silent);
            self.tell_now(Happening::Silent { epoch: s.epoch, since }, None)?;
        }
        let patience = self.facts.timing().silence();
        if s.silent > if self.has(Bug::SilenceIsDeath) { SHOWN } else { patience } {
            self.tell_now(Happening::Lost { epoch: s.epoch }, None)?;
        }
        Ok(())
    }

    /// The agent's reports since the last look, in their order.
    fn hear(&mut self, s: &mut Session) -> Step {
        let (epoch, m) = (s.epoch, s.machine);
        if let Some(deadline) = self.machines[m].notice
            && !std::mem::replace(&mut s.noticed, true)
        {
            let source = "metadata".to_owned();
            self.tell_now(Happening::Notice { epoch, source, deadline }, None)?;
        }
        let ready = self.machines[m].agent.prepared_at.is_some_and(|at| at <= self.now);
        if ready && !std::mem::replace(&mut s.prepared, true) {
            self.tell_now(Happening::Prepared { epoch }, None)?;
        }
        self.hear_task(s)?;
        self.publish(s)?;
        if self.machines[m].agent.settled() && !std::mem::replace(&mut s.settled, true) {
            self.tell_now(Happening::Settled { epoch }, None)?;
        }
        Ok(())
    }

    /// What the agent says of the task: in its setup, in its work, ended.
    fn hear_task(&mut self, s: &mut Session) -> Step {
        let (epoch, m) = (s.epoch, s.machine);
        let works_from = self.machines[m].agent.works_from;
        let task = self.machines[m].agent.task.clone();
        let in_setup = match &task {
            TaskNow::Idle => return Ok(()),
            TaskNow::Active { .. } => self.now < works_from && !self.has(Bug::SetupIsRun),
            TaskNow::Ended { in_setup, .. } => *in_setup,
        };
        let at = match &task {
            TaskNow::Idle => return Ok(()),
            TaskNow::Active { since } => *since,
            TaskNow::Ended { at, .. } => *at,
        };
        if in_setup && !std::mem::replace(&mut s.begun, true) {
            let restored = s.restored.take();
            self.tell_now(Happening::Begun { epoch, at, restored }, Some(Edge::Start))?;
        }
        if !in_setup && !std::mem::replace(&mut s.started, true) {
            let (restored, at) = (s.restored.take(), at.max(works_from.min(self.now)));
            self.tell_now(Happening::Started { epoch, at, restored }, Some(Edge::Start))?;
        }
        if let TaskNow::Ended { code, stopped, at, in_setup } = task
            && !std::mem::replace(&mut s.exited, true)
        {
            self.told_exit(code, stopped, in_setup);
            let done = stopped && self.task.done_when_stopped && code == 0 && !in_setup;
            if done {
                self.dice.counts.kinds[Kind::TaskDoneWhenStopped as usize] += 1;
            }
            let lost = self.machines[m].agent.lost;
            let exit = Exit { code, in_setup, stopped, done, lost, at };
            self.tell_now(Happening::Exited { epoch, exit }, None)?;
        }
        Ok(())
    }

    fn told_exit(&mut self, code: i32, stopped: bool, in_setup: bool) {
        let kind = match (code, stopped) {
            (137, false) => return,
            (_, false) if in_setup => Kind::TaskFailsInSetup,
            (0, true) => Kind::TaskExitsZeroWhenStopped,
            (137, true) => Kind::TaskIgnoresStop,
            (0, false) | (_, true) => return,
            (_, false) => Kind::TaskFails,
        };
        self.dice.counts.kinds[kind as usize] += 1;
    }

    /// Publishes what the agent offers, oldest first.
    fn publish(&mut self, s: &mut Session) -> Step {
        let offered = self.machines[s.machine].agent.checkpoints.clone();
        for (i, c) in offered.into_iter().enumerate().filter(|(_, c)| !c.answered) {
            let id = CheckpointId { epoch: s.epoch, number: c.number };
            self.edge(Edge::Publish, Moment::BeforeCall)?;
            if self.strikes(Kind::PutLate) {
                // The put leaves, the connection breaks; it lands some time later.
                let late = self.dice.span(5_000, 600_000);
                self.after(late, Event::PutArrives(id, c.progress));
                s.hang_up();
                return Ok(());
            }
            let published = self.put(id, c.progress);
            self.edge(Edge::Publish, Moment::AfterCall)?;
            if published {
                let (epoch, number, taken_at) = (s.epoch, c.number, c.taken_at);
                let saved = Saved { number, taken_at, bytes: 1, files: 1, egress_usd: Usd::ZERO };
                let told = Happening::Saved { epoch, saved };
                self.tell_now(told, Some(Edge::Publish))?;
            }
            if self.strikes(Kind::PublishAnswerLost) {
                s.hang_up();
                return Ok(());
            }
            self.machines[s.machine].agent.checkpoints[i].answered = true;
        }
        Ok(())
    }

    fn put(&mut self, id: CheckpointId, progress: Duration) -> bool {
        let fenced = !self.has(Bug::NoFence);
        let known = self.shelf.published.contains_key(&id);
        let published = self.shelf.publish(id, progress, fenced);
        if published && !known {
            self.note(|| format!("checkpoint {id} published, {progress:?}"));
            self.check_published(id);
        }
        published
    }

    pub(crate) fn put_arrives(&mut self, id: CheckpointId, progress: Duration) {
        self.put(id, progress);
    }

    fn pursue_goal(&mut self, s: &mut Session, goal: SessionGoal) -> Step {
        let (now, task) = (self.now, self.task.clone());
        match goal {
            SessionGoal::Prepare => Ok(()),
            SessionGoal::Run => {
                let agent = &self.machines[s.machine].agent;
                if agent.task != TaskNow::Idle || agent.stopped || !s.prepared || !s.connected {
                    return Ok(());
                }
                self.start(s)
            }
            SessionGoal::Stop { until, .. } if !s.stop_asked && s.connected => {
                s.stop_asked = true;
                let doubled = self.strikes(Kind::OrderDoubled);
                let agent = &mut self.machines[s.machine].agent;
                for _ in 0..=usize::from(doubled) {
                    agent.stop(&task, until.since(now), now);
                }
                Ok(())
            }
            SessionGoal::Stop { .. } => Ok(()),
        }
    }

    /// Fences the older epochs, puts the newest checkpoint in place, starts the task.
    fn start(&mut self, s: &mut Session) -> Step {
        self.edge(Edge::Start, Moment::BeforeCall)?;
        if !self.shelf.open_epoch(s.epoch) {
            s.hang_up();
            return Ok(());
        }
        let newest = self.shelf.newest();
        let base = newest.map_or(Duration::ZERO, |(_, progress)| progress);
        s.restored = newest.map(|(id, _)| Restored { id, bytes: 1, egress_usd: Usd::ZERO });
        let (now, task) = (self.now, self.task.clone());
        let fails = self.failed_times < task.fail_times;
        let doubled = self.strikes(Kind::OrderDoubled);
        let mut began = false;
        for _ in 0..=usize::from(doubled) {
            began |= self.machines[s.machine].agent.start(&task, base, fails, now);
        }
        if began {
            self.failed_times += u32::from(fails);
            let (m, epoch) = (s.machine, s.epoch);
            self.note(|| format!("task of epoch {epoch} starts on machine {m} from {base:?}"));
            self.check_started(s.machine, s.epoch);
            if let Some(span) = self.preempt_first.take() {
                let warns = self.clouds[self.machines[m].cloud].notice;
                let warning = warns.then_some(Duration::from_secs(120));
                self.after(span, Event::Preempt(m, warning));
            }
        }
        self.edge(Edge::Start, Moment::AfterCall)?;
        if self.strikes(Kind::OrderAnswerLost) {
            s.hang_up();
            let (from, long) = (self.now, self.dice.span(1_000, 120_000));
            self.machines[s.machine].cut.get_or_insert((from, from.plus(long)));
        }
        Ok(())
    }
}
