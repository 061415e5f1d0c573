//! The numbers of the default policy, each with what it means.

use super::spells::{AGES, Shape};

/// Hazards are pooled, and the rest chosen, on one set of recorded traces without holding any back: see
/// docs/reference/simulate.md.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub(super) up: Shape,
    pub(super) down: Shape,
    /// Prior ends, as many as were expected: how slowly a place's own record outweighs the pool.
    pub up_strength: f64,
    pub down_strength: f64,
    /// Assumed age in hours of a spell whose start nobody saw.
    pub first_age: f64,
    /// Age in hours assumed of spot found elsewhere when a machine is lost.
    pub found_age: f64,
    /// Age in hours assumed of the other places' absence when the last that was up goes.
    pub lasting_age: f64,
    /// A machine is only given up for a gain above this many overheads of its price.
    pub margin: f64,
    /// Rows of the program: steps of work from now to the end.
    pub steps: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            up: Shape { hazard: [1.6, 1.25, 0.72, 0.41, 0.21, 0.14, 0.12, 0.06, 0.03] },
            down: Shape { hazard: [1.7, 1.4, 0.7, 0.46, 0.28, 0.25, 0.15, 0.075, 0.03] },
            up_strength: 4.0,
            down_strength: 4.0,
            first_age: 2.0,
            found_age: 0.0,
            lasting_age: 2.0,
            margin: 1.0,
            steps: 64,
        }
    }
}

impl Tuning {
    /// The hazard of spot coming back anywhere, per unit of the places' factors together: one place went
    /// just now, the others have been away for longer.
    pub(super) fn anywhere(&self, places: usize) -> Shape {
        let n = places.max(1) as f64;
        let mut shape = self.down;
        for (hazard, age) in shape.hazard.iter_mut().zip(AGES) {
            *hazard = (*hazard + (n - 1.0) * self.down.at(age + self.lasting_age)) / n;
        }
        shape
    }
}
