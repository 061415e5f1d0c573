//! What happens to a call before and after it works: the scenario's call rules, drawn by seed.

use super::World;
use crate::text::glob;
use fleet_types::ProviderId;

/// The fate of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Works,
    /// Refused as too frequent, without effect.
    Throttled,
    /// HTTP 5xx, without effect.
    FailsBefore,
    /// HTTP 5xx, although it happened.
    FailsAfter,
    /// It happened, and no answer comes.
    Lost,
}

impl World {
    /// Counts a call and draws its fate and its delay in milliseconds.
    pub(crate) fn fate(&mut self, provider: ProviderId, call: &str) -> (Fate, u64) {
        self.ledger.calls += 1;
        let (mut fate, mut latency) = (Fate::Works, 0);
        for (i, rule) in self.scenario.calls.iter().enumerate() {
            if rule.provider.is_some_and(|p| p != provider)
                || rule.call.as_deref().is_some_and(|c| !glob(c, call))
                || rule.first.is_some_and(|n| self.rule_calls[i] >= n)
            {
                continue;
            }
            self.rule_calls[i] += 1;
            latency += rule.latency_ms;
            let mut draw = self.dice.f64();
            for (rate, outcome) in [
                (rule.throttle, Fate::Throttled),
                (rule.error_before, Fate::FailsBefore),
                (rule.error_after, Fate::FailsAfter),
                (rule.lost, Fate::Lost),
            ] {
                if fate == Fate::Works && draw < rate {
                    fate = outcome;
                }
                draw -= rate;
            }
        }
        (fate, latency)
    }
}
