//! One sweep of the program, row by row of work left: on spot, on on-demand, waiting, and at a loss.
//!
//! Each row only needs the rows above it and, within it, less slack. A loss inside a step is priced
//! where it happens on average, carried on from the two rows above.

use super::{Ages, Between, Program, Terms};
use crate::policy::survival::spells::{AGES, PHASES, Shape};

/// How long spot that came back may be watched before it is taken, in hours.
const DELAYS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// One step from each age: the chance that the spell lasts, the mean share of the step before its
/// end where it does not, and the age after it.
#[derive(Clone, Copy, Debug)]
struct Step {
    lasts: f64,
    before: f64,
    then: Between,
}

fn step(shape: &Shape, factor: f64, hours: f64) -> [Step; PHASES] {
    std::array::from_fn(|j| {
        let then = AGES[j] + hours;
        let ends = factor * (shape.cumulative(then) - shape.cumulative(AGES[j]));
        let lasts = (-ends).exp();
        let before = match ends > 1e-4 {
            true => 1.0 / ends - lasts / (1.0 - lasts),
            false => 0.5,
        };
        Step { lasts, before, then: Between::age(then) }
    })
}

/// What stays the same over the sweep, and the values at a loss of the last two rows.
pub(super) struct Sweep<'a> {
    terms: &'a Terms<'a>,
    spot: Vec<[Step; PHASES]>,
    away: [Step; PHASES],
    /// From each slack to the one below.
    waits: Vec<[Step; PHASES]>,
    /// A fresh spell of each place over each delay.
    delays: Vec<[Step; DELAYS.len()]>,
    /// One overhead below each slack.
    launched: Vec<Between>,
    found: Between,
    /// Chance that it is this place that comes back first.
    first: Vec<f64>,
    /// Value at the loss of each place, by site and slack; the last row and the one before.
    lost: Vec<f64>,
    lost_before: Vec<f64>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(terms: &'a Terms<'a>, program: &Program) -> Self {
        let hours = program.work_step;
        let gain: f64 = terms.sites.iter().map(|s| s.gain).sum();
        let slacks = &program.slacks;
        let below = |k: usize| if k == 0 { 0.0 } else { slacks[k] - slacks[k - 1] };
        let n = terms.sites.len() * slacks.len();
        // Before the first row there is no work: the value there falls as at the dearest hour's end.
        let slope = -terms.on_demand * hours;
        Self {
            terms,
            spot: terms.sites.iter().map(|s| step(&terms.up, s.loss, hours)).collect(),
            away: step(&terms.down, gain, hours),
            waits: (0..slacks.len()).map(|k| step(&terms.down, gain, below(k))).collect(),
            delays: terms
                .sites
                .iter()
                .map(|s| DELAYS.map(|h| step(&terms.up, s.loss, h)[0]))
                .collect(),
            launched: slacks.iter().map(|s| Between::of(slacks, s - terms.overhead)).collect(),
            found: Between::age(terms.found_age),
            first: terms.sites.iter().map(|s| s.gain / gain).collect(),
            lost: vec![0.0; n],
            lost_before: vec![slope; n],
        }
    }

    pub(super) fn spot_row(&self, p: &mut Program, row: usize) {
        let cols = p.slacks.len();
        for (z, site) in self.terms.sites.iter().enumerate() {
            for s in 0..cols {
                let after = p.spot[p.site_cell(row - 1, z, s)];
                let (lost, before) = (self.lost[z * cols + s], self.lost_before[z * cols + s]);
                let here = p.site_cell(row, z, s);
                p.spot[here] = std::array::from_fn(|j| {
                    let step = &self.spot[z][j];
                    let ends = 1.0 - step.lasts;
                    let hours = p.work_step * (step.lasts + ends * step.before);
                    let lost = lost + (1.0 - step.before) * (lost - before);
                    site.price * hours + step.lasts * step.then.in_ages(&after) + ends * lost
                });
            }
        }
    }

    /// Spot of a place launched from this slack, at an age.
    fn launch(&self, p: &Program, row: usize, z: usize, s: usize, age: Between) -> f64 {
        let at = self.launched[s];
        let value = |s: usize| age.in_ages(&p.spot[p.site_cell(row, z, s)]);
        self.terms.sites[z].price * p.overhead + at.mix(value(at.low), value(at.high))
    }

    /// Spot that just came back somewhere, while on on-demand: switched to at once, once it has lasted
    /// for a while, or not at all.
    fn back_on_demand(&self, p: &Program, row: usize, s: usize) -> f64 {
        let stay = p.on_demand[p.cell(row, s)][0];
        if p.slacks[s] < 2.0 * p.overhead - 1e-9 {
            return stay;
        }
        let mut sum = 0.0;
        for (z, chance) in self.first.iter().enumerate() {
            let mut best = stay.min(self.launch(p, row, z, s, Between::age(0.0)));
            for (delay, step) in DELAYS.iter().zip(&self.delays[z]) {
                let rows = delay / p.work_step;
                if rows > row as f64 {
                    break;
                }
                let age = Between::age(*delay);
                let later = p.rows_above(row, rows).over(|r| self.launch(p, r, z, s, age));
                let gone =
                    p.rows_above(row, rows * step.before).over(|r| p.on_demand[p.cell(r, s)][0]);
                let hours = delay * (step.lasts + (1.0 - step.lasts) * step.before);
                let cost =
                    self.terms.on_demand * hours + step.lasts * later + (1.0 - step.lasts) * gone;
                best = best.min(cost);
            }
            sum += chance * best;
        }
        sum
    }

    /// The same while waiting: it is taken at once.
    fn back_idle(&self, p: &Program, row: usize, s: usize, locked: f64) -> f64 {
        if p.slacks[s] < 2.0 * p.overhead - 1e-9 {
            return locked;
        }
        let fresh = Between::age(0.0);
        let chances = self.first.iter().enumerate();
        chances.map(|(z, chance)| chance * self.launch(p, row, z, s, fresh)).sum()
    }

    pub(super) fn on_demand_row(&self, p: &mut Program, row: usize) {
        for s in 0..p.slacks.len() {
            let after = p.on_demand[p.cell(row - 1, s)];
            let switched = self.back_on_demand(p, row - 1, s);
            let here = p.cell(row, s);
            p.on_demand[here] = std::array::from_fn(|j| {
                let step = &self.away[j];
                self.terms.on_demand * p.work_step
                    + step.lasts * step.then.in_ages(&after)
                    + (1.0 - step.lasts) * switched
            });
        }
    }

    pub(super) fn idle_row(&self, p: &mut Program, row: usize) {
        let work = row as f64 * p.work_step;
        let locked = [self.terms.on_demand * (work + p.overhead); PHASES];
        let mut back_below = locked[0];
        for s in 0..p.slacks.len() {
            let here = p.cell(row, s);
            if s == 0 || p.slacks[s] < 2.0 * p.overhead - 1e-9 {
                (p.wait[here], p.idle[here]) = (locked, locked);
                continue;
            }
            let below = p.idle[here - 1];
            let back = self.back_idle(p, row, s, locked[0]);
            let wait: Ages = std::array::from_fn(|j| {
                let step = &self.waits[s][j];
                let came = back + (back_below - back) * step.before;
                step.lasts * step.then.in_ages(&below) + (1.0 - step.lasts) * came
            });
            let at = self.launched[s];
            let bought =
                at.ages(&p.on_demand[p.cell(row, at.low)], &p.on_demand[p.cell(row, at.high)]);
            p.wait[here] = wait;
            p.idle[here] =
                std::array::from_fn(|j| wait[j].min(self.terms.on_demand * p.overhead + bought[j]));
            back_below = back;
        }
    }

    /// At a loss: the best place that is up then, or none.
    pub(super) fn loss_row(&mut self, p: &Program, row: usize) {
        let cols = p.slacks.len();
        std::mem::swap(&mut self.lost, &mut self.lost_before);
        let sites = self.terms.sites;
        let mut ranked: Vec<(f64, f64, usize)> = Vec::with_capacity(sites.len());
        for s in 0..cols {
            let none = p.idle[p.cell(row, s)][0];
            ranked.clear();
            if p.slacks[s] >= 2.0 * p.overhead - 1e-9 {
                let launch = |z| self.launch(p, row, z, s, self.found);
                ranked.extend(sites.iter().enumerate().map(|(z, at)| (launch(z), at.share, z)));
                ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            for z in 0..sites.len() {
                let (mut value, mut left) = (0.0, 1.0);
                for &(cost, share, _) in ranked.iter().filter(|r| r.2 != z && r.0 < none) {
                    value += left * share * cost;
                    left *= 1.0 - share;
                }
                self.lost[z * cols + s] = value + left * none;
            }
        }
    }
}
