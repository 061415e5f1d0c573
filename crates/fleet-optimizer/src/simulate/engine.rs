//! The engine: state, one tick after the other, until the work is done.
//!
//! Invariants: money is only spent on a machine; work is only done on one whose overhead is served; a
//! preempted machine's tick is not billed twice. A policy that would wait for ever is stopped at
//! ten deadlines past the end of the traces, and its job counts as missed.

use super::{Case, Checkpoints, World};
use crate::policy::{Decider, EPS, Job, Mode, Policy, Spot, View};
use serde::Serialize;

/// How a replay ended. Hours from the start of the job, dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    pub cost: f64,
    /// Billed, overhead included.
    pub spot_hours: f64,
    /// Billed, overhead included.
    pub on_demand_hours: f64,
    pub overhead_hours: f64,
    pub finished_at_hours: f64,
    pub deadline_met: bool,
    pub preemptions: u32,
    pub launches: u32,
    pub migrations: u32,
}

/// Replays one job under one policy.
pub fn simulate(world: &World, case: &Case, policy: Box<dyn Policy>) -> Outcome {
    let mut run = Run::new(world, case);
    let mut decider = Decider::new(policy);
    let end = world.traces().first().map_or(0, super::Trace::ticks);
    let patience = (10.0 * case.deadline_hours * 3600.0 / world.gap_s()).ceil() as usize;
    let ticks = end.saturating_sub(case.start_tick) + patience;
    for i in 0..ticks {
        run.observe(i);
        let mode = decider.decide(&run.view(i)).mode;
        run.take(i, mode);
        if run.advance(i) {
            let met = run.finished_s <= run.job.deadline_s + 1e-3;
            return Outcome {
                deadline_met: met,
                finished_at_hours: run.finished_s / 3600.0,
                ..run.out
            };
        }
    }
    Outcome { finished_at_hours: (ticks as f64) * run.gap / 3600.0, ..run.out }
}

struct Run<'a> {
    world: &'a World,
    start: usize,
    job: Job,
    checkpoints: Option<Checkpoints>,
    blind: bool,
    gap: f64,
    spot: Vec<Spot>,
    prices: Vec<f64>,
    /// Without sight: the tick of the last refusal per place.
    refused: Vec<Option<usize>>,
    /// Machine time of useful work left.
    rem: f64,
    pend: f64,
    /// Machine time of work since the last checkpoint.
    unsaved: f64,
    mode: Mode,
    region: Option<usize>,
    finished_s: f64,
    out: Outcome,
}

impl<'a> Run<'a> {
    fn new(world: &'a World, case: &Case) -> Self {
        let rate = case.checkpoints.map_or(1.0, |c| c.rate());
        let job = Job {
            work_s: case.duration_hours * 3600.0 / rate,
            deadline_s: case.deadline_hours * 3600.0,
            overhead_s: case.restart_overhead_hours * 3600.0,
            loss_s: case.checkpoints.map_or(0.0, |c| c.loss_s()),
            migration_cost: case.migration_cost,
        };
        let places = world.places().len();
        Self {
            world,
            start: case.start_tick,
            rem: job.work_s,
            job,
            checkpoints: case.checkpoints,
            blind: case.blind,
            gap: world.gap_s(),
            spot: vec![Spot::Unknown; places],
            prices: vec![0.0; places],
            refused: vec![None; places],
            pend: 0.0,
            unsaved: 0.0,
            mode: Mode::Idle,
            region: None,
            finished_s: 0.0,
            out: Outcome::default(),
        }
    }

    /// Steps 1 and 2 of a tick: what is seen, and whether the machine is taken away.
    fn observe(&mut self, i: usize) {
        let tick = self.start + i;
        if let Mode::Spot(z) = self.mode
            && !self.world.traces()[z].available(tick)
        {
            self.out.preemptions += 1;
            self.mode = Mode::Idle;
            self.pend = 0.0;
            self.refused[z] = Some(i);
            if !self.checkpoints.is_some_and(|c| c.saved_by_notice()) {
                self.rem += self.unsaved;
            }
            self.unsaved = 0.0;
        }
        for (z, trace) in self.world.traces().iter().enumerate() {
            self.prices[z] = trace.spot_price(tick);
            self.spot[z] = match (self.blind, trace.available(tick)) {
                (false, true) => Spot::Up,
                (false, false) => Spot::Down { age_s: 0.0 },
                (true, _) if self.mode == Mode::Spot(z) => Spot::Up,
                (true, _) => self.refused[z]
                    .map_or(Spot::Unknown, |at| Spot::Down { age_s: (i - at) as f64 * self.gap }),
            };
        }
    }

    fn view(&self, i: usize) -> View<'_> {
        View {
            job: &self.job,
            places: self.world.places(),
            spot: &self.spot,
            prices: &self.prices,
            elapsed_s: i as f64 * self.gap,
            remaining_s: self.rem,
            pending_s: self.pend,
            mode: self.mode,
            region: self.region,
            step_s: self.gap,
            blind: self.blind,
        }
    }

    /// Steps 3 and 4: the answer, and what a launch costs.
    fn take(&mut self, i: usize, answer: Mode) {
        let mut mode = answer;
        if let Mode::Spot(z) = answer
            && !self.world.traces()[z].available(self.start + i)
        {
            self.refused[z] = Some(i);
            mode = if self.blind { self.mode } else { Mode::Idle };
        }
        if mode != self.mode {
            if let Mode::Spot(z) | Mode::OnDemand(z) = mode {
                self.launch(z);
            }
            // A machine that is given up saves its work first.
            self.unsaved = 0.0;
        }
        self.mode = mode;
    }

    fn launch(&mut self, z: usize) {
        self.out.launches += 1;
        self.pend = self.job.overhead_s;
        self.refused[z] = None;
        let region = self.world.places()[z].region;
        if self.region.is_some_and(|r| r != region) {
            self.out.migrations += 1;
            self.out.cost += self.job.migration_cost;
        }
        self.region = Some(region);
    }

    /// Step 5: overhead, work and the bill. Returns whether the job is done.
    fn advance(&mut self, i: usize) -> bool {
        let (price, spot) = match self.mode {
            Mode::Idle => return false,
            Mode::Spot(z) => (self.prices[z], true),
            Mode::OnDemand(z) => (self.world.places()[z].on_demand_price, false),
        };
        let overhead = self.pend.min(self.gap);
        let work = (self.gap - overhead).min(self.rem);
        self.pend -= overhead;
        self.rem -= work;
        if let Some(c) = &self.checkpoints {
            self.unsaved = (self.unsaved + work) % (c.interval_hours * 3600.0 / c.rate());
        }
        let done = self.rem <= EPS;
        let billed = if done { overhead + work } else { self.gap };
        self.out.cost += price * billed / 3600.0;
        self.out.overhead_hours += overhead / 3600.0;
        match spot {
            true => self.out.spot_hours += billed / 3600.0,
            false => self.out.on_demand_hours += billed / 3600.0,
        }
        self.finished_s = i as f64 * self.gap + overhead + work;
        done
    }
}
