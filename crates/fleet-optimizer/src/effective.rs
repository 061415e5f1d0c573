//! Dollars per useful hour: the price, plus what interruptions are expected to cost.
//!
//! effective = (price + disk) × (1 + loss), loss = hazard per hour × hours lost by one interruption
//! (restart overhead + half a checkpoint interval). Unknown hazards take a documented prior, never 0.

use fleet_types::{Market, Offer, Usd};
use std::time::Duration;

/// What one interruption costs in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overheads {
    /// From the loss of a machine to useful work on the next.
    pub restart: Duration,
    /// Between two checkpoints.
    pub checkpoint_interval: Duration,
}

impl Default for Overheads {
    /// Six minutes to be running again, a checkpoint every half hour: what people have before they tune.
    fn default() -> Self {
        Self { restart: Duration::from_secs(360), checkpoint_interval: Duration::from_secs(1800) }
    }
}

/// Spot of which nothing is known: one interruption in ten hours.
const SPOT_PRIOR: f64 = 0.1;
/// On demand: host failures only, about one in a year of hours.
const ON_DEMAND_PRIOR: f64 = 0.0001;

/// Interruptions per hour to reckon with, and where the number comes from.
pub fn hazard_of(offer: &Offer) -> (f64, String) {
    let signal = offer.hazard_per_hour.filter(|h| h.is_finite() && *h >= 0.0);
    // A host that is up 98 % of the time fails now and then, whoever bids for it: reckon its down
    // share as failures of an hour each.
    let host = offer.reliability.filter(|r| (0.0..=1.0).contains(r)).map(|r| 1.0 - r);
    match (offer.market, signal, host) {
        (Market::OnDemand, _, host) => {
            let hazard = host.map_or(ON_DEMAND_PRIOR, |h| h.max(ON_DEMAND_PRIOR));
            (hazard, host.map_or_else(|| "on demand".into(), |_| "host reliability".into()))
        }
        (Market::Spot, Some(signal), host) => (
            (signal + host.unwrap_or(0.0)).max(ON_DEMAND_PRIOR),
            offer.hazard_source.clone().unwrap_or_else(|| "cloud signal".into()),
        ),
        (Market::Spot, None, Some(host)) => (SPOT_PRIOR + host, "prior, host reliability".into()),
        (Market::Spot, None, None) => (SPOT_PRIOR, "prior".into()),
    }
}

/// The offer's price per useful hour and the hazard used; `None` where the price is unknown.
pub fn effective_price(offer: &Offer, disk_gib: u32, overheads: Overheads) -> Option<(Usd, f64)> {
    let price = offer.price_usd_per_hour?;
    let disk = offer.disk_usd_per_gib_hour.unwrap_or_default().scale(f64::from(disk_gib));
    let (hazard, _) = hazard_of(offer);
    let lost_hours = (overheads.restart + overheads.checkpoint_interval / 2).as_secs_f64() / 3600.0;
    Some(((price + disk).scale(1.0 + hazard * lost_hours), hazard))
}
