//! The calls of Vast's API that fleet makes, each through the rate gate of its endpoint.
//!
//! Vast punishes calls that come too close together, per endpoint and account, and does not say when to
//! come back. Invariants: no call passes its gate early; every path ends in a slash; an id goes into a path
//! only if it is a number. It reads no meaning into answers beyond success or refusal.

use crate::fault::{self, call};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Client, ClientSettings, Effect, Gate, Reply, Turnstile, wire};
use fleet_types::{Fault, Scope, TimeScale};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

/// Most rows of a page that the API gives.
const PAGE: &str = "25";

#[derive(Debug)]
pub(crate) struct VastClient {
    http: Client,
    scale: TimeScale,
    search: Gate,
    take: Turnstile,
    list: Turnstile,
    show: Turnstile,
    destroy: Turnstile,
}

impl VastClient {
    pub(crate) fn new(endpoint: &str, key: &SecretString, scale: TimeScale) -> Result<Self> {
        let http = Client::new(ClientSettings {
            base_url: endpoint.to_owned(),
            auth: Some(("authorization", format!("Bearer {}", key.expose_secret()).into())),
            secrets: vec![key.clone()],
            total: Duration::from_secs(60),
        })?;
        let stile = |millis| Turnstile::new(Duration::from_millis(millis), scale);
        Ok(Self {
            http,
            scale,
            // Ten searches a minute: four at once and six in the minute after.
            search: Gate::new(Duration::from_secs(10), 4, scale),
            // The documented least distances.
            take: stile(4_500),
            list: stile(1_000),
            show: stile(2_000),
            destroy: stile(3_000),
        })
    }

    /// Offers of one search.
    pub(crate) async fn search(&self, body: Value) -> Result<Value> {
        self.search.pass().await;
        let call = Call::new(call::SEARCH, Method::POST, "/api/v0/bundles/", Effect::Read);
        self.good(call.body(body)).await
    }

    /// Takes an offer. The answer is returned whatever it says: a refusal may have left a contract.
    pub(crate) async fn take(&self, ask: u64, body: Value) -> Result<Reply> {
        let path = format!("/api/v0/asks/{ask}/");
        let call = Call::new(call::TAKE, Method::PUT, path, Effect::Create).body(body);
        let reply = self.take.run(self.http.send(call)).await?;
        if reply.status() == 429 {
            self.take.hold_off(self.scale.span(fault::PENALTY)).await;
        }
        Ok(reply)
    }

    /// One page of the account's instances, optionally of one label or id.
    pub(crate) async fn page(&self, filter: Option<&Value>, after: Option<&str>) -> Result<Value> {
        let mut call = Call::get(call::LIST, "/api/v1/instances/").query("limit", PAGE);
        call = call.query("order_by", r#"[{"col":"id","dir":"asc"}]"#);
        if let Some(filter) = filter {
            call = call.query("select_filters", filter.to_string());
        }
        if let Some(token) = after {
            call = call.query("after_token", token);
        }
        self.list.run(self.good(call)).await
    }

    /// One instance.
    pub(crate) async fn show(&self, id: u64) -> Result<Value> {
        let call = Call::get(call::SHOW, format!("/api/v0/instances/{id}/"));
        self.show.run(self.good(call.query("owner", "me"))).await
    }

    /// Ends an instance for good.
    pub(crate) async fn destroy(&self, id: u64) -> Result<()> {
        let path = format!("/api/v0/instances/{id}/");
        let call = Call::new(call::DESTROY, Method::DELETE, path, Effect::Change).body(json!({}));
        self.destroy.run(self.good(call)).await.map(drop)
    }

    /// Who the key belongs to.
    pub(crate) async fn user(&self) -> Result<Value> {
        let call = Call::get(call::USER, "/api/v0/users/current/").query("owner", "me");
        self.good(call).await
    }

    /// Sends and takes only a success that can be read.
    async fn good(&self, call: Call) -> Result<Value> {
        let reply = self.http.send(call).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        let body = reply.json()?;
        if !body.is_object() {
            return Err(reply.unreadable("the answer is no object"));
        }
        if wire::flag(&body, "success") == Some(false) {
            return Err(fault::classify(&reply));
        }
        Ok(body)
    }
}

/// An id as a number: the only form that goes into a path.
pub(crate) fn number(text: &str, operation: &'static str) -> Result<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten().ok_or_else(|| {
        ProviderError::new(Fault::Rejected, Scope::Request, operation, "bad-id")
            .message(format!("`{text}` is no Vast id; Vast ids are numbers"))
    })
}
