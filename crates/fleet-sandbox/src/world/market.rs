//! Prices, stock and quota: a seeded process, and over it the scenario's rules.
//!
//! Prices are a pure function of (seed, pool, time), so that no state drifts and a seed replays.
//! Invariant: without a rule no price moves further than 5 % from its level, and a pool marked as
//! anchor never sells out by itself.

use super::{World, pool_key};
use crate::scenario::Site;
use crate::text::fraction;
use fleet_types::{Timestamp, Usd};

/// Seconds between two moves of a price.
pub(crate) const PRICE_STEP: f64 = 300.0;
/// Seconds between two draws of whether a pool is sold out.
const STOCK_STEP: f64 = 1800.0;
/// Share of pools that are sold out on a calm day.
const SOLD_OUT: f64 = 0.06;
/// Largest move of a calm price.
const SWING: f64 = 0.05;

impl World {
    /// The price in force at `at`, given the level around which it moves.
    pub(crate) fn price(&self, site: Site<'_>, level: Usd, at: Timestamp) -> Usd {
        let factor = self.price_factor(site, self.elapsed(at));
        self.calm_price(site, level, at).scale(factor)
    }

    /// The same without the scenario's factor.
    pub(crate) fn calm_price(&self, site: Site<'_>, level: Usd, at: Timestamp) -> Usd {
        let elapsed = (at.millis() - self.started_at.millis()) as f64 / 1000.0;
        let step = (elapsed / PRICE_STEP).floor() as i64;
        let knot = |k: i64| fraction(self.seed, &["price", &pool_key(site), &k.to_string()]);
        // The mean of four neighbours moves slowly.
        let drift = (0..4).map(|i| knot(step - i)).sum::<f64>() / 4.0 - 0.5;
        level.scale(1.0 + 2.0 * SWING * drift)
    }

    /// How much the scenario multiplies a price.
    pub(crate) fn price_factor(&self, site: Site<'_>, elapsed: f64) -> f64 {
        self.rules(site, elapsed).filter_map(|(_, r)| r.price_factor).product()
    }

    /// How many more machines the pool can hold now.
    pub(crate) fn stock(&self, site: Site<'_>, anchor: bool, now: Timestamp) -> u32 {
        let elapsed = self.elapsed(now);
        let key = pool_key(site);
        if self.dry.get(&key).is_some_and(|until| now < *until) || !self.traced(site, elapsed) {
            return 0;
        }
        let live = self.units.values().filter(|u| u.is_live() && pool_key(u.site()) == key).count();
        if let Some(stock) = self.rules(site, elapsed).filter_map(|(_, r)| r.stock).min() {
            return stock.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        }
        let step = (elapsed / STOCK_STEP) as u64;
        let sold_out = fraction(self.seed, &["stock", &key, &step.to_string()]) < SOLD_OUT;
        if sold_out && !anchor { 0 } else { 50 }
    }

    /// Whether every trace that speaks of this pool says that it is to be had.
    pub(crate) fn traced(&self, site: Site<'_>, elapsed: f64) -> bool {
        self.rules(site, elapsed).all(|(i, rule)| {
            let at = (elapsed - rule.from_seconds) * rule.trace_speed;
            self.traces.get(&i).is_none_or(|t| t.available(at))
        })
    }

    /// The account's limit for pools like this, where the scenario sets one.
    pub(crate) fn quota(&self, site: Site<'_>, now: Timestamp) -> Option<u32> {
        self.rules(site, self.elapsed(now)).filter_map(|(_, r)| r.quota).min()
    }

    fn rules<'a>(
        &'a self,
        site: Site<'a>,
        elapsed: f64,
    ) -> impl Iterator<Item = (usize, &'a crate::scenario::PlaceRule)> {
        self.scenario
            .places
            .iter()
            .enumerate()
            .filter(move |(_, r)| r.in_force(elapsed) && r.pattern.matches(site))
    }
}
