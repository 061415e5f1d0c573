//! An EC2 instance and its spot request, read as a machine of fleet.
//!
//! Invariants: only EC2's own words `terminated` and `stopped`, or an interruption it names, prove a
//! task dead; a state we do not know stays unknown. The cause is never guessed: an end without a reason
//! is [`DeathCause::Unsaid`].

use crate::wire::{tag, time};
use aws_sdk_ec2::types::{Instance as Ec2Instance, InstanceLifecycleType, SpotInstanceRequest};
use fleet_provider_kit::mark;
use fleet_types::{
    Address, DeathCause, Instance, InstanceId, InstanceState, Market, Place, ProviderId, Timestamp,
};
use std::time::Duration;

/// Login name on every machine: the boot document names the first user so, on any image.
pub(crate) const USER: &str = "ubuntu";
/// What EC2 promises between marking a spot machine and taking it.
pub(crate) const WARNING: Duration = Duration::from_secs(120);

/// Reads one instance. `None`: it has no proper id, so nobody can act upon it.
pub(crate) fn read(
    region: &str,
    instance: &Ec2Instance,
    request: Option<&SpotInstanceRequest>,
) -> Option<Instance> {
    let id = instance.instance_id().filter(|id| is_id(id))?;
    let zone = instance.placement().and_then(|p| p.availability_zone()).unwrap_or_default();
    let spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    let tags = instance.tags();
    let state = state(instance, request);
    let ended_at = match state {
        // It bills no more, by the instance's own word; the request's last word may be an older one.
        InstanceState::Stopping => instance.state_transition_reason().and_then(transition_time),
        InstanceState::Stopped { .. } | InstanceState::Terminated { .. } => {
            ended_at(instance, request)
        }
        InstanceState::Pending
        | InstanceState::Running
        | InstanceState::Marked { .. }
        | InstanceState::Unknown(_) => None,
    };
    Some(Instance {
        id: InstanceId::new(id),
        place: Place {
            provider: ProviderId::Aws,
            region: region.to_owned(),
            zone: zone.to_owned(),
        },
        instance_type: instance.instance_type().map(|t| t.as_str().to_owned()).unwrap_or_default(),
        market: if spot { Market::Spot } else { Market::OnDemand },
        address: address(instance),
        user: USER.to_owned(),
        token: tag(tags, mark::TOKEN).and_then(mark::token_id),
        fleet: tag(tags, mark::FLEET).and_then(mark::fleet_id).map(|f| f.as_str().to_owned()),
        job: tag(tags, mark::JOB).map(str::to_owned),
        expires_at: tag(tags, mark::EXPIRES).and_then(mark::expiry_time),
        price_usd_per_hour: None,
        launched_at: instance.launch_time().and_then(time),
        ended_at,
        state,
    })
}

