//! HTTP to a store: one request, one answer, and limits on how long either may take.
//!
//! Invariant: nothing waits for ever. A connection on which nothing moves for half a minute is given up, and
//! so is a request that takes longer than its size explains. No redirect is followed and no proxy is used,
//! so a key goes to the named server alone.

use super::names::Names;
use std::io::{self, Read};
use std::time::Duration;
use ureq::http;
use ureq::unversioned::transport::DefaultConnector;

/// Nothing moved for this long: the store is away.
const STALL: Duration = Duration::from_secs(30);
/// For what a store may think over: putting a hundred thousand parts together.
const THINKING: Duration = Duration::from_secs(300);
/// What a request may take whatever its size, and the slowest line that is waited for, in bytes a second.
const BASE: u64 = 60;
const SLOWEST: u64 = 16 << 10;
/// From this size on a second try asks before it sends: the first may have been refused unheard.
const ASK_FROM: u64 = 64 << 10;

/// Reads a local file at an offset; fails when the file has changed.
pub(super) type ReadAt<'a> = &'a (dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync);

/// What goes with a request.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    /// No body at all, as GET and DELETE have it.
    None,
    Bytes(&'a [u8]),
    /// A stretch of a local file, too long for memory.
    Stretch {
        read: ReadAt<'a>,
        from: u64,
        length: u64,
    },
}

impl Body<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Stretch { length, .. } => *length,
        }
    }
}

/// A request with its address and its signature. The address may be a key: it is never printed.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, String)],
    pub(super) body: Body<'a>,
    /// Bytes that the answer may have.
    pub(super) expected: u64,
    /// The store may be silent for minutes before it answers.
    pub(super) thinks: bool,
    /// Not the first try.
    pub(super) again: bool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Broken {
    /// The local file could not be read as it was.
    Local(io::Error),
    /// The network, for the moment.
    Passing(String),
    /// It will not go better next time.
    Odd(String),
}

/// An answer whose body has not been read.
pub(super) struct Answer {
    pub(super) status: u16,
    headers: http::HeaderMap,
    body: ureq::Body,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
    /// All lines of a header.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
    }
    /// The body, piece by piece.
    pub(super) fn reader(&mut self) -> impl Read + '_ {
        self.body.as_reader()
    }
    /// The whole body; `None` where it is longer than `limit`.
    pub(super) fn bytes(&mut self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        self.body.as_reader().take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() <= limit).then_some(bytes))
    }
}

/// A client with its open connections.
pub(super) struct Wire {
    agent: ureq::Agent,
}

impl Wire {
    pub(super) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("fleet-agent/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(16)
            .max_idle_connections_per_host(16)
            .max_idle_age(Duration::from_secs(8))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_per_write(Some(STALL))
            .build();
        Self {
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), Names::default()),
        }
    }

    /// Sends a request; the answer's status may be anything.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Answer, Broken> {
        let length = request.body.length();
        let mut head = http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in request.headers {
            head = head.header(*name, value);
        }
        if !matches!(request.body, Body::None) {
            head = head.header("content-length", length);
        }
        if request.again && length >= ASK_FROM {
            head = head.header("expect", "100-continue");
        }
        match request.body {
            Body::None => self.run(request, head.body(()).map_err(unfit)?),
            Body::Bytes(bytes) => self.run(request, head.body(bytes).map_err(unfit)?),
            Body::Stretch { read, from, length } => {
                let mut source = Source { read, from, left: length, failed: None };
                let body = ureq::SendBody::from_reader(&mut source);
                let sent = self.run(request, head.body(body).map_err(unfit)?);
                match source.failed {
                    Some(error) => Err(Broken::Local(error)),
                    None => sent,
                }
            }
        }
    }

    fn run(
        &self,
        request: &Request<'_>,
        whole: http::Request<impl ureq::AsSendBody>,
    ) -> Result<Answer, Broken> {
        let bytes = request.body.length().saturating_add(request.expected);
        let limit = Duration::from_secs(BASE + (bytes / SLOWEST).min(86_400));
        let limit = if request.thinks { limit + THINKING } else { limit };
        let whole = self
            .agent
            .configure_request(whole)
            .timeout_per_read(Some(if request.thinks { THINKING } else { STALL }))
            .timeout_per_call(Some(limit))
            .build();
        let answer = self.agent.run(whole).map_err(broken)?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

fn unfit(_: http::Error) -> Broken {
    // The library's own text would show the address.
    Broken::Odd("no request can be made of its address or key".into())
}

fn broken(error: ureq::Error) -> Broken {
    match error {
        // TLS wraps what it does not like, such as a certificate, in this kind.
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            Broken::Odd(format!("TLS: {e}"))
        }
        ureq::Error::Io(e) => Broken::Passing(e.to_string()),
        ureq::Error::Timeout(what) => Broken::Passing(format!("nothing moved in time ({what})")),
        ureq::Error::HostNotFound => Broken::Passing("there is no such host".into()),
        ureq::Error::ConnectionFailed => Broken::Passing("no connection".into()),
        ureq::Error::Rustls(e) => Broken::Odd(format!("TLS: {e}")),
        ureq::Error::Http(e) => unfit(e),
        ureq::Error::BadUri(_) => Broken::Odd("its address is no URL".into()),
        // The rest is said of an answer that is no HTTP; another try meets another connection.
        other => Broken::Passing(other.to_string()),
    }
}

/// A stretch of a file as a body; no more of it is in memory than the connection's own buffer.
struct Source<'a> {
    read: ReadAt<'a>,
    from: u64,
    left: u64,
    failed: Option<io::Error>,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        if let Err(error) = (self.read)(self.from, &mut out[..length]) {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            return Err(told);
        }
        self.from += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}
