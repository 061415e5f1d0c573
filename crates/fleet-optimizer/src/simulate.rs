//! A job replayed over recorded spot traces, tick by tick, under any policy.
//!
//! Pure and exact: the same traces, case and policy give the same outcome, to the last bit. A tick's
//! availability holds for the whole tick, so an instance never dies inside one; it is billed by
//! whole ticks but for the last. Deliberately no random faults, boots or prices: what happens is in
//! the trace.

mod engine;
mod optimum;
mod trace;

pub use engine::{Outcome, simulate};
pub use optimum::optimum;
pub use trace::{Trace, TraceError, World};

/// One job over the traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Index into the traces at which the job starts.
    pub start_tick: usize,
    pub duration_hours: f64,
    pub deadline_hours: f64,
    pub restart_overhead_hours: f64,
    /// Dollars for each launch in another region than the last.
    pub migration_cost: f64,
    /// Off: what a preemption undoes is part of the restart overhead.
    pub checkpoints: Option<Checkpoints>,
    /// Places are only known by trying them.
    pub blind: bool,
}

/// What checkpoints cost and save.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Checkpoints {
    /// Useful hours from one to the next; greater than 0.
    pub interval_hours: f64,
    /// Hours that each takes.
    pub cost_hours: f64,
    /// Warning before a preemption; enough of it saves one more checkpoint.
    pub notice_seconds: f64,
}

impl Checkpoints {
    /// Useful work per machine time.
    pub fn rate(&self) -> f64 {
        self.interval_hours / (self.interval_hours + self.cost_hours)
    }
    /// Whether the notice is long enough for one more.
    pub fn saved_by_notice(&self) -> bool {
        self.cost_hours > 0.0 && self.notice_seconds >= self.cost_hours * 3600.0
    }
    /// The most machine time that one preemption undoes, in seconds.
    pub fn loss_s(&self) -> f64 {
        match self.saved_by_notice() {
            true => 0.0,
            false => self.interval_hours * 3600.0 / self.rate(),
        }
    }
}
