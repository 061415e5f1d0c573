//! An instance of Compute Engine, and the operations on it, read as a machine of fleet.
//!
//! Invariants: only Google's own words `TERMINATED` and `STOPPED`, or an operation that ended the machine, prove
//! a task dead; a state we do not know stays unknown. The cause is never guessed.

use crate::offers::shape_name;
use crate::operation::End;
use crate::wire::{last, place, time};
use fleet_provider_kit::{mark, reachable};
use fleet_types::{Address, DeathCause, Instance, InstanceId, InstanceState, Market, Place};
use google_cloud_compute_v1::model::Instance as GceInstance;
use std::time::Duration;

/// Login name on every machine: the boot document names the first user so, on any image.
pub(crate) const USER: &str = "ubuntu";
/// What Google promises between notice and end, as best effort.
pub(crate) const WARNING: Duration = Duration::from_secs(30);

/// Reads one instance. `None`: it has no proper name or zone, so nobody can act upon it.
pub(crate) fn read(instance: &GceInstance, end: Option<&End>, loopback: bool) -> Option<Instance> {
    let name = instance.name.as_deref().filter(|n| crate::wire::is_name(n))?;
    let zone = instance.zone.as_deref().map(last).filter(|z| crate::wire::is_name(z))?;
    let label = |key: &str| instance.labels.get(key).map(String::as_str);
    let state = state(instance, end);
    let dead = state.task_is_dead();
    let started = time(instance.last_start_timestamp.as_ref());
    Some(Instance {
        id: InstanceId::new(name),
        place: place(zone),
        instance_type: instance_type(instance),
        market: market(instance),
        address: address(instance, loopback).filter(|_| !dead),
        user: USER.to_owned(),
        token: label(mark::TOKEN).and_then(mark::token_id),
        fleet: label(mark::FLEET).and_then(mark::fleet_id).map(|f| f.as_str().to_owned()),
        job: label(mark::JOB).map(str::to_owned),
        expires_at: label(mark::EXPIRES).and_then(mark::expiry_time),
        price_usd_per_hour: None,
        launched_at: started.or_else(|| time(instance.creation_timestamp.as_ref())),
        ended_at: dead
            .then(|| end.and_then(|e| e.at).or_else(|| time(instance.last_stop_timestamp.as_ref())))
            .flatten(),
        state,
    })
}

/// A machine of which nothing is left but the operation that ended it.
pub(crate) fn remembered(id: &InstanceId, place: &Place, end: &End) -> Instance {
    let taken = end.cause == DeathCause::Preempted;
    Instance {
        id: id.clone(),
        place: place.clone(),
        instance_type: String::new(),
        market: if taken { Market::Spot } else { Market::OnDemand },
        state: InstanceState::Terminated { cause: end.cause },
        address: None,
        user: USER.to_owned(),
        token: None,
        fleet: None,
        job: None,
        expires_at: None,
        price_usd_per_hour: None,
        launched_at: None,
        ended_at: end.at,
    }
}

fn instance_type(instance: &GceInstance) -> String {
    let kind = instance.machine_type.as_deref().map(last).unwrap_or_default();
    let gpus = instance.guest_accelerators.first();
    let gpus = gpus.and_then(|g| {
        let count = u32::try_from(g.accelerator_count?).ok()?;
        Some((last(g.accelerator_type.as_deref()?), count))
    });
    shape_name(kind, gpus)
}

fn market(instance: &GceInstance) -> Market {
    let scheduling = instance.scheduling.as_ref();
    let model = scheduling.and_then(|s| s.provisioning_model.as_ref()).and_then(|m| m.name());
    let preemptible = scheduling.and_then(|s| s.preemptible) == Some(true);
    if model == Some("SPOT") || preemptible { Market::Spot } else { Market::OnDemand }
}

fn address(instance: &GceInstance, loopback: bool) -> Option<Address> {
    let interface = instance.network_interfaces.first()?;
    let host = interface.access_configs.first()?.nat_ip.as_deref()?;
    reachable(host, loopback).then(|| Address { host: host.to_owned(), port: None })
}

