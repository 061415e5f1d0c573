//! The default policy: survival estimates learned online, priced by a small dynamic program.
//!
//! Each place is up or down with an age; hazards fall with age and carry a factor per place and
//! direction. The program says what the rest of the job costs from every state, so that waiting,
//! on-demand and each place's spot are compared in dollars; a machine is given up only for a gain
//! above a margin. Invariant: it only wishes; the deadline is the guard's. Time of day and
//! correlation between places are deliberately left out.

mod program;
mod spells;
mod tuning;

pub use tuning::Tuning;

use super::{Mode, Policy, Spot, View, Wish};
use program::{Program, Site, Terms};
use spells::Spells;

/// Tables are made anew after this many hours, or this share of the work or slack, has gone.
const STALE_HOURS: f64 = 2.0;

/// The policy and what it has learned.
#[derive(Debug, Default)]
pub struct Survival {
    tuning: Tuning,
    places: Vec<Spells>,
    seen_at_s: f64,
    plan: Option<Plan>,
    changed: bool,
}

/// Tables and what they were made from.
#[derive(Debug)]
struct Plan {
    program: Program,
    made_at_s: f64,
}

impl Survival {
    /// With other numbers than the default, for fitting.
    pub fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn plan(&mut self, view: &View<'_>) {
        let stale = |p: &Plan| view.elapsed_s - p.made_at_s > STALE_HOURS * 3600.0;
        if !self.changed && self.plan.as_ref().is_some_and(|p| !stale(p)) {
            return;
        }
        let t = &self.tuning;
        let work = view.remaining_s / 3600.0;
        let horizon = (view.left_s() / 3600.0).max(1.0);
        let sites: Vec<Site> = self
            .places
            .iter()
            .zip(view.prices)
            .map(|(place, price)| {
                let (loss, gain) = (place.loss(t), place.gain(t));
                let (up, down) = (t.up.mean(loss, 0.0, horizon), t.down.mean(gain, 0.0, horizon));
                Site { price: *price, loss, gain, share: up / (up + down) }
            })
            .collect();
        let program = Program::solve(&Terms {
            sites: &sites,
            up: t.up,
            down: t.anywhere(sites.len()),
            on_demand: on_demand_price(view),
            overhead: view.job.overhead_s / 3600.0,
            work: work.max(1e-3),
            slack: (view.left_s() / 3600.0 - work).max(0.0),
            found_age: t.found_age,
            steps: t.steps,
        });
        self.plan = Some(Plan { program, made_at_s: view.elapsed_s });
        self.changed = false;
    }

    /// The one age at which all places together would come back as fast as they do now.
    fn away(&self) -> f64 {
        let t = &self.tuning;
        let (mut rate, mut gain) = (0.0, 0.0);
        for place in &self.places {
            gain += place.gain(t);
            rate += place.gain(t) * t.down.at(if place.up { 0.0 } else { place.age });
        }
        let wanted = rate / gain;
        let last = spells::AGES[spells::PHASES - 1];
        if self.places.len() == 1 {
            return if self.places[0].up { 0.0 } else { self.places[0].age };
        }
        let shape = t.anywhere(self.places.len());
        let (mut low, mut high) = (0.0, 4.0 * last);
        for _ in 0..30 {
            let middle = 0.5 * (low + high);
            if shape.at(middle) > wanted { low = middle } else { high = middle }
        }
        high
    }

    /// What it costs to take spot of this place later, once it has lasted for some more time.
    fn watch(&self, view: &View<'_>, program: &Program, z: usize) -> f64 {
        let t = &self.tuning;
        let (work, left) = (view.remaining_s / 3600.0, view.left_s() / 3600.0);
        let d = view.job.overhead_s / 3600.0;
        let pending = view.pending_s / 3600.0;
        let (age, loss) = (self.places[z].age, self.places[z].loss(t));
        let mut best = f64::INFINITY;
        for delay in [0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 4.0] {
            let lasts = (-loss * (t.up.cumulative(age + delay) - t.up.cumulative(age))).exp();
            let cost = match view.mode {
                Mode::OnDemand(_) => {
                    let slack = left - work - pending;
                    let done = (delay - pending).clamp(0.0, work);
                    let price = on_demand_price(view);
                    let rest = work - done;
                    let later = view.prices[z] * d + program.on_spot(z, rest, left - delay - rest - d, age + delay);
                    let half = 0.5 * delay;
                    let gone = price * (pending - half).max(0.0) + program.on_on_demand(work - (half - pending).clamp(0.0, work), slack, 0.0);
                    lasts * (price * delay + later) + (1.0 - lasts) * (price * half + gone)
                }
                _ => {
                    let slack = left - work - delay;
                    if slack < 2.0 * d { break; }
                    let later = view.prices[z] * d + program.on_spot(z, work, slack - d, age + delay);
                    lasts * later + (1.0 - lasts) * program.idling(work, left - work - 0.5 * delay, 0.0)
                }
            };
            best = best.min(cost);
        }
        best
    }

