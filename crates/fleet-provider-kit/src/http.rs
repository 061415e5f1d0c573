//! A small JSON client over HTTP for the drivers that have no SDK.
//!
//! Invariants: credentials travel in a sensitive header to the base URL's host alone (no redirect is
//! followed); an answer is read to at most 32 MiB after decompression; every failure says whether the call
//! may have taken effect; secrets are struck out of every text that leaves. A reply with any HTTP status
//! comes back as [`Reply`], because only the driver's own table knows what its codes mean.
//! It does not retry, wait or log bodies.

mod reply;

pub use reply::{Effect, Reply};

use fleet_provider::ProviderError;
use fleet_types::realm::is_loopback_url;
use fleet_types::{Fault, Scope};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::sync::Once;
use std::time::Duration;

/// Largest answer that is read, after decompression.
const ANSWER_MAX: usize = 32 * 1024 * 1024;
const CONNECT: Duration = Duration::from_secs(10);

pub use reqwest::Method;

/// How a client reaches its cloud.
#[derive(Debug)]
pub struct ClientSettings {
    /// `https://console.vast.ai`, without a path or with one that every call shares.
    pub base_url: String,
    /// Header that carries the credential, and its whole value (`Bearer …`).
    pub auth: Option<(&'static str, SecretString)>,
    /// Further texts that must never show up in an error.
    pub secrets: Vec<SecretString>,
    /// Limit on one call from connect to the last byte.
    pub total: Duration,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// Name for errors and traces (`create_instance`).
    pub operation: &'static str,
    pub method: Method,
    /// Begins with `/`; what comes from outside was checked by the driver to be one path segment.
    pub path: String,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    pub effect: Effect,
}

impl Call {
    /// A read without a body.
    pub fn get(operation: &'static str, path: impl Into<String>) -> Self {
        Self::new(operation, Method::GET, path, Effect::Read)
    }
    /// Any call.
    pub fn new(
        operation: &'static str,
        method: Method,
        path: impl Into<String>,
        effect: Effect,
    ) -> Self {
        Self { operation, method, path: path.into(), query: Vec::new(), body: None, effect }
    }
    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }
    /// Sets the JSON body.
    #[must_use]
    pub fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }
}

/// A client of one cloud's API.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    auth: Option<(HeaderName, HeaderValue)>,
    secrets: Vec<SecretString>,
}

impl Client {
    /// Opens nothing yet. Refuses a base URL that is not HTTP(S), that holds credentials, or that is plain
    /// HTTP beyond loopback while a credential would travel over it.
    pub fn new(settings: ClientSettings) -> Result<Self, ProviderError> {
        let refuse = |why: String| {
            ProviderError::new(Fault::Rejected, Scope::Provider, "configure", "bad-endpoint")
                .message(why)
        };
        let base = settings.base_url.trim_end_matches('/').to_owned();
        check_url(&base, settings.auth.is_some()).map_err(refuse)?;
        install_crypto();
        let mut builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(settings.total)
            .gzip(true)
            .user_agent(concat!("fleet/", env!("CARGO_PKG_VERSION")));
        if is_loopback_url(&base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|e| refuse(format!("no HTTP client: {e}")))?;
        let mut secrets = settings.secrets;
        let auth = match settings.auth {
            None => None,
            Some((name, value)) => {
                let mut header = HeaderValue::from_str(value.expose_secret()).map_err(|_| {
                    ProviderError::new(Fault::Auth, Scope::Provider, "configure", "bad-credential")
                        .message("the credential holds characters that no header can carry")
                })?;
                header.set_sensitive(true);
                let bare = value.expose_secret().rsplit(' ').next().unwrap_or_default();
                secrets.push(SecretString::from(bare));
                Some((HeaderName::from_static(name), header))
            }
        };
        Ok(Self { http, base, auth, secrets })
    }

    /// Sends one call and reads the whole answer, whatever its status.
    pub async fn send(&self, call: Call) -> Result<Reply, ProviderError> {
        self.send_as(call, HeaderMap::new()).await
    }

    /// The same with further headers, for a credential that changes during the client's life.
    pub async fn send_as(&self, call: Call, headers: HeaderMap) -> Result<Reply, ProviderError> {
        let (operation, effect) = (call.operation, call.effect);
        let mut request = self.http.request(call.method, format!("{}{}", self.base, call.path));
        request = request.headers(headers);
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some((name, value)) = &self.auth {
            request = request.header(name, value);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|e| self.failed(operation, effect, &e))?;
        let head = reply::Head::of(&answer);
        let body = self.read(answer).await.map_err(|why| {
            effect.unreadable(operation, self.redact(&why)).request_id(head.request_id.clone())
        })?;
        Ok(Reply::new(operation, effect, head, self.redact_bytes(body)))
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|e| causes(&e))? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(format!("the answer is longer than {} MiB", ANSWER_MAX >> 20));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// A call that got no answer. Only a failure to connect proves that nothing was asked.
    fn failed(
        &self,
        operation: &'static str,
        effect: Effect,
        error: &reqwest::Error,
    ) -> ProviderError {
        let why = self.redact(&causes(error));
        if error.is_connect() || error.is_builder() {
            return ProviderError::new(Fault::Transient, Scope::Request, operation, "unreachable")
                .message(why);
        }
        effect.unanswered(operation, if error.is_timeout() { "timeout" } else { "broken" }, why)
    }

    /// Strikes every secret of this client out of a text.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().map(|s| s.expose_secret()).filter(|s| s.len() >= 6) {
            if text.contains(secret) {
                text = text.replace(secret, "[redacted]");
            }
        }
        text
    }

    /// The same for an answer, so that no later sink has to think about it.
    fn redact_bytes(&self, body: Vec<u8>) -> Vec<u8> {
        let held = |s: &SecretString| {
            let secret = s.expose_secret().as_bytes();
            secret.len() >= 6 && body.windows(secret.len()).any(|w| w == secret)
        };
        if self.secrets.iter().any(held) {
            return self.redact(&String::from_utf8_lossy(&body)).into_bytes();
        }
        body
    }
}

/// Makes ring the process's crypto provider, once; another choice made before stands.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("a crypto provider was installed before");
        }
    });
}

/// Whether calls with or without a credential may go to `url`; the error says why not.
pub fn check_url(url: &str, with_credential: bool) -> Result<(), String> {
    let parsed: reqwest::Url = url.parse().map_err(|e| format!("endpoint `{url}`: {e}"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("an endpoint must not hold a user name or password".into());
    }
    match parsed.scheme() {
        "https" => Ok(()),
        "http" if !with_credential || is_loopback_url(url) => Ok(()),
        "http" => Err(format!(
            "endpoint `{url}` would carry a credential in clear; use https, or a loopback address"
        )),
        other => Err(format!("endpoint `{url}`: `{other}:` is not http or https")),
    }
}

/// An error and its sources in one line, without the URL (a query may hold what must not show).
fn causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        let part = cause.to_string();
        if !text.contains(&part) {
            text += if text.is_empty() { "" } else { ": " };
            text += &part;
        }
        next = cause.source();
    }
    if text.is_empty() { "the connection failed".into() } else { text }
}

#[cfg(test)]
mod tests;
