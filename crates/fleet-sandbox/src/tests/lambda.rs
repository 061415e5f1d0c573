//! Lambda as its clients see it.

use super::{Lab, http, named, sandbox, scaled, until};
use crate::{DUMMY_CREDENTIALS, Scenario};
use serde_json::{Value, json};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZsZWV0 me@x";

impl Lab {
    async fn try_lambda(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), String> {
        let auth = format!("Bearer {}", DUMMY_CREDENTIALS[3]);
        let url = format!("{}/api/v1{path}", self.running.state.endpoints.lambda);
        let headers = [("authorization", auth.as_str()), ("content-type", "application/json")];
        let (status, text) = http(method, &url, &headers, &body.to_string()).await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// The same, again while Lambda says that it is too often.
    async fn lambda(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        until(path, || async {
            let answer = self.try_lambda(method, path, body.clone()).await.unwrap();
            (answer.0 != 429).then_some(answer)
        })
        .await
    }

    async fn key(&self) {
        let body = json!({"name": "mine", "public_key": PUBLIC});
        assert_eq!(self.lambda("POST", "/ssh-keys", body).await.0, 200);
    }

    async fn launch(&self, body: Value) -> (u16, Value) {
        self.lambda("POST", "/instance-operations/launch", body).await
    }

    /// An A10 in its first region; its id.
    async fn a10(&self) -> String {
        let (status, made) = self.launch(a10()).await;
        assert_eq!(status, 200, "{made}");
        made["data"]["instance_ids"][0].as_str().unwrap().to_owned()
    }

    async fn lambda_in(&self, id: &str, status: &str) -> Value {
        until(&format!("{id} {status}"), || async {
            let (_, shown) = self.lambda("GET", &format!("/instances/{id}"), Value::Null).await;
            (shown["data"]["status"] == status).then(|| shown["data"].clone())
        })
        .await
    }
}

fn a10() -> Value {
    json!({
        "region_name": "us-west-1", "instance_type_name": "gpu_1x_a10", "ssh_key_names": ["mine"],
        "name": "run", "tags": [{"key": "fleet-token", "value": TOKEN}],
        "user_data": "#cloud-config\nssh_authorized_keys:\n  - \"ssh-ed25519 AAAAuser x\"\n",
    })
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn a_key_that_is_not_ours_is_refused_in_both_schemes() {
    use base64::Engine;
    let b = sandbox(Scenario::default()).await;
    let url = format!("{}/api/v1/instances", b.running.state.endpoints.lambda);
    let basic = |key: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{key}:"));
        format!("Basic {text}")
    };
    for (auth, status) in [
        ("Bearer real-looking".to_owned(), 401),
        (basic("real-looking"), 401),
        (String::new(), 401),
        (basic(DUMMY_CREDENTIALS[3]), 200),
    ] {
        let answer = http("GET", &url, &[("authorization", &auth)], "").await.unwrap();
        assert_eq!(answer.0, status, "{auth}");
    }
    let (status, missing) = b.lambda("GET", "/nonsense", Value::Null).await;
    assert_eq!((status, code(&missing)), (404, "global/not-found"));
}

#[tokio::test]
async fn types_name_their_price_and_the_regions_that_have_capacity() {
    let b = sandbox(Scenario::default()).await;
    let (_, types) = b.lambda("GET", "/instance-types", Value::Null).await;
    let types = types["data"].as_object().unwrap();
    assert!(types.len() > 10);
    let a10 = &types["gpu_1x_a10"];
    assert_eq!(a10["instance_type"]["price_cents_per_hour"], 129);
    assert!(a10["regions_with_capacity_available"].as_array().unwrap().len() >= 3, "{a10}");
    let (_, regions) = b.lambda("GET", "/regions", Value::Null).await;
    assert!(regions["data"].as_array().unwrap().len() >= 5);
    let dear =
        br#"{"places":[{"match":{"provider":"lambda","gpu":"A10"},"price_factor":2,"stock":0}]}"#;
    let b = sandbox(Scenario::from_json("s", dear).unwrap()).await;
    let (_, types) = b.lambda("GET", "/instance-types", Value::Null).await;
    let a10 = &types["data"]["gpu_1x_a10"];
    assert_eq!(a10["instance_type"]["price_cents_per_hour"], 258);
    assert_eq!(a10["regions_with_capacity_available"], json!([]));
}

#[tokio::test]
async fn a_launch_boots_is_listed_and_bills_until_it_is_terminated() {
    let b = sandbox(Scenario::default()).await;
    b.key().await;
    let id = b.a10().await;
    let shown = b.lambda_in(&id, "active").await;
    assert!(shown["ip"].as_str().unwrap().starts_with("127."), "{shown}");
    assert_eq!(shown["tags"][0]["value"], TOKEN);
    {
        let specs = b.recorder.specs.lock().unwrap();
        assert_eq!(
            specs[0].authorized_keys,
            ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZsZWV0", "ssh-ed25519 AAAAuser"]
        );
        assert_eq!(specs[0].gpu, Some(("A10".into(), 1)));
    }
    let (_, list) = b.lambda("GET", "/instances", Value::Null).await;
    assert_eq!(list["data"][0]["id"], id.as_str());
    let body = json!({"instance_ids": [id]});
    let terminate = "/instance-operations/terminate";
    let (status, ended) = b.lambda("POST", terminate, body.clone()).await;
    assert_eq!((status, &ended["data"]["terminated_instances"][0]["id"]), (200, &json!(id)));
    b.lambda_in(&id, "terminated").await;
    let (_, list) = b.lambda("GET", "/instances", Value::Null).await;
    assert_eq!(list["data"], json!([]));
    assert_eq!(b.lambda("POST", terminate, body).await.0, 200, "again is no error");
    let unknown = json!({"instance_ids": ["0".repeat(32)]});
    let (status, answer) = b.lambda("POST", terminate, unknown).await;
    assert_eq!((status, code(&answer)), (404, "global/object-does-not-exist"));
    let row = &b.ledger().await["instances"][0];
    assert_eq!((&row["token"], &row["market"]), (&json!(TOKEN), &json!("on-demand")));
    assert_eq!(
        (&row["price_usd_per_hour"], &row["end_cause"]),
        (&json!(1.29), &json!("terminated"))
    );
}

#[tokio::test]
async fn every_refusal_of_a_launch_has_its_code() {
    let b = sandbox(Scenario::default()).await;
    let without_key = b.launch(a10()).await;
    assert_eq!((without_key.0, code(&without_key.1)), (404, "global/object-does-not-exist"));
    b.key().await;
    for (field, value) in [
        ("quantity", json!(2)),
        ("ssh_key_names", json!([])),
        ("ssh_key_names", json!(["mine", "mine"])),
        ("name", json!("x".repeat(65))),
        ("hostname", json!("Not_A_Host")),
        ("tags", json!([{"key": "Name", "value": "x"}])),
        ("tags", json!([{"key": "ok", "value": "x".repeat(129)}])),
        ("region_name", json!(null)),
    ] {
        let mut body = a10();
        body[field] = value;
        let (status, answer) = b.launch(body).await;
        assert_eq!((status, code(&answer)), (400, "global/invalid-parameters"), "{field}");
    }
    for (field, value) in [("region_name", "us-moon-1"), ("instance_type_name", "gpu_1x_t4")] {
        let mut body = a10();
        body[field] = json!(value);
        assert_eq!(b.launch(body).await.0, 404, "{field}");
    }
    let mut elsewhere = a10();
    elsewhere["region_name"] = json!("us-west-3");
    let (status, answer) = b.launch(elsewhere).await;
    let capacity = "instance-operations/launch/insufficient-capacity";
    assert_eq!((status, code(&answer)), (400, capacity));
    let limits = br#"{"places":[{"match":{"provider":"lambda"},"quota":1}]}"#;
    let b = sandbox(Scenario::from_json("s", limits).unwrap()).await;
    b.key().await;
    b.a10().await;
    let (status, answer) = b.launch(a10()).await;
    assert_eq!((status, code(&answer)), (400, "global/quota-exceeded"));
    assert_eq!(b.ledger().await["instances"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_taken_says_so_until_it_is_terminated() {
    let b = sandbox(Scenario::default()).await;
    b.key().await;
    let id = b.a10().await;
    b.lambda_in(&id, "active").await;
    let (_, answer) = b.control("POST", "/preempt", json!({"instance": id})).await;
    assert_eq!(answer["preempted"][0]["notice"], false, "{answer}");
    b.lambda_in(&id, "preempted").await;
    let (_, list) = b.lambda("GET", "/instances", Value::Null).await;
    assert_eq!(list["data"][0]["status"], "preempted");
    let body = json!({"instance_ids": [id]});
    assert_eq!(b.lambda("POST", "/instance-operations/terminate", body).await.0, 200);
    let (_, list) = b.lambda("GET", "/instances", Value::Null).await;
    assert_eq!(list["data"], json!([]));
}

#[tokio::test]
async fn keys_are_unique_by_name_and_are_never_generated() {
    let b = sandbox(Scenario::default()).await;
    b.key().await;
    let again = json!({"name": "mine", "public_key": PUBLIC});
    let (status, answer) = b.lambda("POST", "/ssh-keys", again).await;
    assert_eq!((status, code(&answer)), (400, "global/duplicate"));
    let (status, _) = b.lambda("POST", "/ssh-keys", json!({"name": "other"})).await;
    assert_eq!(status, 400);
    let (_, keys) = b.lambda("GET", "/ssh-keys", Value::Null).await;
    assert_eq!(
        (keys["data"].as_array().unwrap().len(), &keys["data"][0]["public_key"]),
        (1, &json!(PUBLIC))
    );
    let id = keys["data"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/ssh-keys/{id}");
    assert_eq!(b.lambda("DELETE", &path, Value::Null).await.0, 200);
    assert_eq!(b.lambda("DELETE", &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn faults_strike_before_or_after_and_the_pace_is_kept() {
    let b = named("lost-answer").await;
    b.key().await;
    assert!(b.try_lambda("POST", "/instance-operations/launch", a10()).await.is_err());
    assert_eq!(b.ledger().await["instances"].as_array().unwrap().len(), 1, "it happened");
    let b = scaled(Scenario::default(), 1.0).await;
    for _ in 0..5 {
        assert_eq!(b.try_lambda("GET", "/instances", Value::Null).await.unwrap().0, 200);
    }
    let (status, answer) = b.try_lambda("GET", "/instances", Value::Null).await.unwrap();
    assert_eq!((status, code(&answer)), (429, "global/too-many-requests"));
}
