//! A rented machine with its agent and the task on it, as the world knows them.
//!
//! The agent follows the real one's rules: a task starts once; a stop before the start settles at once;
//! settled means that no process is left and every checkpoint was answered. Progress is computed when it
//! is looked at, up to the moment the power went.

use fleet_types::{DeathCause, InstanceId, Offer, Timestamp, Token};
use std::time::Duration;

/// What the task of a run does.
#[derive(Clone, Debug)]
pub(crate) struct TaskSpec {
    /// Before the work, on every machine anew; zero: the task has no setup.
    pub(crate) setup: Duration,
    pub(crate) work: Duration,
    /// Between two checkpoints; none: it saves only when it is told to stop.
    pub(crate) every: Option<Duration>,
    /// From the stop signal to its exit, the save included.
    pub(crate) save: Duration,
    pub(crate) code_when_stopped: i32,
    pub(crate) ignores_stop: bool,
    /// It creates `$FLEET_DONE_FILE` before it exits 0 on a stop signal.
    pub(crate) done_when_stopped: bool,
    /// It fails so far into the work with this code, so many times.
    pub(crate) fails: Option<(Duration, i32)>,
    /// … or at the end of its setup.
    pub(crate) fails_in_setup: bool,
    pub(crate) fail_times: u32,
}

/// What parts a setup's end from the start of the work.
const MOMENT: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TaskNow {
    Idle,
    Active { since: Timestamp },
    Ended { code: i32, stopped: bool, at: Timestamp, in_setup: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) number: u32,
    pub(crate) taken_at: Timestamp,
    pub(crate) progress: Duration,
    /// Published or declined, and the agent knows.
    pub(crate) answered: bool,
}

/// What the agent on a machine knows.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) contact: Option<Timestamp>,
    pub(crate) prepared_at: Option<Timestamp>,
    pub(crate) task: TaskNow,
    pub(crate) stopped: bool,
    /// What watched over the task was killed, and the task with it.
    pub(crate) lost: bool,
    pub(crate) checkpoints: Vec<Checkpoint>,
    /// When its setup is over and the work begins.
    pub(crate) works_from: Timestamp,
    base: Duration,
    end: (Timestamp, i32),
    next_save: Option<Timestamp>,
    last_save: Option<(Timestamp, Duration)>,
}

impl Agent {
    pub(crate) fn new() -> Self {
        Self {
            contact: None,
            prepared_at: None,
            task: TaskNow::Idle,
            stopped: false,
            lost: false,
            checkpoints: Vec::new(),
            works_from: Timestamp::default(),
            base: Duration::ZERO,
            end: (Timestamp::default(), 0),
            next_save: None,
            last_save: None,
        }
    }

    /// Starts the task from `base`; answers whether that began it. `fails` where this run of it will.
    pub(crate) fn start(
        &mut self,
        spec: &TaskSpec,
        base: Duration,
        fails: bool,
        now: Timestamp,
    ) -> bool {
        if self.task != TaskNow::Idle || self.stopped {
            return false;
        }
        self.task = TaskNow::Active { since: now };
        self.base = base;
        let from = now.plus(spec.setup);
        self.works_from = from;
        self.end = match spec.fails {
            Some((_, code)) if fails && spec.fails_in_setup && !spec.setup.is_zero() => {
                (from.minus(MOMENT), code)
            }
            Some((at, code)) if fails => (from.plus(at.saturating_sub(base)), code),
            _ => (from.plus(spec.work.saturating_sub(base)), 0),
        };
        self.next_save = spec.every.map(|e| from.plus(e));
        true
    }

    /// Tells the task to stop; it is killed when `within` is over.
    pub(crate) fn stop(&mut self, spec: &TaskSpec, within: Duration, now: Timestamp) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let TaskNow::Active { .. } = self.task else { return };
        self.next_save = None;
        let killed = now.plus(within.mul_f64(0.9));
        if now < self.works_from {
            return self.stop_setup(spec, killed, now);
        }
        let since = self.works_from;
        let saved = now.plus(spec.save);
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