    /// The best spot launch: its place and what the rest of the job costs with it.
    fn launch(&self, view: &View<'_>, program: &Program) -> Option<(usize, f64)> {
        let work = view.remaining_s / 3600.0;
        let d = view.job.overhead_s / 3600.0;
        let slack = view.left_s() / 3600.0 - work - d;
        let mut best: Option<(usize, f64)> = None;
        for (z, spot) in view.spot.iter().enumerate() {
            if *spot != Spot::Up || view.mode == Mode::Spot(z) {
                continue;
            }
            let moved = view.region.is_some_and(|r| r != view.places[z].region);
            let cost = view.prices[z] * d
                + program.on_spot(z, work, slack, self.places[z].age)
                + if moved { view.job.migration_cost } else { 0.0 };
            if best.is_none_or(|b| cost < b.1) {
                best = Some((z, cost));
            }
        }
        best
    }
}

fn on_demand_price(view: &View<'_>) -> f64 {
    match view.mode {
        Mode::OnDemand(z) => view.places[z].on_demand_price,
        _ => view.places.iter().map(|p| p.on_demand_price).fold(f64::INFINITY, f64::min),
    }
}

impl Policy for Survival {
    fn leaves_spot(&self) -> bool {
        true
    }

    fn observe(&mut self, view: &View<'_>) {
        let up = |z: usize| view.spot[z] == Spot::Up;
        if self.places.len() != view.spot.len() {
            let first = |z| Spells::first(up(z), &self.tuning);
            self.places = (0..view.spot.len()).map(first).collect();
            self.changed = true;
        }
        let hours = (view.elapsed_s - self.seen_at_s) / 3600.0;
        self.seen_at_s = view.elapsed_s;
        for (z, place) in self.places.iter_mut().enumerate() {
            self.changed |= place.watch(hours, up(z), &self.tuning);
        }
    }

    fn wish(&mut self, view: &View<'_>) -> Wish {
        if let Mode::Spot(z) = view.mode
            && (view.places.len() == 1 || !view.spot.contains(&Spot::Up))
        {
            return Wish::Spot(z);
        }
        self.plan(view);
        let Some(plan) = &self.plan else { return Wish::OnDemand };
        let program = &plan.program;
        let work = view.remaining_s / 3600.0;
        let left = view.left_s() / 3600.0;
        let (pending, d) = (view.pending_s / 3600.0, view.job.overhead_s / 3600.0);
        let launch = self.launch(view, program);
        let away = self.away();
        let bought = on_demand_price(view);
        match view.mode {
            Mode::Spot(z) => {
                let stay = view.prices[z] * pending
                    + program.on_spot(z, work, left - work - pending, self.places[z].age);
                match launch {
                    Some((other, cost)) if cost + self.tuning.margin * d * view.prices[z] < stay => {
                        Wish::Spot(other)
                    }
                    _ => Wish::Spot(z),
                }
            }
            Mode::OnDemand(_) => {
                let stay = bought * pending
                    + program.on_on_demand(work, left - work - pending, away);
                match launch {
                    Some((z, cost))
                        if cost + self.tuning.entry * d * bought
                            < stay.min(self.watch(view, program, z)) =>
                    {
                        Wish::Spot(z)
                    }
                    _ => Wish::OnDemand,
                }
            }
            Mode::Idle => {
                let buy = bought * d + program.on_on_demand(work, left - work - d, away);
                let wait = program.waiting(work, left - work, away);
                match launch {
                    Some((z, cost)) if {
                        let w = self.watch(view, program, z);
                        match self.tuning.variant {
                            0 => cost <= buy.min(wait).min(w),
                            1 => true,
                            2 => cost <= buy.min(wait),
                            3 => cost <= buy.min(w),
                            4 => cost <= buy,
                            _ => cost <= buy.min(wait).min(w) + 0.5 * d * view.prices[z],
                        } } => {
                        Wish::Spot(z)
                    }
                    Some(_) if wait <= buy => Wish::Idle,
                    _ if buy < wait => Wish::OnDemand,
                    _ => Wish::Idle,
                }
            }
        }
    }
}
