//! The guard: what a policy wishes, made safe.
//!
//! Invariant: while a job is not on on-demand there is always time left to launch on-demand and
//! finish the work (`left >= remaining + overhead`, plus what a preemption may undo). A launch of spot
//! needs one overhead more, because the machine may be lost at the end of its overhead. Where that
//! no longer holds, the job goes to on-demand and stays there. Given `deadline >= work + overhead` at
//! the start and on-demand that is granted, no deadline is missed, whatever the policy wishes.

use super::{EPS, Mode, Policy, Spot, View, Wish};

/// Why a decision is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The policy's wish, granted.
    Wished,
    /// A spot instance that is up is kept.
    Kept,
    /// The deadline leaves time for on-demand alone, from here to the end.
    Deadline,
    /// The wish would have risked the deadline; nothing changes.
    Risky,
}

/// What to do until the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub mode: Mode,
    pub reason: Reason,
}

/// A policy behind its guard.
#[derive(Debug)]
pub struct Decider {
    policy: Box<dyn Policy>,
    locked: bool,
}

impl Decider {
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self { policy, locked: false }
    }

    /// One step: shows the view to the policy and grants what is safe of its wish.
    pub fn decide(&mut self, view: &View<'_>) -> Decision {
        self.policy.observe(view);
        if self.locked {
            return Decision { mode: on_demand(view), reason: Reason::Deadline };
        }
        if let Mode::Spot(_) = view.mode
            && !self.policy.leaves_spot()
        {
            return Decision { mode: view.mode, reason: Reason::Kept };
        }
        let wish = match self.policy.wish(view) {
            Wish::Spot(z) if !view.blind && view.spot.get(z) != Some(&Spot::Up) => Wish::Idle,
            wish => wish,
        };
        if !self.policy.guarded() {
            return granted(view, wish);
        }
        match view.mode {
            Mode::Idle => self.when_idle(view, wish),
            Mode::OnDemand(_) => when_running(view, wish),
            Mode::Spot(z) if wish == Wish::Spot(z) => granted(view, wish),
            Mode::Spot(_) => when_running(view, wish),
        }
    }

    fn when_idle(&mut self, view: &View<'_>, wish: Wish) -> Decision {
        // A try that is refused is a step of waiting.
        let waits = wish == Wish::Idle || (view.blind && wish != Wish::OnDemand);
        if !launch_is_safe(view) || (waits && !wait_is_safe(view)) {
            self.locked = true;
            return Decision { mode: on_demand(view), reason: Reason::Deadline };
        }
        granted(view, wish)
    }
}

/// From a machine that runs: what is not safe leaves it running.
fn when_running(view: &View<'_>, wish: Wish) -> Decision {
    let safe = match wish {
        Wish::Spot(_) => launch_is_safe(view),
        Wish::Idle => wait_is_safe(view),
        Wish::OnDemand => true,
    };
    match safe {
        true => granted(view, wish),
        false => Decision { mode: view.mode, reason: Reason::Risky },
    }
}

fn granted(view: &View<'_>, wish: Wish) -> Decision {
    let mode = match wish {
        Wish::Idle => Mode::Idle,
        Wish::Spot(z) => Mode::Spot(z),
        Wish::OnDemand => on_demand(view),
    };
    Decision { mode, reason: Reason::Wished }
}

/// Spot may be lost at the end of its overhead, with on-demand still to be launched.
fn launch_is_safe(view: &View<'_>) -> bool {
    let job = view.job;
    view.left_s() >= view.remaining_s + 2.0 * job.overhead_s + job.loss_s - EPS
}

/// Waiting one step leaves time to launch on-demand at the next.
fn wait_is_safe(view: &View<'_>) -> bool {
    view.left_s() - view.step_s >= view.remaining_s + view.job.overhead_s - EPS
}

/// The present on-demand place, else the cheapest for the work left; ties go to the lower number.
fn on_demand(view: &View<'_>) -> Mode {
    if let Mode::OnDemand(z) = view.mode {
        return Mode::OnDemand(z);
    }
    let mut best = (0, f64::INFINITY);
    for (i, place) in view.places.iter().enumerate() {
        let hours = (view.remaining_s + view.job.overhead_s) / 3600.0;
        let moves = view.region.is_some_and(|r| r != place.region);
        let cost =
            place.on_demand_price * hours + if moves { view.job.migration_cost } else { 0.0 };
        if cost < best.1 {
            best = (i, cost);
        }
    }
    Mode::OnDemand(best.0)
}
