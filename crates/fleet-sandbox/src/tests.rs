//! The wires, asked over real sockets: each refusal, idempotency, preemption, billing.
//!
//! Machines are not started here (the runtime is a recorder); what they do has its own tests.

mod aws;
mod clients;
mod control;
mod faults;
mod lambda;
mod vast;

use crate::machine::MachineSpec;
use crate::runtime::{Running as Machine, Runtime};
use crate::serve::{self, Running};
use crate::{Config, DUMMY_CREDENTIALS, Scenario};
use bytes::Bytes;
use fleet_types::TimeScale;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Records what was asked to start, and starts nothing.
#[derive(Default)]
struct Recorder {
    specs: Mutex<Vec<MachineSpec>>,
    dead: Arc<Mutex<HashSet<String>>>,
}

struct Recorded {
    id: String,
    dead: Arc<Mutex<HashSet<String>>>,
}

impl Runtime for Recorder {
    fn start(&self, spec: MachineSpec) -> BoxFuture<'_, io::Result<Box<dyn Machine>>> {
        let machine = Recorded { id: spec.id.clone(), dead: self.dead.clone() };
        self.specs.lock().unwrap().push(spec);
        Box::pin(async move { Ok(Box::new(machine) as Box<dyn Machine>) })
    }
}

impl Machine for Recorded {
    fn has_exited(&mut self) -> bool {
        self.dead.lock().unwrap().contains(&self.id)
    }
    fn kill(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

/// A sandbox in this process.
struct Lab {
    running: Running,
    recorder: Arc<Recorder>,
    dir: tempfile::TempDir,
    life: tokio::task::JoinHandle<()>,
}

/// Starts a sandbox with that scenario, ten times as fast as life in its waits.
async fn sandbox(scenario: Scenario) -> Lab {
    scaled(scenario, 0.01).await
}

async fn scaled(scenario: Scenario, scale: f64) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    let config = Config {
        dir: dir.path().join("sandbox"),
        seed: 7,
        scenario,
        time_scale: TimeScale::new(scale).unwrap(),
        program: "unused".into(),
        one_shot: false,
    };
    let running = serve::start(&config, recorder.clone()).await.unwrap();
    let host = running.host.clone();
    let life = tokio::spawn(async move { host.live().await });
    Lab { running, recorder, dir, life }
}

async fn named(name: &str) -> Lab {
    sandbox(crate::builtin(name).unwrap()).await
}

/// One HTTP exchange; an error where the connection died without an answer.
async fn http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<(u16, String), String> {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(a, p)| (a, p));
    let stream = tokio::net::TcpStream::connect(authority).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request =
        hyper::Request::builder().method(method).uri(format!("/{path}")).header("host", authority);
    for (k, v) in headers {
        request = request.header(*k, *v);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.map_err(|e| e.to_string())?.to_bytes();
    Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
}

/// Waits until `test` gives something, at most ten seconds.
async fn until<T, F, Fut>(what: &str, mut test: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = test().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within 10 s");
        tokio::task::yield_now().await;
    }
}

fn encode(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

impl Lab {
    /// An EC2 call in a region: status and body, or a lost answer.
    async fn try_ec2(
        &self,
        region: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        self.signed(DUMMY_CREDENTIALS[0], "ec2", region, action, params).await
    }

    async fn signed(
        &self,
        key: &str,
        service: &str,
        region: &str,
        action: &str,
        params: &[(&str, &str)],
    ) -> Result<(u16, String), String> {
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (k, v) in params {
            body += &format!("&{k}={}", encode(v));
        }
        let auth = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        let url = format!("{}/", self.running.state.endpoints.aws);
        http("POST", &url, &[("authorization", &auth)], &body).await
    }

    /// The same in us-east-1, with an answer.
    async fn ec2(&self, action: &str, params: &[(&str, &str)]) -> (u16, String) {
        self.try_ec2("us-east-1", action, params).await.unwrap()
    }

    /// A Vast call: status and JSON (null where the body is none).
    async fn vast(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.try_vast(method, path, body).await.unwrap()
    }

    async fn try_vast(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), String> {
        let auth = format!("Bearer {}", DUMMY_CREDENTIALS[2]);
        let url = format!("{}{path}", self.running.state.endpoints.vast);
        let headers = [("authorization", auth.as_str()), ("content-type", "application/json")];
        let (status, text) = http(method, &url, &headers, &body.to_string()).await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A control call.
    async fn control(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}{path}", self.running.state.control);
        let (status, text) = http(method, &url, &[], &body.to_string()).await.unwrap();
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn ledger(&self) -> Value {
        self.control("GET", "/ledger", Value::Null).await.1
    }

    /// Waits until an EC2 instance is in that state; gives the describe answer.
    async fn in_state(&self, id: &str, state: &str) -> String {
        until(&format!("{id} {state}"), || async {
            let (_, xml) = self.ec2("DescribeInstances", &[("InstanceId.1", id)]).await;
            xml.contains(&format!("<name>{state}</name>")).then_some(xml)
        })
        .await
    }
}

/// The text of the first element of that name.
fn text_of<'a>(xml: &'a str, name: &str) -> &'a str {
    xml.split(&format!("<{name}>")).nth(1).map_or("", |rest| rest.split('<').next().unwrap())
}

/// Parameters of a T4 spot create in us-east-1a; later ones win.
fn spot<'a>(token: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("ImageId", "resolve:ssm:/aws/service/x"),
        ("InstanceType", "g4dn.xlarge"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("ClientToken", token),
        ("Placement.AvailabilityZone", "us-east-1a"),
        ("InstanceMarketOptions.MarketType", "spot"),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "fleet"),
        ("TagSpecification.1.Tag.1.Value", "f1"),
    ];
    for (k, v) in more {
        all.retain(|(name, _)| name != k);
        all.push((k, v));
    }
    all
}
