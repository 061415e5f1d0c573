//! A pod as a machine: its state, its address, whose it is.
//!
//! RunPod gives no notice and no reason. We never stop a pod, we only terminate it, so a spot pod that exited was
//! taken. Invariants: a status word that we do not know is `Unknown`, never dead; what is stopped still bills its
//! disk and is `Stopped`, never gone; an address is one that SSH can be tried at, never RunPod's proxy, which
//! carries no files.

use crate::offers::{instance_type, place};
use crate::wire::{Cloud, PodRow};
use fleet_provider_kit::mark::Mark;
use fleet_provider_kit::reachable;
use fleet_types::{Address, DeathCause, Instance, InstanceId, InstanceState, Market};

/// Login name in every container.
pub(crate) const USER: &str = "root";

/// The row as a machine. `loopback` admits addresses of this machine: only where the API itself is one.
pub(crate) fn instance(row: &PodRow, loopback: bool) -> Instance {
    let state = state(row);
    let mark = row.name.as_deref().and_then(Mark::parse);
    let running = matches!(state, InstanceState::Running);
    let ssh = row.ssh.as_ref().filter(|(host, _)| running && reachable(host, loopback));
    let cloud = row.cloud.unwrap_or(Cloud::Secure);
    Instance {
        id: InstanceId::new(&row.id),
        place: place(row.data_center.as_deref()),
        instance_type: row
            .gpu
            .as_ref()
            .map(|(id, n)| instance_type(id, *n, cloud))
            .unwrap_or_default(),
        market: market(row),
        state,
        address: ssh.map(|(host, port)| Address { host: host.clone(), port: Some(*port) }),
        user: USER.to_owned(),
        token: mark.as_ref().map(|m| m.token.clone()),
        fleet: mark.as_ref().map(|m| m.fleet.to_string()),
        job: None,
        expires_at: mark.map(|m| m.expires_at),
        price_usd_per_hour: row.price,
        launched_at: row.created_at,
        ended_at: None,
    }
}

/// What the pod's environment says; a pod that does not say it is taken for on-demand.
fn market(row: &PodRow) -> Market {
    match row.market.as_deref() {
        Some(word) if word == Market::Spot.to_string() => Market::Spot,
        Some(_) | None => Market::OnDemand,
    }
}

/// What the status says, in the words of REST and in those of GraphQL that have other names.
fn state(row: &PodRow) -> InstanceState {
    let never = if row.was_started { DeathCause::Unsaid } else { DeathCause::NeverStarted };
    match row.status.as_deref() {
        Some("PROVISIONING" | "STARTING" | "CREATED" | "RESTARTING") => InstanceState::Pending,
        Some("RUNNING") if row.has_runtime => InstanceState::Running,
        Some("RUNNING") => InstanceState::Pending,
        Some("EXITED" | "PAUSED") => InstanceState::Stopped {
            cause: match (market(row), row.was_started) {
                (_, false) => DeathCause::NeverStarted,
                (Market::Spot, true) => DeathCause::Preempted,
                (Market::OnDemand, true) => DeathCause::Unsaid,
            },
        },
        Some("ERROR") => InstanceState::Stopped { cause: never },
        Some("DEAD") => InstanceState::Stopped { cause: DeathCause::HostFailure },
        Some("TERMINATED") => InstanceState::Terminated { cause: DeathCause::Unsaid },
        Some(other) => InstanceState::Unknown(other.chars().take(64).collect()),
        None => InstanceState::Unknown("no status".into()),
    }
}

#[cfg(test)]
mod tests;
