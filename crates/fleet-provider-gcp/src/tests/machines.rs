//! Describe, list, terminate, verify, leftovers.

use super::launch::{FLEET, footing, instance};
use super::replay::{Replay, error, failed, operation, operations, scopes};
use fleet_provider::{Leftover, OwnerTag, Provider as _, Termination};
use fleet_types::{
    Address, DeathCause, Fault, FleetId, InstanceId, InstanceState, Market, Place, ProviderId,
    Timestamp,
};
use serde_json::{Value, json};

const NAME: &str = "fleet-fedcba9876543210fedcba9876543210";

fn place() -> Place {
    Place { provider: ProviderId::Gcp, region: "us-central1".into(), zone: "us-central1-a".into() }
}

fn owner() -> OwnerTag {
    OwnerTag { fleet: FleetId::new(FLEET) }
}

fn id() -> InstanceId {
    InstanceId::new(NAME)
}

#[tokio::test]
async fn a_running_machine_is_described_whole() {
    let replay = Replay::start(footing).await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap();
    assert_eq!((found.state, found.market), (InstanceState::Running, Market::Spot));
    // The API is on this machine, so its machines may be anywhere.
    assert_eq!(found.address, Some(Address { host: "203.0.113.80".into(), port: None }));
    assert_eq!((found.place, found.user.as_str()), (place(), "ubuntu"));
    assert_eq!(found.instance_type, "g2-standard-4");
    assert_eq!(found.expires_at, Some(Timestamp::from_millis(1_795_000_000_000)));
    assert_eq!(found.job.as_deref(), Some("j-0123456789ab"));
    let other = replay.provider().await.describe(&InstanceId::new("fleet-other"), &place()).await;
    assert_eq!(other.unwrap_err().fault, Fault::Transient, "the answer is about another machine");
}

#[tokio::test]
async fn a_machine_that_is_gone_is_dead_only_by_its_operation() {
    for (items, expected) in [
        (vec![operation("compute.instances.preempted", NAME, "DONE")], Some(DeathCause::Preempted)),
        (vec![operation("delete", NAME, "DONE")], Some(DeathCause::ByUser)),
        (
            vec![failed("insert", NAME, "ZONE_RESOURCE_POOL_EXHAUSTED", None)],
            Some(DeathCause::NeverStarted),
        ),
        (vec![operation("insert", NAME, "DONE")], None),
        (vec![operation("delete", NAME, "RUNNING")], None),
        (vec![operation("compute.instances.preempted", "fleet-other", "DONE")], None),
        (vec![], None),
    ] {
        let replay = Replay::start(move |asked| match asked.call.contains("/operations") {
            true => operations(&items),
            false => error(404, "notFound"),
        })
        .await;
        let found = replay.provider().await.describe(&id(), &place()).await;
        match expected {
            Some(cause) => {
                let found = found.unwrap();
                assert_eq!(found.state, InstanceState::Terminated { cause });
                assert_eq!(found.ended_at, Timestamp::parse("2026-01-02T11:05:05Z"));
                assert_eq!((found.id, found.place), (id(), place()));
            }
            None => assert_eq!(found.unwrap_err().fault, Fault::NotFound),
        }
        let asked = replay.asked("GET zones/us-central1-a/operations").remove(0);
        assert_eq!(asked.get("filter"), format!("targetLink eq \".*/instances/{NAME}\""));
    }
}

#[tokio::test]
async fn a_read_that_failed_is_no_state() {
    let replay = Replay::start(|asked| match asked.call.contains("/operations") {
        true => error(500, "backendError"),
        false => error(404, "notFound"),
    })
    .await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap_err();
    assert_eq!(found.fault, Fault::Transient, "without its operations nobody knows");
    let replay = Replay::start(|_| (200, json!({"kind": "compute#instance"}))).await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap_err();
    assert_eq!(found.fault, Fault::Transient);
}

#[tokio::test]
async fn a_stopped_machine_has_its_cause_and_its_end() {
    let replay = Replay::start(|asked| {
        let mut stopped = instance();
        stopped["status"] = json!("TERMINATED");
        match asked.call.contains("/operations") {
            true => operations(&[operation("compute.instances.guestTerminate", NAME, "DONE")]),
            false => (200, stopped),
        }
    })
    .await;
    let found = replay.provider().await.describe(&id(), &place()).await.unwrap();
    assert_eq!(found.state, InstanceState::Stopped { cause: DeathCause::Itself });
    assert_eq!(found.ended_at, Timestamp::parse("2026-01-02T11:05:05Z"));
}

