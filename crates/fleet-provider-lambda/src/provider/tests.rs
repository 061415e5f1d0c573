//! Whole calls against a socket that answers from a script and keeps what it was asked.

use super::*;
use fleet_provider::{Boot, Candidate, Leftover};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, DeathCause, Epoch, FleetId, JobId, Market,
    TimeScale, Token, Trust, Usd,
};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const FLEET: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "fedcba9876543210fedcba9876543210";
const KEY: &str = "secret_my-laptop_0123abcd.s3cr3ts3cr3t";

type Script = Vec<(u16, Value)>;

/// One request: its line and its body.
#[derive(Debug, Clone)]
struct Asked(String, Value);

async fn lambda(script: Script) -> (LambdaProvider, Arc<Mutex<Vec<Asked>>>) {
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
    let environment = BTreeMap::from([("LAMBDA_API_KEY".to_owned(), KEY.to_owned())]);
    let time_scale = TimeScale::new(0.001).expect("a factor");
    let config = LambdaConfig { endpoint, environment, time_scale };
    (LambdaProvider::new(config).expect("a driver"), asked)
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
            return Asked(line, serde_json::from_str(body).unwrap_or(Value::Null));
        }
    }
}

fn request(market: Market, limit: f64) -> LaunchRequest {
    let offer = Offer {
        place: crate::offers::place("us-west-1"),
        instance_type: "gpu_1x_a10".into(),
        market,
        key: String::new(),
        accelerator: Some(Accelerator::new("A10", 1)),
        gpu_memory_gb: None,
        vcpus: 1.0,
        memory_gib: 1.0,
        disk_gib: None,
        price_usd_per_hour: Usd::price(1.29),
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
        class: MachineClass::Vm,
        trust: Trust::Trusted,
    };
    LaunchRequest {
        token: Token::new(TOKEN),
        owner: owner(),
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
        labels: BTreeMap::from([
            ("team".to_owned(), "vision".to_owned()),
            ("Not Taken".to_owned(), "x".to_owned()),
        ]),
        ports: vec![8080],
        admit_from: None,
    }
}

fn owner() -> OwnerTag {
    OwnerTag { fleet: FleetId::new(FLEET) }
}

fn ok(data: Value) -> (u16, Value) {
    (200, json!({"data": data}))
}

fn refusal(status: u16, code: &str) -> (u16, Value) {
    (status, json!({"error": {"code": code, "message": "words"}}))
}

fn types() -> (u16, Value) {
    let text = include_str!("../../fixtures/instance_types.json");
    (200, serde_json::from_str(text).expect("a fixture"))
}

fn keys(names: &[&str]) -> (u16, Value) {
    let key = |n: &&str| json!({"id": format!("id-of-{n}"), "name": n, "public_key": "x"});
    ok(names.iter().map(key).collect())
}

fn ours() -> String {
    format!("fleet-{FLEET}")
}

/// A row of the listing, with our marks or a stranger's name.
fn row(id: &str, token: Option<&str>) -> Value {
    let tag = |key: &str, value: &str| json!({"key": key, "value": value});
    let tags = token.map_or(json!([]), |t| json!([tag("fleet-id", FLEET), tag("fleet-token", t)]));
    json!({"id": id, "status": "active", "ssh_key_names": [ours()], "tags": tags,
        "region": {"name": "us-west-1"}, "instance_type": {"name": "gpu_1x_a10"}})
}

fn made() -> (u16, Value) {
    ok(json!({"instance_ids": ["0920582c7ff041399e34823a0be62549"]}))
}

