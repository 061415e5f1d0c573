//! The clocks of the machine that the controller runs on: a wall clock that jumps, boots, a frozen hour.
//!
//! The virtual time is the true one, and what clouds and an outside clock say. Invariant 27 is checked
//! here: the time that limits go by is never ahead of the true one, and behind it only while nobody who
//! knows better has spoken.

use super::bug::Bug;
use super::dice::Kind;
use super::sim::Sim;
use fleet_lifecycle::{Anchor, Reading, Stakes, Told, Trust};
use fleet_types::Timestamp;
use std::time::Duration;

/// What the controller's machine shows.
pub(crate) struct Clocks {
    /// Milliseconds by which the wall clock is wrong.
    pub(crate) off: i64,
    /// When its clock since boot stood at nothing.
    zero: Timestamp,
    boots: u32,
    /// When its anchor was last stored.
    kept: Timestamp,
    /// Since when nobody outside could be asked.
    unasked: Timestamp,
    jumped: Timestamp,
    frozen_until: Timestamp,
}

/// Clocks may be off by that, and it is looked at them only so often.
const NEAR: Duration = Duration::from_secs(75);
const KEPT: Duration = Duration::from_secs(60);
/// After the last answer from outside the wall clock has to do in the end.
const UNASKED: Duration = Duration::from_secs(75);

impl Clocks {
    pub(crate) fn new(now: Timestamp) -> Self {
        let zero = now.minus(Duration::from_secs(1_000_000));
        Self { off: 0, zero, boots: 0, kept: now, unasked: now, jumped: now, frozen_until: now }
    }
}

impl Sim {
    pub(crate) fn reading(&self) -> Reading {
        let wall = Timestamp::from_millis(self.now.millis() + self.clocks.off);
        let since_boot = self.now.since(self.clocks.zero);
        Reading { wall, since_boot, boot: self.clocks.boots.to_string() }
    }

    /// The time as the controller knows it.
    pub(crate) fn clock(&mut self) -> Timestamp {
        let reading = self.reading();
        if self.has(Bug::WallClockDecides) {
            return reading.wall;
        }
        let anchor = &self.memory().anchor;
        anchor.as_ref().map_or(reading.wall, |a| a.now(&reading))
    }

    pub(crate) fn wall_jumps(&mut self, off: i64) {
        self.dice.counts.kinds[Kind::WallJumps as usize] += 1;
        self.note(|| format!("the wall clock is {} s wrong", off / 1000));
        self.clocks.off = off;
        self.clocks.jumped = self.now;
    }

    /// The controller is gone; its machine may be booted anew meanwhile.
    pub(crate) fn boot(&mut self) {
        let rest = self.clocks.frozen_until.since(self.now);
        self.clocks.zero = self.clocks.zero.minus(rest);
        self.clocks.frozen_until = self.now;
        if self.strikes(Kind::Rebooted) {
            self.note(|| "its machine was booted".into());
            self.clocks.boots += 1;
            self.clocks.zero = self.now.minus(Duration::from_secs(20));
        }
    }

    /// Time passes that the clock since boot does not count.
    pub(crate) fn freeze(&mut self, long: Duration) {
        self.clocks.zero = self.clocks.zero.plus(long);
        self.clocks.frozen_until = self.now.plus(long);
    }

    /// The controller starts: what time is it?
    pub(crate) fn find_time(&mut self) {
        let reading = self.reading();
        let stakes = if self.life > 1 { Stakes::Outside } else { Stakes::Nothing };
        let stakes = if self.has(Bug::WallClockAtStart) { Stakes::Nothing } else { stakes };
        let (saved, newest) = (self.store.anchor.clone(), self.store.newest);
        let anchor = Anchor::start(&reading, saved.as_ref(), Some(newest), stakes);
        // The first job is accepted by a clock that was compared, where that is possible.
        let asks = anchor.asks(&reading) || self.life == 1;
        self.memory().anchor = Some(anchor);
        if asks && !self.has(Bug::WallClockAtStart) {
            self.ask_outside(stakes);
        }
        self.keep_time();
    }

    fn keep_time(&mut self) {
        let reading = self.reading();
        self.clocks.kept = self.now;
        self.store.anchor = self.memory().anchor.as_ref().map(|a| a.kept(&reading));
    }

    fn ask_outside(&mut self, stakes: Stakes) {
        if self.strikes(Kind::OutsideSilent) {
            return;
        }
        self.clocks.unasked = self.now;
        let (reading, now) = (self.reading(), self.now);
        let Some(anchor) = &mut self.memory().anchor else { return };
        if let Told::Moved(by) = anchor.told(now, &reading, stakes) {
            self.note(|| format!("an outside clock moves the time by {} s", by / 1000));
            self.keep_time();
        }
    }

    /// One look at the clocks, before limits are looked at.
    pub(crate) fn tend_clock(&mut self) {
        let reading = self.reading();
        let Some(anchor) = &mut self.memory().anchor else { return };
        if anchor.asks(&reading) {
            self.ask_outside(Stakes::Outside);
        } else {
            self.clocks.unasked = self.now;
        }
        let Some(anchor) = &mut self.memory().anchor else { return };
        if anchor.give_up(&reading) {
            self.note(|| "nobody tells the time: the wall clock has to do".into());
            self.keep_time();
        }
        if self.now.since(self.clocks.kept) >= KEPT {
            self.keep_time();
        }
        self.check_clock();
    }

    /// 27: no limit comes early, and none later than a minute once somebody could be asked.
    fn check_clock(&mut self) {
        let (clock, now) = (self.clock(), self.now);
        let Some(anchor) = &self.memory().anchor else { return };
        // Nobody was there to ask after a boot: then the wall clock is all there is.
        let alone = anchor.trust() != Trust::Confirmed;
        if clock.since(now) > NEAR && !alone {
            self.violated(format!("27: limits go by {clock}"));
        }
        let asked = now.since(self.clocks.unasked) < UNASKED;
        let right = self.clocks.off == 0 && now.since(self.clocks.jumped) > NEAR;
        if now.since(clock) > NEAR && asked && !alone && right {
            self.violated(format!("27: limits come late, they go by {clock}"));
        }
    }

    /// Whether the time can stay late: what was not counted is caught up only by two clocks that agree.
    pub(crate) fn stays_late(&self) -> bool {
        let kinds = &self.dice.counts.kinds;
        let fired = |kind: Kind| kinds[kind as usize] > 0;
        fired(Kind::Frozen) && (fired(Kind::OutsideSilent) || fired(Kind::WallJumps))
    }

    /// Whether the time can be wrong because nobody who knows better could be asked.
    pub(crate) fn guesses_time(&mut self) -> bool {
        self.dice.counts.kinds[Kind::OutsideSilent as usize] > 0
    }
}
