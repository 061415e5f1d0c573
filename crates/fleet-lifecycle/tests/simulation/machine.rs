//! A rented machine with its agent and the task on it, as the world knows them.
//!
//! The agent follows the real one's rules: a task starts once; a stop before the start settles at once;
//! settled means that no process is left and every checkpoint was answered. Progress is computed when it
//! is looked at, up to the moment the power went.

use fleet_types::{DeathCause, InstanceId, Offer, Timestamp, Token};
use std::time::Duration;

/// What the task of a run does.
#[derive(Clone, Debug)]
pub struct TaskSpec {
    pub work: Duration,
    /// Between two checkpoints; none: it saves only when it is told to stop.
    pub every: Option<Duration>,
    /// From the stop signal to its exit, the save included.
    pub save: Duration,
    pub code_when_stopped: i32,
    pub ignores_stop: bool,
    /// It creates `$FLEET_DONE_FILE` before it exits 0 on a stop signal.
    pub done_when_stopped: bool,
    /// It fails so far into the work with this code, so many times.
    pub fails: Option<(Duration, i32)>,
    pub fail_times: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TaskNow {
    Idle,
    Active { since: Timestamp },
    Ended { code: i32, stopped: bool, at: Timestamp },
}

#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub number: u32,
    pub taken_at: Timestamp,
    pub progress: Duration,
    /// Published or declined, and the agent knows.
    pub answered: bool,
}

/// What the agent on a machine knows.
#[derive(Clone, Debug)]
pub struct Agent {
    pub contact: Option<Timestamp>,
    pub prepared_at: Option<Timestamp>,
    pub task: TaskNow,
    pub stopped: bool,
    /// What watched over the task was killed, and the task with it.
    pub lost: bool,
    pub checkpoints: Vec<Checkpoint>,
    base: Duration,
    end: (Timestamp, i32),
    next_save: Option<Timestamp>,
    last_save: Option<(Timestamp, Duration)>,
}

impl Agent {
    pub fn new() -> Self {
        Self {
            contact: None,
            prepared_at: None,
            task: TaskNow::Idle,
            stopped: false,
            lost: false,
            checkpoints: Vec::new(),
            base: Duration::ZERO,
            end: (Timestamp::default(), 0),
            next_save: None,
            last_save: None,
        }
    }

    /// Starts the task from `base`; answers whether that began it. `fails` where this run of it will.
    pub fn start(&mut self, spec: &TaskSpec, base: Duration, fails: bool, now: Timestamp) -> bool {
        if self.task != TaskNow::Idle || self.stopped {
            return false;
        }
        self.task = TaskNow::Active { since: now };
        self.base = base;
        self.end = match spec.fails {
            Some((at, code)) if fails => (now.plus(at.saturating_sub(base)), code),
            _ => (now.plus(spec.work.saturating_sub(base)), 0),
        };
        self.next_save = spec.every.map(|e| now.plus(e));
        true
    }

    /// Tells the task to stop; it is killed when `within` is over.
    pub fn stop(&mut self, spec: &TaskSpec, within: Duration, now: Timestamp) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let TaskNow::Active { since } = self.task else { return };
        self.next_save = None;
        let saved = now.plus(spec.save);
        let killed = now.plus(within.mul_f64(0.9));
        if self.end.0 <= saved.min(killed) {
            return;
        }
        if spec.ignores_stop || killed < saved {
            self.end = (killed, 137);
        } else {
            self.last_save = Some((saved, self.base + now.since(since)));
            self.end = (saved, spec.code_when_stopped);
        }
    }

    /// The task and what watches over it are killed.
    pub fn kill(&mut self, spec: &TaskSpec, now: Timestamp) {
        self.advance(spec, now);
        if let TaskNow::Active { .. } = self.task {
            (self.last_save, self.next_save, self.end) = (None, None, (now, 137));
            self.lost = true;
        }
    }

    /// Lets time pass up to `now`.
    pub fn advance(&mut self, spec: &TaskSpec, now: Timestamp) {
        let TaskNow::Active { since } = self.task else { return };
        while let Some(at) = self.next_save.filter(|at| *at <= now && *at < self.end.0) {
            self.checkpoint(at, self.base + at.since(since));
            self.next_save = spec.every.map(|e| at.plus(e));
        }
        let (at, code) = self.end;
        if at > now {
            return;
        }
        if let Some((at, progress)) = self.last_save.take() {
            self.checkpoint(at, progress);
        } else if code == 0 {
            self.checkpoint(at, self.base + at.since(since));
        }
        self.task = TaskNow::Ended { code, stopped: self.stopped, at };
    }

    fn checkpoint(&mut self, taken_at: Timestamp, progress: Duration) {
        let number = self.checkpoints.len() as u32 + 1;
        self.checkpoints.push(Checkpoint { number, taken_at, progress, answered: false });
    }

    /// No process is left and everything it offered was answered.
    pub fn settled(&self) -> bool {
        match self.task {
            TaskNow::Idle => self.stopped,
            TaskNow::Active { .. } => false,
            TaskNow::Ended { .. } => self.checkpoints.iter().all(|c| c.answered),
        }
    }
}

/// What the cloud says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Up,
    Stopping,
    Stopped(DeathCause),
    Terminated(DeathCause),
}

#[derive(Clone, Debug)]
pub struct Machine {
    pub id: InstanceId,
    pub cloud: usize,
    pub offer: Offer,
    pub token: Token,
    pub made: Timestamp,
    pub listed_at: Timestamp,
    pub described_at: Timestamp,
    pub address_at: Timestamp,
    /// SSH answers from then on; none: never.
    pub boots_at: Option<Timestamp>,
    pub life: Life,
    /// Its power went: no process runs on it any more.
    pub off_at: Option<Timestamp>,
    /// Compute bills no more.
    pub billed_until: Option<Timestamp>,
    /// The cloud does not know its id any more.
    pub vanished: bool,
    pub notice: Option<Timestamp>,
    /// Unreachable by us from, until.
    pub cut: Option<(Timestamp, Timestamp)>,
    pub agent: Agent,
}

impl Machine {
    pub fn booted(&self, now: Timestamp) -> bool {
        self.off_at.is_none() && self.boots_at.is_some_and(|at| at <= now)
    }
    pub fn reachable(&self, now: Timestamp) -> bool {
        self.booted(now) && self.cut.is_none_or(|(from, until)| now < from || until <= now)
    }
    /// Whether a task runs on it.
    pub fn works(&mut self, spec: &TaskSpec, now: Timestamp) -> bool {
        self.agent.advance(spec, self.off_at.unwrap_or(now).min(now));
        self.off_at.is_none() && matches!(self.agent.task, TaskNow::Active { .. })
    }
    /// The power goes.
    pub fn power_off(&mut self, spec: &TaskSpec, now: Timestamp) {
        if self.off_at.is_none() {
            self.agent.advance(spec, now);
            self.off_at = Some(now);
        }
    }
    pub fn is_over(&self) -> bool {
        self.off_at.is_some() && (self.vanished || matches!(self.life, Life::Terminated(_)))
    }
}
