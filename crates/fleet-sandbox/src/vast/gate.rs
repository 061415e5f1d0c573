//! Vast's rate gates: a least time between two calls of one endpoint, answered 429 without a header.
//!
//! Figures are the vendor's (seconds, scaled by the time scale); the search is ten a minute.

use fleet_types::{TimeScale, Timestamp};
use std::collections::HashMap;

/// Endpoint, least seconds between calls, seconds that a violation costs.
const GATES: &[(&str, f64, f64)] = &[
    ("PUT /api/v0/asks/{id}/", 4.5, 12.0),
    ("PUT /api/v0/instances/bid_price/{id}/", 5.5, 0.0),
    ("PUT /api/v0/instances/{id}/", 1.0, 0.0),
    ("DELETE /api/v0/instances/{id}/", 3.0, 0.0),
    ("GET /api/v0/instances/{id}/", 2.0, 0.0),
    ("GET /api/v1/instances/", 1.0, 0.0),
    ("POST /api/v0/ssh/", 1.0, 0.0),
];
const SEARCH: &str = "POST /api/v0/bundles/";
const SEARCHES_PER_MINUTE: usize = 10;

/// The least time between calls of an endpoint, as its 429 names it.
pub(super) fn threshold(name: &str) -> f64 {
    GATES.iter().find(|(n, _, _)| *n == name).map_or(1.0, |(_, seconds, _)| *seconds)
}

/// When each endpoint lets the next call through.
#[derive(Default)]
pub(crate) struct Gates {
    next: HashMap<String, Gate>,
    searches: Vec<Timestamp>,
}

#[derive(Default)]
struct Gate {
    opens: Timestamp,
    /// A violation was punished since it last opened; further ones are refused, not punished again.
    punished: bool,
}

impl Gates {
    /// Lets a call through, or gives the threshold that it broke.
    pub(super) fn pass(&mut self, name: &str, now: Timestamp, scale: TimeScale) -> Option<f64> {
        if name == SEARCH {
            self.searches.retain(|at| now.since(*at) < scale.secs(60.0));
            if self.searches.len() >= SEARCHES_PER_MINUTE {
                return Some(60.0 / SEARCHES_PER_MINUTE as f64);
            }
            self.searches.push(now);
            return None;
        }
        let (_, seconds, penalty) = GATES.iter().find(|(n, _, _)| *n == name)?;
        let gate = self.next.entry(name.to_owned()).or_default();
        if now < gate.opens {
            if !gate.punished {
                gate.opens = gate.opens.max(now.plus(scale.secs(*penalty)));
                gate.punished = true;
            }
            return Some(*seconds);
        }
        *gate = Gate { opens: now.plus(scale.secs(*seconds)), punished: false };
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_create_too_soon_is_refused_and_costs_a_penalty() {
        let (mut gates, scale) = (Gates::default(), TimeScale::default());
        let at = |ms| Timestamp::from_millis(ms);
        let name = "PUT /api/v0/asks/{id}/";
        assert_eq!(gates.pass(name, at(1_000), scale), None);
        assert_eq!(gates.pass(name, at(2_000), scale), Some(4.5));
        assert_eq!(gates.pass(name, at(13_000), scale), Some(4.5), "the penalty runs 12 s");
        assert_eq!(gates.pass(name, at(14_000), scale), None, "punished once, not for ever");
    }

    #[test]
    fn ten_searches_a_minute_scaled() {
        let (mut gates, scale) = (Gates::default(), TimeScale::new(0.1).unwrap());
        let at = |ms| Timestamp::from_millis(ms);
        assert!((0..10).all(|i| gates.pass(SEARCH, at(i), scale).is_none()));
        assert!(gates.pass(SEARCH, at(20), scale).is_some());
        assert!(gates.pass(SEARCH, at(6_100), scale).is_none());
    }
}
