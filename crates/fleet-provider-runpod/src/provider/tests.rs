//! Whole calls against a socket that answers from a script and keeps what it was asked.

use super::*;
use fleet_provider::{Boot, Candidate};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, DeathCause, Endpoint, Epoch, FleetId, JobId,
    Timestamp, Token, Trust,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const FLEET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";
const KEY: &str = "rpa_key_123456";

type Script = Vec<(u16, Value)>;

/// One request: its line and its body.
#[derive(Debug, Clone)]
struct Asked(String, Value);

async fn runpod(script: Script) -> (RunpodProvider, Arc<Mutex<Vec<Asked>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let api = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        let mut script = VecDeque::from(script);
        while let Ok((mut socket, _)) = listener.accept().await {
            let request = read(&mut socket).await;
            log.lock().unwrap().push(request);
            let (status, body) = script.pop_front().unwrap_or((599, json!("script over")));
            // 204 has no body.
            let body = if status == 204 { String::new() } else { body.to_string() };
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            let answer = format!("{head}Connection: close\r\n\r\n{body}");
            socket.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    let environment = BTreeMap::from([("RUNPOD_API_KEY".to_owned(), KEY.to_owned())]);
    let endpoint = Endpoint { api: Some(api), ..Endpoint::default() };
    let config = RunpodConfig { endpoint, environment };
    (RunpodProvider::new(&config).expect("a driver"), asked)
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
            assert!(head.contains(&format!("Bearer {KEY}")), "{head}");
            let line = head.lines().next().unwrap_or_default().replace(" HTTP/1.1", "");
            assert!(!line.contains(KEY), "the key is in no URL: {line}");
            return Asked(line, serde_json::from_str(body).unwrap_or(Value::Null));
        }
    }
}

