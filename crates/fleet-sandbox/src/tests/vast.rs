//! Vast as its clients see it.

use super::{Lab, http, sandbox, scaled, until};
use crate::Scenario;
use serde_json::{Value, json};

async fn t4(b: &Lab, kind: &str) -> Vec<Value> {
    let query = json!({
        "type": kind, "gpu_name": {"eq": "Tesla T4"}, "num_gpus": {"eq": 1}, "limit": 100,
        "order": [["dph_total", "asc"]], "verified": {"eq": true}, "reliability": {"gte": 0.98},
        "rentable": {"eq": true}, "rented": {"eq": false}, "allocated_storage": 20,
    });
    let (status, answer) = b.vast("POST", "/api/v0/bundles/", query).await;
    assert_eq!(status, 200, "{answer}");
    answer["offers"].as_array().unwrap().clone()
}

/// The body of a create; `price` null is none.
fn rent(label: &str, price: Value) -> Value {
    let mut body = json!({
        "client_id": "me", "image": "vastai/base-image", "disk": 20, "label": label,
        "runtype": "ssh_direc ssh_proxy", "cancel_unavail": true,
        "env": {"A": "1", "-p 8080:8080": "1"},
        "onstart": "echo 'ssh-ed25519 AAAAC3Nz me' >> ~/.ssh/authorized_keys",
    });
    if !price.is_null() {
        body["price"] = price;
    }
    body
}

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn label() -> String {
    format!("fleet/{}/{TOKEN}/1893456000", "f".repeat(32))
}