#[tokio::test]
async fn every_page_and_zone_is_listed_and_no_strangers() {
    let replay = Replay::start(|asked| {
        let mut other = instance();
        other["name"] = json!("fleet-other");
        let mut stranger = instance();
        stranger["name"] = json!("theirs");
        stranger["labels"]["fleet-id"] = json!("f".repeat(32));
        let mut page = match asked.get("pageToken") {
            "" => scopes("instance", "instances", &[("zones/us-central1-a", &[instance()])]),
            _ => scopes("instance", "instances", &[("zones/us-east1-b", &[other, stranger])]),
        };
        if asked.get("pageToken").is_empty() {
            page["nextPageToken"] = json!("more");
        }
        (200, page)
    })
    .await;
    let listing = replay.provider().await.list(&owner()).await.unwrap();
    let ids: Vec<_> = listing.instances.iter().map(|i| i.id.as_str()).collect();
    assert_eq!(ids, [NAME, "fleet-other"]);
    assert!(listing.complete && listing.gaps.is_empty(), "{:?}", listing.gaps);
    for asked in replay.asked("GET aggregated/instances") {
        assert_eq!(asked.get("filter"), format!("labels.fleet-id=\"{FLEET}\""));
    }
}

#[tokio::test]
async fn what_was_not_reached_makes_a_listing_incomplete() {
    let down = json!({"code": "UNREACHABLE", "message": "down"});
    let full = || scopes("instance", "instances", &[("zones/us-central1-a", &[instance()])]);
    let mut warned = full();
    warned["items"]["zones/us-east1-b"] = json!({"warning": down});
    let mut unreached = full();
    unreached["unreachables"] = json!(["zones/us-east1-b"]);
    let mut nameless = full();
    nameless["items"]["zones/us-east1-b"] = json!({"instances": [{"status": "RUNNING"}]});
    nameless["items"]["zones/us-east1-b"]["instances"][0]["labels"] = json!({"fleet-id": FLEET});
    for page in [warned, unreached, nameless] {
        let replay = Replay::start(move |_| (200, page.clone())).await;
        let listing = replay.provider().await.list(&owner()).await.unwrap();
        assert_eq!((listing.instances.len(), listing.complete), (1, false), "{listing:?}");
        assert!(!listing.gaps.is_empty());
    }
    let replay = Replay::start(move |asked| match asked.get("pageToken") {
        "" => (200, {
            let mut page = full();
            page["nextPageToken"] = json!("more");
            page
        }),
        _ => error(503, "backendError"),
    })
    .await;
    let found = replay.provider().await.list(&owner()).await.unwrap_err();
    assert_eq!(found.fault, Fault::Transient, "a page that is lost");
}

#[tokio::test]
async fn a_page_that_leads_to_itself_ends() {
    let replay = Replay::start(|_| {
        let mut page = scopes("instance", "instances", &[]);
        page["nextPageToken"] = json!("again");
        (200, page)
    })
    .await;
    let listing = replay.provider().await.list(&owner()).await.unwrap();
    assert!(!listing.complete && listing.gaps[0].contains("pages"), "{:?}", listing.gaps);
}

#[tokio::test]
async fn terminate_says_what_the_cloud_said() {
    let ended = async |answer: (u16, Value)| {
        let replay = Replay::start(move |_| answer.clone()).await;
        replay.provider().await.terminate(&id(), &place()).await
    };
    let accepted = (200, operation("delete", NAME, "RUNNING"));
    assert_eq!(ended(accepted).await.unwrap(), Termination::Requested);
    assert_eq!(ended(error(404, "notFound")).await.unwrap(), Termination::NotFound);
    for (answer, fault) in [
        (error(500, "backendError"), Fault::Transient),
        ((200, json!({})), Fault::Transient),
        (error(403, "forbidden"), Fault::Auth),
    ] {
        assert_eq!(ended(answer).await.unwrap_err().fault, fault);
    }
    let replay = Replay::start(|_| error(400, "invalid")).await;
    let bad = replay.provider().await.terminate(&InstanceId::new("../x"), &place()).await;
    assert_eq!(bad.unwrap_err().fault, Fault::Rejected);
    assert!(replay.asked("").is_empty());
}

