//! The create: its whole body, its sameness, and Google's verdict on it.

use super::replay::{Answer, Asked, Replay, config, error, failed, operation};
use crate::connect;
use fleet_provider::{Boot, Candidate, LaunchRequest, OwnerTag, Provider as _};
use fleet_provider_kit::boot;
use fleet_types::{
    Accelerator, Availability, Epoch, Fault, FleetId, InstanceState, JobId, MachineClass, Market,
    Offer, Place, ProviderId, TimeScale, Timestamp, Token, Trust, Usd,
};
use serde_json::{Value, json};

pub(super) const FLEET: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "fleet-fedcba9876543210fedcba9876543210";
const INSERT: &str = "POST zones/us-central1-a/instances";
const WAIT: &str = "POST zones/us-central1-a/operations/operation-insert/wait";

/// A create of one g2-standard-4.
pub(super) fn request(market: Market) -> LaunchRequest {
    let offer = Offer {
        place: Place {
            provider: ProviderId::Gcp,
            region: "us-central1".into(),
            zone: "us-central1-a".into(),
        },
        instance_type: "g2-standard-4".into(),
        market,
        key: String::new(),
        accelerator: Some(Accelerator::new("L4", 1)),
        gpu_memory_gb: Some(24.0),
        vcpus: 4.0,
        memory_gib: 16.0,
        disk_gib: None,
        price_usd_per_hour: Usd::from_dollars(0.28),
        on_demand_usd_per_hour: None,
        disk_usd_per_gib_hour: None,
        egress_usd_per_gb: None,
        available: Availability::Unknown,
        hazard_per_hour: None,
        hazard_source: None,
        reliability: None,
        verified: None,
        datacenter: None,
        cuda: None,
        inet_down_mbps: None,
        inet_up_mbps: None,
        ends_in_seconds: None,
        class: MachineClass::Vm,
        trust: Trust::Trusted,
    };
    LaunchRequest {
        token: Token::new("fedcba9876543210fedcba9876543210"),
        owner: OwnerTag { fleet: FleetId::new(FLEET) },
        job: JobId::new("j-0123456789ab"),
        epoch: Epoch(2),
        node: 0,
        market,
        candidates: vec![Candidate { offer, limit_usd_per_hour: Usd::from_dollars(0.5).unwrap() }],
        // In the past: the run limit is then the least that Google takes, and the body is always the same.
        expires_at: Timestamp::from_millis(1_700_000_000_000),
        boot: Boot {
            login_key: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample me@laptop".into(),
            host_key: "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA==\n-----END OPENSSH PRIVATE KEY-----\n"
                .to_owned()
                .into(),
            orphan_minutes: 15,
        },
        image: None,
        disk_gib: 100,
        labels: [("Team".to_owned(), "Vision/Ü".to_owned()), ("1".to_owned(), "x".to_owned())].into(),
        ports: vec![8080],
        admit_from: Some("203.0.113.7/32".into()),
    }
}

pub(super) fn instance() -> Value {
    serde_json::from_str(include_str!("../../fixtures/instance.json")).unwrap()
}

/// A project with a default network, and nothing of ours in it yet.
pub(super) fn footing(asked: &Asked) -> Answer {
    match asked.call.as_str() {
        call if call.starts_with("GET global/firewalls/") => error(404, "notFound"),
        "POST global/firewalls" => (200, operation("insert", "x", "RUNNING")),
        INSERT => (200, operation("insert", NAME, "RUNNING")),
        WAIT => (200, operation("insert", NAME, "DONE")),
        call if call.starts_with("GET zones/us-central1-a/instances/") => (200, instance()),
        _ => error(400, "invalid"),
    }
}

#[tokio::test]
async fn the_body_of_a_spot_create_is_complete() {
    let replay = Replay::start(footing).await;
    let made = replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    let insert = replay.asked(INSERT).remove(0);
    assert_eq!(insert.get("requestId"), "fedcba98-7654-4210-bedc-ba9876543210");
    assert_eq!(insert.headers["authorization"], format!("Bearer {}", super::replay::TOKEN));
    let mut body = insert.body.clone();
    let items = body["metadata"]["items"].as_array_mut().unwrap();
    let at = items.iter().position(|i| i["key"] == "user-data").unwrap();
    let user_data = items.remove(at)["value"].as_str().unwrap().to_owned();
    assert_eq!(user_data, boot::cloud_config(&request(Market::Spot).boot, "ubuntu"));
    let golden: Value =
        serde_json::from_str(include_str!("../../fixtures/insert.spot.golden.json")).unwrap();
    assert_eq!(body, golden, "{}", serde_json::to_string_pretty(&body).unwrap());
    assert_eq!((made.id.as_str(), made.state), (NAME, InstanceState::Running));
    assert_eq!(made.place, request(Market::Spot).candidates[0].offer.place);
    assert_eq!(made.token.as_ref(), Some(&request(Market::Spot).token));
    assert_eq!((made.market, made.fleet.as_deref()), (Market::Spot, Some(FLEET)));
    assert_eq!(made.launched_at, Timestamp::parse("2026-01-02T11:04:10.123Z"));
}