fn state(instance: &GceInstance, end: Option<&End>) -> InstanceState {
    let name = instance.status.as_ref().and_then(|s| s.name()).unwrap_or_default();
    match name {
        "PENDING" | "PROVISIONING" | "STAGING" => InstanceState::Pending,
        "RUNNING" => InstanceState::Running,
        // A graceful stop: the task may still live, as it may while the system shuts down.
        "PENDING_STOP" | "STOPPING" | "DEPROVISIONING" => InstanceState::Stopping,
        // Its disk bills on until it is deleted.
        "TERMINATED" | "STOPPED" => {
            InstanceState::Stopped { cause: end.map_or(DeathCause::Unsaid, |e| e.cause) }
        }
        other => InstanceState::Unknown(other.chars().take(40).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::Timestamp;
    use serde_json::{Value, json};

    pub(crate) fn machine(status: &str) -> Value {
        json!({
            "name": "fleet-0123", "status": status,
            "zone": "https://www.googleapis.com/compute/v1/projects/p/zones/europe-west4-b",
            "machineType": "projects/p/zones/europe-west4-b/machineTypes/n1-standard-8",
            "guestAccelerators": [{"acceleratorType": "projects/p/zones/z/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 2}],
            "scheduling": {"provisioningModel": "SPOT"},
            "creationTimestamp": "2026-01-01T00:00:00.000-08:00",
            "labels": {"fleet-id": "not ours", "fleet-token": "fedcba9876543210fedcba9876543210", "fleet-expires": "1795000000"},
            "networkInterfaces": [{"accessConfigs": [{"natIP": "203.0.113.7"}]}],
        })
    }

    fn seen(value: Value, end: Option<&End>) -> Instance {
        let instance: GceInstance = serde_json::from_value(value).expect("an instance");
        read(&instance, end, false).expect("a machine")
    }

    #[test]
    fn states_and_causes_are_what_google_says() {
        use InstanceState::{Pending, Running, Stopped, Stopping, Unknown};
        let taken =
            End { cause: DeathCause::Preempted, at: Timestamp::parse("2026-01-01T09:00:00Z") };
        for (status, end, expected) in [
            ("PROVISIONING", None, Pending),
            ("STAGING", None, Pending),
            ("PENDING", None, Pending),
            ("RUNNING", None, Running),
            ("STOPPING", Some(&taken), Stopping),
            ("PENDING_STOP", None, Stopping),
            ("DEPROVISIONING", None, Stopping),
            ("TERMINATED", Some(&taken), Stopped { cause: DeathCause::Preempted }),
            ("TERMINATED", None, Stopped { cause: DeathCause::Unsaid }),
            ("STOPPED", None, Stopped { cause: DeathCause::Unsaid }),
            ("SUSPENDED", None, Unknown("SUSPENDED".into())),
            ("REPAIRING", None, Unknown("REPAIRING".into())),
            ("SOMETHING_NEW", None, Unknown("SOMETHING_NEW".into())),
        ] {
            let machine = seen(machine(status), end);
            assert_eq!(machine.state, expected, "{status}");
            assert_eq!(machine.address.is_none(), machine.state.task_is_dead(), "{status}");
            assert_eq!(machine.ended_at.is_some(), expected.task_is_dead() && end.is_some());
        }
    }

    #[test]
    fn a_machine_is_read_whole_and_a_strangers_mark_is_none() {
        let machine = seen(machine("RUNNING"), None);
        assert_eq!((machine.id.as_str(), machine.market), ("fleet-0123", Market::Spot));
        assert_eq!(
            (machine.place.region.as_str(), machine.place.zone.as_str()),
            ("europe-west4", "europe-west4-b")
        );
        assert_eq!(machine.instance_type, "n1-standard-8+2xT4");
        assert_eq!(machine.fleet, None);
        assert_eq!(machine.token.expect("a token").as_str(), "fedcba9876543210fedcba9876543210");
        assert_eq!(machine.launched_at, Timestamp::parse("2026-01-01T08:00:00Z"));
        assert_eq!(machine.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
    }

    #[test]
    fn an_address_leads_neither_home_nor_nowhere() {
        let mut odd = machine("RUNNING");
        odd["networkInterfaces"][0]["accessConfigs"][0]["natIP"] = json!("127.0.0.1");
        assert_eq!(seen(odd.clone(), None).address, None);
        odd["networkInterfaces"] = json!([]);
        assert_eq!(seen(odd.clone(), None).address, None);
        odd["name"] = json!("../x");
        let instance: GceInstance = serde_json::from_value(odd).expect("an instance");
        assert!(read(&instance, None, false).is_none());
    }
}
