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

use super::{EPS, Mode, Policy, Spot, View, Wish};
use program::{Program, Site, Terms};
use spells::Spells;

/// Tables are made anew when a place changes, and after this many hours.
const STALE_HOURS: f64 = 2.0;

/// How much longer spot that is up may be watched from on-demand, in hours.
const WATCHES: [f64; 7] = [0.1, 0.2, 0.35, 0.5, 1.0, 2.0, 4.0];

/// The policy and what it has learned.
#[derive(Debug, Default)]
pub struct Survival {
    tuning: Tuning,
    places: Vec<Spells>,
    /// When each place last told something.
    seen_at_s: Vec<f64>,
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

    /// On on-demand: what it costs to take spot of this place later, once it has lasted for some more.
    fn watch(&self, view: &View<'_>, program: &Program, z: usize) -> f64 {
        let t = &self.tuning;
        let now = Moment::of(view);
        let (age, loss) = (self.places[z].age, self.places[z].loss(t));
        let price = on_demand_price(view);
        let slack = now.left - now.work - now.pending;
        let mut best = f64::INFINITY;
        for delay in WATCHES {
            let lasts = (-loss * (t.up.cumulative(age + delay) - t.up.cumulative(age))).exp();
            let rest = now.work - (delay - now.pending).clamp(0.0, now.work);
            let kept = now.left - delay - rest - now.overhead;
            let later = view.prices[z] * now.overhead + program.on_spot(z, rest, kept, age + delay);
            let half = 0.5 * delay;
            let rest = now.work - (half - now.pending).clamp(0.0, now.work);
            let gone =
                price * (now.pending - half).max(0.0) + program.on_on_demand(rest, slack, 0.0);
            best =
                best.min(lasts * (price * delay + later) + (1.0 - lasts) * (price * half + gone));
        }
        best
    }

    /// The launch of spot that saves most against `stay`, the cost of going on without it.
    fn launch(&self, view: &View<'_>, program: &Program, stay: f64) -> Option<Launch> {
        let now = Moment::of(view);
        let slack = now.left - now.work - now.overhead;
        let mut best: Option<Launch> = None;
        for (z, spot) in view.spot.iter().enumerate() {
            if view.mode == Mode::Spot(z) {
                continue;
            }
            let Some((chance, age)) = self.belief(z, *spot, view.blind) else { continue };
            let moved = view.region.is_some_and(|r| r != view.places[z].region);
            let cost = view.prices[z] * now.overhead
                + program.on_spot(z, now.work, slack, age)
                + if moved { view.job.migration_cost } else { 0.0 };
            let saves = chance * (stay - cost);
            if best.as_ref().is_none_or(|b| saves > b.saves) {
                best = Some(Launch { place: z, cost, saves });
            }
        }
        best
    }

    /// The chance that a place is up now, and the age its spell has if so; nothing where it is down.
    fn belief(&self, z: usize, spot: Spot, blind: bool) -> Option<(f64, f64)> {
        let (place, t) = (&self.places[z], &self.tuning);
        match spot {
            Spot::Up => Some((1.0, place.age)),
            Spot::Down { .. } if !blind => None,
            Spot::Unknown => Some((0.5, place.age)),
            Spot::Down { age_s } => {
                let since = age_s / 3600.0;
                let away = place.age + since;
                let ends = t.down.cumulative(away) - t.down.cumulative(place.age);
                Some((1.0 - (-place.gain(t) * ends).exp(), 0.5 * since))
            }
        }
    }

    /// Without sight only a machine that is held and a refusal say something.
    fn news(&self, view: &View<'_>, z: usize) -> Option<bool> {
        match view.spot[z] {
            Spot::Up => Some(true),
            Spot::Down { age_s } if !view.blind || age_s <= view.step_s + EPS => Some(false),
            Spot::Down { .. } | Spot::Unknown => None,
        }
    }
}

/// A launch that could be wished for.
struct Launch {
    place: usize,
    /// Of the rest of the job, if it is granted.
    cost: f64,
    /// Expected, against going on without it.
    saves: f64,
}

/// A view in hours.
struct Moment {
    work: f64,
    left: f64,
    pending: f64,
    overhead: f64,
}

impl Moment {
    fn of(view: &View<'_>) -> Self {
        Self {
            work: view.remaining_s / 3600.0,
            left: view.left_s() / 3600.0,
            pending: view.pending_s / 3600.0,
            overhead: view.job.overhead_s / 3600.0,
        }
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
            self.seen_at_s = vec![view.elapsed_s; self.places.len()];
        }
        for z in 0..self.places.len() {
            if let Some(up) = self.news(view, z) {
                let hours = (view.elapsed_s - self.seen_at_s[z]) / 3600.0;
                self.seen_at_s[z] = view.elapsed_s;
                self.changed |= self.places[z].watch(hours, up, &self.tuning);
            }
        }
    }

    fn wish(&mut self, view: &View<'_>) -> Wish {
        let elsewhere = view.blind || view.spot.iter().filter(|s| **s == Spot::Up).count() > 1;
        if let Mode::Spot(z) = view.mode
            && (view.places.len() == 1 || !elsewhere)
        {
            return Wish::Spot(z);
        }
        self.plan(view);
        let Some(plan) = &self.plan else { return Wish::OnDemand };
        match view.mode {
            Mode::Spot(z) => self.on_spot(view, &plan.program, z),
            Mode::OnDemand(_) => self.on_on_demand(view, &plan.program),
            Mode::Idle => self.idle(view, &plan.program),
        }
    }
}

impl Survival {
    fn on_spot(&self, view: &View<'_>, program: &Program, z: usize) -> Wish {
        let now = Moment::of(view);
        let slack = now.left - now.work - now.pending;
        let stay =
            view.prices[z] * now.pending + program.on_spot(z, now.work, slack, self.places[z].age);
        let margin = self.tuning.margin * now.overhead * view.prices[z];
        match self.launch(view, program, stay) {
            Some(launch) if launch.cost + margin < stay => Wish::Spot(launch.place),
            _ => Wish::Spot(z),
        }
    }

    fn on_on_demand(&self, view: &View<'_>, program: &Program) -> Wish {
        let now = Moment::of(view);
        let slack = now.left - now.work - now.pending;
        let stay = on_demand_price(view) * now.pending
            + program.on_on_demand(now.work, slack, self.away());
        match self.launch(view, program, stay) {
            Some(launch)
                if launch.cost < stay
                    && (view.blind || launch.cost < self.watch(view, program, launch.place)) =>
            {
                Wish::Spot(launch.place)
            }
            _ => Wish::OnDemand,
        }
    }

    fn idle(&self, view: &View<'_>, program: &Program) -> Wish {
        let now = Moment::of(view);
        let (slack, away, price) = (now.left - now.work, self.away(), on_demand_price(view));
        let wait = program.waiting(now.work, slack, away);
        let buy = price * now.overhead + program.on_on_demand(now.work, slack - now.overhead, away);
        // Without sight a refusal costs a step, which matters where the job would not wait anyway.
        let worth = if view.blind && buy < wait { price * view.step_s / 3600.0 } else { 0.0 };
        match self.launch(view, program, buy.min(wait)) {
            Some(launch) if launch.saves >= worth => Wish::Spot(launch.place),
            _ if buy < wait => Wish::OnDemand,
            _ => Wish::Idle,
        }
    }
}
