//! The published policies, as the literature defines them, to be measured against.
//!
//! On-demand alone, greedy spot with a safety net, time slices, and Uniform Progress ("Can't Be Late",
//! NSDI 2024) with and without its hysteresis. Several places are handled in the failover form: try
//! the cheapest, stay until preempted. Deliberately not improved here.

use super::{EPS, Mode, Policy, View, Wish};

/// On-demand from the start.
#[derive(Debug)]
pub struct OnDemand;

impl Policy for OnDemand {
    fn wish(&mut self, _view: &View<'_>) -> Wish {
        Wish::OnDemand
    }
}

/// Spot whenever there is any, else waiting.
#[derive(Debug)]
pub struct Greedy {
    /// Whether the deadline is kept by on-demand in the end.
    pub guarded: bool,
}

impl Policy for Greedy {
    fn wish(&mut self, view: &View<'_>) -> Wish {
        view.candidate().map_or(Wish::Idle, Wish::Spot)
    }
    fn guarded(&self) -> bool {
        self.guarded
    }
}

/// Progress is kept on the straight line from the start to the deadline.
#[derive(Debug)]
pub struct UniformProgress {
    /// Whether on-demand is kept until the job is two overheads ahead of the line.
    pub hysteresis: bool,
}

impl Policy for UniformProgress {
    fn wish(&mut self, view: &View<'_>) -> Wish {
        let slope = view.job.work_s / view.job.deadline_s;
        let progress = view.progress_s();
        let behind = progress < view.elapsed_s * slope;
        if let Mode::OnDemand(_) = view.mode {
            let ahead = progress > (view.elapsed_s + 2.0 * view.job.overhead_s) * slope;
            return match view.candidate() {
                Some(z) if !self.hysteresis || ahead => Wish::Spot(z),
                _ => Wish::OnDemand,
            };
        }
        // Without sight a refusal costs the step, so a job that is behind asks only where nobody
        // has said no; the other places are asked from on-demand.
        let spot = match view.blind && behind {
            true => view.cheapest_up().or_else(|| view.cheapest_untried()),
            false => view.candidate(),
        };
        match spot {
            Some(z) => Wish::Spot(z),
            None if behind => Wish::OnDemand,
            None => Wish::Idle,
        }
    }
}

/// The deadline is cut into slices, each with its share of the work and its own safety net.
#[derive(Debug)]
pub struct TimeSliced {
    slices: f64,
    /// The slice in which on-demand was taken.
    marked: Option<f64>,
}

impl TimeSliced {
    /// `slices` is at least one.
    pub fn new(slices: u32) -> Self {
        Self { slices: f64::from(slices.max(1)), marked: None }
    }
}

impl Policy for TimeSliced {
    fn wish(&mut self, view: &View<'_>) -> Wish {
        let (n, job) = (self.slices, view.job);
        let slice = ((view.elapsed_s + EPS) / (job.deadline_s / n)).floor().min(n - 1.0);
        let due = ((slice + 1.0) * job.work_s / n - view.progress_s()).max(0.0);
        let left = (slice + 1.0) * job.deadline_s / n - view.elapsed_s;
        let (open, d) = (due > EPS, job.overhead_s);
        let no_launch = left < due + 2.0 * d - EPS;
        let no_wait = left - view.step_s < due + d - EPS;
        let spot = view.candidate();
        if let Mode::OnDemand(_) = view.mode {
            if self.marked == Some(slice) && open {
                return Wish::OnDemand;
            }
            if let Some(z) = spot {
                return Wish::Spot(z);
            }
            if open && (no_launch || no_wait) {
                self.marked = Some(slice);
                return Wish::OnDemand;
            }
            return Wish::Idle;
        }
        if open && (no_launch || ((spot.is_none() || view.blind) && no_wait)) {
            self.marked = Some(slice);
            return Wish::OnDemand;
        }
        spot.map_or(Wish::Idle, Wish::Spot)
    }
}