#[tokio::test]
async fn a_create_looks_first_asks_the_price_registers_its_key_and_launches() {
    let script = vec![ok(json!([])), types(), keys(&["mine"]), ok(json!({})), made()];
    let (lambda, asked) = lambda(script).await;
    let instance = lambda.launch(&request(Market::OnDemand, 1.35)).await.expect("a machine");
    assert_eq!(instance.id.as_str(), "0920582c7ff041399e34823a0be62549");
    assert_eq!(instance.price_usd_per_hour, Usd::price(1.29));
    let asked = asked.lock().unwrap().clone();
    let lines: Vec<&str> = asked.iter().map(|a| a.0.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/instances",
            "GET /api/v1/instance-types",
            "GET /api/v1/ssh-keys",
            "POST /api/v1/ssh-keys",
            "POST /api/v1/instance-operations/launch"
        ]
    );
    assert_eq!(asked[3].1["name"], ours().as_str());
    let body = &asked[4].1;
    assert_eq!(body["region_name"], "us-west-1");
    assert_eq!(body["ssh_key_names"], json!([ours()]));
    assert_eq!(body["name"], "fleet-j-000000000000-1");
    let tags: BTreeMap<&str, &str> = body["tags"]
        .as_array()
        .expect("tags")
        .iter()
        .map(|t| (t["key"].as_str().expect("a key"), t["value"].as_str().expect("a value")))
        .collect();
    assert_eq!((tags["fleet-id"], tags["fleet-token"]), (FLEET, TOKEN));
    assert_eq!((tags["fleet-expires"], tags["team"]), ("1795000000", "vision"));
    assert_eq!(tags["fleet-sent"], instance.launched_at.expect("a time").millis().to_string());
    assert!(!tags.contains_key("Not Taken") && !tags.contains_key("Name"), "{tags:?}");
    assert!(body["user_data"].as_str().expect("text").starts_with("#cloud-config"));
    assert!(!body.to_string().contains("s3cr3t"), "the account key never leaves this machine");
}

#[tokio::test]
async fn spot_and_what_is_too_dear_are_never_sent() {
    let (lambda, asked) = lambda(Vec::new()).await;
    let error = lambda.launch(&request(Market::Spot, 9.0)).await.expect_err("no spot");
    assert_eq!((error.fault, error.scope), (Fault::Rejected, Scope::RegionMarket));
    let error = lambda.launch(&request(Market::OnDemand, 1.0)).await.expect_err("too dear");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Price, false));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn price_and_capacity_are_read_again_before_a_create() {
    let dearer = |cents: Value| {
        let mut body = types().1;
        body["data"]["gpu_1x_a10"]["instance_type"]["price_cents_per_hour"] = cents;
        (200, body)
    };
    let mut gone = types().1;
    gone["data"]["gpu_1x_a10"]["regions_with_capacity_available"] = json!([]);
    let mut none = types().1;
    none["data"].as_object_mut().expect("types").remove("gpu_1x_a10");
    for (answer, fault) in [
        (dearer(json!(200)), Fault::Price),
        (dearer(json!(null)), Fault::Price),
        ((200, gone), Fault::Capacity),
        ((200, none), Fault::Rejected),
        ((502, json!("bad gateway")), Fault::Transient),
    ] {
        let (lambda, asked) = lambda(vec![ok(json!([])), answer.clone()]).await;
        let error = lambda.launch(&request(Market::OnDemand, 1.35)).await.expect_err("refused");
        assert_eq!((error.fault, error.maybe_applied), (fault, false), "{answer:?}");
        assert_eq!(asked.lock().unwrap().len(), 2, "nothing was bought");
    }
}

#[tokio::test]
async fn a_key_that_is_there_is_used_and_one_that_cannot_be_made_buys_nothing() {
    let same = ours();
    let script = vec![ok(json!([])), types(), keys(&["mine", &same]), made()];
    let (lambda, asked) = lambda(script).await;
    lambda.launch(&request(Market::OnDemand, 1.35)).await.expect("a machine");
    assert_eq!(asked.lock().unwrap().len(), 4);
    for (answer, fault) in [
        (refusal(400, "global/duplicate"), None),
        ((500, json!("x")), Some(Fault::Transient)),
        (refusal(401, "global/invalid-api-key"), Some(Fault::Auth)),
    ] {
        let script = vec![ok(json!([])), types(), keys(&[]), answer, made()];
        let (lambda, asked) = self::lambda(script).await;
        let result = lambda.launch(&request(Market::OnDemand, 1.35)).await;
        match fault {
            None => assert!(result.is_ok(), "{result:?}"),
            Some(fault) => {
                let error = result.expect_err("no key");
                assert_eq!((error.fault, error.maybe_applied), (fault, false));
                assert_eq!(asked.lock().unwrap().len(), 4, "nothing was bought");
            }
        }
    }
}

