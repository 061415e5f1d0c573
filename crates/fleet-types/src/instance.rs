//! A machine that exists, as its cloud describes it.
//!
//! Invariant: only an explicit terminal word of the cloud makes a machine dead here; a state that we
//! do not know is [`InstanceState::Unknown`], never dead.

use crate::{InstanceId, Market, Place, Timestamp, Token, Usd};
use serde::{Deserialize, Serialize};

/// Where a machine is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Accepted, not yet running.
    Pending,
    Running,
    /// Still running, and the cloud has said from outside that it will be taken (EC2 spot request
    /// `marked-for-termination`), with the time where known.
    Marked {
        at: Option<Timestamp>,
    },
    /// On its way out by a terminate; its task may still live.
    Stopping,
    /// Its task is dead, parts of it still bill (Vast outbid, RunPod EXITED, Azure deallocated).
    Stopped {
        cause: DeathCause,
    },
    /// Gone for good, by the cloud's own word.
    Terminated {
        cause: DeathCause,
    },
    /// A word of the cloud that we do not know.
    Unknown(String),
}

impl InstanceState {
    /// Whether the cloud's word proves that the task on it is dead.
    pub fn task_is_dead(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Terminated { .. })
    }
    /// Whether the cloud's word proves that nothing of it bills any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Terminated { .. })
    }
}

/// Why a machine ended, as far as the cloud says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeathCause {
    /// Taken by the cloud: no capacity, price, outbid.
    Preempted,
    /// Ended by a call of the account's owner, us or another.
    ByUser,
    /// The machine shut itself down.
    Itself,
    /// The host failed.
    HostFailure,
    /// It never started for want of capacity.
    NeverStarted,
    /// The cloud does not say.
    Unsaid,
}

/// Where its SSH server answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    pub host: String,
    /// `None`: the realm's SSH port (22 in life).
    pub port: Option<u16>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    pub place: Place,
    pub instance_type: String,
    pub market: Market,
    pub state: InstanceState,
    pub address: Option<Address>,
    /// Login name for SSH.
    pub user: String,
    /// The token found in its tags, label or name.
    pub token: Option<Token>,
    /// The fleet id found in its tags, label or name.
    pub fleet: Option<String>,
    /// The job id found in its tags, where the cloud has room for it.
    pub job: Option<String>,
    pub expires_at: Option<Timestamp>,
    /// Price that it bills, where the cloud says.
    pub price_usd_per_hour: Option<Usd>,
    /// Start of billing by the cloud's own clock.
    pub launched_at: Option<Timestamp>,
    /// End of billing by the cloud's own clock, where it says.
    pub ended_at: Option<Timestamp>,
}
