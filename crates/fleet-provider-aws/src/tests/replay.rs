//! A server on loopback that answers the SDK from a function and keeps what it was asked.
//!
//! It checks nothing by itself; each test says what the answers are and what must have been asked.

use crate::{AwsConfig, AwsProvider, connect};
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse as _;
use fleet_types::{Endpoint, TimeScale};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// `Action` of the form, the JSON target's last part, or the path of a GET.
    pub(super) action: String,
    /// Region that signed.
    pub(super) region: String,
    /// The form, decoded, in its order.
    pub(super) form: Vec<(String, String)>,
    /// The body, byte for byte.
    pub(super) body: String,
}

impl Asked {
    /// The value of one field of the form.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
    /// Whether any field holds this value.
    pub(super) fn mentions(&self, value: &str) -> bool {
        self.form.iter().any(|(_, v)| v == value)
    }
}

/// The cloud's id of every request.
pub(super) const REQUEST_ID: &str = "ea966190-f9aa-478e-9ede-example";

/// HTTP status and body.
pub(super) type Answer = (u16, String);

/// The server's handle: ends with the test's runtime.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Replay {
    /// Serves `answer` on a free port.
    pub(super) async fn start(
        answer: impl Fn(&Asked) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let log = asked.clone();
        let handle = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
            let request = read(&method, &uri, &headers, &body);
            let (status, text) = answer(&request);
            log.lock().unwrap().push(request);
            let id = [("x-amzn-requestid", REQUEST_ID)];
            (StatusCode::from_u16(status).unwrap(), id, text).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(handle);
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, asked }
    }

    /// A driver that knows only this server.
    pub(super) async fn provider(&self) -> AwsProvider {
        connect(config(&self.url)).await.unwrap()
    }

    /// What was asked so far under one action.
    pub(super) fn asked(&self, action: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|a| a.action == action).cloned().collect()
    }
}

/// Dummy credentials, in one region, at `url`.
pub(super) fn config(url: &str) -> AwsConfig {
    let environment = [
        ("AWS_ACCESS_KEY_ID", "AKIAREPLAY"),
        ("AWS_SECRET_ACCESS_KEY", "replayreplay"),
        ("AWS_REGION", "us-east-1"),
    ];
    AwsConfig {
        endpoint: Endpoint { api: Some(url.to_owned()), services: BTreeMap::new() },
        environment: environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        time_scale: TimeScale::default(),
    }
}

fn read(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Asked {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let form: Vec<_> = if header("content-type").contains("urlencoded") {
        body.split('&')
            .filter_map(|p| p.split_once('='))
            .map(|(k, v)| (decode(k), decode(v)))
            .collect()
    } else {
        Vec::new()
    };
    let target = header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
    let named = form.iter().find(|(k, _)| k == "Action").map(|(_, v)| v.clone());
    let action = match (method, named) {
        (&Method::GET, _) => uri.path().to_owned(),
        (_, Some(action)) => action,
        _ => target,
    };
    // Credential=KEY/DATE/REGION/SERVICE/aws4_request
    let region = header("authorization").split('/').nth(2).unwrap_or_default().to_owned();
    Asked { action, region, form, body }
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

/// An error of EC2, in its form.
pub(super) fn error(status: u16, code: &str) -> Answer {
    (status, include_str!("../../fixtures/error.xml").replace("{code}", code))
}

/// An answer of EC2 named after its action.
pub(super) fn ok(action: &str, inner: &str) -> Answer {
    (
        200,
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
             <requestId>req-1</requestId>{inner}</{action}Response>"
        ),
    )
}

/// The regions of the account: these, enabled, and one that is not.
pub(super) fn regions(names: &[&str]) -> Answer {
    let region = |name: &str, status: &str| {
        format!("<item><regionName>{name}</regionName><optInStatus>{status}</optInStatus></item>")
    };
    let all: String = names.iter().map(|n| region(n, "opt-in-not-required")).collect();
    let closed = region("me-south-1", "not-opted-in");
    ok("DescribeRegions", &format!("<regionInfo>{all}{closed}</regionInfo>"))
}