#[tokio::test]
async fn what_the_token_made_before_is_adopted() {
    let list = ok(json!([row("a1", None), row("a2", Some(TOKEN))]));
    let (lambda, asked) = lambda(vec![list]).await;
    let made = lambda.launch(&request(Market::OnDemand, 1.35)).await.expect("a machine");
    assert_eq!((made.id.as_str(), made.state), ("a2", InstanceState::Running));
    assert_eq!(asked.lock().unwrap().len(), 1, "no second create");
}

#[tokio::test]
async fn a_create_that_could_not_look_is_unknown_and_sends_nothing() {
    for (status, body) in [
        (502, json!("bad gateway")),
        (200, json!({"data": null})),
        (200, json!({})),
        (200, json!({"data": [{"status": "a row without an id"}]})),
    ] {
        let (lambda, asked) = lambda(vec![(status, body.clone())]).await;
        let error = lambda.launch(&request(Market::OnDemand, 1.35)).await.expect_err("blind");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{body}: {error}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_create_without_a_readable_outcome_is_unknown() {
    for answer in [
        (500, json!("x")),
        (200, json!({"data": {}})),
        (200, json!({"data": {"instance_ids": []}})),
        (200, json!({"data": {"instance_ids": ["a", "b"]}})),
        (200, json!({"data": {"instance_ids": ["../x"]}})),
        (200, json!("<html>")),
        (400, json!({"error": {"code": "a/code/of/next-year", "message": "?"}})),
    ] {
        let same = ours();
        let (lambda, _) =
            lambda(vec![ok(json!([])), types(), keys(&[&same]), answer.clone()]).await;
        let error = lambda.launch(&request(Market::OnDemand, 1.35)).await.expect_err("unknown");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{answer:?}");
    }
}

#[tokio::test]
async fn listings_say_when_they_are_incomplete() {
    let ours = |id: &str| row(id, Some(TOKEN));
    for (answer, count, complete) in [
        (ok(json!([])), 0, true),
        (ok(json!([ours("a1"), row("a2", None), ours("a3")])), 2, true),
        (ok(json!([ours("a1"), ours("a1")])), 1, false),
        (ok(json!([ours("a1"), {"status": "active"}])), 1, false),
    ] {
        let (lambda, _) = lambda(vec![answer.clone()]).await;
        let listing = lambda.list(&owner()).await.expect("a listing");
        assert_eq!((listing.instances.len(), listing.complete), (count, complete), "{answer:?}");
        assert_eq!(listing.complete, listing.gaps.is_empty());
    }
    for bad in [ok(json!(null)), (200, json!("")), refusal(401, "global/invalid-api-key")] {
        let (lambda, _) = lambda(vec![bad.clone()]).await;
        assert!(lambda.list(&owner()).await.is_err(), "{bad:?} is no empty listing");
    }
}

#[tokio::test]
async fn describe_and_terminate_say_what_the_cloud_said() {
    let place = crate::offers::place("us-west-1");
    let mut taken = row("a1", Some(TOKEN));
    taken["status"] = json!("preempted");
    let ended = |id: &str, status: &str| {
        ok(json!({"terminated_instances": [{"id": id, "status": status}]}))
    };
    let (lambda, asked) = lambda(vec![
        ok(taken),
        ok(row("a2", None)),
        refusal(404, "global/object-does-not-exist"),
        ended("a1", "terminating"),
        ended("a1", "terminated"),
        refusal(404, "global/object-does-not-exist"),
        ended("a9", "terminating"),
        (500, json!("x")),
    ])
    .await;
    let id = InstanceId::new("a1");
    let machine = lambda.describe(&id, &place).await.expect("a machine");
    assert_eq!(machine.state, InstanceState::Stopped { cause: DeathCause::Preempted });
    for want in [Fault::Transient, Fault::NotFound] {
        assert_eq!(lambda.describe(&id, &place).await.expect_err("no machine").fault, want);
    }
    for want in [Termination::Requested, Termination::Gone, Termination::NotFound] {
        assert_eq!(lambda.terminate(&id, &place).await.expect("an answer"), want);
    }
    for _ in 0..2 {
        let error = lambda.terminate(&id, &place).await.expect_err("not done");
        assert_eq!((error.fault, error.maybe_applied), (Fault::Transient, true));
    }
    assert_eq!(asked.lock().unwrap()[3].1, json!({"instance_ids": ["a1"]}));
    for bad in ["", "../x", "a b", "\u{202e}7"] {
        let bad = InstanceId::new(bad);
        assert_eq!(lambda.describe(&bad, &place).await.expect_err("no id").fault, Fault::Rejected);
        assert_eq!(lambda.terminate(&bad, &place).await.expect_err("no id").fault, Fault::Rejected);
    }
    assert_eq!(asked.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn offers_need_the_types_and_can_do_without_the_regions() {
    let wanted = AcceleratorRequest::Named(Accelerator::new("A10", 1));
    let query = OfferQuery { accelerators: vec![wanted], ..OfferQuery::default() };
    let regions = ok(json!([{"name": "us-west-1"}, {"name": "us-east-1"}]));
    let (lambda, asked) = lambda(vec![
        types(),
        regions,
        types(),
        (502, json!("x")),
        types(),
        refusal(401, "global/invalid-api-key"),
        ok(json!([])),
    ])
    .await;
    assert_eq!(lambda.offers(&query).await.expect("offers").len(), 3);
    assert_eq!(lambda.offers(&query).await.expect("offers").len(), 3, "those that capacity names");
    assert_eq!(lambda.offers(&query).await.expect_err("no key").fault, Fault::Auth);
    assert_eq!(lambda.offers(&query).await.expect_err("no types").fault, Fault::Transient);
    let spot = OfferQuery { markets: vec![Market::Spot], ..query };
    assert!(lambda.offers(&spot).await.expect("no offers").is_empty());
    assert_eq!(asked.lock().unwrap().len(), 7, "spot is not asked for");
}

#[tokio::test]
async fn the_key_is_found_and_removed_once_no_machine_names_it() {
    let same = ours();
    let (lambda, asked) = lambda(vec![
        keys(&["mine", &same]),
        ok(json!([row("a1", None)])),
        ok(json!([])),
        keys(&["mine", &same]),
        ok(json!({})),
        keys(&["mine"]),
    ])
    .await;
    let extra = lambda.auxiliary().expect("a key");
    let found = extra.leftovers(&owner()).await.expect("leftovers");
    assert_eq!((found.len(), found[0].id.as_str()), (1, same.as_str()));
    assert_eq!(extra.remove(&found[0]).await.expect_err("in use").fault, Fault::Rejected);
    extra.remove(&found[0]).await.expect("removed");
    let last = asked.lock().unwrap().last().expect("a call").0.clone();
    assert_eq!(last, format!("DELETE /api/v1/ssh-keys/id-of-{same}"));
    assert!(extra.leftovers(&owner()).await.expect("leftovers").is_empty());
    for (kind, id) in [("ssh-key", "mine"), ("ssh-key", "fleet-mine"), ("machine", same.as_str())] {
        let foreign = Leftover { kind: kind.into(), id: id.into(), ..found[0].clone() };
        assert_eq!(extra.remove(&foreign).await.expect_err("foreign").fault, Fault::Rejected);
    }
    extra.admit(&owner(), "192.0.2.1/32").await.expect("nothing to do");
    assert_eq!(asked.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn verify_names_the_key_but_not_its_secret() {
    let (lambda, _) = lambda(vec![keys(&[])]).await;
    let identity = lambda.verify().await.expect("an identity");
    assert_eq!(
        (identity.principal.as_str(), identity.source.as_str()),
        ("my-laptop", "LAMBDA_API_KEY")
    );
    assert!(!format!("{identity:?} {lambda:?}").contains("s3cr3t"));
    for odd in ["", "x", "secret_x", "secret__"] {
        assert_eq!(key_name(odd), "", "{odd}");
    }
}
