//! The small dynamic program: what the rest of a job costs, by work left, slack and state.
//!
//! Slack is the time left beyond the work left. On a machine work falls and slack stays; while waiting
//! slack falls; a launch takes one overhead of slack. States: on spot at a place with an age, on
//! on-demand or waiting while spot has been away for a time. All references go to less work or less
//! slack, so one sweep fills the tables. Invariant: with less than two overheads of slack an idle job
//! is priced as on-demand to the end, which is what the guard will do.

use super::spells::{AGES, PHASES, Shape};

type Ages = [f64; PHASES];

/// How long spot that came back may be watched before it is taken, in hours.
pub(super) const DELAYS: [f64; 5] = [0.25, 0.5, 1.0, 2.0, 4.0];

/// One place, as the program sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) price: f64,
    /// Multiplies the pooled hazard of losing it.
    pub(super) loss: f64,
    /// Multiplies the pooled hazard of getting it back.
    pub(super) gain: f64,
    /// Long-run share of time in which it is up.
    pub(super) share: f64,
}

/// What the tables are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) sites: &'a [Site],
    pub(super) up: Shape,
    /// Of spot coming back anywhere.
    pub(super) down: Shape,
    /// Dollars per hour.
    pub(super) on_demand: f64,
    /// Hours.
    pub(super) overhead: f64,
    pub(super) work: f64,
    pub(super) slack: f64,
    /// Age of spot that is found elsewhere, in hours.
    pub(super) found_age: f64,
    pub(super) steps: usize,
}

/// The tables: expected dollars to the end.
#[derive(Debug)]
pub(super) struct Program {
    work_step: f64,
    rows: usize,
    slacks: Vec<f64>,
    sites: usize,
    /// By row, site, slack.
    spot: Vec<Ages>,
    /// By row, slack.
    on_demand: Vec<Ages>,
    wait: Vec<Ages>,
    idle: Vec<Ages>,
    overhead: f64,
    price: f64,
}

/// A point between two entries of a grid.
#[derive(Clone, Copy, Debug)]
struct Between {
    low: usize,
    high: usize,
    share: f64,
}

impl Between {
    fn of(grid: &[f64], x: f64) -> Self {
        let high = grid.partition_point(|g| *g < x).min(grid.len() - 1);
        let low = high.saturating_sub(1);
        let width = grid[high] - grid[low];
        let share = if width > 0.0 { ((x - grid[low]) / width).clamp(0.0, 1.0) } else { 1.0 };
        Self { low, high, share }
    }
    fn age(age: f64) -> Self {
        let mut at = Self::of(&AGES, age);
        if at.low > 0 && at.share > 0.0 && at.share < 1.0 {
            at.share = (age / AGES[at.low]).ln() / (AGES[at.high] / AGES[at.low]).ln();
        }
        at
    }
    fn mix(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.share
    }
    fn over(self, value: impl Fn(usize) -> f64) -> f64 {
        self.mix(value(self.low), value(self.high))
    }
    fn ages(self, low: &Ages, high: &Ages) -> Ages {
        std::array::from_fn(|j| self.mix(low[j], high[j]))
    }
    fn in_ages(self, values: &Ages) -> f64 {
        self.mix(values[self.low], values[self.high])
    }
}

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

fn slack_grid(slack: f64, overhead: f64) -> Vec<f64> {
    const FINE: f64 = 6.0;
    const GROWTH: f64 = 1.15;
    let unit = overhead.max(slack / 200.0).max(1e-3);
    let mut grid = vec![0.0];
    let mut at = 0.0;
    while at < slack {
        at = if at < FINE * unit { at + unit } else { at * GROWTH };
        grid.push(at);
    }
    grid
}

impl Program {
    pub(super) fn solve(terms: &Terms<'_>) -> Self {
        let slacks = slack_grid(terms.slack, terms.overhead);
        let rows = terms.steps + 1;
        let cells = rows * slacks.len();
        let mut program = Self {
            work_step: terms.work / terms.steps as f64,
            rows,
            sites: terms.sites.len(),
            spot: vec![[0.0; PHASES]; cells * terms.sites.len()],
            on_demand: vec![[0.0; PHASES]; cells],
            wait: vec![[0.0; PHASES]; cells],
            idle: vec![[0.0; PHASES]; cells],
            slacks,
            overhead: terms.overhead,
            price: terms.on_demand,
        };
        let mut sweep = Sweep::new(terms, &program);
        for row in 1..rows {
            sweep.spot_row(&mut program, row);
            sweep.on_demand_row(&mut program, row);
            sweep.idle_row(&mut program, row);
            sweep.loss_row(&program, row);
        }
        program
    }

