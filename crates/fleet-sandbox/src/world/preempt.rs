//! Taking machines away: by scenario, by price, by trace, by hand; notice first, death at the deadline.
//!
//! Invariant: a machine with a notice dies at that deadline and not before, unless it is terminated
//! first; a cloud without a notice gives none whatever is asked.

use super::{EndCause, Notice, Stage, Unit, World, pool_key};
use crate::scenario::Since;
use fleet_types::{ProviderId, Timestamp};
use std::time::Duration;

/// How long a pool stays dry after the cloud took a machine from it.
const DRY: Duration = Duration::from_secs(600);

/// A cloud's own warning; `None` where it gives none.
pub(crate) fn own_warning(provider: ProviderId) -> Option<Duration> {
    match provider {
        ProviderId::Aws => Some(Duration::from_secs(120)),
        ProviderId::Gcp | ProviderId::Azure => Some(Duration::from_secs(30)),
        ProviderId::Runpod | ProviderId::Vast | ProviderId::Lambda => None,
    }
}

impl World {
    /// Takes a live machine away: at once where the warning is zero or the cloud gives none, else
    /// with a notice. Returns the deadline; `None` if the machine is not live.
    pub(crate) fn preempt(
        &mut self,
        id: &str,
        warning: Option<Duration>,
        cause: EndCause,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let unit = self.units.get_mut(id).filter(|u| u.is_live())?;
        let own = own_warning(unit.pool.place.provider);
        let warning = own.map(|own| warning.unwrap_or(own)).unwrap_or_default();
        if let Some(earlier) = unit.notice.filter(|n| n.deadline <= now.plus(warning)) {
            return Some(earlier.deadline);
        }
        self.dry.insert(pool_key(unit.site()), now.plus(warning).plus(DRY));
        if warning.is_zero() {
            self.end(id, cause, now);
            return Some(now);
        }
        let deadline = now.plus(warning);
        unit.notice = Some(Notice { at: now, deadline, cause });
        self.dirty = true;
        Some(deadline)
    }

    /// Everything that time alone brings about. Called often.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        let due: Vec<(String, EndCause)> = self
            .units
            .values()
            .filter(|u| u.is_live())
            .filter_map(|u| u.notice.filter(|n| n.deadline <= now).map(|n| (u.id.clone(), n.cause)))
            .collect();
        for (id, cause) in due {
            self.end(&id, cause, now);
        }
        self.strike_by_rule(now);
        self.strike_by_market(now);
    }

    fn strike_by_rule(&mut self, now: Timestamp) {
        for i in 0..self.scenario.preemptions.len() {
            let rule = self.scenario.preemptions[i].clone();
            let ripe = |u: &Unit| {
                let since = match rule.since {
                    Since::Running => u.running_at,
                    Since::Reported => u.reported_at,
                };
                u.stage == Stage::Running
                    && u.notice.is_none()
                    && rule.pattern.matches(u.site())
                    && since.is_some_and(|s| now.since(s).as_secs_f64() >= rule.after_seconds)
            };
            let mut ids: Vec<(Timestamp, String)> = self
                .units
                .values()
                .filter(|u| ripe(u))
                .map(|u| (u.reported_at.unwrap_or(u.started_at), u.id.clone()))
                .collect();
            ids.sort();
            for (_, id) in ids {
                if rule.times.is_some_and(|n| self.rule_strikes[i] >= n) {
                    break;
                }
                self.rule_strikes[i] += 1;
                let warning = rule.warning_seconds.map(Duration::from_secs_f64);
                self.preempt(&id, warning, EndCause::PreemptedCapacity, now);
            }
        }
    }

    /// Spot machines that a rule made too dear, or whose trace says that they are gone.
    fn strike_by_market(&mut self, now: Timestamp) {
        let elapsed = self.elapsed(now);
        let outpriced = |u: &Unit| {
            let factor = self.price_factor(u.site(), elapsed);
            factor > 1.0 && u.limit.is_some_and(|limit| u.calm_price.scale(factor) > limit)
        };
        let struck: Vec<(String, EndCause)> = self
            .units
            .values()
            .filter(|u| u.is_spot() && u.stage == Stage::Running && u.notice.is_none())
            .filter_map(|u| {
                let cause = if outpriced(u) {
                    EndCause::PreemptedPrice
                } else if !self.traced(u.site(), elapsed) {
                    EndCause::PreemptedCapacity
                } else {
                    return None;
                };
                Some((u.id.clone(), cause))
            })
            .collect();
        for (id, cause) in struck {
            self.preempt(&id, None, cause, now);
        }
    }
}
