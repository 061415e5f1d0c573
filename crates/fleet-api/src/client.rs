//! The client of the socket: one method a route, one connection a request.
//!
//! Invariant: nothing is retried here. A caller that must know whether a submission arrived sends it
//! again with the same `client_key`.

use crate::routes::{PullReply, PullRequest, ReapRequest};
use crate::{Error, HOST};
use bytes::{Bytes, BytesMut};
use fleet_controller::ErrorDoc;
use fleet_controller::api::{LeftRunning, MachineAccess, ReapReport, ServerStatus, Submission};
use fleet_types::JobView;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Time for an ordinary answer.
const ORDINARY: Duration = Duration::from_secs(60);
/// Time for answers that walk through clouds or copy files.
const LONG: Duration = Duration::from_secs(3600);
/// The largest answer that is read whole.
const ANSWER_LIMIT: usize = 256 << 20;
/// The longest line of a stream.
const LINE_LIMIT: usize = 64 << 20;

/// A way to the server of one home.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the server behind `socket`. Connects with each request, not here.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// The server's own facts; the cheapest way to see that it answers.
    pub async fn server(&self) -> Result<ServerStatus, Error> {
        self.get("/v1/server").await
    }
    /// Every job, ended ones too, oldest first.
    pub async fn jobs(&self) -> Result<Vec<JobView>, Error> {
        self.get("/v1/jobs").await
    }
    /// One job, by id or unique name.
    pub async fn job(&self, id: &str) -> Result<JobView, Error> {
        self.get(&format!("/v1/jobs/{}", encode(id))).await
    }
    /// Accepts tasks as jobs; the same `client_key` gives the same jobs.
    pub async fn submit(&self, submission: &Submission) -> Result<Vec<JobView>, Error> {
        self.post("/v1/jobs", submission, ORDINARY).await
    }
    /// Cancels; durable when it returns.
    pub async fn cancel(&self, id: &str) -> Result<JobView, Error> {
        self.post(&format!("/v1/jobs/{}/cancel", encode(id)), &(), ORDINARY).await
    }
    /// How to reach the job's machine.
    pub async fn machine(&self, id: &str) -> Result<MachineAccess, Error> {
        self.get(&format!("/v1/jobs/{}/machine", encode(id))).await
    }
    /// Copies files of a running job into `dest` (absolute); returns bytes.
    pub async fn pull(&self, id: &str, path: &str, dest: &Path) -> Result<u64, Error> {
        let request = PullRequest { path: path.to_owned(), dest: dest.to_owned() };
        let reply: PullReply =
            self.post(&format!("/v1/jobs/{}/pull", encode(id)), &request, LONG).await?;
        Ok(reply.bytes)
    }
    /// Ends what nobody owns, as the server's database sees it.
    pub async fn reap(&self, request: &ReapRequest) -> Result<ReapReport, Error> {
        self.post("/v1/reap", request, LONG).await
    }
    /// What would keep running if the server stopped now.
    pub async fn left_running(&self) -> Result<Vec<LeftRunning>, Error> {
        self.get("/v1/left-running").await
    }
    /// Asks the server to leave; answers with what keeps running.
    pub async fn stop(&self) -> Result<Vec<LeftRunning>, Error> {
        self.post("/v1/server/stop", &(), ORDINARY).await
    }
    /// The job's events from the first, one JSON object a line.
    pub async fn stream(&self, id: &str, follow: bool) -> Result<Lines, Error> {
        let path = format!("/v1/jobs/{}/stream?follow={follow}", encode(id));
        let asked = self.send(Method::GET, &path, Bytes::new());
        let response = within(ORDINARY, &path, asked).await?;
        if !response.status().is_success() {
            return Err(refused(&path, response).await);
        }
        Ok(Lines { body: response.into_body(), read: BytesMut::new(), what: path })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        within(ORDINARY, path, self.exchange(Method::GET, path, Bytes::new())).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body)
            .map_err(|e| Error::Garbled { what: path.to_owned(), reason: e.to_string() })?;
        within(limit, path, self.exchange(Method::POST, path, body.into())).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Error> {
        let response = self.send(method, path, body).await?;
        if !response.status().is_success() {
            return Err(refused(path, response).await);
        }
        let bytes = collect(path, response).await?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::Garbled { what: path.to_owned(), reason: e.to_string() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let unreachable = |source| Error::Unreachable { socket: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(unreachable)?;
        let lost = |_| Error::Lost { what: path.to_owned() };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, HOST)
            .header(hyper::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| Error::Garbled { what: path.to_owned(), reason: e.to_string() })?;
        sender.send_request(request).await.map_err(lost)
    }
}

/// The lines of a stream.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    read: BytesMut,
    what: String,
}

impl Lines {
    /// The next line; `None` once the server has closed the stream in good order.
    ///
    /// `Lost` means that the server died. May be dropped while waiting without losing a line.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line = self.read.split_to(end + 1);
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.read.len() > LINE_LIMIT {
                let reason = format!("a line is longer than {LINE_LIMIT} bytes");
                return Err(Error::Garbled { what: self.what.clone(), reason });
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(_)) => return Err(Error::Lost { what: self.what.clone() }),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.read.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
        Err(Error::TimedOut { what: what.to_owned(), seconds: limit.as_secs() })
    })
}

async fn collect(what: &str, response: Response<Incoming>) -> Result<Bytes, Error> {
    let body = Limited::new(response.into_body(), ANSWER_LIMIT);
    let read = body.collect().await.map_err(|_| Error::Lost { what: what.to_owned() })?;
    Ok(read.to_bytes())
}

/// The server's own words, or the status where it sent none.
async fn refused(what: &str, response: Response<Incoming>) -> Error {
    let status = response.status();
    match collect(what, response).await {
        Err(e) => e,
        Ok(bytes) => match serde_json::from_slice::<ErrorDoc>(&bytes) {
            Ok(doc) => Error::Refused(doc),
            Err(_) => Error::Garbled { what: what.to_owned(), reason: format!("HTTP {status}") },
        },
    }
}

/// Percent-encodes everything that is not plainly part of an id.
fn encode(id: &str) -> String {
    id.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~' | b'.') {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}
