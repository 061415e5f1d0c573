//! One run: the world, the controller's memory, the virtual clock that moves both.
//!
//! Invariant: everything happens in the order of the queue, (time, sequence); what belongs to the
//! controller carries its life's number, so that a crash forgets it; what belongs to the world goes on.

use super::bug::Bug;
use super::clocks::Clocks;
use super::controller::Memory;
use super::dice::{Dice, Edge, Kind, Moment};
use super::machine::{Machine, TaskSpec};
use super::store::{Shelf, Store};
use fleet_lifecycle::{Happening, JobFacts, JobState, Phase};
use fleet_types::{CheckpointId, Epoch, Offer, Refusal, Timestamp, Token};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

/// The controller is gone; what it was doing ends here.
#[derive(Debug)]
pub(crate) struct Crash;
/// What the controller's parts answer.
pub(crate) type Step = Result<(), Crash>;

/// What the queue holds.
pub(crate) enum Event {
    /// The controller's, in this life.
    Ours(u64, Ours),
    /// A create reaches the cloud and takes effect.
    CreateArrives {
        cloud: usize,
        offer: Box<Offer>,
        token: Token,
        answer: Option<(u64, Epoch, u32, Duration)>,
    },
    Preempt(usize, Option<Duration>),
    HostDies(usize),
    /// The cloud learns of it by itself.
    CloudSees(usize, fleet_types::DeathCause),
    PowerOff(usize),
    DeadMan(usize),
    AgentNotices(usize),
    TaskKilled(usize),
    PutArrives(CheckpointId, Duration),
    Crash,
    Restart,
    Cancel,
    FaultsStop,
    /// The wall clock of the controller's machine is so many milliseconds wrong from now on.
    WallJumps(i64),
}

/// The controller's own.
pub(crate) enum Ours {
    Tick,
    Take(Box<Happening>, Option<Edge>),
    Send(Epoch, u32),
    Answer(Epoch, u32, Answer),
    /// A piece of work goes on.
    Work(u64),
    Keeper(Token),
    Adopt(Token),
    Reconcile,
}

/// What a create answered.
pub(crate) enum Answer {
    Made(usize),
    Refused(Refusal),
    Nothing,
}

/// Where in a job's life a planned crash comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Fresh,
    Recovery,
    /// A cancel is committed just before it.
    CancelInFlight,
}

/// A crash that is planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlannedCrash {
    pub(crate) edge: Edge,
    pub(crate) moment: Moment,
    pub(crate) when: When,
}

/// Something that comes a moment after the job enters a phase.
pub(crate) struct Trigger {
    pub(crate) phase: &'static str,
    /// Only while an older epoch's task winds down.
    pub(crate) outgoing: bool,
    pub(crate) after: Duration,
    pub(crate) what: Sudden,
}

/// What a trigger brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sudden {
    Cancel,
    Crash,
    Preempt,
    HostDies,
}

/// A cloud's character.
pub(crate) struct Cloud {
    pub(crate) token: bool,
    pub(crate) notice: bool,
    pub(crate) ends_itself: bool,
    pub(crate) visibility: Duration,
    pub(crate) offers: Vec<Offer>,
    /// Lists miss a part until then, and say so.
    pub(crate) page_lost_until: Timestamp,
    /// Empty lists lately that were no truth, and when the last one was.
    pub(crate) lies: u32,
    pub(crate) lied_at: Timestamp,
}