#[tokio::test]
async fn what_differs_between_creates_differs_in_the_body() {
    let replay = Replay::start(footing).await;
    let provider = replay.provider().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut t4 = request(Market::OnDemand);
    t4.candidates[0].offer.instance_type = "n1-standard-8+2xT4".into();
    t4.expires_at = Timestamp::from_millis(now.as_millis() as i64 + 3_600_000);
    t4.image = Some("projects/mine/global/images/own".into());
    provider.launch(&t4).await.unwrap();
    let body = replay.asked(INSERT).remove(0).body;
    assert_eq!(body["machineType"], "zones/us-central1-a/machineTypes/n1-standard-8");
    let gpus = json!([{"acceleratorCount": 2,
        "acceleratorType": "zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4"}]);
    assert_eq!(body["guestAccelerators"], gpus);
    assert_eq!(body["scheduling"]["provisioningModel"], "STANDARD");
    assert_eq!(body["scheduling"]["preemptible"], false);
    assert_eq!(body["scheduling"]["onHostMaintenance"], "TERMINATE");
    let life: i64 =
        body["scheduling"]["maxRunDuration"]["seconds"].as_str().unwrap().parse().unwrap();
    assert!((3590..=3600).contains(&life), "{life}");
    let disk = &body["disks"][0]["initializeParams"];
    assert_eq!(disk["sourceImage"], "projects/mine/global/images/own");
    let mut cpu = request(Market::Spot);
    cpu.candidates[0].offer.accelerator = None;
    cpu.disk_gib = 1;
    provider.launch(&cpu).await.unwrap();
    let disk = replay.asked(INSERT)[1].body["disks"][0]["initializeParams"].clone();
    assert_eq!(
        disk["sourceImage"],
        "projects/ubuntu-os-cloud/global/images/family/ubuntu-2204-lts"
    );
    assert_eq!(disk["diskSizeGb"], "20");
    let mut newest = request(Market::Spot);
    newest.candidates[0].offer.instance_type = "a4-highgpu-8g".into();
    provider.launch(&newest).await.unwrap();
    let disk = replay.asked(INSERT)[2].body["disks"][0]["initializeParams"].clone();
    assert_eq!(disk["diskType"], "zones/us-central1-a/diskTypes/hyperdisk-balanced");
}

#[tokio::test]
async fn a_late_refusal_is_a_refusal_and_an_unknown_verdict_is_none() {
    let refused = Replay::start(|asked| match asked.call.as_str() {
        WAIT => (200, failed("insert", NAME, "ZONE_RESOURCE_POOL_EXHAUSTED", None)),
        _ => footing(asked),
    })
    .await;
    let error = refused.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
    assert_eq!((error.fault, error.refusal().is_some()), (Fault::Capacity, true));

    // The wait is over, fails, or leads nowhere: the machine was accepted, and may be there.
    for answer in
        [(200, operation("insert", NAME, "RUNNING")), (500, Value::Null), (200, Value::Null)]
    {
        let open = Replay::start(move |asked| match asked.call.as_str() {
            WAIT => answer.clone(),
            call if call.starts_with("GET zones/us-central1-a/instances/") => {
                super::replay::error(404, "notFound")
            }
            _ => footing(asked),
        })
        .await;
        let made = open.provider().await.launch(&request(Market::Spot)).await.unwrap();
        assert_eq!((made.id.as_str(), made.state), (NAME, InstanceState::Pending));
        assert_eq!(made.token.as_ref(), Some(&request(Market::Spot).token));
    }
}

#[tokio::test]
async fn the_wait_for_the_verdict_ends() {
    let replay = Replay::start(footing).await;
    // A server that never answers the wait: nothing comes within the least time limit of a scaled clock.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&format!("http://{}", mute.local_addr().unwrap()));
    config.time_scale = TimeScale::new(0.01).unwrap();
    let clients = connect(config).await.unwrap().clients;
    let accepted = serde_json::from_value(operation("insert", NAME, "RUNNING")).unwrap();
    assert!(crate::operation::verdict(&clients, "us-central1-a", accepted).await.is_ok());
    drop(replay);
}

