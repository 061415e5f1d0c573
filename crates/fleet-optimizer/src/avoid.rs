//! What was refused lately, and how far that refusal reaches.
//!
//! Invariant: an entry covers exactly the scope that the cloud's answer stood for, and ends by itself.

use fleet_types::{Market, Offer, Place, Pool, Scope, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing to leave alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Avoid {
    pub pool: Pool,
    pub scope: Scope,
    /// The offer's own handle, for [`Scope::Offer`].
    pub key: String,
    pub until: Timestamp,
    /// `no capacity (InsufficientInstanceCapacity)`.
    pub reason: String,
}

impl Avoid {
    /// Whether this entry covers `offer`.
    pub fn covers(&self, offer: &Offer) -> bool {
        let Pool { place, instance_type, market } = &self.pool;
        let Place { provider, region, zone } = place;
        let here = &offer.place;
        let same_region = *provider == here.provider && *region == here.region;
        let same_pool = *instance_type == offer.instance_type && *market == offer.market;
        match self.scope {
            Scope::Request | Scope::Offer => {
                same_region && *zone == here.zone && same_pool && self.key == offer.key
            }
            Scope::Zone => same_region && *zone == here.zone && same_pool,
            Scope::Region => same_region && same_pool,
            Scope::RegionMarket => same_region && *market == offer.market,
            Scope::Provider => *provider == here.provider,
        }
    }
}

/// Everything to leave alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AvoidList {
    entries: Vec<Avoid>,
}

impl AvoidList {
    /// Adds an entry; one for the same thing is replaced if it ends earlier.
    pub fn add(&mut self, avoid: Avoid) {
        self.entries.retain(|e| {
            !(e.scope == avoid.scope
                && e.pool == avoid.pool
                && e.key == avoid.key
                && e.until <= avoid.until)
        });
        self.entries.push(avoid);
    }
    /// Leaves a whole zone alone in one market, whatever the type: where a machine was just taken.
    pub fn add_zone(&mut self, place: &Place, market: Market, until: Timestamp, reason: &str) {
        self.add(Avoid {
            pool: Pool { place: place.clone(), instance_type: "*".into(), market },
            scope: Scope::Zone,
            key: String::new(),
            until,
            reason: reason.to_owned(),
        });
    }
    /// Forgets what has ended by `now`.
    pub fn expire(&mut self, now: Timestamp) {
        self.entries.retain(|e| e.until > now);
    }
    /// Why `offer` is to be left alone at `now`, if it is.
    pub fn reason(&self, offer: &Offer, now: Timestamp) -> Option<&str> {
        self.entries
            .iter()
            .filter(|e| e.until > now)
            .find(|e| {
                e.covers(offer)
                    || (e.pool.instance_type == "*"
                        && e.pool.place == offer.place
                        && e.pool.market == offer.market)
            })
            .map(|e| e.reason.as_str())
    }
    /// When the first entry ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.entries.iter().map(|e| e.until).min()
    }
}