    /// A setup has nothing to save; after it nothing is started any more.
    fn stop_setup(&mut self, spec: &TaskSpec, killed: Timestamp, now: Timestamp) {
        let signalled = match spec.ignores_stop {
            true => (killed, 137),
            false => (killed.min(now.plus(Duration::from_secs(1))), spec.code_when_stopped),
        };
        let over = (self.works_from.minus(MOMENT), 0);
        let ends = if over.0 < signalled.0 { over } else { signalled };
        if ends.0 < self.end.0 {
            self.end = ends;
        }
    }

    /// The task and what watches over it are killed.
    pub(crate) fn kill(&mut self, spec: &TaskSpec, now: Timestamp) {
        self.advance(spec, now);
        if let TaskNow::Active { .. } = self.task {
            (self.last_save, self.next_save, self.end) = (None, None, (now, 137));
            self.lost = true;
        }
    }

    /// Lets time pass up to `now`.
    pub(crate) fn advance(&mut self, spec: &TaskSpec, now: Timestamp) {
        let TaskNow::Active { .. } = self.task else { return };
        let since = self.works_from;
        while let Some(at) = self.next_save.filter(|at| *at <= now && *at < self.end.0) {
            self.checkpoint(at, self.base + at.since(since));
            self.next_save = spec.every.map(|e| at.plus(e));
        }
        let (at, code) = self.end;
        if at > now {
            return;
        }
        let in_setup = at < since;
        if let Some((at, progress)) = self.last_save.take() {
            self.checkpoint(at, progress);
        } else if code == 0 && !in_setup {
            self.checkpoint(at, self.base + at.since(since));
        }
        self.task = TaskNow::Ended { code, stopped: self.stopped, at, in_setup };
    }

    fn checkpoint(&mut self, taken_at: Timestamp, progress: Duration) {
        let number = self.checkpoints.len() as u32 + 1;
        self.checkpoints.push(Checkpoint { number, taken_at, progress, answered: false });
    }

    /// No process is left and everything it offered was answered.
    pub(crate) fn settled(&self) -> bool {
        match self.task {
            TaskNow::Idle => self.stopped,
            TaskNow::Active { .. } => false,
            TaskNow::Ended { .. } => self.checkpoints.iter().all(|c| c.answered),
        }
    }
}

/// What the cloud says of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Up,
    Stopping,
    Stopped(DeathCause),
    Terminated(DeathCause),
}

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) id: InstanceId,
    pub(crate) cloud: usize,
    pub(crate) offer: Offer,
    pub(crate) token: Token,
    pub(crate) made: Timestamp,
    pub(crate) listed_at: Timestamp,
    pub(crate) described_at: Timestamp,
    pub(crate) address_at: Timestamp,
    /// SSH answers from then on; none: never.
    pub(crate) boots_at: Option<Timestamp>,
    pub(crate) life: Life,
    /// Its power went: no process runs on it any more.
    pub(crate) off_at: Option<Timestamp>,
    /// Compute bills no more.
    pub(crate) billed_until: Option<Timestamp>,
    /// The cloud does not know its id any more.
    pub(crate) vanished: bool,
    pub(crate) notice: Option<Timestamp>,
    /// Unreachable by us from, until.
    pub(crate) cut: Option<(Timestamp, Timestamp)>,
    pub(crate) agent: Agent,
}

impl Machine {
    pub(crate) fn booted(&self, now: Timestamp) -> bool {
        self.off_at.is_none() && self.boots_at.is_some_and(|at| at <= now)
    }
    pub(crate) fn reachable(&self, now: Timestamp) -> bool {
        self.booted(now) && self.cut.is_none_or(|(from, until)| now < from || until <= now)
    }
    /// Whether a task runs on it.
    pub(crate) fn works(&mut self, spec: &TaskSpec, now: Timestamp) -> bool {
        self.agent.advance(spec, self.off_at.unwrap_or(now).min(now));
        self.off_at.is_none() && matches!(self.agent.task, TaskNow::Active { .. })
    }
    /// The power goes.
    pub(crate) fn power_off(&mut self, spec: &TaskSpec, now: Timestamp) {
        if self.off_at.is_none() {
            self.agent.advance(spec, now);
            self.off_at = Some(now);
        }
    }
    pub(crate) fn is_over(&self) -> bool {
        self.off_at.is_some() && (self.vanished || matches!(self.life, Life::Terminated(_)))
    }
}
