//! The asking side of the control endpoint, for the command line.
//!
//! Invariant: the ledger can be read whether the sandbox runs, was stopped, or crashed; of a crashed
//! one, whatever its file left open is closed, because its machines died with it.

use crate::config::{self, State};
use crate::{Error, world};
use bytes::Bytes;
use fleet_types::Timestamp;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which machines are taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One, by the id that its cloud gave it.
    Instance(String),
    All,
}

/// A machine that is being taken away, or was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preempted {
    pub instance: String,
    /// When it dies, or died.
    pub deadline: Timestamp,
    /// Whether its cloud told it.
    pub notice: bool,
}

/// The sandbox that runs in `dir`, after one that is ending has gone: a one-shot sandbox outlives its
/// job by a moment, in which it must be taken neither for a running one nor for a broken one.
pub async fn settled(dir: &Path) -> Option<State> {
    let gone_or_well = async {
        loop {
            let state = config::state(dir)?;
            match status(&state).await {
                Ok(said) if said["ending"] != true => return Some(state),
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, gone_or_well).await.unwrap_or_else(|_| config::state(dir))
}

/// What the sandbox says of itself: `pid, seed, scenario, ssh_port, ending, instances, machines[]`.
///
/// # Errors
/// Where it does not answer.
pub async fn status(state: &State) -> Result<Value, Error> {
    ask(&state.control, "GET", "/status", None).await
}

/// Takes machines away as their cloud would. `warning` of `None` is the cloud's own.
///
/// # Errors
/// Where nobody knows the machine, it has ended, or the sandbox does not answer.
pub async fn preempt(
    state: &State,
    target: &Target,
    warning: Option<Duration>,
) -> Result<Vec<Preempted>, Error> {
    let mut body = match target {
        Target::Instance(id) => json!({"instance": id}),
        Target::All => json!({"all": true}),
    };
    if let Some(w) = warning {
        body["warning_ms"] = u64::try_from(w.as_millis()).unwrap_or(u64::MAX).into();
    }
    let answer = ask(&state.control, "POST", "/preempt", Some(&body)).await?;
    serde_json::from_value(answer["preempted"].clone()).map_err(|e| Error::Control {
        url: state.control.clone(),
        reason: format!("odd answer: {e}"),
    })
}

/// Tells the sandbox at `control` that a task runs on a machine; scenarios count from it.
///
/// # Errors
/// Where nobody knows the machine, or the sandbox does not answer.
pub async fn report_running(control: &str, instance: &str) -> Result<(), Error> {
    ask(control, "POST", "/running", Some(&json!({"instance": instance}))).await.map(drop)
}

/// The URL that a machine POSTs to in order to end itself.
pub fn end_machine_url(control: &str, instance: &str) -> String {
    format!("{}/machines/{instance}/end", control.trim_end_matches('/'))
}

/// Ends the sandbox and waits until it is gone.
///
/// # Errors
/// Where it does not answer, or is still there after the longest wait.
pub async fn down(dir: &Path) -> Result<(), Error> {
    let state = config::state(dir).ok_or_else(|| Error::NotRunning(dir.to_owned()))?;
    // The end may cut off the answer that announces it: what counts is whether the sandbox goes.
    let asked = ask(&state.control, "POST", "/down", None).await;
    let gone = async {
        while config::state(dir).is_some_and(|s| s.pid == state.pid) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.map_err(|_| {
        let reason = format!("it still runs (pid {}) after {PATIENCE:?}", state.pid);
        asked.err().unwrap_or(Error::Control { url: state.control, reason })
    })
}

/// The ledger: live where a sandbox runs in `dir`, else that of the last run.
///
/// # Errors
/// Where none ever ran, or the file is unreadable.
pub async fn ledger(dir: &Path) -> Result<Value, Error> {
    if let Some(state) = config::state(dir)
        && let Ok(live) = ask(&state.control, "GET", "/ledger", None).await
    {
        return Ok(live);
    }
    let path = config::ledger_path(dir);
    let text = std::fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoLedger(dir.to_owned()),
        _ => Error::File { what: "cannot read ledger", path: path.clone(), source },
    })?;
    let file = serde_json::from_slice(&text).map_err(|e| Error::File {
        what: "cannot read ledger",
        path,
        source: e.into(),
    })?;
    Ok(world::close(file))
}

async fn ask(base: &str, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Error> {
    let failed = |reason: String| Error::Control { url: base.to_owned(), reason };
    let exchange = exchange(base, method, path, body);
    let (status, answer) = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| failed(format!("no answer within {PATIENCE:?}")))?
        .map_err(|e| failed(e.to_string()))?;
    if status == 200 {
        return Ok(answer);
    }
    let reason = answer["error"].as_str().unwrap_or("no reason given").to_owned();
    Err(Error::Refused(reason))
}

async fn exchange(
    base: &str,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value), Box<dyn std::error::Error + Send + Sync>> {
    let authority = base.trim_start_matches("http://").trim_end_matches('/');
    let stream = tokio::net::TcpStream::connect(authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", authority)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(text)))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, serde_json::from_slice(&bytes)?))
}
