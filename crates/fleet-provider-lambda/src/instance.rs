//! An instance of Lambda's as a machine: its state, its address, whose it is.
//!
//! Invariants: a status word that we do not know is `Unknown`, never dead; `unhealthy` runs and bills, and what
//! its agent says decides; an address is one that SSH can be tried at; a mark is read strictly, and a machine
//! without a whole one is nobody's.

use crate::offers::place;
use crate::wire::InstanceRow;
use fleet_provider_kit::{mark, reachable};
use fleet_types::{Address, DeathCause, Instance, InstanceId, InstanceState, Market, Timestamp};

/// Login name of Lambda's images.
pub(crate) const USER: &str = "ubuntu";
/// Tag with the time at which the create was sent, in milliseconds since 1970 UTC: Lambda tells no start.
pub(crate) const SENT: &str = "fleet-sent";

/// The row as a machine. `loopback` admits addresses of this machine: only where the API itself is one.
pub(crate) fn instance(row: &InstanceRow, loopback: bool) -> Instance {
    let state = state(row.status.as_deref());
    let tag = |name: &str| row.tags.get(name).map(String::as_str);
    let fleet = tag(mark::FLEET).and_then(mark::fleet_id);
    let ip = row.ip.as_deref().filter(|ip| reachable(ip, loopback));
    let address = ip
        .filter(|_| matches!(state, InstanceState::Running))
        .map(|ip| Address { host: ip.to_owned(), port: None });
    Instance {
        id: InstanceId::new(&row.id),
        place: place(&row.region),
        instance_type: row.kind.clone(),
        market: Market::OnDemand,
        state,
        address,
        user: USER.to_owned(),
        token: tag(mark::TOKEN).and_then(mark::token_id),
        fleet: fleet.map(|f| f.to_string()),
        job: tag(mark::JOB).map(str::to_owned),
        expires_at: tag(mark::EXPIRES).and_then(mark::expiry_time),
        price_usd_per_hour: row.price,
        launched_at: tag(SENT).and_then(sent_at),
        ended_at: None,
    }
}

fn sent_at(text: &str) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.len() <= 15 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().map(Timestamp::from_millis)
}

/// What the status word says.
fn state(status: Option<&str>) -> InstanceState {
    match status {
        Some("booting") => InstanceState::Pending,
        Some("active" | "unhealthy") => InstanceState::Running,
        Some("terminating") => InstanceState::Stopping,
        Some("terminated") => InstanceState::Terminated { cause: DeathCause::Unsaid },
        // Taken, and nothing says that it bills no more.
        Some("preempted") => InstanceState::Stopped { cause: DeathCause::Preempted },
        Some(other) => InstanceState::Unknown(other.chars().take(64).collect()),
        None => InstanceState::Unknown("no status".into()),
    }
}

#[cfg(test)]
mod tests;
