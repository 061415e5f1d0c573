//! The calls of REST v2 that fleet makes.
//!
//! Invariant: an id goes into a path only if it is letters, digits, dashes and underscores. It reads no meaning
//! into answers beyond success or refusal.

use crate::fault::{self, call};
use fleet_provider::{ProviderError, Result};
use fleet_provider_kit::http::Method;
use fleet_provider_kit::{Call, Client, ClientSettings, Effect, Reply, wire};
use fleet_types::{Fault, Scope};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct RestClient {
    http: Client,
}

/// A client of either API: the same key in the same header. It is never put into a URL.
pub(crate) fn http(base_url: String, key: &SecretString) -> Result<Client> {
    Client::new(ClientSettings {
        base_url,
        auth: Some(("authorization", format!("Bearer {}", key.expose_secret()).into())),
        secrets: vec![key.clone()],
        total: Duration::from_secs(60),
    })
}

impl RestClient {
    pub(crate) fn new(base_url: String, key: &SecretString) -> Result<Self> {
        Ok(Self { http: http(base_url, key)? })
    }

    /// GPU types with prices, and where so many of them can be had in one pod now.
    pub(crate) async fn gpus(&self, count: u32, cloud: &str, min_cuda: &str) -> Result<Vec<Value>> {
        let call = Call::get(call::GPUS, "/v2/catalog/gpus")
            .query("include", "AVAILABILITY")
            .query("product", "POD")
            .query("count", count.to_string())
            .query("cloud", cloud)
            .query("minCudaVersion", min_cuda);
        self.rows(call, "gpus").await
    }

    /// Data centres with the GPU types that each has, free or not.
    pub(crate) async fn data_centers(&self) -> Result<Vec<Value>> {
        let call = Call::get(call::DATA_CENTERS, "/v2/catalog/datacenters");
        self.rows(call.query("include", "GPU_AVAILABILITY"), "dataCenters").await
    }

    /// Every pod of the account; there are no pages.
    pub(crate) async fn pods(&self) -> Result<Vec<Value>> {
        self.rows(Call::get(call::LIST, "/v2/pods"), "pods").await
    }

    /// One pod.
    pub(crate) async fn pod(&self, id: &str) -> Result<Value> {
        self.good(Call::get(call::SHOW, format!("/v2/pods/{id}"))).await
    }

    /// Rents a pod on demand.
    pub(crate) async fn create(&self, body: Value) -> Result<Reply> {
        let call = Call::new(call::CREATE, Method::POST, "/v2/pods", Effect::Create);
        self.http.send(call.body(body)).await
    }

    /// Ends a pod for good, its disk too.
    pub(crate) async fn delete(&self, id: &str) -> Result<()> {
        let path = format!("/v2/pods/{id}");
        let call = Call::new(call::DELETE, Method::DELETE, path, Effect::Change);
        let reply = self.http.send(call).await?;
        if reply.success() { Ok(()) } else { Err(fault::classify(&reply)) }
    }

    /// Whether the key is one, by a call that changes nothing.
    pub(crate) async fn knock(&self) -> Result<()> {
        self.rows(Call::get(call::KEYS, "/v2/account/ssh-keys"), "keys").await.map(drop)
    }

    /// The list of that name in an answer.
    async fn rows(&self, call: Call, name: &str) -> Result<Vec<Value>> {
        let operation = call.operation;
        let mut body = self.good(call).await?;
        wire::list(&body, name).map_err(|odd| odd.into_error(operation, Effect::Read))?;
        match body[name].take() {
            Value::Array(rows) => Ok(rows),
            _ => Err(Effect::Read.unreadable(operation, format!("`{name}` is no list"))),
        }
    }

    /// Sends and takes only a success that is an object.
    async fn good(&self, call: Call) -> Result<Value> {
        let reply = self.http.send(call).await?;
        if !reply.success() {
            return Err(fault::classify(&reply));
        }
        let body = reply.json()?;
        if body.is_object() { Ok(body) } else { Err(reply.unreadable("the answer is no object")) }
    }
}

/// An id that may stand in a path.
pub(crate) fn checked<'a>(text: &'a str, operation: &'static str) -> Result<&'a str> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(inner) {
        return Ok(text);
    }
    Err(ProviderError::new(Fault::Rejected, Scope::Request, operation, "bad-id")
        .message(format!("`{text}` is no id of RunPod's")))
}
