//! The calls of Lambda's API that fleet makes, at the pace that Lambda asks for.
//!
//! Lambda allows one call a second, and one launch in 12 seconds. Invariants: no call is made early, and none
//! while another is under way; a launch whose turn is too far away is not made and says so; an id goes into a
//! path only if it is letters, digits and dashes. It reads no meaning into answers beyond success or refusal.

use crate::fault::{self, call};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Client, ClientSettings, Effect, Reply, Turnstile};
use fleet_types::{Fault, Scope, TimeScale};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for a launch's turn: half of what a launch may take in all.
const PATIENCE: Duration = Duration::from_secs(50);

#[derive(Debug)]
pub(crate) struct LambdaClient {
    http: Client,
    scale: TimeScale,
    every: Turnstile,
    launches: Turnstile,
}

impl LambdaClient {
    pub(crate) fn new(endpoint: &str, key: &SecretString, scale: TimeScale) -> Result<Self> {
        let http = Client::new(ClientSettings {
            base_url: endpoint.to_owned(),
            auth: Some(("authorization", format!("Bearer {}", key.expose_secret()).into())),
            secrets: vec![key.clone()],
            // One that hangs holds the others, so it may not hang for long.
            total: Duration::from_secs(30),
        })?;
        // The documented least distances.
        let every = Turnstile::new(Duration::from_secs(1), scale);
        let launches = Turnstile::new(fault::LAUNCH_DISTANCE, scale);
        Ok(Self { http, scale, every, launches })
    }

    /// Every type with its price and the regions that have some now, by name.
    pub(crate) async fn instance_types(&self) -> Result<Value> {
        self.good(Call::get(call::TYPES, "/api/v1/instance-types")).await
    }

    /// Every region.
    pub(crate) async fn regions(&self) -> Result<Value> {
        self.good(Call::get(call::REGIONS, "/api/v1/regions")).await
    }

    /// Every instance of the account; Lambda has no pages.
    pub(crate) async fn instances(&self) -> Result<Value> {
        self.good(Call::get(call::LIST, "/api/v1/instances")).await
    }

    /// One instance.
    pub(crate) async fn instance(&self, id: &str) -> Result<Value> {
        self.good(Call::get(call::SHOW, format!("/api/v1/instances/{id}"))).await
    }

    /// Launches an instance.
    pub(crate) async fn launch(&self, body: Value) -> Result<Reply> {
        let path = "/api/v1/instance-operations/launch";
        let call = Call::new(call::LAUNCH, Method::POST, path, Effect::Create).body(body);
        let sent = self.every.run(self.http.send(call));
        let patience = self.scale.span(PATIENCE);
        let Some(reply) = self.launches.run_within(patience, sent).await else {
            let fault = Fault::Throttled;
            return Err(ProviderError::new(fault, Scope::Provider, call::LAUNCH, "our-own-gate")
                .message("too many launches are waiting; Lambda allows one in 12 seconds")
                .retry_after(Some(fault::LAUNCH_DISTANCE)));
        };
        reply
    }

    /// Ends an instance for good.
    pub(crate) async fn terminate(&self, id: &str) -> Result<Value> {
        let path = "/api/v1/instance-operations/terminate";
        let call = Call::new(call::TERMINATE, Method::POST, path, Effect::Change);
        self.good(call.body(json!({"instance_ids": [id]}))).await
    }

    /// SSH keys of the account.
    pub(crate) async fn ssh_keys(&self) -> Result<Value> {
        self.good(Call::get(call::KEYS, "/api/v1/ssh-keys")).await
    }

    /// Registers an SSH key.
    pub(crate) async fn add_ssh_key(&self, name: &str, public: &str) -> Result<()> {
        let call = Call::new(call::ADD_KEY, Method::POST, "/api/v1/ssh-keys", Effect::Change);
        self.good(call.body(json!({"name": name, "public_key": public}))).await.map(drop)
    }

    /// Removes an SSH key.
    pub(crate) async fn delete_ssh_key(&self, id: &str) -> Result<()> {
        let path = format!("/api/v1/ssh-keys/{id}");
        let call = Call::new(call::DELETE_KEY, Method::DELETE, path, Effect::Change);
        self.good(call).await.map(drop)
    }

    /// Sends in its turn, and takes only a success with `data`.
    async fn good(&self, call: Call) -> Result<Value> {
        let reply = self.every.run(self.http.send(call)).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        match reply.json()? {
            Value::Object(mut body) if body.contains_key("data") => {
                Ok(body.remove("data").unwrap_or_default())
            }
            _ => Err(reply.unreadable("the answer holds no `data`")),
        }
    }
}

/// An id that may stand in a path.
pub(crate) fn checked<'a>(text: &'a str, operation: &'static str) -> Result<&'a str> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(inner) {
        return Ok(text);
    }
    Err(ProviderError::new(Fault::Rejected, Scope::Request, operation, "bad-id")
        .message(format!("`{text}` is no id of Lambda's")))
}
