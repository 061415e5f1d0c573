//! Lambda's pace: one call a second on average, one launch in twelve seconds, answered 429 without a header.
//!
//! The first is counted over five seconds, as a client's calls come in bursts; the second is a distance.

use fleet_types::{TimeScale, Timestamp};

const LAUNCH: &str = "POST /api/v1/instance-operations/launch";
const LAUNCH_SECONDS: f64 = 12.0;
const WINDOW_SECONDS: f64 = 5.0;
const CALLS: usize = 5;

/// The calls that were let through of late.
#[derive(Default)]
pub(super) struct Gates {
    calls: Vec<Timestamp>,
    next_launch: Timestamp,
}

impl Gates {
    /// Whether a call may pass now.
    pub(super) fn pass(&mut self, name: &str, now: Timestamp, scale: TimeScale) -> bool {
        self.calls.retain(|at| now.since(*at) < scale.secs(WINDOW_SECONDS));
        if self.calls.len() >= CALLS || (name == LAUNCH && now < self.next_launch) {
            return false;
        }
        self.calls.push(now);
        if name == LAUNCH {
            self.next_launch = now.plus(scale.secs(LAUNCH_SECONDS));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_calls_in_five_seconds_and_a_launch_in_twelve() {
        let (mut gates, scale) = (Gates::default(), TimeScale::new(0.1).unwrap());
        let mut at = |name: &str, ms| gates.pass(name, Timestamp::from_millis(ms), scale);
        assert!((10_000..10_005).all(|ms| at("GET /x", ms)));
        assert!(!at("GET /x", 10_100));
        assert!(at(LAUNCH, 10_600));
        assert!(!at(LAUNCH, 11_700) && at("GET /x", 11_700));
        assert!(at(LAUNCH, 11_800));
    }
}
