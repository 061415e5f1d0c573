//! Whole calls against a socket that answers from a script and keeps what it was asked.

use super::*;
use fleet_provider::{Boot, Candidate};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, DeathCause, Epoch, FleetId, JobId, Market,
    TimeScale, Timestamp, Token, Trust, Usd,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const FLEET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";

type Script = Vec<(u16, Value)>;

/// One request: its line and its body.
#[derive(Debug, Clone)]
struct Asked(String, Value);

async fn vast(script: Script) -> (VastProvider, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        let mut script = VecDeque::from(script);
        while let Ok((mut socket, _)) = listener.accept().await {
            let request = read(&mut socket).await;
            log.lock().unwrap().push(request);
            let (status, body) = script.pop_front().unwrap_or((599, json!("script over")));
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            let answer = format!("{head}Connection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    let environment = BTreeMap::from([("VAST_API_KEY".to_owned(), "vast-key-123456".to_owned())]);
    let time_scale = TimeScale::new(0.001).expect("a factor");
    (VastProvider::new(VastConfig { endpoint, environment, time_scale }).expect("a driver"), asked)
}

async fn read(socket: &mut TcpStream) -> Asked {
    let mut text = String::new();
    let mut buffer = [0; 8192];
    loop {
        let n = socket.read(&mut buffer).await.expect("a request");
        text.push_str(std::str::from_utf8(&buffer[..n]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| {
            l.to_lowercase()
                .strip_prefix("content-length: ")
                .map(|n| n.parse::<usize>().expect("a length"))
        });
        if n == 0 || body.len() >= length.unwrap_or(0) {
            assert!(head.contains("Bearer vast-key-123456"), "{head}");
            let line = head.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
            return Asked(line, serde_json::from_str(body).unwrap_or(Value::Null));
        }
    }
}

fn request(market: Market, limit: f64) -> LaunchRequest {
    let offer = Offer {
        place: Place { provider: ProviderId::Vast, region: "SE".into(), zone: "4101".into() },
        instance_type: "RTX4090x1".into(),
        market,
        key: "7001".into(),
        accelerator: Some(Accelerator::new("RTX4090", 1)),
        gpu_memory_gb: None,
        vcpus: 1.0,
        memory_gib: 1.0,
        disk_gib: None,
        price_usd_per_hour: Usd::price(0.2),
        on_demand_usd_per_hour: None,
        disk_usd_per_gib_hour: None,
        egress_usd_per_gb: None,
        available: Availability::Available,
        hazard_per_hour: None,
        hazard_source: None,
        reliability: None,
        verified: None,
        datacenter: None,
        cuda: None,
        inet_down_mbps: None,
        inet_up_mbps: None,
        ends_in_seconds: None,
        class: MachineClass::Container,
        trust: Trust::Untrusted,
    };
    LaunchRequest {
        token: Token::new(TOKEN),
        owner: OwnerTag { fleet: FleetId::new(FLEET) },
        job: JobId::new("j-000000000000"),
        epoch: Epoch(1),
        node: 0,
        market,
        candidates: vec![Candidate {
            offer,
            limit_usd_per_hour: Usd::from_dollars(limit).expect("dollars"),
        }],
        expires_at: Timestamp::from_millis(1_795_000_000_000),
        boot: Boot {
            login_key: "ssh-ed25519 AAAA".into(),
            host_key: secrecy::SecretString::from("PEM"),
            orphan_minutes: 15,
        },
        image: None,
        disk_gib: 40,
        labels: BTreeMap::new(),
        ports: vec![8080],
        admit_from: None,
    }
}

fn none() -> (u16, Value) {
    (200, json!({"success": true, "instances": [], "next_token": null}))
}

fn label() -> String {
    format!("fleet/{FLEET}/{TOKEN}/1795000000")
}

#[tokio::test]
async fn a_spot_create_looks_first_and_always_bids() {
    let (vast, asked) =
        vast(vec![none(), (200, json!({"success": true, "new_contract": 55}))]).await;
    let made = vast.launch(&request(Market::Spot, 0.25)).await.expect("a machine");
    assert_eq!((made.id.as_str(), made.state), ("55", InstanceState::Pending));
    let asked = asked.lock().unwrap().clone();
    assert!(asked[0].0.starts_with("GET /api/v1/instances/?"), "{}", asked[0].0);
    assert!(asked[0].0.contains("select_filters"), "{}", asked[0].0);
    assert_eq!(asked[1].0, "PUT /api/v0/asks/7001/");
    let body = &asked[1].1;
    assert_eq!((&body["price"], &body["label"]), (&json!(0.25), &json!(label())));
    assert_eq!((&body["disk"], &body["cancel_unavail"]), (&json!(40), &json!(true)));
    assert_eq!(body["env"], json!({"-p 8080:8080": "1"}));
    assert!(!body.to_string().contains("vast-key"), "the account key never leaves this machine");
}

#[tokio::test]
async fn an_on_demand_create_has_no_bid_and_is_never_dearer_than_its_limit() {
    let (vast, asked) =
        vast(vec![none(), (200, json!({"success": true, "new_contract": 55}))]).await;
    vast.launch(&request(Market::OnDemand, 0.25)).await.expect("a machine");
    assert_eq!(asked.lock().unwrap()[1].1.get("price"), None);
    let error = vast.launch(&request(Market::OnDemand, 0.19)).await.expect_err("too dear");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Price, false));
    assert_eq!(asked.lock().unwrap().len(), 2, "nothing was sent");
}

#[tokio::test]
async fn a_bid_of_nothing_is_never_sent() {
    let (vast, asked) = vast(Vec::new()).await;
    for limit in [0.0, -1.0, 500.0] {
        let error = vast.launch(&request(Market::Spot, limit)).await.expect_err("no bid");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Price, false));
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_the_token_made_before_is_adopted() {
    let row = json!({"id": 55, "machine_id": 4101, "label": label(), "actual_status": "running", "is_bid": true});
    let foreign = json!({"id": 54, "machine_id": 1, "label": "mine"});
    let page = json!({"success": true, "instances": [foreign, row], "next_token": null});
    let (vast, asked) = vast(vec![(200, page)]).await;
    let made = vast.launch(&request(Market::Spot, 0.25)).await.expect("a machine");
    assert_eq!((made.id.as_str(), made.state), ("55", InstanceState::Running));
    assert_eq!(asked.lock().unwrap().len(), 1, "no second create");
}

#[tokio::test]
async fn a_create_that_could_not_look_is_unknown_and_sends_nothing() {
    for (status, body) in [
        (502, json!("bad gateway")),
        (200, json!({"success": true, "instances": null})),
        (200, json!({"success": true})),
        (200, json!({"instances": [{"label": "a row without an id"}]})),
    ] {
        let (vast, asked) = vast(vec![(status, body.clone())]).await;
        let error = vast.launch(&request(Market::Spot, 0.25)).await.expect_err("it could not look");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{body}: {error}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_contract_left_by_a_refusal_is_destroyed() {
    let refusal =
        json!({"success": false, "error": "invalid_price", "msg": "outbid", "new_contract": 55});
    let gone = (200, json!({"success": true}));
    let (vast, asked) = vast(vec![none(), (400, refusal.clone()), gone]).await;
    let error = vast.launch(&request(Market::Spot, 0.25)).await.expect_err("refused");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Price, false));
    assert_eq!(asked.lock().unwrap()[2].0, "DELETE /api/v0/instances/55/");

    let (vast, _) = self::vast(vec![none(), (400, refusal), (500, json!("no"))]).await;
    let error = vast.launch(&request(Market::Spot, 0.25)).await.expect_err("refused");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{error}");
}

#[tokio::test]
async fn a_create_without_a_readable_outcome_is_unknown() {
    for answer in [(500, json!("x")), (200, json!({"success": true})), (200, json!("<html>"))] {
        let (vast, _) = vast(vec![none(), answer.clone()]).await;
        let error = vast.launch(&request(Market::Spot, 0.25)).await.expect_err("unknown");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{answer:?}");
    }
}

#[tokio::test]
async fn listings_follow_pages_and_say_when_they_are_incomplete() {
    let row = |id: u32, label: &str| json!({"id": id, "machine_id": 1, "label": label});
    let page = |rows: Value, next: Value| (200, json!({"instances": rows, "next_token": next}));
    let owner = OwnerTag { fleet: FleetId::new(FLEET) };
    let ours = label();
    for (script, count, complete) in [
        (
            vec![
                page(json!([row(1, &ours), row(2, "x")]), json!("t")),
                page(json!([row(3, &ours)]), json!(null)),
            ],
            2,
            true,
        ),
        (vec![page(json!([]), json!(null))], 0, true),
        (vec![page(json!([row(1, &ours)]), json!("t")), (502, json!("x"))], 1, false),
        (vec![page(json!([row(1, &ours)]), json!("t")), page(json!(null), json!(null))], 1, false),
        (vec![page(json!([row(1, &ours)]), json!("t")), page(json!([]), json!("t"))], 1, false),
        (vec![page(json!([row(1, &ours), row(1, &ours)]), json!(null))], 1, false),
        (vec![page(json!([row(1, &ours), {"label": ours}]), json!(null))], 1, false),
    ] {
        let (vast, _) = vast(script.clone()).await;
        let listing = vast.list(&owner).await.expect("a listing");
        assert_eq!((listing.instances.len(), listing.complete), (count, complete), "{script:?}");
        assert_eq!(listing.complete, listing.gaps.is_empty());
    }
    for bad in
        [(200, json!({"instances": null})), (200, json!("")), (401, json!({"error": "auth_error"}))]
    {
        let (vast, _) = vast(vec![bad.clone()]).await;
        assert!(vast.list(&owner).await.is_err(), "{bad:?} is no empty listing");
    }
}

#[tokio::test]
async fn an_outbid_machine_reads_as_preempted_and_an_unknown_id_as_not_found() {
    let place = request(Market::Spot, 0.2).candidates[0].offer.place.clone();
    let stopped = json!({"instances": {"id": 55, "machine_id": 4101, "is_bid": true, "actual_status": "running",
        "cur_state": "stopped", "next_state": "stopped", "intended_status": "stopped", "label": label()}});
    let (vast, _) = vast(vec![
        (200, stopped),
        (404, json!({"success": false, "error": "no_such_instance", "msg": "no"})),
        (200, json!({"instances": null})),
        none(),
        (200, json!({"instances": null})),
        (502, json!("x")),
        (200, json!({"instances": {"id": 56}})),
    ])
    .await;
    let id = InstanceId::new("55");
    let machine = vast.describe(&id, &place).await.expect("a machine");
    assert_eq!(machine.state, InstanceState::Stopped { cause: DeathCause::Preempted });
    for want in [Fault::NotFound, Fault::NotFound, Fault::Transient, Fault::Transient] {
        assert_eq!(vast.describe(&id, &place).await.expect_err("no machine").fault, want);
    }
    let error = vast.describe(&InstanceId::new("../../users"), &place).await.expect_err("no id");
    assert_eq!(error.fault, Fault::Rejected);
}

#[tokio::test]
async fn terminate_says_what_the_cloud_said() {
    let place = request(Market::Spot, 0.2).candidates[0].offer.place.clone();
    let (vast, asked) = vast(vec![
        (200, json!({"success": true})),
        (404, json!({"success": false, "error": "no_such_instance"})),
        (500, json!("x")),
    ])
    .await;
    let id = InstanceId::new("55");
    assert_eq!(vast.terminate(&id, &place).await.expect("done"), Termination::Requested);
    assert_eq!(vast.terminate(&id, &place).await.expect("done"), Termination::NotFound);
    assert_eq!(vast.terminate(&id, &place).await.expect_err("failed").fault, Fault::Transient);
    assert!(asked.lock().unwrap().iter().all(|a| a.0 == "DELETE /api/v0/instances/55/"));
}

#[tokio::test]
async fn one_failed_search_does_not_hide_the_others() {
    let fixture: Value =
        serde_json::from_str(include_str!("../../fixtures/offers.json")).expect("rows");
    let wanted = AcceleratorRequest::Named(Accelerator::new("RTX4090", 1));
    let query = OfferQuery { accelerators: vec![wanted], ..OfferQuery::default() };
    let (vast, _) = vast(vec![
        (200, fixture),
        (502, json!("x")),
        (502, json!("x")),
        (404, json!({"error": "auth_error", "msg": "Invalid user key"})),
    ])
    .await;
    assert_eq!(vast.offers(&query).await.expect("offers").len(), 3);
    assert_eq!(vast.offers(&query).await.expect_err("nothing answered").fault, Fault::Auth);
}

#[tokio::test]
async fn verify_says_who_pays_and_where_the_key_was_found() {
    let user = json!({"id": 9, "email": "me@example.org", "balance": 0.0, "credit": -1.5});
    let (vast, _) = vast(vec![(200, user)]).await;
    let identity = vast.verify().await.expect("an identity");
    assert_eq!((identity.account.as_str(), identity.principal.as_str()), ("9", "me@example.org"));
    assert_eq!((identity.source.as_str(), identity.notes.len()), ("VAST_API_KEY", 1));
}

#[tokio::test]
async fn the_credit_is_the_quota_and_is_never_made_up() {
    for (user, told) in [
        (json!({"id": 9, "credit": 12.5, "balance": 0.0}), "$12.50"),
        (json!({"id": 9, "credit": null, "balance": "7.5"}), "$7.50"),
        (json!({"id": 9}), "does not name"),
    ] {
        let (vast, _) = vast(vec![(200, user)]).await;
        let quota = vast.verify().await.expect("an identity").quota.expect("a quota");
        assert!(quota.contains("credit") && quota.contains(told), "{quota}");
    }
}