fn request(market: Market, limit: f64) -> LaunchRequest {
    let offer = Offer {
        place: offers::place(Some("EU-RO-1")),
        instance_type: "2x_NVIDIA_L4_SECURE".into(),
        market,
        key: String::new(),
        accelerator: Some(Accelerator::new("L4", 2)),
        gpu_memory_gb: None,
        vcpus: 1.0,
        memory_gib: 1.0,
        disk_gib: None,
        price_usd_per_hour: Usd::price(0.62),
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
        trust: Trust::Trusted,
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

fn label() -> String {
    format!("fleet/{FLEET}/{TOKEN}/1795000000")
}

fn none() -> (u16, Value) {
    (200, json!({"pods": []}))
}

fn bids(least: Value, stock: Value) -> (u16, Value) {
    let lowest =
        json!({"minimumBidPrice": least, "stockStatus": stock, "minVcpu": 8, "minMemory": 31});
    let types = json!([{"id": "NVIDIA L4", "secureSpotPrice": 0.3, "communitySpotPrice": null, "dc0": lowest}]);
    (200, json!({"data": {"myself": {"underBalance": false}, "gpuTypes": types}}))
}

fn rented(dc: Value) -> (u16, Value) {
    let pod = json!({"id": "abc123", "costPerHr": 0.66, "machine": {"dataCenterId": dc}});
    (200, json!({"data": {"podRentInterruptable": pod}}))
}

fn made(dc: Value, cost: Value) -> (u16, Value) {
    (201, json!({"id": "abc123", "status": "PROVISIONING", "cost": cost, "dataCenterId": dc}))
}

fn problem(status: u16, detail: &str) -> (u16, Value) {
    (status, json!({"title": "x", "status": status, "detail": detail}))
}

const NONE_LEFT: &str = "There are no longer any instances available with the requested specifications. Please refresh and try again.";

#[tokio::test]
async fn a_spot_create_looks_first_reads_the_bids_and_bids_for_each_gpu() {
    let script = vec![none(), bids(json!(0.31), json!("High")), rented(json!("EU-RO-1"))];
    let (runpod, asked) = runpod(script).await;
    let instance = runpod.launch(&request(Market::Spot, 0.66)).await.expect("a machine");
    assert_eq!((instance.id.as_str(), instance.state), ("abc123", InstanceState::Pending));
    assert_eq!(instance.price_usd_per_hour, Usd::price(0.66));
    let asked = asked.lock().unwrap().clone();
    let lines: Vec<&str> = asked.iter().map(|a| a.0.as_str()).collect();
    assert_eq!(lines, ["GET /v2/pods", "POST /graphql", "POST /graphql"]);
    assert_eq!(asked[1].1["variables"]["dc0"], "EU-RO-1");
    let input = &asked[2].1["variables"]["input"];
    assert_eq!((&input["bidPerGpu"], &input["gpuCount"]), (&json!(0.33), &json!(2)));
    assert_eq!((&input["name"], &input["dataCenterId"]), (&json!(label()), &json!("EU-RO-1")));
    assert_eq!(input["terminateAfter"], Timestamp::from_millis(1_795_000_000_000).to_string());
    assert_eq!((&input["ports"], &input["volumeInGb"]), (&json!("22/tcp,8080/tcp"), &json!(0)));
    assert_eq!(input["env"], json!([{"key": "FLEET_MARKET", "value": "spot"}]));
    assert!(input["dockerArgs"].as_str().expect("text").starts_with("bash -c 'echo "));
    for sent in &asked {
        assert!(!sent.1.to_string().contains(KEY), "the account key never leaves this machine");
        let document = sent.1["query"].as_str().unwrap_or_default();
        assert!(!document.contains("NVIDIA") && !document.contains(FLEET), "{document}");
    }
}

#[tokio::test]
async fn an_on_demand_create_names_one_place_and_no_bid() {
    let (runpod, asked) = runpod(vec![none(), made(json!(null), json!(0.62))]).await;
    let instance = runpod.launch(&request(Market::OnDemand, 0.66)).await.expect("a machine");
    assert_eq!(instance.place.zone, "EU-RO-1");
    let asked = asked.lock().unwrap().clone();
    assert_eq!((asked.len(), asked[1].0.as_str()), (2, "POST /v2/pods"));
    let body = &asked[1].1;
    assert_eq!(body["gpu"], json!({"id": "NVIDIA L4", "count": 2, "minCudaVersion": "12.8"}));
    assert_eq!((&body["cloud"], &body["dataCenterIds"]), (&json!("SECURE"), &json!(["EU-RO-1"])));
    assert_eq!(body["env"], json!({"FLEET_MARKET": "on-demand"}));
    assert_eq!(body["ports"], json!(["22/tcp", "8080/tcp"]));
    assert!(body.get("bidPerGpu").is_none() && !body.to_string().contains(KEY));
    let mut own = request(Market::OnDemand, 0.66);
    own.image = Some("docker:me/mine:1".into());
    runpod.launch(&own).await.expect_err("the script is over");
    let asked = self::runpod(vec![none(), made(json!(null), json!(0.62))]).await;
    asked.0.launch(&own).await.expect("a machine");
    let body = asked.1.lock().unwrap()[1].1.clone();
    assert_eq!((&body["image"], body["gpu"].get("minCudaVersion")), (&json!("me/mine:1"), None));
}

#[tokio::test]
async fn what_is_too_dear_or_no_type_is_never_sent() {
    let (runpod, asked) = runpod(Vec::new()).await;
    for market in [Market::Spot, Market::OnDemand] {
        let error = runpod.launch(&request(market, 0.5)).await.expect_err("too dear");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Price, false));
    }
    let mut odd = request(Market::Spot, 0.66);
    odd.candidates[0].offer.instance_type = "g4dn.xlarge".into();
    assert_eq!(runpod.launch(&odd).await.expect_err("no type").fault, Fault::Rejected);
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_bid_that_cannot_win_is_not_sent() {
    let mut broke = bids(json!(0.31), json!("High"));
    broke.1["data"]["myself"]["underBalance"] = json!(true);
    for (answer, fault, scope) in [
        (bids(json!(0.4), json!("High")), Fault::Price, Scope::Offer),
        (bids(json!(null), json!(null)), Fault::Capacity, Scope::Zone),
        (bids(json!(0.31), json!(null)), Fault::Capacity, Scope::Zone),
        ((200, json!({"data": {"gpuTypes": []}})), Fault::Capacity, Scope::Zone),
        (broke, Fault::Quota, Scope::Provider),
        ((410, json!("Gone")), Fault::Rejected, Scope::RegionMarket),
        ((404, json!("not found")), Fault::Rejected, Scope::RegionMarket),
        ((403, json!("Forbidden")), Fault::Auth, Scope::RegionMarket),
        ((502, json!("x")), Fault::Transient, Scope::Request),
        ((200, json!({"data": null})), Fault::Transient, Scope::Request),
    ] {
        let (runpod, asked) = runpod(vec![none(), answer.clone()]).await;
        let error = runpod.launch(&request(Market::Spot, 0.66)).await.expect_err("no bid");
        assert_eq!(
            (error.fault, error.scope, error.maybe_applied),
            (fault, scope, false),
            "{answer:?}"
        );
        assert_eq!(asked.lock().unwrap().len(), 2, "nothing was rented");
    }
    // A key that may not see its account may still bid.
    let mut shy = bids(json!(0.31), json!("Low"));
    shy.1["data"]["myself"] = json!(null);
    shy.1["errors"] = json!([{"message": "no", "path": ["myself"]}]);
    let (runpod, _) = runpod(vec![none(), shy, rented(json!(null))]).await;
    runpod.launch(&request(Market::Spot, 0.66)).await.expect("a machine");
}

#[tokio::test]
async fn refusals_of_both_creates_are_told_apart() {
    let graphql = |message: &str| {
        (200, json!({"errors": [{"message": message}], "data": {"podRentInterruptable": null}}))
    };
    for (answer, fault) in [
        (graphql(NONE_LEFT), Fault::Capacity),
        (
            graphql("Something went wrong. Please try again later or contact support."),
            Fault::Unknown,
        ),
        ((200, json!({"data": {"podRentInterruptable": null}})), Fault::Unknown),
        ((200, json!({"data": {"podRentInterruptable": {"costPerHr": 1}}})), Fault::Unknown),
        ((500, json!("x")), Fault::Unknown),
        ((200, json!("<html>")), Fault::Unknown),
        ((429, json!("x")), Fault::Throttled),
    ] {
        let script = vec![none(), bids(json!(0.31), json!("High")), answer.clone()];
        let (runpod, _) = runpod(script).await;
        let error = runpod.launch(&request(Market::Spot, 0.66)).await.expect_err("refused");
        assert_eq!(
            (error.fault, error.maybe_applied),
            (fault, fault == Fault::Unknown),
            "{answer:?}"
        );
    }
    for (answer, fault) in [
        (problem(400, NONE_LEFT), Fault::Capacity),
        (problem(400, "mounts.persistent is invalid"), Fault::Rejected),
        (problem(402, "insufficient balance"), Fault::Quota),
        (problem(429, "rate limit exceeded"), Fault::Throttled),
        (problem(500, "Something went wrong."), Fault::Unknown),
        ((201, json!({"status": "PROVISIONING"})), Fault::Unknown),
        ((201, json!({"id": "../x"})), Fault::Unknown),
        ((201, json!("")), Fault::Unknown),
    ] {
        let (runpod, _) = runpod(vec![none(), answer.clone()]).await;
        let error = runpod.launch(&request(Market::OnDemand, 0.66)).await.expect_err("refused");
        assert_eq!(
            (error.fault, error.maybe_applied),
            (fault, fault == Fault::Unknown),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_pod_that_is_not_what_was_asked_is_terminated_before_the_refusal_is_told() {
    let dear = made(json!("EU-RO-1"), json!(0.9));
    let elsewhere = made(json!("US-TX-3"), json!(0.62));
    for (answer, fault) in [(dear.clone(), Fault::Price), (elsewhere, Fault::Capacity)] {
        let (runpod, asked) = runpod(vec![none(), answer, (204, json!(null))]).await;
        let error = runpod.launch(&request(Market::OnDemand, 0.66)).await.expect_err("refused");
        assert_eq!((error.fault, error.maybe_applied), (fault, false));
        assert_eq!(asked.lock().unwrap()[2].0, "DELETE /v2/pods/abc123");
    }
    let script = vec![
        none(),
        bids(json!(0.31), json!("High")),
        rented(json!("US-TX-3")),
        (204, json!(null)),
    ];
    let (spot, _) = runpod(script).await;
    assert_eq!(
        spot.launch(&request(Market::Spot, 0.66)).await.expect_err("elsewhere").fault,
        Fault::Capacity
    );
    let (stuck, _) = runpod(vec![none(), dear, (500, json!("no"))]).await;
    let error = stuck.launch(&request(Market::OnDemand, 0.66)).await.expect_err("refused");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{error}");
}

#[tokio::test]
async fn what_the_token_made_before_is_adopted_and_a_blind_create_is_unknown() {
    let same = json!({"id": "old1", "name": label(), "status": "RUNNING", "runtime": {}});
    let foreign = json!({"id": "x1", "name": "mine"});
    let (adopting, asked) = runpod(vec![(200, json!({"pods": [foreign, same]}))]).await;
    let made = adopting.launch(&request(Market::Spot, 0.66)).await.expect("a machine");
    assert_eq!((made.id.as_str(), made.state), ("old1", InstanceState::Running));
    assert_eq!(asked.lock().unwrap().len(), 1, "no second create");
    for answer in [
        (502, json!("bad gateway")),
        (200, json!({"pods": null})),
        (200, json!({})),
        (200, json!({"pods": [{"name": "a row without an id"}]})),
    ] {
        let (blind, asked) = runpod(vec![answer.clone()]).await;
        let error = blind.launch(&request(Market::Spot, 0.66)).await.expect_err("blind");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{answer:?}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn listings_say_when_they_are_incomplete() {
    let ours = |id: &str| json!({"id": id, "name": label(), "status": "RUNNING"});
    let owner = OwnerTag { fleet: FleetId::new(FLEET) };
    for (pods, count, complete) in [
        (json!([]), 0, true),
        (json!([ours("a"), {"id": "b", "name": "mine"}, ours("c")]), 2, true),
        (json!([ours("a"), ours("a")]), 1, false),
        (json!([ours("a"), {"name": label()}]), 1, false),
    ] {
        let (runpod, _) = runpod(vec![(200, json!({"pods": pods}))]).await;
        let listing = runpod.list(&owner).await.expect("a listing");
        assert_eq!((listing.instances.len(), listing.complete), (count, complete), "{pods}");
        assert_eq!(listing.complete, listing.gaps.is_empty());
    }
    for bad in [(200, json!({"pods": null})), (200, json!("")), problem(401, "no")] {
        let (runpod, _) = runpod(vec![bad.clone()]).await;
        assert!(runpod.list(&owner).await.is_err(), "{bad:?} is no empty listing");
    }
}

#[tokio::test]
async fn describe_and_terminate_say_what_the_cloud_said() {
    let place = offers::place(Some("EU-RO-1"));
    let taken = json!({"id": "abc", "name": label(), "status": "EXITED", "startedAt": "2026-08-20T06:16:19Z",
        "env": {"FLEET_MARKET": "spot"}});
    let (runpod, asked) = runpod(vec![
        (200, taken),
        problem(404, "pod not found"),
        (200, json!({"id": "another"})),
        (502, json!("x")),
        (204, json!(null)),
        problem(404, "pod not found"),
        (500, json!("x")),
    ])
    .await;
    let id = InstanceId::new("abc");
    let machine = runpod.describe(&id, &place).await.expect("a machine");
    assert_eq!(machine.state, InstanceState::Stopped { cause: DeathCause::Preempted });
    for want in [Fault::NotFound, Fault::Transient, Fault::Transient] {
        assert_eq!(runpod.describe(&id, &place).await.expect_err("no machine").fault, want);
    }
    assert_eq!(runpod.terminate(&id, &place).await.expect("done"), Termination::Requested);
    assert_eq!(runpod.terminate(&id, &place).await.expect("done"), Termination::NotFound);
    let error = runpod.terminate(&id, &place).await.expect_err("failed");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Transient, true));
    for bad in ["", "../../x", "a b", "1 or 1=1"] {
        let bad = InstanceId::new(bad);
        assert_eq!(runpod.describe(&bad, &place).await.expect_err("no id").fault, Fault::Rejected);
    }
    assert_eq!(asked.lock().unwrap().len(), 7);
}

/// Data centres and a catalogue, as an offers call asks for them.
fn catalogue() -> Script {
    let gpus: Value = serde_json::from_str(include_str!("../../fixtures/gpus.json")).expect("rows");
    let has = json!([{"id": "NVIDIA L4", "name": "L4", "availability": "LOW"}]);
    vec![(200, json!({"dataCenters": [{"id": "EU-RO-1", "gpuAvailability": has}]})), (200, gpus)]
}

fn l4(markets: &[Market]) -> OfferQuery {
    let filter = fleet_types::OfferFilter { datacenter_only: true, ..Default::default() };
    let wanted = AcceleratorRequest::Named(Accelerator::new("L4", 1));
    OfferQuery {
        accelerators: vec![wanted],
        markets: markets.to_vec(),
        filter,
        ..OfferQuery::default()
    }
}

#[tokio::test]
async fn where_the_spot_api_is_gone_there_is_no_spot_and_the_rest_goes_on() {
    for status in [404, 410] {
        let gone = (status, json!("Gone"));
        let (runpod, _) = runpod([catalogue(), vec![gone.clone()]].concat()).await;
        let found = runpod.offers(&l4(&[])).await.expect("offers");
        assert_eq!(found.iter().map(|o| o.market).collect::<Vec<_>>(), [Market::OnDemand]);
        let (runpod, _) = self::runpod([catalogue(), vec![gone.clone()]].concat()).await;
        assert!(runpod.offers(&l4(&[Market::Spot])).await.expect("none").is_empty());
        let (runpod, _) = self::runpod(vec![gone, (200, json!({"keys": []}))]).await;
        let identity = runpod.verify().await.expect("an identity");
        assert!(identity.notes[0].contains("spot cannot be rented"), "{identity:?}");
    }
}

#[tokio::test]
async fn a_spot_api_that_fails_hides_on_demand_only_where_it_was_not_asked() {
    let (both, _) = runpod([catalogue(), vec![(502, json!("x"))]].concat()).await;
    assert_eq!(both.offers(&l4(&[])).await.expect("offers").len(), 1);
    let (spot, _) = runpod([catalogue(), vec![(502, json!("x"))]].concat()).await;
    assert_eq!(
        spot.offers(&l4(&[Market::Spot])).await.expect_err("no bids").fault,
        Fault::Transient
    );
    let (calm, asked) =
        runpod([catalogue(), vec![bids(json!(0.31), json!("High"))]].concat()).await;
    let found = calm.offers(&l4(&[])).await.expect("offers");
    assert_eq!(found.len(), 2);
    assert_eq!(asked.lock().unwrap()[2].1["variables"]["ids"], json!(["NVIDIA L4"]));
    let (on_demand, asked) = runpod(catalogue()).await;
    on_demand.offers(&l4(&[Market::OnDemand])).await.expect("offers");
    assert_eq!(asked.lock().unwrap().len(), 2, "bids are not asked for in vain");
    let (nobody, _) = runpod(vec![problem(401, "no")]).await;
    assert_eq!(nobody.offers(&l4(&[])).await.expect_err("no key").fault, Fault::Auth);
    let blind = vec![(502, json!("x")), catalogue()[1].clone(), bids(json!(0.31), json!("High"))];
    let (blind, _) = runpod(blind).await;
    assert_eq!(blind.offers(&l4(&[])).await.expect("those with stock").len(), 2);
}

#[tokio::test]
async fn verify_says_who_pays_and_what_the_key_may_not() {
    let me =
        json!({"id": "user_1", "email": "me@example.org", "clientBalance": 12.5, "spendLimit": 80});
    let (named, _) = runpod(vec![(200, json!({"data": {"myself": me}}))]).await;
    let identity = named.verify().await.expect("an identity");
    assert_eq!(
        (identity.account.as_str(), identity.principal.as_str()),
        ("user_1", "me@example.org")
    );
    let quota = identity.quota.expect("a quota");
    assert!(quota.contains("$12.50") && quota.contains("$80.00"), "{quota}");
    let (restricted, _) = runpod(vec![(403, json!("no")), (200, json!({"keys": []}))]).await;
    let identity = restricted.verify().await.expect("an identity");
    assert!(identity.notes[0].contains("GraphQL"), "{identity:?}");
    for script in [vec![(401, json!("no"))], vec![(403, json!("no")), problem(403, "no")]] {
        let (nobody, _) = runpod(script).await;
        let error = nobody.verify().await.expect_err("nobody");
        assert_eq!((error.fault, error.scope), (Fault::Auth, Scope::Provider));
    }
}
