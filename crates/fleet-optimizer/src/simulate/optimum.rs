//! The omniscient optimum: the least cost at which the job meets its deadline on these traces.
//!
//! An offline program that knows the future, to measure policies against. Backward recursion over
//! ticks, mode and work left, migration cost included; a launch adds the overhead to the work left
//! (an optimal plan never loses a machine inside its overhead). Work is counted in units: the
//! greatest common divisor of tick, overhead and work where that is at least 15 s (exact), else about
//! 15 s with work and overhead rounded up. Deliberately the cost alone, not the plan: tables are kept
//! for two ticks, so memory does not grow with the trace.

use super::{Case, World};
use crate::policy::EPS;

const LEAST_UNIT_S: f64 = 15.0;

/// Least cost in dollars, or nothing where even the optimum misses the deadline.
pub fn optimum(world: &World, case: &Case) -> Option<f64> {
    let program = Program::new(world, case);
    let mut next = Layer::ended(&program);
    let mut now = Layer::ended(&program);
    for i in (0..program.ticks).rev() {
        program.step(i, &next, &mut now);
        std::mem::swap(&mut next, &mut now);
    }
    let cost = next.idle[program.nowhere][program.work];
    cost.is_finite().then_some(cost)
}

struct Program<'a> {
    world: &'a World,
    start: usize,
    gap_s: f64,
    deadline_s: f64,
    migration_cost: f64,
    ticks: usize,
    unit_s: f64,
    /// Units a tick, of work, of one overhead, and the most that can matter.
    gap: usize,
    work: usize,
    overhead: usize,
    most: usize,
    /// Per place; one region in all where moving is free.
    regions: Vec<usize>,
    /// The location before the first launch: the last.
    nowhere: usize,
    /// Cheapest on-demand of each region.
    on_demand: Vec<Option<f64>>,
}

/// Least cost from a tick on, by work left.
struct Layer {
    spot: Vec<Vec<f64>>,
    on_demand: Vec<Vec<f64>>,
    idle: Vec<Vec<f64>>,
}

impl Layer {
    /// Past the deadline: nothing more to pay, or too late.
    fn ended(p: &Program<'_>) -> Self {
        let mut row = vec![f64::INFINITY; p.most + 1];
        row[0] = 0.0;
        let rows = |n: usize| vec![row.clone(); n];
        Self {
            spot: rows(p.regions.len()),
            on_demand: rows(p.on_demand.len()),
            idle: rows(p.nowhere + 1),
        }
    }
}

impl<'a> Program<'a> {
    fn new(world: &'a World, case: &Case) -> Self {
        let gap_s = world.gap_s();
        let overhead_s = case.restart_overhead_hours * 3600.0;
        let rate = case.checkpoints.map_or(1.0, |c| c.rate());
        let work_s = case.duration_hours * 3600.0 / rate;
        let deadline_s = case.deadline_hours * 3600.0;
        let unit_s = unit(gap_s, overhead_s, work_s);
        let units = |s: f64| (s / unit_s - EPS).ceil().max(0.0) as usize;
        let moving_is_free = case.migration_cost == 0.0;
        let region = |r: usize| if moving_is_free { 0 } else { r };
        let regions: Vec<usize> = world.places().iter().map(|p| region(p.region)).collect();
        let count = regions.iter().max().map_or(1, |m| m + 1);
        let cheapest = |r: usize| {
            let here = world.places().iter().zip(&regions).filter(|(_, region)| **region == r);
            here.map(|(p, _)| p.on_demand_price).min_by(f64::total_cmp)
        };
        let overhead = units(overhead_s);
        Self {
            world,
            start: case.start_tick,
            gap_s,
            deadline_s,
            migration_cost: case.migration_cost,
            ticks: (deadline_s / gap_s - EPS).ceil().max(0.0) as usize,
            unit_s,
            gap: (gap_s / unit_s).round() as usize,
            work: units(work_s),
            overhead,
            most: units(deadline_s).max(units(work_s)) + overhead,
            nowhere: if moving_is_free { 0 } else { count },
            on_demand: (0..count).map(cheapest).collect(),
            regions,
        }
    }

