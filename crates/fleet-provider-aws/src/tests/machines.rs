//! Describe, list, terminate, verify.

use super::replay::{Replay, error, ok, regions};
use fleet_provider::{OwnerTag, Provider as _, Termination};
use fleet_types::{
    Address, DeathCause, Fault, FleetId, InstanceId, InstanceState, Place, ProviderId, Timestamp,
};

const RESERVATIONS: &str = include_str!("../../fixtures/describe-instances.xml");
const REQUESTS: &str = include_str!("../../fixtures/describe-spot-instance-requests.xml");

fn place() -> Place {
    Place { provider: ProviderId::Aws, region: "eu-west-1".into(), zone: "eu-west-1b".into() }
}

fn owner() -> OwnerTag {
    OwnerTag { fleet: FleetId::new("0123456789abcdef0123456789abcdef") }
}

fn id() -> InstanceId {
    InstanceId::new("i-0abc1234567890def")
}

#[tokio::test]
async fn a_marked_machine_is_described_whole() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeInstances" => ok("DescribeInstances", RESERVATIONS),
        _ => ok("DescribeSpotInstanceRequests", REQUESTS),
    })
    .await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap();
    let taken = Timestamp::parse("2026-01-02T04:02:00Z");
    assert_eq!(found.state, InstanceState::Marked { at: taken });
    assert_eq!(found.address, Some(Address { host: "203.0.113.80".into(), port: None }));
    assert_eq!((found.place, found.user.as_str()), (place(), "ubuntu"));
    assert_eq!(found.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
    assert_eq!(found.job.as_deref(), Some("j-0123456789ab"));
    let asked = replay.asked("DescribeInstances").remove(0);
    assert_eq!(
        (asked.region.as_str(), asked.get("InstanceId.1")),
        ("eu-west-1", Some(id().as_str()))
    );
}

#[tokio::test]
async fn a_taken_machine_has_its_cause_and_its_end() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeInstances" => ok(
            "DescribeInstances",
            &RESERVATIONS.replace("<name>running</name>", "<name>terminated</name>"),
        ),
        _ => ok(
            "DescribeSpotInstanceRequests",
            &REQUESTS.replace("marked-for-termination", "instance-terminated-no-capacity"),
        ),
    })
    .await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap();
    assert_eq!(found.state, InstanceState::Terminated { cause: DeathCause::Preempted });
    assert_eq!(found.ended_at, Timestamp::parse("2026-01-02T04:00:00Z"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_a_lost_spot_request_hides_nothing() {
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeInstances" => ok("DescribeInstances", "<reservationSet/>"),
        _ => error(500, "InternalError"),
    })
    .await;
    let missing = replay.provider().await.describe(&id(), &place()).await.unwrap_err();
    assert_eq!(missing.fault, Fault::NotFound);
    let replay = Replay::start(|asked| match asked.action.as_str() {
        "DescribeInstances" => ok("DescribeInstances", RESERVATIONS),
        _ => error(500, "InternalError"),
    })
    .await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap();
    assert_eq!(found.state, InstanceState::Running);
}

#[tokio::test]
async fn every_enabled_region_and_page_is_listed() {
    let replay = Replay::start(|asked| match (asked.action.as_str(), asked.region.as_str()) {
        ("DescribeRegions", _) => regions(&["us-east-1", "eu-west-1"]),
        (_, "us-east-1") => ok("DescribeInstances", "<reservationSet/>"),
        _ if asked.get("NextToken").is_none() => {
            ok("DescribeInstances", &format!("{RESERVATIONS}<nextToken>more</nextToken>"))
        }
        _ => ok("DescribeInstances", &RESERVATIONS.replace("i-0abc", "i-0def")),
    })
    .await;
    let listing = replay.provider().await.list(&owner()).await.unwrap();
    let ids: Vec<_> = listing.instances.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, ["i-0abc1234567890def", "i-0def1234567890def"]);
    assert!(listing.complete && listing.gaps.is_empty());
    for asked in replay.asked("DescribeInstances") {
        assert_eq!(asked.get("Filter.1.Name"), Some("tag:fleet-id"));
        assert_eq!(asked.get("Filter.1.Value.1"), Some(owner().fleet.as_str()));
        assert!(!asked.mentions("instance-state-name"), "every state that EC2 still shows");
        assert_ne!(asked.region, "me-south-1");
    }
}

#[tokio::test]
async fn a_region_that_fails_makes_the_listing_incomplete() {
    let replay = Replay::start(|asked| match (asked.action.as_str(), asked.region.as_str()) {
        ("DescribeRegions", _) => regions(&["us-east-1", "eu-west-1", "eu-west-2"]),
        (_, "us-east-1") => error(503, "RequestLimitExceeded"),
        (_, "eu-west-2") => ok("DescribeInstances", ""),
        _ => ok("DescribeInstances", RESERVATIONS),
    })
    .await;
    let listing = replay.provider().await.list(&owner()).await.unwrap();
    assert_eq!((listing.instances.len(), listing.complete), (1, false));
    assert!(listing.gaps[0].starts_with("eu-west-2: "), "{:?}", listing.gaps);
    assert!(listing.gaps[1].contains("RequestLimitExceeded"), "{:?}", listing.gaps);
}

#[tokio::test]
async fn terminate_says_what_the_cloud_said() {
    for (answer, expected) in [
        ("shutting-down", Some(Termination::Requested)),
        ("terminated", Some(Termination::Gone)),
        ("", None),
    ] {
        let replay = Replay::start(move |_| {
            let change = format!(
                "<instancesSet><item><instanceId>{}</instanceId><currentState><name>{answer}</name></currentState></item></instancesSet>",
                id()
            );
            ok("TerminateInstances", if answer.is_empty() { "<instancesSet/>" } else { &change })
        })
        .await;
        let said = replay.provider().await.terminate(&id(), &place()).await;
        assert_eq!(said.ok(), expected, "{answer}");
    }
    let replay = Replay::start(|_| error(400, "InvalidInstanceID.NotFound")).await;
    let said = replay.provider().await.terminate(&id(), &place()).await.unwrap();
    assert_eq!(said, Termination::NotFound);
    let replay = Replay::start(|_| error(500, "InternalError")).await;
    let failed = replay.provider().await.terminate(&id(), &place()).await.unwrap_err();
    assert_eq!(failed.fault, Fault::Transient);
}

#[tokio::test]
async fn verify_says_who_and_what_is_missing() {
    for (code, noted) in [("DryRunOperation", false), ("UnauthorizedOperation", true)] {
        let replay = Replay::start(move |asked| match asked.action.as_str() {
            "GetCallerIdentity" => {
                (200, include_str!("../../fixtures/get-caller-identity.xml").into())
            }
            _ => error(if noted { 403 } else { 412 }, code),
        })
        .await;
        let who = replay.provider().await.verify().await.unwrap();
        assert_eq!(who.account, "123456789012");
        assert_eq!(who.principal, "arn:aws:iam::123456789012:user/me");
        assert_eq!((who.source.as_str(), who.expires_at), ("AWS_ACCESS_KEY_ID", None));
        assert_eq!(
            who.notes.iter().any(|n| n.contains("ec2:RunInstances")),
            noted,
            "{:?}",
            who.notes
        );
        assert_eq!(replay.asked("RunInstances")[0].get("DryRun"), Some("true"));
        let quota = who.quota.unwrap_or_default();
        assert!(quota.contains("only at a launch") && !quota.contains('\n'), "{quota}");
    }
}