#[tokio::test]
async fn verify_says_who_how_much_and_what_is_missing() {
    for lacks in [None, Some("compute.instances.create"), Some("everything")] {
        let replay = Replay::start(move |asked| match asked.call.as_str() {
            "GET " => (
                200,
                json!({"kind": "compute#project", "name": "my-project",
                "quotas": [{"metric": "GPUS_ALL_REGIONS", "usage": 3.0, "limit": 8.0}]}),
            ),
            "POST v1/projects/my-project:testIamPermissions" if lacks == Some("everything") => {
                error(403, "SERVICE_DISABLED")
            }
            "POST v1/projects/my-project:testIamPermissions" => {
                let asked = asked.body["permissions"].as_array().unwrap().clone();
                let granted: Vec<_> = asked.into_iter().filter(|p| p.as_str() != lacks).collect();
                (200, json!({"permissions": granted}))
            }
            _ => error(400, "invalid"),
        })
        .await;
        let who = replay.provider().await.verify().await.unwrap();
        assert_eq!(who.account, "project my-project");
        assert_eq!(who.source, "GOOGLE_OAUTH_ACCESS_TOKEN");
        assert!(who.quota.unwrap().starts_with("3 of 8 GPUs in use"));
        match lacks {
            None => assert!(who.notes.is_empty(), "{:?}", who.notes),
            Some("everything") => assert!(who.notes[0].contains("gcloud services enable")),
            Some(permission) => assert!(who.notes[0].contains(permission), "{:?}", who.notes),
        }
    }
    let replay = Replay::start(|_| error(401, "authError")).await;
    let found = replay.provider().await.verify().await.unwrap_err();
    assert_eq!(found.fault, Fault::Auth);
}

#[tokio::test]
async fn leftovers_are_ours_alone_and_a_rule_in_use_stays() {
    let disk = |name: &str, users: &[&str]| json!({"name": name, "users": users, "labels": {"fleet-id": FLEET}});
    let replay = Replay::start(move |asked| match asked.call.as_str() {
        call if call.starts_with("GET global/firewalls/") => {
            (200, json!({"name": format!("fleet-{FLEET}")}))
        }
        "GET aggregated/disks" => {
            let disks = [disk("lost", &[]), disk("used", &["instances/x"])];
            (200, scopes("disk", "disks", &[("zones/us-east1-b", &disks)]))
        }
        "GET aggregated/instances" => {
            (200, scopes("instance", "instances", &[("zones/us-central1-a", &[instance()])]))
        }
        call if call.starts_with("DELETE zones/us-east1-b/disks/") => {
            (200, operation("delete", "x", "RUNNING"))
        }
        _ => error(400, "invalid"),
    })
    .await;
    let provider = replay.provider().await;
    let extra = provider.auxiliary().unwrap();
    let found = extra.leftovers(&owner()).await.unwrap();
    let named: Vec<_> = found.iter().map(|l| (l.kind.as_str(), l.id.as_str())).collect();
    let rule = format!("fleet-{FLEET}");
    assert_eq!(named, [("firewall", rule.as_str()), ("disk", "lost")]);
    assert_eq!(
        replay.asked("GET aggregated/disks")[0].get("filter"),
        format!("labels.fleet-id=\"{FLEET}\"")
    );
    let refused = extra.remove(&found[0]).await.unwrap_err();
    assert_eq!((refused.fault, refused.code.as_str()), (Fault::Rejected, "InUse"));
    extra.remove(&found[1]).await.unwrap();
    assert_eq!(replay.asked("DELETE").len(), 1);
    let strange = Leftover { id: "default-allow-ssh".into(), ..found[0].clone() };
    assert_eq!(extra.remove(&strange).await.unwrap_err().fault, Fault::Rejected);
    let gone = Replay::start(|_| error(404, "notFound")).await;
    let gone = gone.provider().await;
    gone.auxiliary().unwrap().remove(&found[1]).await.unwrap();
}
