//! What went wrong at a cloud (fault) and how far it reaches (scope).
//!
//! Drivers classify once, by a table; `fleet-lifecycle::react` turns the pair into what happens next.
//! Invariant: quota is never called capacity, and an unknown outcome is never called a refusal.

use serde::{Deserialize, Serialize};

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// None left to be had.
    Capacity,
    /// A limit on the account.
    Quota,
    /// The price moved above what was offered.
    Price,
    /// Who we are is not accepted, or may not do this.
    Auth,
    /// Too many calls.
    Throttled,
    /// A passing failure of a call that changed nothing.
    Transient,
    /// The request or the offer is wrong and stays wrong.
    Rejected,
    /// The token exists already with another body: a bug of ours.
    Conflict,
    /// The thing named is not there.
    NotFound,
    /// The outcome is unknown: it may have been done.
    Unknown,
}

impl Fault {
    /// Every fault, for table tests.
    pub const ALL: [Self; 10] = [
        Self::Capacity,
        Self::Quota,
        Self::Price,
        Self::Auth,
        Self::Throttled,
        Self::Transient,
        Self::Rejected,
        Self::Conflict,
        Self::NotFound,
        Self::Unknown,
    ];
    /// One or two words for a table.
    pub fn label(self) -> &'static str {
        match self {
            Self::Capacity => "no capacity",
            Self::Quota => "quota",
            Self::Price => "price moved",
            Self::Auth => "credentials",
            Self::Throttled => "throttled",
            Self::Transient => "passing failure",
            Self::Rejected => "rejected",
            Self::Conflict => "token conflict",
            Self::NotFound => "not found",
            Self::Unknown => "outcome unknown",
        }
    }
}

/// How far a failure reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This call alone.
    Request,
    /// This offer (a marketplace's ask).
    Offer,
    /// This type and market in this zone.
    Zone,
    /// This type and market in this region.
    Region,
    /// This market in this region, whatever the type (EC2 spot vCPU limit).
    RegionMarket,
    /// The whole cloud for this account.
    Provider,
}

impl Scope {
    /// Every scope, for table tests.
    pub const ALL: [Self; 6] =
        [Self::Request, Self::Offer, Self::Zone, Self::Region, Self::RegionMarket, Self::Provider];
}

/// A proven refusal: nothing was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub fault: Fault,
    pub scope: Scope,
    /// The cloud's own code.
    pub code: String,
    /// The cloud's own words, escaped and cut.
    pub message: String,
    /// When the cloud says to come back, in milliseconds.
    #[serde(default)]
    pub retry_after_ms: Option<u64>,
}
