//! A contract as a machine: its state, its address, whose it is.
//!
//! Vast gives no notice and no reason. We never stop a contract, we only destroy it, so one that is stopped
//! was outbid or pushed out. Invariants: a state word that we do not know is `Unknown`, never dead; a host
//! that is offline proves nothing about the task; an address is one that SSH can be tried at.

use crate::offers::instance_type;
use crate::wire::InstanceRow;
use fleet_provider_kit::mark::Mark;
use fleet_provider_kit::reachable;
use fleet_types::{
    Address, DeathCause, Instance, InstanceId, InstanceState, Market, Place, ProviderId, Timestamp,
};

/// Login name in every container.
pub(crate) const USER: &str = "root";

/// The row as a machine. `loopback` admits addresses of this machine: only where the API itself is one.
pub(crate) fn instance(row: &InstanceRow, loopback: bool) -> Instance {
    let state = state(row);
    let mark = row.label.as_deref().and_then(Mark::parse);
    let address =
        if matches!(state, InstanceState::Running) { address(row, loopback) } else { None };
    Instance {
        id: InstanceId::new(&row.id),
        place: Place {
            provider: ProviderId::Vast,
            region: row.country.clone(),
            zone: row.machine.clone().unwrap_or_default(),
        },
        instance_type: row.accelerator.as_ref().map(instance_type).unwrap_or_default(),
        market: if row.bid == Some(false) { Market::OnDemand } else { Market::Spot },
        state,
        address,
        user: USER.to_owned(),
        token: mark.as_ref().map(|m| m.token.clone()),
        fleet: mark.as_ref().map(|m| m.fleet.to_string()),
        job: None,
        expires_at: mark.map(|m| m.expires_at),
        price_usd_per_hour: row.price,
        launched_at: row.start_seconds.map(|s| Timestamp::from_millis((s * 1000.0) as i64)),
        ended_at: None,
    }
}

/// What the four state words of Vast say together.
fn state(row: &InstanceRow) -> InstanceState {
    let word = |field: &Option<String>| field.as_deref().map(str::to_ascii_lowercase);
    let (actual, current) = (word(&row.actual_status), word(&row.cur_state));
    let stopping = [&row.intended_status, &row.next_state]
        .into_iter()
        .any(|w| word(w).as_deref() == Some("stopped"));
    let never_ran = matches!(actual.as_deref(), None | Some("created" | "loading"));
    if current.as_deref() == Some("stopped") && stopping {
        let cause = match row.bid {
            Some(false) => DeathCause::Unsaid,
            _ if never_ran => DeathCause::NeverStarted,
            _ => DeathCause::Preempted,
        };
        return InstanceState::Stopped { cause };
    }
    match actual.as_deref() {
        _ if stopping => InstanceState::Stopping,
        None | Some("created" | "loading" | "rebooting") => InstanceState::Pending,
        Some("running") => InstanceState::Running,
        // The container's own process ended; it never runs again.
        Some("exited") => InstanceState::Stopped { cause: DeathCause::Unsaid },
        Some("stopped") => InstanceState::Stopped { cause: DeathCause::Preempted },
        Some(other) => InstanceState::Unknown(other.chars().take(64).collect()),
    }
}

/// The direct port where there is one, else Vast's proxy.
fn address(row: &InstanceRow, loopback: bool) -> Option<Address> {
    let direct = || {
        let host = row.public_ip.as_deref().filter(|ip| reachable(ip, loopback))?;
        Some(Address { host: host.to_owned(), port: Some(row.direct_port?) })
    };
    let proxy = || {
        let host = row.ssh_host.as_deref().filter(|h| reachable(h, loopback))?;
        let port = row.ssh_port?.checked_add(u16::from(row.jupyter))?;
        Some(Address { host: host.to_owned(), port: Some(port) })
    };
    direct().or_else(proxy)
}

#[cfg(test)]
mod tests;