#[tokio::test]
async fn a_name_that_is_taken_is_the_earlier_create_or_a_conflict() {
    let taken = |found: Answer| {
        move |asked: &Asked| match asked.call.as_str() {
            INSERT => error(409, "alreadyExists"),
            call if call.starts_with("GET zones/us-central1-a/instances/") => found.clone(),
            _ => footing(asked),
        }
    };
    let ours = Replay::start(taken((200, instance()))).await;
    let made = ours.provider().await.launch(&request(Market::Spot)).await.unwrap();
    assert_eq!(made.id.as_str(), NAME);
    let mut other = instance();
    other["labels"]["fleet-token"] = json!("0".repeat(32));
    let theirs = Replay::start(taken((200, other))).await;
    let found = theirs.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
    assert_eq!(found.fault, Fault::Conflict);
    let unseen = Replay::start(taken(error(500, "backendError"))).await;
    let found = unseen.provider().await.launch(&request(Market::Spot)).await.unwrap_err();
    assert_eq!((found.fault, found.maybe_applied), (Fault::Unknown, true));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_not_sent() {
    let replay = Replay::start(footing).await;
    let provider = replay.provider().await;
    let mut dear = request(Market::Spot);
    dear.candidates[0].limit_usd_per_hour = Usd::from_dollars(0.2).unwrap();
    let found = provider.launch(&dear).await.unwrap_err();
    assert_eq!((found.fault, found.refusal().is_some()), (Fault::Price, true));
    let mut elsewhere = request(Market::Spot);
    elsewhere.candidates[0].offer.place.provider = ProviderId::Aws;
    let mut odd = request(Market::Spot);
    odd.candidates[0].offer.place.zone = "../../evil".into();
    let mut long = request(Market::Spot);
    long.boot.login_key = format!("ssh-rsa {}", "A".repeat(20_000));
    for bad in [elsewhere, odd, long] {
        assert_eq!(provider.launch(&bad).await.unwrap_err().fault, Fault::Rejected);
    }
    assert!(replay.asked("").is_empty(), "{:?}", replay.asked(""));
}

#[tokio::test]
async fn the_door_is_made_widened_and_never_closed_by_a_create() {
    let replay = Replay::start(footing).await;
    replay.provider().await.launch(&request(Market::Spot)).await.unwrap();
    let rule = replay.asked("POST global/firewalls").remove(0).body;
    assert_eq!(rule["name"], format!("fleet-{FLEET}"));
    assert_eq!(rule["allowed"], json!([{"IPProtocol": "tcp", "ports": ["22", "8080"]}]));
    assert_eq!(rule["sourceRanges"], json!(["203.0.113.7/32"]));
    assert_eq!(rule["targetTags"], json!([format!("fleet-{FLEET}")]));
    assert_eq!(rule["direction"], "INGRESS");

    let there = json!({"name": format!("fleet-{FLEET}"), "sourceRanges": ["198.51.100.1/32"],
        "allowed": [{"IPProtocol": "tcp", "ports": ["22", "9000"]}]});
    let rule = there.clone();
    let replay = Replay::start(move |asked| match asked.call.as_str() {
        call if call.starts_with("GET global/firewalls/") => (200, rule.clone()),
        call if call.starts_with("PATCH global/firewalls/") => {
            (200, operation("patch", "x", "DONE"))
        }
        _ => footing(asked),
    })
    .await;
    let provider = replay.provider().await;
    provider.launch(&request(Market::Spot)).await.unwrap();
    let patch = replay.asked("PATCH").remove(0).body;
    assert_eq!(patch["allowed"][0]["ports"], json!(["22", "8080", "9000"]));
    assert_eq!(patch["sourceRanges"], json!(["198.51.100.1/32", "203.0.113.7/32"]));
    let extra = provider.auxiliary().unwrap();
    extra.admit(&request(Market::Spot).owner, "192.0.2.9/32").await.unwrap();
    let patch = replay.asked("PATCH").remove(1).body;
    assert_eq!(patch["sourceRanges"], json!(["192.0.2.9/32"]));
    assert_eq!(patch["allowed"][0]["ports"], json!(["22", "9000"]));

    // An account that may not touch firewalls still launches; an address that is not known opens nothing.
    let closed = Replay::start(|asked| match asked.call.contains("firewalls") {
        true => error(403, "forbidden"),
        false => footing(asked),
    })
    .await;
    closed.provider().await.launch(&request(Market::Spot)).await.unwrap();
    let mut unknown = request(Market::Spot);
    unknown.admit_from = None;
    let replay = Replay::start(footing).await;
    replay.provider().await.launch(&unknown).await.unwrap();
    assert!(replay.asked("POST global").is_empty());
}