async fn create(b: &Lab, offer: &Value, price: Value) -> (u16, Value) {
    let path = format!("/api/v0/asks/{}/", offer["id"]);
    loop {
        let (status, answer) = b.vast("PUT", &path, rent(&label(), price.clone())).await;
        if status != 429 {
            return (status, answer);
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The contract's row once it looks like that.
async fn row(b: &Lab, id: u64, field: &str, value: &str) -> Value {
    until(&format!("{id} {field}={value}"), || async {
        let (_, list) = b.vast("GET", "/api/v0/instances/", Value::Null).await;
        let rows = list["instances"].as_array().unwrap().clone();
        rows.into_iter().find(|r| r["id"] == id && r[field] == value)
    })
    .await
}

#[tokio::test]
async fn a_key_that_is_not_ours_is_refused_and_a_path_needs_its_slash() {
    let b = sandbox(Scenario::default()).await;
    let base = b.running.state.endpoints.vast.clone();
    let wrong = [("authorization", "Bearer real-looking")];
    let user = http("GET", &format!("{base}/api/v0/users/current/"), &wrong, "").await.unwrap();
    assert_eq!(user.0, 401);
    let search = http("POST", &format!("{base}/api/v0/bundles/"), &wrong, "{}").await.unwrap();
    assert!(search.0 == 404 && search.1.contains("Invalid user key"), "{search:?}");
    assert_eq!(b.vast("GET", "/api/v0/instances", Value::Null).await.0, 404);
    assert_eq!(b.vast("GET", "/api/v0/users/current/", Value::Null).await.0, 200);
}

#[tokio::test]
async fn a_bid_rents_a_machine_whose_offer_vanishes_until_it_is_destroyed() {
    let b = sandbox(Scenario::default()).await;
    let offers = t4(&b, "bid").await;
    assert!(offers.len() >= 3, "{}", offers.len());
    let offer = &offers[0];
    let bid = offer["min_bid"].as_f64().unwrap() * 1.1;
    let (status, made) = create(&b, offer, json!(bid)).await;
    assert_eq!((status, &made["success"]), (200, &json!(true)), "{made}");
    let id = made["new_contract"].as_u64().unwrap();
    let shown = row(&b, id, "actual_status", "running").await;
    assert_eq!(shown["is_bid"], true);
    assert!((shown["dph_base"].as_f64().unwrap() - bid).abs() < 1e-6);
    let port = b.running.state.ssh_port.to_string();
    assert_eq!(shown["ports"]["22/tcp"][0]["HostPort"], port);
    assert_eq!(shown["extra_env"][0], json!(["-p 8080:8080", "1"]));
    assert!(t4(&b, "bid").await.iter().all(|o| o["id"] != offer["id"]), "taken");
    let (status, refused) = create(&b, offer, json!(bid)).await;
    assert_eq!((status, &refused["error"]), (410, &json!("no_such_ask")));
    {
        let specs = b.recorder.specs.lock().unwrap();
        assert_eq!(specs[0].authorized_keys, ["ssh-ed25519 AAAAC3Nz"]);
        assert!(specs[0].env.iter().all(|(k, _)| !k.starts_with('-')));
    }

    let path = format!("/api/v0/instances/{id}/");
    assert_eq!(b.vast("DELETE", &path, json!({})).await.0, 200);
    until("a second destroy finds nothing", || async {
        let (status, answer) = b.vast("DELETE", &path, json!({})).await;
        (status != 429)
            .then(|| assert_eq!((status, &answer["error"]), (404, &json!("no_such_instance"))))
    })
    .await;
    until("the offer is back", || async {
        t4(&b, "bid").await.iter().any(|o| o["id"] == offer["id"]).then_some(())
    })
    .await;
    let ledger = b.ledger().await;
    assert_eq!(ledger["instances"][0]["token"], TOKEN);
    assert!(ledger["resources"].as_array().unwrap().iter().all(|r| !r["ended_at"].is_null()));
}

#[tokio::test]
async fn a_bid_too_low_leaves_a_stopped_contract_that_bills() {
    let b = sandbox(Scenario::default()).await;
    let offers = t4(&b, "bid").await;
    let (status, answer) = create(&b, &offers[0], json!(0.01)).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_price")));
    let id = answer["new_contract"].as_u64().unwrap();
    let shown = row(&b, id, "cur_state", "stopped").await;
    assert_eq!(shown["intended_status"], "stopped");
    let ledger = b.ledger().await;
    assert!(ledger["instances"].as_array().unwrap().is_empty());
    assert_eq!(ledger["resources"][0]["kind"], "contract");
    assert!(ledger["resources"][0]["ended_at"].is_null());
    // A bid that is high enough starts it.
    let path = format!("/api/v0/instances/bid_price/{id}/");
    let bid = json!({"client_id": "me", "price": offers[0]["min_bid"].as_f64().unwrap() * 1.2});
    assert_eq!(b.vast("PUT", &path, bid).await.0, 200);
    row(&b, id, "actual_status", "running").await;
}

#[tokio::test]
async fn forgetting_the_price_rents_on_demand() {
    let b = sandbox(Scenario::default()).await;
    let offers = t4(&b, "bid").await;
    let (_, made) = create(&b, &offers[0], Value::Null).await;
    let id = made["new_contract"].as_u64().unwrap();
    let shown = row(&b, id, "actual_status", "running").await;
    assert_eq!(shown["is_bid"], false);
    assert!(shown["dph_base"].as_f64().unwrap() > offers[0]["min_bid"].as_f64().unwrap() * 1.2);
    assert_eq!(b.ledger().await["instances"][0]["market"], "on-demand");
}

#[tokio::test]
async fn outbid_is_silent_death_and_the_disk_bills_until_destroy() {
    let b = sandbox(Scenario::default()).await;
    let offers = t4(&b, "bid").await;
    let bid = offers[0]["min_bid"].as_f64().unwrap() * 1.05;
    let id = create(&b, &offers[0], json!(bid)).await.1["new_contract"].as_u64().unwrap();
    row(&b, id, "actual_status", "running").await;
    let asked = json!({"instance": id, "warning_ms": 30_000});
    let (status, answer) = b.control("POST", "/preempt", asked).await;
    assert_eq!((status, &answer["preempted"][0]["notice"]), (200, &json!(false)), "{answer}");
    let shown = row(&b, id, "cur_state", "stopped").await;
    let states = ["cur_state", "next_state", "intended_status"].map(|f| shown[f].clone());
    assert_eq!(states, ["stopped", "stopped", "stopped"].map(Value::from));
    let ledger = b.ledger().await;
    assert_eq!(ledger["instances"][0]["end_cause"], "preempted-capacity");
    assert!(ledger["resources"][0]["ended_at"].is_null(), "the disk bills on");
    b.vast("DELETE", &format!("/api/v0/instances/{id}/"), json!({})).await;
    assert!(!b.ledger().await["resources"][0]["ended_at"].is_null());
}

#[tokio::test]
async fn a_price_spike_takes_machines_whose_bid_it_exceeds() {
    let spike = br#"{"places":[{"match":{"market":"spot"},"price_factor":6,"from_seconds":0.8}]}"#;
    let b = sandbox(Scenario::from_json("s", spike).unwrap()).await;
    let offers = t4(&b, "bid").await;
    let low = offers[0]["min_bid"].as_f64().unwrap();
    let id = create(&b, &offers[0], json!(low * 1.1)).await.1["new_contract"].as_u64().unwrap();
    row(&b, id, "cur_state", "stopped").await;
    assert_eq!(b.ledger().await["instances"][0]["end_cause"], "preempted-price");
}

#[tokio::test]
async fn bad_arguments_are_named() {
    let b = sandbox(Scenario::default()).await;
    let (status, answer) = b.vast("PUT", "/api/v0/asks/1/", rent("l", json!(0.5))).await;
    assert_eq!(status, 404);
    assert!(answer["msg"].as_str().unwrap().contains("no_such_ask"), "{answer}");
    let (status, answer) = b.vast("POST", "/api/v0/bundles/", json!({"gpus": {"eq": 1}})).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_args")), "{answer}");
}

#[tokio::test]
async fn calls_too_close_together_are_429_with_the_threshold_in_the_text() {
    let b = scaled(Scenario::default(), 1.0).await;
    let first = b.vast("GET", "/api/v1/instances/?limit=5", Value::Null).await;
    assert_eq!(first.0, 200);
    let (status, text) = b.vast("GET", "/api/v1/instances/?limit=5", Value::Null).await;
    assert_eq!(status, 429);
    assert_eq!(text, "API requests too frequent endpoint threshold=1.0");
}

#[tokio::test]
async fn the_paged_list_filters_by_label() {
    let b = sandbox(Scenario::default()).await;
    let offers = t4(&b, "bid").await;
    let mut ids = Vec::new();
    for offer in &offers[..3] {
        let bid = offer["min_bid"].as_f64().unwrap() * 1.1;
        ids.push(create(&b, offer, json!(bid)).await.1["new_contract"].as_u64().unwrap());
    }
    let page = |after: &'static str| {
        let filters = super::encode(&json!({"label": {"eq": label()}}).to_string());
        format!("/api/v1/instances/?limit=2&select_filters={filters}&after_token={after}")
    };
    let get = |path: String| {
        let b = &b;
        async move {
            until("a page", || async {
                let (status, answer) = b.vast("GET", &path, Value::Null).await;
                (status == 200).then_some(answer)
            })
            .await
        }
    };
    let first = get(page("")).await;
    assert_eq!(first["next_token"], "2", "{first}");
    let second = get(page("2")).await;
    assert_eq!(second["next_token"], Value::Null);
    let seen: Vec<u64> = [first, second]
        .iter()
        .flat_map(|p| p["instances"].as_array().unwrap().clone())
        .map(|r| r["id"].as_u64().unwrap())
        .collect();
    assert_eq!(seen, ids);
}