pub(crate) struct Sim {
    pub(crate) now: Timestamp,
    queue: BinaryHeap<Reverse<Queued>>,
    sequence: u64,
    pub(crate) dice: Dice,
    pub(crate) facts: Arc<JobFacts>,
    pub(crate) task: TaskSpec,
    pub(crate) failed_times: u32,
    pub(crate) clouds: Vec<Cloud>,
    pub(crate) machines: Vec<Machine>,
    pub(crate) store: Store,
    pub(crate) shelf: Shelf,
    pub(crate) clocks: Clocks,
    pub(crate) life: u64,
    pub(crate) memory: Option<Memory>,
    pub(crate) bug: Option<Bug>,
    pub(crate) planned: Vec<PlannedCrash>,
    pub(crate) triggers: Vec<Trigger>,
    /// The first create of this epoch has no answer.
    pub(crate) lose_create_of: Option<Epoch>,
    /// The first machine is taken when its task has run for so long.
    pub(crate) preempt_first: Option<Duration>,
    pub(crate) sold_out: BTreeMap<(String, String), Timestamp>,
    pub(crate) cancel_acked: Option<Timestamp>,
    /// When the controller was last able to work towards an end.
    pub(crate) up_since: Timestamp,
    pub(crate) checked_alive: bool,
    /// When the job was first seen finished.
    pub(crate) finished: Option<Timestamp>,
    pub(crate) violations: Vec<String>,
    trace: Option<Vec<String>>,
}

struct Queued {
    at: Timestamp,
    sequence: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.sequence) == (other.at, other.sequence)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// What a run starts from.
pub(crate) struct Setting {
    pub(crate) dice: Dice,
    pub(crate) facts: JobFacts,
    pub(crate) task: TaskSpec,
    pub(crate) clouds: Vec<Cloud>,
    pub(crate) trace: bool,
}