    /// Work left that can still be finished, and that can already be all that is left, at tick `i`.
    fn band(&self, i: usize) -> (usize, usize) {
        let left = (self.deadline_s - i as f64 * self.gap_s).max(0.0);
        let most = ((left / self.unit_s + EPS) as usize + 1).min(self.most);
        (self.work.saturating_sub(i * self.gap).min(most), most)
    }

    fn step(&self, i: usize, next: &Layer, now: &mut Layer) {
        let (low, high) = self.band(i);
        let mut launch = vec![vec![f64::INFINITY; high + 1]; self.on_demand.len()];
        let mut best = |region: usize, run: &[f64]| {
            for (best, cost) in launch[region][low..].iter_mut().zip(&run[low..]) {
                *best = best.min(*cost);
            }
        };
        for (z, trace) in self.world.traces().iter().enumerate() {
            if trace.available(self.start + i) {
                self.run(i, trace.spot_price(self.start + i), &next.spot[z], &mut now.spot[z]);
                best(self.regions[z], &now.spot[z]);
            } else {
                now.spot[z][low..=high].fill(f64::INFINITY);
            }
        }
        for (r, price) in self.on_demand.iter().enumerate() {
            if let Some(price) = price {
                self.run(i, *price, &next.on_demand[r], &mut now.on_demand[r]);
                best(r, &now.on_demand[r]);
            }
        }
        for at in 0..=self.nowhere {
            self.idle(at, (low, high), &launch, &next.idle[at], &mut now.idle[at]);
        }
        // A machine may always be left for the best that an idle job there can do.
        for (z, region) in self.regions.iter().enumerate() {
            lower(&mut now.spot[z], &now.idle[*region], low, high);
        }
        for (r, row) in now.on_demand.iter_mut().enumerate() {
            lower(row, &now.idle[r], low, high);
        }
    }

    /// One tick on a machine at a price.
    fn run(&self, i: usize, price: f64, next: &[f64], now: &mut [f64]) {
        let (low, high) = self.band(i);
        let tick = price * self.gap_s / 3600.0;
        let split = (self.gap + 1).min(high + 1).max(low);
        for (w, cost) in now.iter_mut().enumerate().take(split).skip(low) {
            let work_s = w as f64 * self.unit_s;
            let in_time = i as f64 * self.gap_s + work_s <= self.deadline_s + 1e-3;
            *cost = if in_time { price * work_s / 3600.0 } else { f64::INFINITY };
        }
        if split <= high {
            let left = &next[split - self.gap..=high - self.gap];
            for (cost, left) in now[split..=high].iter_mut().zip(left) {
                *cost = tick + left;
            }
        }
    }

    /// Waiting one tick, or the best launch from a location.
    fn idle(
        &self,
        at: usize,
        (low, high): (usize, usize),
        launch: &[Vec<f64>],
        next: &[f64],
        now: &mut [f64],
    ) {
        now[low..=high].copy_from_slice(&next[low..=high]);
        for (r, runs) in launch.iter().enumerate() {
            let moved = at != self.nowhere && at != r;
            let extra = if moved { self.migration_cost } else { 0.0 };
            let from = low + self.overhead;
            if from > high {
                continue;
            }
            for (cost, run) in now[low..].iter_mut().zip(&runs[from..]) {
                *cost = cost.min(run + extra);
            }
        }
        if low == 0 {
            now[0] = 0.0;
        }
    }
}

fn lower(row: &mut [f64], floor: &[f64], low: usize, high: usize) {
    for (cost, floor) in row[low..=high].iter_mut().zip(&floor[low..=high]) {
        *cost = cost.min(*floor);
    }
}

/// The unit of work in seconds; it always divides the tick.
fn unit(gap_s: f64, overhead_s: f64, work_s: f64) -> f64 {
    let whole = |s: f64| (s - s.round()).abs() < EPS;
    if whole(gap_s) && whole(overhead_s) && whole(work_s) {
        let all = [gap_s, overhead_s, work_s].map(|s| s.round() as u64);
        let divisor = all.into_iter().fold(0, gcd) as f64;
        if divisor >= LEAST_UNIT_S {
            return divisor;
        }
    }
    gap_s / (gap_s / LEAST_UNIT_S).round().max(1.0)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
