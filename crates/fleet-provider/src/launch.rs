//! The request that makes a machine, complete: nothing is left for the driver to choose.

use fleet_types::{Epoch, FleetId, JobId, Market, Offer, Timestamp, Token, Usd};
use secrecy::SecretString;
use std::collections::BTreeMap;

/// Whose machine it is and until when: written on the thing itself, in tags, label or name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerTag {
    pub fleet: FleetId,
}

/// A place to try, with the most that may be paid there.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    pub offer: Offer,
    /// Bid or cap for spot, price that was planned for on-demand. A machine dearer than this is refused.
    pub limit_usd_per_hour: Usd,
}

/// What the machine is given at its first boot.
#[derive(Clone, Debug)]
pub struct Boot {
    /// OpenSSH line of the key that may log in.
    pub login_key: String,
    /// OpenSSH PEM of the host key that the machine shall show at first, so that it can be pinned.
    /// Rotated at first login, before any task data.
    pub host_key: SecretString,
    /// Minutes after which a machine that nobody contacted ends itself.
    pub orphan_minutes: u32,
}

/// One create.
#[derive(Clone, Debug)]
pub struct LaunchRequest {
    pub token: Token,
    pub owner: OwnerTag,
    pub job: JobId,
    pub epoch: Epoch,
    pub node: u32,
    pub market: Market,
    /// Ranked places of one region. Drivers without a fleet API take the first.
    pub candidates: Vec<Candidate>,
    /// On the thing itself, and its native timer where there is one. Fixed at create.
    pub expires_at: Timestamp,
    pub boot: Boot,
    /// Image in the cloud's own spelling; `None` is the driver's default.
    pub image: Option<String>,
    pub disk_gib: u32,
    /// The user's own labels.
    pub labels: BTreeMap<String, String>,
    /// TCP ports to open besides SSH.
    pub ports: Vec<u16>,
    /// Address from which SSH is admitted (CIDR); `None` where it could not be learned.
    pub admit_from: Option<String>,
}
