//! A rate gate: calls pass with a least distance between them, after a burst.
//!
//! Clouds that punish fast callers without saying when to come back need one gate an endpoint on our
//! side. This is the only place where a driver may wait. Invariant: passes are granted in order and never
//! faster than the rate, from however many tasks; a pass that is cancelled while waiting is still spent.

use fleet_types::TimeScale;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lets calls through at a rate. The interval is stretched by the time scale.
#[derive(Debug)]
pub struct Gate {
    interval: Duration,
    /// How far ahead of the rate a caller may run.
    slack: Duration,
    /// When the next call would pass if there were no slack.
    next: Mutex<Option<Instant>>,
}

impl Gate {
    /// A gate with `interval` between calls, `burst` (at least 1) of which may pass at once.
    pub fn new(interval: Duration, burst: u32, scale: TimeScale) -> Self {
        let interval = scale.span(interval);
        Self { interval, slack: interval * burst.saturating_sub(1), next: Mutex::new(None) }
    }

    /// Waits for a turn.
    pub async fn pass(&self) {
        let at = self.reserve(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// Moves the next turn away, after the cloud complained.
    pub fn hold_off(&self, span: Duration) {
        self.hold_off_from(Instant::now(), span);
    }

    fn hold_off_from(&self, now: Instant, span: Duration) {
        let until = now + self.slack + span;
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        *next = Some(next.map_or(until, |n| n.max(until)));
    }

    /// Takes the next turn and says when it is.
    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(|e| e.into_inner());
        let due = next.map_or(now, |n| n.max(now));
        *next = Some(due + self.interval);
        due.checked_sub(self.slack).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(burst: u32) -> Gate {
        Gate::new(Duration::from_secs(4), burst, TimeScale::new(0.5).unwrap())
    }

    #[test]
    fn calls_keep_their_distance_after_the_burst() {
        let (gate, now) = (gate(2), Instant::now());
        let offsets: Vec<u64> =
            (0..4).map(|_| gate.reserve(now).duration_since(now).as_secs()).collect();
        assert_eq!(offsets, [0, 0, 2, 4]);
        let later = now + Duration::from_secs(60);
        assert_eq!(gate.reserve(later), later, "unused turns do not pile up beyond the burst");
        assert_eq!(gate.reserve(later), later);
        assert_eq!(gate.reserve(later), later + Duration::from_secs(2));
    }

    #[test]
    fn a_complaint_moves_the_next_turn() {
        for burst in [1, 3] {
            let (gate, now) = (gate(burst), Instant::now());
            gate.reserve(now);
            gate.hold_off_from(now, Duration::from_secs(12));
            assert_eq!(gate.reserve(now).duration_since(now).as_secs(), 12);
        }
    }
}
