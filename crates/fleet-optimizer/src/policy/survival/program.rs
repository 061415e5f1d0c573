//! The small dynamic program: what the rest of a job costs, by work left, slack and state.
//!
//! Slack is the time left beyond the work left. On a machine work falls and slack stays; while waiting
//! slack falls; a launch takes one overhead of slack. States: on spot at a place with an age, on
//! on-demand or waiting while spot has been away for a time. All references go to less work or less
//! slack, so one sweep fills the tables. Invariant: with less than two overheads of slack an idle job
//! is priced as on-demand to the end, which is what the guard will do.

mod sweep;

use super::spells::{AGES, PHASES, Shape};
use sweep::Sweep;

type Ages = [f64; PHASES];

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

fn slack_grid(slack: f64, overhead: f64) -> Vec<f64> {
    const FINE: f64 = 30.0;
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
        let (rows, cols, age) =
            (self.row_of(work), Between::of(&self.slacks, slack), Between::age(age));
        let row =
            |r: usize| cols.mix(age.in_ages(&at(r, cols.low)), age.in_ages(&at(r, cols.high)));
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
    /// Waiting for spot that has been away for `age`.
    pub(super) fn waiting(&self, work: f64, slack: f64, age: f64) -> f64 {
        if slack < 2.0 * self.overhead {
            return self.price * (work + self.overhead);
        }
        self.look(|r, s| self.wait[self.cell(r, s)], work, slack, age)
    }
}