/// `i-` and 8 or 17 hex digits, so far; longer ones would be fine.
fn is_id(text: &str) -> bool {
    text.strip_prefix("i-").is_some_and(|hex| {
        (8..=40).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn address(instance: &Ec2Instance) -> Option<Address> {
    let host = instance.public_ip_address().or_else(|| instance.public_dns_name());
    host.filter(|h| !h.is_empty()).map(|h| Address { host: h.to_owned(), port: None })
}

fn state(instance: &Ec2Instance, request: Option<&SpotInstanceRequest>) -> InstanceState {
    let name = instance.state().and_then(|s| s.name()).map_or("", |n| n.as_str());
    let cause = cause(instance, request);
    match name {
        "pending" => InstanceState::Pending,
        "running" => match request.filter(|r| code(r).starts_with("marked-for-")) {
            Some(marked) => InstanceState::Marked { at: updated(marked).map(|t| t.plus(WARNING)) },
            None => InstanceState::Running,
        },
        // EC2 powers the machine off before it calls an interrupted one `shutting-down`.
        "shutting-down" if cause == DeathCause::Preempted => InstanceState::Stopped { cause },
        "shutting-down" | "stopping" => InstanceState::Stopping,
        "stopped" => InstanceState::Stopped { cause },
        "terminated" => InstanceState::Terminated { cause },
        other => InstanceState::Unknown(other.chars().take(40).collect()),
    }
}

/// Why it ended, by the instance's own reason and then by the spot request's status.
fn cause(instance: &Ec2Instance, request: Option<&SpotInstanceRequest>) -> DeathCause {
    let by_request = || match request.map(code) {
        Some("instance-terminated-by-user" | "canceled-before-fulfillment") => DeathCause::ByUser,
        Some(
            "instance-terminated-by-price"
            | "instance-terminated-no-capacity"
            | "instance-terminated-capacity-oversubscribed"
            | "instance-terminated-by-service"
            | "instance-terminated-by-experiment"
            | "instance-terminated-launch-group-constraint"
            | "instance-stopped-by-price"
            | "instance-stopped-no-capacity"
            | "instance-stopped-capacity-oversubscribed"
            | "instance-stopped-by-experiment",
        ) => DeathCause::Preempted,
        Some(_) | None => DeathCause::Unsaid,
    };
    match instance.state_reason().and_then(|r| r.code()).unwrap_or_default() {
        "Server.SpotInstanceTermination" | "Server.SpotInstanceShutdown" => DeathCause::Preempted,
        "Client.UserInitiatedShutdown" | "Client.UserInitiatedHibernate" => DeathCause::ByUser,
        "Client.InstanceInitiatedShutdown" => DeathCause::Itself,
        "Server.InsufficientInstanceCapacity" => DeathCause::NeverStarted,
        "Server.ScheduledStop" | "Server.InternalError" => DeathCause::HostFailure,
        "Client.InstanceTerminated"
        | "Client.InternalError"
        | "Client.VolumeLimitExceeded"
        | "Client.InvalidSnapshot.NotFound" => DeathCause::NeverStarted,
        _ => by_request(),
    }
}

/// The end by EC2's clock: `User initiated (2026-01-02 03:04:05 GMT)`, or the spot request's last word.
fn ended_at(instance: &Ec2Instance, request: Option<&SpotInstanceRequest>) -> Option<Timestamp> {
    instance
        .state_transition_reason()
        .and_then(transition_time)
        .or_else(|| request.filter(|r| !code(r).starts_with("marked-for-")).and_then(updated))
}

fn transition_time(reason: &str) -> Option<Timestamp> {
    let text = reason.rsplit_once('(')?.1.split_once(')')?.0;
    let text = text.strip_suffix(" GMT").or_else(|| text.strip_suffix(" UTC"))?;
    Timestamp::parse(&format!("{}Z", text.replacen(' ', "T", 1)))
}

fn code(request: &SpotInstanceRequest) -> &str {
    request.status().and_then(|s| s.code()).unwrap_or_default()
}

fn updated(request: &SpotInstanceRequest) -> Option<Timestamp> {
    request.status().and_then(|s| s.update_time()).and_then(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{
        InstanceState as Ec2State, InstanceStateName, SpotInstanceStatus, StateReason, Tag,
    };
    use aws_smithy_types::DateTime;

    fn machine(state: &str, reason: &str, transition: &str) -> Ec2Instance {
        Ec2Instance::builder()
            .instance_id("i-0123abcd")
            .state(Ec2State::builder().name(InstanceStateName::from(state)).build())
            .state_reason(StateReason::builder().code(reason).build())
            .state_transition_reason(transition)
            .instance_lifecycle(InstanceLifecycleType::Spot)
            .tags(Tag::builder().key("fleet-id").value("not ours").build())
            .build()
    }

    fn request(status: &str) -> SpotInstanceRequest {
        let at = DateTime::from_secs(1_767_323_045);
        let status = SpotInstanceStatus::builder().code(status).update_time(at).build();
        SpotInstanceRequest::builder().status(status).build()
    }

    fn state_of(state: &str, reason: &str, status: Option<&str>) -> InstanceState {
        let request = status.map(request);
        read("r", &machine(state, reason, ""), request.as_ref()).unwrap().state
    }

    #[test]
    fn states_and_causes_are_what_ec2_says() {
        use DeathCause::{ByUser, HostFailure, Itself, NeverStarted, Preempted, Unsaid};
        use InstanceState::{Pending, Running, Stopped, Stopping, Terminated};
        for (name, reason, status, expected) in [
            ("pending", "pending", None, Pending),
            ("running", "", Some("fulfilled"), Running),
            ("running", "", Some("request-canceled-and-instance-running"), Running),
            ("shutting-down", "Client.UserInitiatedShutdown", Some("fulfilled"), Stopping),
            ("shutting-down", "Server.SpotInstanceTermination", None, Stopped { cause: Preempted }),
            (
                "shutting-down",
                "",
                Some("instance-terminated-no-capacity"),
                Stopped { cause: Preempted },
            ),
            ("shutting-down", "", Some("marked-for-termination"), Stopping),
            ("stopping", "", None, Stopping),
            ("stopped", "", None, Stopped { cause: Unsaid }),
            ("terminated", "Client.UserInitiatedShutdown", None, Terminated { cause: ByUser }),
            ("terminated", "Client.InstanceInitiatedShutdown", None, Terminated { cause: Itself }),
            ("terminated", "Server.SpotInstanceShutdown", None, Terminated { cause: Preempted }),
            (
                "terminated",
                "Server.InsufficientInstanceCapacity",
                None,
                Terminated { cause: NeverStarted },
            ),
            ("terminated", "Server.InternalError", None, Terminated { cause: HostFailure }),
            (
                "terminated",
                "",
                Some("instance-terminated-by-price"),
                Terminated { cause: Preempted },
            ),
            ("terminated", "", Some("instance-terminated-by-user"), Terminated { cause: ByUser }),
            ("terminated", "", None, Terminated { cause: Unsaid }),
            ("melting", "", None, InstanceState::Unknown("melting".into())),
        ] {
            assert_eq!(state_of(name, reason, status), expected, "{name} {reason} {status:?}");
        }
    }

    #[test]
    fn a_mark_says_when_and_an_end_has_its_time() {
        let marked = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(
            state_of("running", "", Some("marked-for-termination")),
            InstanceState::Marked { at: Some(marked.plus(WARNING)) }
        );
        let by_user = machine("terminated", "", "User initiated (2026-01-02 04:00:00 GMT)");
        let both = read("r", &by_user, Some(&request("instance-terminated-by-user"))).unwrap();
        assert_eq!(both.ended_at, Timestamp::parse("2026-01-02T04:00:00Z"));
        let by_cloud = machine(
            "terminated",
            "Server.SpotInstanceTermination",
            "Server.SpotInstanceTermination",
        );
        let ended =
            read("r", &by_cloud, Some(&request("instance-terminated-no-capacity"))).unwrap();
        assert_eq!(ended.ended_at, Some(marked));
        let stopping = machine("shutting-down", "", "User initiated (2026-01-02 04:00:00 GMT)");
        let stopping = read("r", &stopping, Some(&request("fulfilled"))).unwrap();
        assert_eq!(stopping.ended_at, Timestamp::parse("2026-01-02T04:00:00Z"));
        let wordless =
            read("r", &machine("shutting-down", "", ""), Some(&request("fulfilled"))).unwrap();
        assert_eq!(wordless.ended_at, None, "a request's last word is no end");
        let running =
            read("r", &machine("running", "", "x (2026-01-02 04:00:00 GMT)"), None).unwrap();
        assert_eq!(running.ended_at, None);
    }

    #[test]
    fn marks_of_strangers_are_no_marks() {
        let read = read("r", &machine("running", "", ""), None).unwrap();
        assert_eq!((read.fleet, read.token, read.expires_at), (None, None, None));
    }
}
