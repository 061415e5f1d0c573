//! The trait. Every method doc says what it does, how it repeats, what it may return and what it never does.

use crate::{Capabilities, LaunchRequest, OwnerTag, Result, StorageKeys};
use async_trait::async_trait;
use fleet_types::{Instance, InstanceId, Offer, OfferQuery, Place, ProviderId, Timestamp, Usd};
use std::fmt::Debug;

/// Who the credentials are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account that pays, as the cloud names it.
    pub account: String,
    /// The user or key within it, never the secret.
    pub principal: String,
    /// Where the credentials were found (`AWS_ACCESS_KEY_ID`, `~/.config/vastai/vast_api_key`).
    pub source: String,
    /// When they end, where that is known.
    pub expires_at: Option<Timestamp>,
    /// What is missing or odd, each with what to do about it.
    pub notes: Vec<String>,
    /// How much the account may still rent, in a line for people; where the cloud does not say, how one
    /// learns it. Never guessed.
    pub quota: Option<String>,
}

/// What a terminate did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// Accepted; it is on its way out and bills no more from now.
    Requested,
    /// The cloud says explicitly that it is terminated.
    Gone,
    /// The cloud does not know the id: no proof of death by itself (reliability.md, "Proof of death").
    NotFound,
}

/// A listing of everything that carries the owner's mark.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub instances: Vec<Instance>,
    /// Every region and page answered and was readable. An incomplete listing is evidence of nothing.
    pub complete: bool,
    /// What was missing, for the alarm.
    pub gaps: Vec<String>,
}

/// Something of ours besides machines: key pairs, security groups, volumes.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftover {
    /// `key-pair`, `security-group`, `volume`.
    pub kind: String,
    pub id: String,
    pub place: Place,
    pub price_usd_per_hour: Option<Usd>,
}

/// A cloud.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// Which cloud.
    fn id(&self) -> ProviderId;

    /// What it can do. Constant for the life of the value.
    fn capabilities(&self) -> Capabilities;

    /// Says who we are. Changes nothing. May return Auth, Throttled, Transient.
    async fn verify(&self) -> Result<Identity>;

    /// Every match of the query in every place, with live prices.
    ///
    /// Sold-out rows are marked, never dropped; a price that is not known is `None`. Filters that the
    /// caller can apply to the rows (`OfferFilter`) may be left to it. Partial answers are an error
    /// only when nothing at all answered.
    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>>;

    /// Makes a machine, or adopts the one that the token made before.
    ///
    /// May return before it has an address. An error with `maybe_applied` false proves that nothing was
    /// made; a timeout after send is [`fleet_types::Fault::Unknown`]. Never tries another place and
    /// never repeats itself. Buys exactly `request.market`, never dearer than the candidate's limit.
    async fn launch(&self, request: &LaunchRequest) -> Result<Instance>;

    /// The machine as it is now. `place` says where it was made. An id that the cloud does not know is
    /// `Fault::NotFound`. Never waits.
    async fn describe(&self, id: &InstanceId, place: &Place) -> Result<Instance>;

    /// Everything that carries the owner's mark, in all regions, in every state the cloud still shows.
    ///
    /// The leak detector: a region or page that failed makes the listing incomplete, not shorter.
    async fn list(&self, owner: &OwnerTag) -> Result<Listing>;

    /// Asks for the end of the machine and of all that was made with it. Called until gone.
    async fn terminate(&self, id: &InstanceId, place: &Place) -> Result<Termination>;

    /// Things besides machines that the driver makes, where it makes any.
    fn auxiliary(&self) -> Option<&dyn Auxiliary> {
        None
    }

    /// Keys for the cloud's object store, where it has one.
    fn storage_keys(&self) -> Option<&dyn StorageKeys> {
        None
    }
}

/// Drivers that make more than machines.
#[async_trait]
pub trait Auxiliary: Send + Sync {
    /// Everything of ours besides machines, in all regions.
    async fn leftovers(&self, owner: &OwnerTag) -> Result<Vec<Leftover>>;
    /// Removes one of them. One that is still used by a machine answers `Rejected`.
    async fn remove(&self, leftover: &Leftover) -> Result<()>;
    /// Lets SSH in from this address (CIDR) to every machine of ours, and no longer from older ones.
    async fn admit(&self, owner: &OwnerTag, cidr: &str) -> Result<()>;
}
