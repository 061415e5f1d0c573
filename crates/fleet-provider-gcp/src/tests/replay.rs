//! A server on loopback that answers Google's client from a function and keeps what it was asked.
//!
//! It checks nothing by itself; each test says what the answers are and what must have been asked.

use crate::{GcpConfig, GcpProvider, connect};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use fleet_types::{Endpoint, TimeScale};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

pub(super) const PROJECT: &str = "my-project";
pub(super) const TOKEN: &str = "ya29.replay-canary-token";

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `GET zones/us-central1-a/instances/x`: method, and path below the project; else the whole path.
    pub(super) call: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    pub(super) headers: HeaderMap,
}

impl Asked {
    /// A parameter of the query, or nothing.
    pub(super) fn get(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

/// HTTP status and body.
pub(super) type Answer = (u16, Value);

/// The server's handle: ends with the test's runtime.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Replay {
    /// Serves `answer` on a free port. A null body is an empty one.
    pub(super) async fn start(
        answer: impl Fn(&Asked) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let handle = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let request = read(&method, &uri, headers, &body);
            let (status, value) = answer(&request);
            log.lock().unwrap().push(request);
            let text = match value {
                Value::Null => String::new(),
                Value::String(raw) => raw,
                json => json.to_string(),
            };
            (StatusCode::from_u16(status).unwrap(), text).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked }
    }

    /// A driver that knows only this server.
    pub(super) async fn provider(&self) -> GcpProvider {
        connect(config(&self.url)).await.unwrap()
    }

    /// What was asked so far by calls that begin so.
    pub(super) fn asked(&self, call: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.call.starts_with(call)).cloned().collect()
    }
}

/// A token in a variable, at `url`.
pub(super) fn config(url: &str) -> GcpConfig {
    let environment = [("GOOGLE_OAUTH_ACCESS_TOKEN", TOKEN), ("GOOGLE_CLOUD_PROJECT", PROJECT)];
    GcpConfig {
        endpoint: Endpoint { api: Some(url.to_owned()), services: BTreeMap::new() },
        environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        time_scale: TimeScale::default(),
    }
}

fn read(method: &Method, uri: &Uri, headers: HeaderMap, body: &[u8]) -> Asked {
    let path = uri.path();
    let below = path.strip_prefix(&format!("/compute/v1/projects/{PROJECT}")).unwrap_or(path);
    let pairs = uri.query().unwrap_or("").split('&').filter_map(|p| p.split_once('='));
    Asked {
        call: format!("{method} {}", below.trim_start_matches('/')),
        query: pairs.map(|(k, v)| (decode(k), decode(v))).collect(),
        body: serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())),
        headers,
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        if bytes[i] == b'%' {
            out.push(u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
            i += 3;
        } else {
            out.push(if bytes[i] == b'+' { b' ' } else { bytes[i] });
            i += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

/// A refusal of Google's, in its form.
pub(super) fn error(status: u16, reason: &str) -> Answer {
    let words = format!("words of the cloud for {reason}");
    let rows = json!([{"message": words, "domain": "global", "reason": reason}]);
    (status, json!({"error": {"code": status, "message": words, "errors": rows}}))
}

/// An operation on a machine.
pub(super) fn operation(kind: &str, machine: &str, status: &str) -> Value {
    json!({
        "kind": "compute#operation", "id": "77", "name": format!("operation-{kind}"),
        "operationType": kind, "status": status, "progress": 0,
        "insertTime": "2026-01-02T03:04:05.000-08:00", "endTime": "2026-01-02T03:05:05.000-08:00",
        "targetLink": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/us-central1-a/instances/{machine}"),
        "zone": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/us-central1-a"),
    })
}

/// The same after it failed.
pub(super) fn failed(kind: &str, machine: &str, code: &str, limit: Option<&str>) -> Value {
    let mut operation = operation(kind, machine, "DONE");
    let mut row = json!({"code": code, "message": format!("words of the cloud for {code}")});
    if let Some(limit) = limit {
        let info = json!({"metricName": "m", "limitName": limit, "limit": 0.0});
        row["errorDetails"] = json!([{"quotaInfo": info}]);
    }
    operation["error"] = json!({"errors": [row]});
    operation["httpErrorStatusCode"] = json!(503);
    operation
}

/// A list of operations.
pub(super) fn operations(items: &[Value]) -> Answer {
    (200, json!({"kind": "compute#operationList", "items": items}))
}

/// A page of an aggregated list: scopes with their rows, under the field that the list has for them.
pub(super) fn scopes(kind: &str, field: &str, scopes: &[(&str, &[Value])]) -> Value {
    let empty = json!({"code": "NO_RESULTS_ON_PAGE", "message": "nothing here"});
    let mut items = serde_json::Map::new();
    items.insert("regions/europe-west1".into(), json!({"warning": empty}));
    for (scope, rows) in scopes {
        items.insert((*scope).to_owned(), json!({field: rows}));
    }
    json!({"kind": format!("compute#{kind}AggregatedList"), "items": items})
}
