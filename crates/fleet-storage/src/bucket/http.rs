//! The HTTP client under every store: `object_store`'s, and the few requests of our own.
//!
//! Invariants: no redirect is followed, so a signature goes to no other host; where only loopback may be
//! reached, every single request is held to it, whatever asked for it; an answer to a request of our own is
//! read to 8 MiB at most.

use super::refused::{Refused, last_cause};
use async_trait::async_trait;
use bytes::Bytes;
use fleet_types::is_loopback_url;
use http_body_util::BodyExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, StatusCode};
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
/// The longest silence of a server in the middle of an answer.
const SILENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 8 << 20;

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    /// Only loopback may be reached.
    inside: bool,
}

/// What a request of our own was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Http {
    /// `inside`: loopback only, and never through a proxy.
    pub(super) fn new(inside: bool) -> Result<Self, Refused> {
        fleet_provider_kit::http::install_crypto();
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            // An object is what its bytes are, whatever encoding it claims.
            .no_gzip()
            .user_agent(concat!("fleet/", env!("CARGO_PKG_VERSION")));
        if inside {
            builder = builder.no_proxy();
        }
        let client = builder.build();
        Ok(Self { client: client.map_err(|e| Refused::Setting(last_cause(&e)))?, inside })
    }

    /// Sends a request of our own; any status is an answer. `bucket` is named in the error.
    pub(super) async fn send(&self, bucket: &str, request: HttpRequest) -> Result<Reply, Refused> {
        let away = |e: HttpError| match std::error::Error::source(&e)
            .and_then(|s| s.downcast_ref::<Refused>())
        {
            Some(refused) => refused.clone(),
            None => Refused::Unreachable { bucket: bucket.to_owned(), cause: last_cause(&e) },
        };
        let (parts, body) = self.call(request).await.map_err(away)?.into_parts();
        let limited = http_body_util::Limited::new(body, ANSWER_MAX);
        let collected = limited.collect().await.map_err(|e| Refused::Unreachable {
            bucket: bucket.to_owned(),
            cause: last_cause(e.as_ref()),
        })?;
        let body = collected.to_bytes();
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }
}

/// A request; `url` is whole and escaped.
pub(super) fn request(
    method: Method,
    url: &str,
    headers: &[(&'static str, &str)],
    body: impl Into<HttpRequestBody>,
) -> Result<HttpRequest, Refused> {
    let bad = |what: String| Refused::Setting(format!("no request can be made: {what}"));
    let body = body.into();
    let length = body.content_length();
    let mut request = HttpRequest::new(body);
    let with_body = !matches!(method, Method::GET | Method::HEAD | Method::DELETE);
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|e| bad(format!("{e}")))?;
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).map_err(|e| bad(e.to_string()))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    if with_body {
        request.headers_mut().insert("content-length", HeaderValue::from(length));
    }
    Ok(request)
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = request.uri().to_string();
        if self.inside && !is_loopback_url(&url) {
            let host = request.uri().host().unwrap_or_default();
            let why = format!("a store on loopback must not lead to {host}");
            return Err(HttpError::new(HttpErrorKind::Unknown, Refused::Setting(why)));
        }
        let request = request.map(|body| match body.as_bytes() {
            Some(bytes) => reqwest::Body::from(bytes.clone()),
            None => reqwest::Body::wrap(body),
        });
        let request = reqwest::Request::try_from(request).map_err(failed)?;
        let answer = self.client.execute(request).await.map_err(failed)?;
        // `reqwest` gives its answer in the `http` crate's type, whose name is not needed here.
        let mut whole = HttpResponse::new(HttpResponseBody::from(Bytes::new()));
        *whole.status_mut() = answer.status();
        *whole.headers_mut() = answer.headers().clone();
        let body = reqwest::Body::from(answer);
        *whole.body_mut() = HttpResponseBody::new(body.map_err(failed));
        Ok(whole)
    }
}

impl HttpConnector for Http {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

fn failed(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_decode() || error.is_builder() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    };
    HttpError::new(kind, error.without_url())
}
