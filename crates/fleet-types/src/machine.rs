//! The row of one create: what we may be paying for, from intent to proof of death.
//!
//! Invariant: the row is committed before its create request leaves the process, and it becomes
//! [`RowState::Gone`] only by proof of death. Error, timeout, restart or upgrade never delete it.

use crate::{
    DeathCause, Epoch, InstanceId, JobId, Market, Place, ProviderId, RealmId, Timestamp, Token, Usd,
};
use serde::{Deserialize, Serialize};

/// Where a create and what came of it stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RowState {
    /// Committed; the request may or may not have left.
    Intent,
    /// Sent, outcome unknown: looked for by token until found or proven absent.
    Unknown { since: Timestamp },
    /// It exists and is wanted.
    Live,
    /// It must go; terminate is repeated until proof.
    Ending {
        since: Timestamp,
        /// The cloud accepted a terminate: billing ends here for the job's books.
        accepted_at: Option<Timestamp>,
    },
    /// Proven dead.
    Gone { at: Timestamp, cause: DeathCause },
    /// Proven never to have been made.
    Refused,
}

impl RowState {
    /// Whether nothing of it can bill any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::Refused)
    }
}

/// One create.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineRow {
    pub token: Token,
    pub job: JobId,
    pub epoch: Epoch,
    pub node: u32,
    /// Which offer of the epoch it was: part of the token.
    pub offer: u32,
    pub realm: RealmId,
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    /// Price that the plan committed to; the books follow it.
    pub price_usd_per_hour: Usd,
    pub disk_gib: u32,
    pub disk_usd_per_gib_hour: Option<Usd>,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub instance: Option<InstanceId>,
    /// Start of billing by the cloud's clock where it says, else when the create was accepted.
    pub launched_at: Option<Timestamp>,
    /// End of billing: terminate accepted, or death.
    pub ended_at: Option<Timestamp>,
    #[serde(flatten)]
    pub state: RowState,
}

impl MachineRow {
    /// Which cloud bills it.
    pub fn provider(&self) -> ProviderId {
        self.place.provider
    }
}