    fn cell(&self, row: usize, slack: usize) -> usize {
        row * self.slacks.len() + slack
    }
    fn site_cell(&self, row: usize, site: usize, slack: usize) -> usize {
        (row * self.sites + site) * self.slacks.len() + slack
    }
    /// Less work than a row's by some rows.
    fn rows_above(&self, row: usize, less: f64) -> Between {
        self.row_of((row as f64 - less) * self.work_step)
    }
    fn row_of(&self, work: f64) -> Between {
        let at = (work / self.work_step).clamp(0.0, (self.rows - 1) as f64);
        let high = (at.ceil() as usize).min(self.rows - 1);
        let low = high.saturating_sub(1);
        Between { low, high, share: if high > low { at - low as f64 } else { 1.0 } }
    }
    fn look(&self, at: impl Fn(usize, usize) -> Ages, work: f64, slack: f64, age: f64) -> f64 {
        let (rows, cols, age) = (self.row_of(work), Between::of(&self.slacks, slack), Between::age(age));
        let row = |r: usize| cols.mix(age.in_ages(&at(r, cols.low)), age.in_ages(&at(r, cols.high)));
        rows.mix(row(rows.low), row(rows.high))
    }
    /// On spot at a place whose spell has this age, overhead served.
    pub(super) fn on_spot(&self, site: usize, work: f64, slack: f64, age: f64) -> f64 {
        self.look(|r, s| self.spot[self.site_cell(r, site, s)], work, slack, age)
    }
    /// On on-demand, overhead served, while spot has been away for `age`.
    pub(super) fn on_on_demand(&self, work: f64, slack: f64, age: f64) -> f64 {
        self.look(|r, s| self.on_demand[self.cell(r, s)], work, slack, age)
    }
    /// Without a machine, spot away for `age`: the better of waiting and on-demand.
    pub(super) fn idling(&self, work: f64, slack: f64, age: f64) -> f64 {
        if slack < 2.0 * self.overhead {
            return self.price * (work + self.overhead);
        }
        self.look(|r, s| self.idle[self.cell(r, s)], work, slack, age)
    }
    /// Waiting for spot that has been away for `age`.
    pub(super) fn waiting(&self, work: f64, slack: f64, age: f64) -> f64 {
        if slack < 2.0 * self.overhead {
            return self.price * (work + self.overhead);
        }
        self.look(|r, s| self.wait[self.cell(r, s)], work, slack, age)
    }
}

/// What stays the same over the sweep, and the values at a loss of the last two rows.
struct Sweep<'a> {
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
    fn new(terms: &'a Terms<'a>, program: &Program) -> Self {
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
            delays: terms.sites.iter().map(|s| DELAYS.map(|h| step(&terms.up, s.loss, h)[0])).collect(),
            launched: slacks.iter().map(|s| Between::of(slacks, s - terms.overhead)).collect(),
            found: Between::age(terms.found_age),
            first: terms.sites.iter().map(|s| s.gain / gain).collect(),
            lost: vec![0.0; n],
            lost_before: vec![slope; n],
        }
    }

    fn spot_row(&self, p: &mut Program, row: usize) {
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
                let gone = p
                    .rows_above(row, rows * step.before)
                    .over(|r| p.on_demand[p.cell(r, s)][0]);
                let hours = delay * (step.lasts + (1.0 - step.lasts) * step.before);
                let cost = self.terms.on_demand * hours
                    + step.lasts * later
                    + (1.0 - step.lasts) * gone;
                best = best.min(cost);
            }
            sum += chance * best;
        }
        sum
    }

    /// The same while waiting: the delay takes slack.
    fn back_idle(&self, p: &Program, row: usize, s: usize, locked: f64) -> f64 {
        let slack = p.slacks[s];
        if slack < 2.0 * p.overhead - 1e-9 {
            return locked;
        }
        let mut sum = 0.0;
        for (z, chance) in self.first.iter().enumerate() {
            let mut best = self.launch(p, row, z, s, Between::age(0.0));
            for (delay, step) in DELAYS.iter().zip(&self.delays[z]) {
                let rest = slack - delay;
                if rest < 2.0 * p.overhead {
                    break;
                }
                let at = Between::of(&p.slacks, rest);
                if at.high >= s {
                    continue;
                }
                let age = Between::age(*delay);
                let later = at.mix(
                    self.launch(p, row, z, at.low, age),
                    self.launch(p, row, z, at.high, age),
                );
                let gone = at.mix(
                    p.idle[p.cell(row, at.low)][0],
                    p.idle[p.cell(row, at.high)][0],
                );
                best = best.min(step.lasts * later + (1.0 - step.lasts) * gone);
            }
            sum += chance * best;
        }
        sum
    }

    fn on_demand_row(&self, p: &mut Program, row: usize) {
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

    fn idle_row(&self, p: &mut Program, row: usize) {
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
            let bought = at.ages(
                &p.on_demand[p.cell(row, at.low)],
                &p.on_demand[p.cell(row, at.high)],
            );
            p.wait[here] = wait;
            p.idle[here] =
                std::array::from_fn(|j| wait[j].min(self.terms.on_demand * p.overhead + bought[j]));
            back_below = back;
        }
    }

    /// At a loss: the best place that is up then, or none.
    fn loss_row(&mut self, p: &Program, row: usize) {
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
