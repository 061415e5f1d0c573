//! Every row of the table against a recorded answer, sent over a real socket.

use super::*;
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Client, ClientSettings, Effect};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn reply(call: &'static str, status: u16, body: &str) -> Reply {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base_url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a caller");
        let mut buffer = [0; 2048];
        assert!(socket.read(&mut buffer).await.expect("a request") > 0);
        socket.write_all(answer.as_bytes()).await.expect("an answer");
    });
    let client = Client::new(ClientSettings {
        base_url,
        auth: None,
        secrets: Vec::new(),
        total: Duration::from_secs(10),
    })
    .expect("a client");
    let effect = match call {
        call::CREATE | call::RENT => Effect::Create,
        call::DELETE => Effect::Change,
        _ => Effect::Read,
    };
    let reply = client.send(Call::new(call, Method::PUT, "/", effect)).await.expect("a reply");
    server.await.expect("the server ends");
    reply
}

fn name_of(call: &str) -> &'static str {
    let rest = [call::GPUS, call::DATA_CENTERS, call::LIST, call::SHOW, call::CREATE, call::DELETE];
    let others = [call::KEYS, call::MYSELF, call::PRICES, call::RENT];
    rest.into_iter().chain(others).find(|c| *c == call).expect("a fixture names a call")
}

#[tokio::test]
async fn every_row_has_a_recorded_answer_and_means_what_it_says() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../fixtures/faults.json")).expect("fixtures");
    let mut hit = vec![false; TABLE.len()];
    for case in &cases {
        let call = name_of(case["call"].as_str().expect("a call"));
        let status = case["status"].as_u64().expect("a status") as u16;
        let body = case["body"].as_str().map_or_else(|| case["body"].to_string(), str::to_owned);
        let reply = reply(call, status, &body).await;
        let error = classify(&reply);
        let fault = serde_json::to_value(error.fault).expect("a name");
        let scope = serde_json::to_value(error.scope).expect("a name");
        assert_eq!((&fault, &scope), (&case["fault"], &case["scope"]), "{case}");
        assert_eq!(error.maybe_applied, case["fault"] == "unknown", "{case}");
        let (code, words) = parts(&reply);
        if let Some(i) = position(call, status, code.as_deref(), &words) {
            hit[i] = true;
        }
    }
    let missing: Vec<usize> = (0..TABLE.len()).filter(|i| !hit[*i]).collect();
    assert!(missing.is_empty(), "rows without a recorded answer: {missing:?}");
}

#[tokio::test]
async fn spot_that_is_gone_says_so_by_its_code() {
    for (call, status) in [(call::MYSELF, 404), (call::PRICES, 410), (call::RENT, 410)] {
        let error = classify(&reply(call, status, "Gone").await);
        assert!(is_unsupported(&error), "{error}");
        assert!(error.refusal().is_some(), "nothing was made: {error}");
    }
    assert!(!is_unsupported(&classify(&reply(call::RENT, 422, "{}").await)));
}

#[tokio::test]
async fn every_violation_is_told() {
    let body = r#"{"title": "x", "status": 422, "detail": "d", "errors": ["$.a", "$.b"]}"#;
    assert_eq!(classify(&reply(call::CREATE, 422, body).await).text(), "d; $.a; $.b");
}