impl Sim {
    pub(crate) fn new(setting: Setting) -> Self {
        let Setting { dice, facts, task, clouds, trace } = setting;
        let now = facts.created_at;
        Self {
            now,
            queue: BinaryHeap::new(),
            sequence: 0,
            dice,
            facts: Arc::new(facts),
            task,
            failed_times: 0,
            clouds,
            machines: Vec::new(),
            store: Store {
                state: JobState::new(),
                rows: BTreeMap::new(),
                anchor: None,
                newest: now,
            },
            clocks: Clocks::new(now),
            shelf: Shelf::default(),
            life: 0,
            memory: None,
            bug: None,
            planned: Vec::new(),
            triggers: Vec::new(),
            lose_create_of: None,
            preempt_first: None,
            sold_out: BTreeMap::new(),
            cancel_acked: None,
            up_since: now,
            checked_alive: false,
            finished: None,
            violations: Vec::new(),
            trace: trace.then(Vec::new),
        }
    }

    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// Notes a line of the trace.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.now, text()));
        }
    }

    pub(crate) fn violated(&mut self, text: String) {
        self.note(|| format!("VIOLATED {text}"));
        self.violations.push(format!("{} {text}", self.now));
    }

    pub(crate) fn traces(&self) -> bool {
        self.trace.is_some()
    }

    pub(crate) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(crate) fn at(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Queued { at, sequence: self.sequence, event }));
    }
    pub(crate) fn after(&mut self, span: Duration, event: Event) {
        self.at(self.now.plus(span), event);
    }
    /// Something of the controller's, forgotten when it crashes.
    pub(crate) fn ours(&mut self, span: Duration, what: Ours) {
        let life = self.life;
        self.after(span, Event::Ours(life, what));
    }

    /// Moves everything of the controller's later.
    pub(crate) fn postpone(&mut self, span: Duration) {
        let queue = std::mem::take(&mut self.queue);
        self.queue = queue
            .into_iter()
            .map(|Reverse(mut q)| {
                if let Event::Ours(..) = q.event {
                    q.at = q.at.plus(span);
                }
                Reverse(q)
            })
            .collect();
    }

    pub(crate) fn strikes(&mut self, kind: Kind) -> bool {
        self.dice.strikes(kind, self.now)
    }

    /// Runs until all is over, an invariant is violated, or long after the faults stopped.
    pub(crate) fn run(&mut self) {
        self.after(Duration::ZERO, Event::Restart);
        let stop = self.dice.until;
        self.at(stop, Event::FaultsStop);
        let limit = stop.plus(Duration::from_secs(6 * 3600));
        let mut events = 0;
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            events += 1;
            if self.now > limit || events > 400_000 {
                let phase = super::check::phase_word(&self.store.state.phase);
                self.violated(format!("25: not over {events} events later, phase {phase}"));
            }
            if !self.violations.is_empty() {
                return;
            }
            self.check_time();
            self.happen(next.event);
            if self.is_over() {
                return self.check_end();
            }
        }
        self.violated("25: nothing more would happen".into());
    }

    fn is_over(&self) -> bool {
        self.store.state.is_finished()
            && self.memory.is_some()
            && self.store.rows.values().all(|r| r.state.is_final())
            && self.machines.iter().all(Machine::is_over)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Ours(life, what) => {
                if life == self.life && self.memory.is_some() && self.act(what).is_err() {
                    self.crash();
                }
            }
            Event::CreateArrives { cloud, offer, token, answer } => {
                self.create_arrives(cloud, &offer, token, answer);
            }
            Event::Preempt(m, warning) => self.preempt(m, warning),
            Event::HostDies(m) => self.host_dies(m),
            Event::CloudSees(m, cause) => self.cloud_sees(m, cause),
            Event::PowerOff(m) => self.power_off(m),
            Event::DeadMan(m) => self.dead_man(m),
            Event::TaskKilled(m) => {
                let (now, task) = (self.now, self.task.clone());
                if self.machines[m].booted(now) {
                    self.note(|| format!("the task on machine {m} is killed"));
                    self.machines[m].agent.kill(&task, now);
                }
            }
            Event::AgentNotices(m) => self.agent_notices(m),
            Event::PutArrives(id, progress) => self.put_arrives(id, progress),
            Event::Crash => {
                if self.memory.is_some() {
                    self.crash();
                }
            }
            Event::Restart => {
                if self.memory.is_none() && self.restart().is_err() {
                    self.crash();
                }
            }
            Event::Cancel => self.user_cancels(),
            Event::FaultsStop => self.faults_stop(),
            Event::WallJumps(off) => self.wall_jumps(off),
        }
    }

    /// The job has entered a phase: what waits for that comes.
    pub(crate) fn trigger(&mut self) {
        let phase = super::check::phase_word(&self.store.state.phase);
        let outgoing = self.store.state.outgoing.is_some();
        let due = |t: &Trigger| t.phase == phase && (!t.outgoing || outgoing);
        let Some(i) = self.triggers.iter().position(due) else { return };
        let trigger = self.triggers.remove(i);
        if self.now >= self.dice.until {
            return;
        }
        let attempt = self.store.state.current().map(|a| a.instance.clone());
        let machine = attempt.map(|id| self.machine_of(&id)).or(self.machines.len().checked_sub(1));
        let event = match (trigger.what, machine) {
            (Sudden::Cancel, _) => Event::Cancel,
            (Sudden::Crash, _) => Event::Crash,
            (Sudden::Preempt, Some(m)) => {
                let warns = self.clouds[self.machines[m].cloud].notice;
                Event::Preempt(m, warns.then_some(Duration::from_secs(120)))
            }
            (Sudden::HostDies, Some(m)) => Event::HostDies(m),
            (Sudden::Preempt | Sudden::HostDies, None) => return,
        };
        self.after(trigger.after, event);
    }

    /// The controller stands at an edge; it may crash here.
    pub(crate) fn edge(&mut self, edge: Edge, moment: Moment) -> Step {
        let state = &self.store.state;
        let plans_again =
            matches!(state.phase, Phase::Planning { .. }) && !state.attempts.is_empty();
        let recovering = state.epoch.0 > 1 || state.outgoing.is_some() || plans_again;
        let hit = self.planned.first().is_some_and(|p| {
            p.edge == edge
                && p.moment == moment
                && (p.when != When::Recovery || recovering)
                && !matches!(state.phase, Phase::Queued)
        });
        if hit {
            let planned = self.planned.remove(0);
            self.note(|| format!("planned crash {planned:?}"));
            self.dice.counts.crashes[edge as usize][moment as usize] += 1;
            if planned.when == When::CancelInFlight {
                self.cancel()?;
            }
            return Err(Crash);
        }
        if self.dice.crashes(edge, moment, self.now) {
            self.note(|| format!("crash at {edge:?} {moment:?}"));
            return Err(Crash);
        }
        Ok(())
    }
}
