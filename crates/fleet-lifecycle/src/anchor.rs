//! What time it is for decisions, told by clocks each of which may be wrong.
//!
//! A wall clock jumps: somebody sets it, the time service corrects it, a virtual machine is thawed. So the
//! time that jobs go by is anchored once and then counted by the clock since boot, which counts suspension
//! and which nobody sets. Invariant 27: while something is at stake no jump of the wall clock moves the
//! anchor, neither while the controller runs nor over its restart; it moves forward only, and only by the
//! word of a clock outside of this machine. Jobs keep the time that they were accepted in, right or wrong:
//! their spans are what matters.
//!
//! It reads no clock: a [`Reading`] is handed in.

use fleet_types::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Clocks that are no further apart agree.
pub const NEAR: Duration = Duration::from_secs(60);
/// The word of an outside clock is waited for so long; then the wall clock has to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// One look at this machine's clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    pub wall: Timestamp,
    /// Since the boot, suspension included.
    pub since_boot: Duration,
    /// Which boot; empty where this machine does not say.
    pub boot: String,
}

/// What a wrong time would harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stakes {
    /// No live job and no machine.
    Nothing,
    /// Jobs of clouds on this very machine: no clock outside knows better.
    Inside,
    /// Jobs of clouds elsewhere: their clocks can be asked.
    Outside,
}

/// How well the anchored time is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// The machine was booted anew while jobs lived. Until an outside clock speaks, the time is a lower
    /// bound, counted on from the last that is known.
    Waiting,
    /// Nobody but this machine's wall clock said so.
    Alone,
    /// An outside clock agreed.
    Confirmed,
}

/// A moment at which the time is taken as known. What is stored of it survives the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    at: Timestamp,
    since_boot_ms: u64,
    boot: String,
    trust: Trust,
}

/// What came of an outside clock's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Agrees,
    /// The anchor moved by so many milliseconds.
    Moved(i64),
    /// It is so many milliseconds off, and not followed.
    Disputed(i64),
}

impl Anchor {
    /// The time as a controller finds it that starts now. `saved` is the anchor of its earlier life;
    /// `known` the newest time that it committed, below which it never goes back.
    pub fn start(
        reading: &Reading,
        saved: Option<&Self>,
        known: Option<Timestamp>,
        stakes: Stakes,
    ) -> Self {
        let floor = known.max(saved.map(|s| s.at));
        let same_boot =
            |s: &&Self| !s.boot.is_empty() && s.boot == reading.boot && s.age(reading).is_some();
        let mut anchor = match (stakes, saved.filter(same_boot)) {
            (Stakes::Nothing, _) => return Self::new(reading, reading.wall, Trust::Alone),
            (Stakes::Inside | Stakes::Outside, Some(saved)) => saved.clone(),
            (Stakes::Outside, None) if floor.is_some() => {
                Self::new(reading, floor.unwrap_or(reading.wall), Trust::Waiting)
            }
            (Stakes::Inside | Stakes::Outside, None) => {
                Self::new(reading, reading.wall, Trust::Alone)
            }
        };
        if let Some(floor) = floor {
            anchor.not_before(floor, reading);
        }
        anchor
    }

    fn new(reading: &Reading, at: Timestamp, trust: Trust) -> Self {
        let since_boot_ms = reading.since_boot.as_millis() as u64;
        Self { at, since_boot_ms, boot: reading.boot.clone(), trust }
    }

    /// Time since it was set; none before it, which is another boot's reading.
    fn age(&self, reading: &Reading) -> Option<Duration> {
        reading.since_boot.checked_sub(Duration::from_millis(self.since_boot_ms))
    }

    /// The time.
    pub fn now(&self, reading: &Reading) -> Timestamp {
        self.at.plus(self.age(reading).unwrap_or_default())
    }

    /// How well it is founded.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The same line of time, to be stored: the later the moment it is tied to, the better the lower bound
    /// after a boot.
    pub fn kept(&self, reading: &Reading) -> Self {
        Self::new(reading, self.now(reading), self.trust)
    }

    /// The time is no earlier than `floor`, which was committed.
    pub fn not_before(&mut self, floor: Timestamp, reading: &Reading) {
        if self.now(reading) < floor {
            *self = Self::new(reading, floor, self.trust);
        }
    }

    /// How far the wall clock is ahead, in milliseconds; none where both agree.
    pub fn apart(&self, reading: &Reading) -> Option<i64> {
        let by = reading.wall.millis() - self.now(reading).millis();
        (by.unsigned_abs() > NEAR.as_millis() as u64).then_some(by)
    }

    /// Whether an outside clock's word could change anything.
    pub fn asks(&self, reading: &Reading) -> bool {
        match self.trust {
            Trust::Waiting => true,
            Trust::Alone => false,
            // Time may have passed that this machine did not count: it was frozen from outside.
            Trust::Confirmed => self.apart(reading).is_some_and(|by| by > 0),
        }
    }

    /// Nobody has told the time for long: the wall clock has to do. Answers whether it came to that.
    pub fn give_up(&mut self, reading: &Reading) -> bool {
        let waited = self.age(reading).is_none_or(|age| age >= PATIENCE);
        let gives_up = self.trust == Trust::Waiting && waited;
        if gives_up {
            *self = Self::new(reading, reading.wall.max(self.now(reading)), Trust::Alone);
        }
        gives_up
    }

    /// Nothing is at stake: the wall clock is followed, whatever it did.
    pub fn renew(&mut self, reading: &Reading) {
        if self.apart(reading).is_some() {
            *self = Self::new(reading, reading.wall, Trust::Alone);
        }
    }

    /// Takes an outside clock's word in.
    pub fn told(&mut self, outside: Timestamp, reading: &Reading, stakes: Stakes) -> Told {
        let now = self.now(reading);
        let by = outside.millis() - now.millis();
        let near = |by: i64| by.unsigned_abs() <= NEAR.as_millis() as u64;
        let wall_agrees = near(reading.wall.millis() - outside.millis());
        match self.trust {
            _ if near(by) => {
                // A lower bound is raised to the word; what was known stays as it is.
                let at = if self.trust == Trust::Waiting { now.max(outside) } else { now };
                *self = Self::new(reading, at, Trust::Confirmed);
                return Told::Agrees;
            }
            _ if stakes == Stakes::Nothing => {}
            Trust::Waiting if by > 0 => {}
            // Two of three, and time lost only ever makes this one late.
            Trust::Confirmed if by > 0 && wall_agrees => {}
            Trust::Waiting => {
                self.trust = Trust::Alone;
                return Told::Disputed(by);
            }
            Trust::Alone | Trust::Confirmed => return Told::Disputed(by),
        }
        *self = Self::new(reading, outside, Trust::Confirmed);
        Told::Moved(by)
    }
}

#[cfg(test)]
mod tests;
