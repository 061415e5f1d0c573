//! How long spot lasts and how long it stays away, per place, learned while watching.
//!
//! Both directions have a hazard that falls with the age of the spell: young spells end soon, old ones
//! last. Its shape is pooled from recorded traces; each place multiplies it by a factor of its own,
//! whose gamma posterior is updated with every hour watched and every end seen. Ages are in hours, so
//! nothing here depends on how often the policy is asked.

use super::tuning::Tuning;

/// Ages at which hazards change and values are kept, in hours.
pub(super) const AGES: [f64; 9] = [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
/// How many ages there are.
pub(super) const PHASES: usize = AGES.len();

/// The shape of one direction's hazard, for a place like all others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Ends per hour from each age to the next; past the last they fall with the age.
    pub(super) hazard: [f64; PHASES],
}

impl Shape {
    /// Ends per hour at an age.
    pub(super) fn at(&self, age: f64) -> f64 {
        let last = PHASES - 1;
        if age >= AGES[last] {
            return self.hazard[last] * AGES[last] / age;
        }
        let phase = AGES.iter().rposition(|a| *a <= age).unwrap_or(0);
        self.hazard[phase]
    }
    /// Expected ends from age 0 to an age.
    pub(super) fn cumulative(&self, age: f64) -> f64 {
        let mut sum = 0.0;
        for (phase, from) in AGES.iter().enumerate() {
            if age <= *from {
                return sum;
            }
            match AGES.get(phase + 1) {
                Some(to) => sum += self.hazard[phase] * (age.min(*to) - from),
                None => sum += self.hazard[phase] * from * (age / from).ln(),
            }
        }
        sum
    }
    /// Mean length of a spell that has this factor, cut at `most` hours.
    pub(super) fn mean(&self, factor: f64, from_age: f64, most: f64) -> f64 {
        const STEPS: u32 = 48;
        let base = self.cumulative(from_age);
        let (mut sum, mut before, mut alive) = (0.0, 0.0, 1.0);
        for step in 1..=STEPS {
            // Steps grow, because hazards fall.
            let share = f64::from(step) / f64::from(STEPS);
            let at = most * share * share * share;
            let next = (-factor * (self.cumulative(from_age + at) - base)).exp();
            sum += 0.5 * (alive + next) * (at - before);
            (before, alive) = (at, next);
        }
        sum
    }
}

/// A factor's gamma posterior.
#[derive(Clone, Copy, Debug)]
struct Factor {
    ends: f64,
    expected: f64,
}

impl Factor {
    fn mean(self, strength: f64) -> f64 {
        (strength + self.ends) / (strength + self.expected)
    }
}

/// One place's spells as seen so far.
#[derive(Clone, Debug)]
pub(super) struct Spells {
    pub(super) up: bool,
    /// Age of the present spell in hours; the first one's is assumed.
    pub(super) age: f64,
    /// Expected ends of the present spell that are in the posterior already.
    counted: f64,
    up_factor: Factor,
    down_factor: Factor,
}

impl Spells {
    /// A place seen for the first time.
    pub(super) fn first(up: bool, tuning: &Tuning) -> Self {
        let none = Factor { ends: 0.0, expected: 0.0 };
        let age = tuning.first_age;
        let mut seen = Self { up, age, counted: 0.0, up_factor: none, down_factor: none };
        seen.counted = seen.shape(tuning).cumulative(age);
        seen
    }
    /// `hours` went by, after which the place is up or not.
    pub(super) fn watch(&mut self, hours: f64, up: bool, tuning: &Tuning) -> bool {
        self.age += hours;
        let total = self.shape(tuning).cumulative(self.age);
        let more = total - self.counted;
        self.counted = total;
        let changed = up != self.up;
        let factor = if self.up { &mut self.up_factor } else { &mut self.down_factor };
        factor.expected += more;
        if changed {
            factor.ends += 1.0;
            self.up = up;
            self.age = 0.0;
            self.counted = 0.0;
        }
        changed
    }
    /// Multiplies the hazard of losing spot here.
    pub(super) fn loss(&self, tuning: &Tuning) -> f64 {
        self.up_factor.mean(tuning.up_strength)
    }
    /// Multiplies the hazard of spot coming back here.
    pub(super) fn gain(&self, tuning: &Tuning) -> f64 {
        self.down_factor.mean(tuning.down_strength)
    }
    fn shape<'a>(&self, tuning: &'a Tuning) -> &'a Shape {
        if self.up { &tuning.up } else { &tuning.down }
    }
}
