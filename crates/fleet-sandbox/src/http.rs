//! A small HTTP/1 server: what every wire, the metadata service and the control endpoint share.
//!
//! It can do what frameworks hide: answer late, and drop the connection in place of an answer.
//! Request bodies are capped; nothing is parsed beyond HTTP.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Largest request body.
const MAX_BODY: usize = 4 << 20;

/// One request, read whole.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    /// A header's text, empty where absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
    /// The path's parts between slashes.
    pub(crate) fn segments(&self) -> Vec<&str> {
        self.path.split('/').filter(|s| !s.is_empty()).collect()
    }
    /// The body as JSON, null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
    /// Wait before answering.
    pub(crate) delay: Duration,
    /// Drop the connection in place of this answer.
    pub(crate) lost: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, kind, body: body.into(), delay: Duration::ZERO, lost: false }
    }
    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain", body.into())
    }
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }
    pub(crate) fn xml(status: u16, body: String) -> Self {
        Self::new(status, "text/xml;charset=UTF-8", body)
    }
}

/// Serves `listener` with `answer` until `stop`.
pub(crate) fn serve<F, A>(listener: TcpListener, stop: CancellationToken, answer: F)
where
    F: Fn(Call) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Reply> + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(e) => {
                        tracing::warn!("accept: {e}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        continue;
                    }
                },
            };
            let (answer, stop) = (answer.clone(), stop.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |r| one(r, answer.clone()));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stop.cancelled() => {}
                    // An error is the caller's hang-up or our own dropped answer.
                    _ = connection => {}
                }
            });
        }
    });
}

async fn one<F, A>(request: Request<Incoming>, answer: F) -> io::Result<Response<Full<Bytes>>>
where
    F: Fn(Call) -> A,
    A: Future<Output = Reply>,
{
    let (head, body) = request.into_parts();
    let reply = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => {
            answer(Call {
                method: head.method.as_str().to_owned(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or("").to_owned(),
                headers: head.headers,
                body: body.to_bytes(),
            })
            .await
        }
        Err(_) => Reply::text(413, "request body too large"),
    };
    tokio::time::sleep(reply.delay).await;
    if reply.lost {
        return Err(io::Error::other("answer dropped by scenario"));
    }
    let mut response = Response::new(Full::new(Bytes::from(reply.body)));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.kind));
    Ok(response)
}
