//! The policy over time: at every step, stay, take spot (where?), take on-demand, or wait.
//!
//! Pure: an observation in, a wish out. The simulator and the controller ask the same code, through
//! one `Decider`, which holds the guard. Invariant: no wish can make a job miss a deadline that
//! on-demand could still have met; the guard decides that, not the policy. What a policy learned from
//! earlier observations is its only state; it reads no clock, no file and no unseeded randomness.
//!
//! Units: seconds of machine time and dollars per hour.

mod baseline;
mod guard;
mod named;
mod survival;

pub use baseline::{Greedy, OnDemand, TimeSliced, UniformProgress};
pub use guard::{Decider, Decision, Reason};
pub use named::{UnknownPolicy, named};
pub use survival::{Survival, Tuning};

/// Two moments closer than this are one (seconds).
pub const EPS: f64 = 1e-6;

/// What the job needs, fixed at its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Machine time of useful work.
    pub work_s: f64,
    /// From the start of the job.
    pub deadline_s: f64,
    /// What each launch costs before useful work goes on.
    pub overhead_s: f64,
    /// The most work that one preemption can undo.
    pub loss_s: f64,
    /// Dollars for each launch in another region than the last.
    pub migration_cost: f64,
}

/// A place that never changes during a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Places of one region share a number.
    pub region: usize,
    /// Dollars per hour.
    pub on_demand_price: f64,
}

/// What is known of spot capacity in one place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Spot {
    /// It can be had, or is held.
    Up,
    /// It was refused or taken away `age_s` seconds ago.
    Down { age_s: f64 },
    /// Nobody has asked, or the last answer was a yes that was given up since.
    Unknown,
}

/// Where the job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Idle,
    Spot(usize),
    OnDemand(usize),
}

/// What a policy would like next. Wishing for the present spot place or for on-demand while on
/// on-demand means to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Idle,
    Spot(usize),
    OnDemand,
}

/// Everything a policy sees at one step.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub job: &'a Job,
    pub places: &'a [Place],
    /// One per place.
    pub spot: &'a [Spot],
    /// Spot price per place, dollars per hour.
    pub prices: &'a [f64],
    /// Since the start of the job.
    pub elapsed_s: f64,
    /// Work left, in machine time, without the overhead that is pending.
    pub remaining_s: f64,
    /// Overhead left of the present instance.
    pub pending_s: f64,
    pub mode: Mode,
    /// Region of the last launch.
    pub region: Option<usize>,
    /// How long until the policy is asked again.
    pub step_s: f64,
    /// Places are only known by trying them.
    pub blind: bool,
}

impl View<'_> {
    /// Time left to the deadline.
    pub fn left_s(&self) -> f64 {
        self.job.deadline_s - self.elapsed_s
    }
    /// Work done so far.
    pub fn progress_s(&self) -> f64 {
        self.job.work_s - self.remaining_s
    }
    /// The cheapest place that is up; ties go to the lower number.
    pub fn cheapest_up(&self) -> Option<usize> {
        self.cheapest(|s| s == Spot::Up)
    }
    /// The cheapest place that nobody has asked yet.
    pub fn cheapest_untried(&self) -> Option<usize> {
        self.cheapest(|s| s == Spot::Unknown)
    }
    /// Where to ask for spot next: a place that is up; else, where places are only known by asking,
    /// one never asked, or the one whose refusal is oldest.
    pub fn candidate(&self) -> Option<usize> {
        let known = self.cheapest_up();
        if known.is_some() || !self.blind {
            return known;
        }
        self.cheapest_untried().or_else(|| self.oldest_refusal())
    }
    fn oldest_refusal(&self) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (i, spot) in self.spot.iter().enumerate() {
            if let Spot::Down { age_s } = *spot
                && best.is_none_or(|(_, age)| age_s > age)
            {
                best = Some((i, age_s));
            }
        }
        best.map(|(i, _)| i)
    }
    fn cheapest(&self, wanted: impl Fn(Spot) -> bool) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (i, &spot) in self.spot.iter().enumerate() {
            if wanted(spot) && best.is_none_or(|b| self.prices[i] < self.prices[b]) {
                best = Some(i);
            }
        }
        best
    }
}

/// How to choose over time. Asked through a [`Decider`], which keeps the deadline.
pub trait Policy: std::fmt::Debug + Send {
    /// Sees every step, also those at which it is not asked.
    fn observe(&mut self, _view: &View<'_>) {}
    /// Says what it would like next.
    fn wish(&mut self, view: &View<'_>) -> Wish;
    /// Whether it may be asked while its spot instance is up; else that instance is kept.
    fn leaves_spot(&self) -> bool {
        false
    }
    /// Whether the guard keeps its deadline. Only a baseline for comparison says no.
    fn guarded(&self) -> bool {
        true
    }
}
