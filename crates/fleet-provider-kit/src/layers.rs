//! The layers around every driver: trace, retry, throttle, time limit. In this order, from the outside in.
//!
//! Invariants (the call policy that reliability demands): a call that changes nothing, or that can be
//! repeated, is tried at most three times; a create is repeated only where the cloud knows a token, only
//! with the same request, and only while its outcome is unknown; a create without a token is never
//! repeated. No body and no secret is traced. Layers decide nothing about places or prices.

mod limits;
mod retry;

use async_trait::async_trait;
use fleet_provider::{
    Auxiliary, Capabilities, Idempotency, Identity, KeyScope, LaunchRequest, Leftover, Listing,
    OwnerTag, Provider, ProviderError, Result, StorageKey, StorageKeys, Termination,
};
use fleet_types::{Instance, InstanceId, Offer, OfferQuery, Place, ProviderId, TimeScale};
use limits::Limits;
use retry::{Repeat, Retry};
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// What the layers need to know.
#[derive(Clone, Copy, Debug)]
pub struct LayerSettings {
    /// Multiplies backoff and rates, and time limits down to a floor.
    pub time_scale: TimeScale,
    /// Seed of the jitter.
    pub seed: u64,
}

/// Puts the layers around a driver.
pub fn layered(provider: Arc<dyn Provider>, settings: LayerSettings) -> Arc<dyn Provider> {
    Arc::new(Layered {
        limits: Limits::new(settings.time_scale),
        retry: Retry::new(settings.time_scale, settings.seed),
        inner: provider,
    })
}

#[derive(Debug)]
struct Layered {
    inner: Arc<dyn Provider>,
    limits: Limits,
    retry: Retry,
}

/// The calls of the trait, as far as limits differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Verify,
    Offers,
    Launch,
    Describe,
    List,
    Terminate,
    Auxiliary,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Offers => "offers",
            Self::Launch => "launch",
            Self::Describe => "describe",
            Self::List => "list",
            Self::Terminate => "terminate",
            Self::Auxiliary => "auxiliary",
        }
    }
}

impl Layered {
    /// Runs one call through every layer. `once` makes a fresh future of the same call.
    async fn call<T, F>(
        &self,
        kind: Kind,
        repeat: Repeat,
        once: impl Fn() -> F + Send + Sync,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let span = tracing::debug_span!("cloud", provider = %self.inner.id(), call = kind.name());
        let attempt = || self.limits.apply(kind, once());
        async {
            let result = self.retry.run(repeat, attempt).await;
            if let Err(error) = &result {
                trace_failure(error);
            }
            result
        }
        .instrument(span)
        .await
    }

    fn inner_auxiliary(&self) -> Result<&dyn Auxiliary> {
        self.inner.auxiliary().ok_or_else(|| unsupported("auxiliary"))
    }

    fn inner_storage_keys(&self) -> Result<&dyn StorageKeys> {
        self.inner.storage_keys().ok_or_else(|| unsupported("storage"))
    }
}

fn unsupported(operation: &'static str) -> ProviderError {
    let (fault, scope) = (fleet_types::Fault::Rejected, fleet_types::Scope::Provider);
    ProviderError::new(fault, scope, operation, "unsupported")
}

fn trace_failure(error: &ProviderError) {
    tracing::debug!(
        operation = error.operation,
        fault = error.fault.label(),
        code = error.code,
        maybe_applied = error.maybe_applied,
        request_id = error.request_id.as_deref(),
        "the call failed"
    );
}

#[async_trait]
impl Provider for Layered {
    fn id(&self) -> ProviderId {
        self.inner.id()
    }
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    async fn verify(&self) -> Result<Identity> {
        self.call(Kind::Verify, Repeat::Safe, || self.inner.verify()).await
    }
    async fn offers(&self, query: &OfferQuery) -> Result<Vec<Offer>> {
        self.call(Kind::Offers, Repeat::Safe, || self.inner.offers(query)).await
    }
    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        let repeat = match self.inner.capabilities().idempotency {
            Idempotency::Token => Repeat::SameToken,
            Idempotency::UniqueName => Repeat::Never,
        };
        self.call(Kind::Launch, repeat, || self.inner.launch(request)).await
    }
    async fn describe(&self, id: &InstanceId, place: &Place) -> Result<Instance> {
        self.call(Kind::Describe, Repeat::Safe, || self.inner.describe(id, place)).await
    }
    async fn list(&self, owner: &OwnerTag) -> Result<Listing> {
        self.call(Kind::List, Repeat::Safe, || self.inner.list(owner)).await
    }
    async fn terminate(&self, id: &InstanceId, place: &Place) -> Result<Termination> {
        self.call(Kind::Terminate, Repeat::Safe, || self.inner.terminate(id, place)).await
    }
    fn storage_keys(&self) -> Option<&dyn StorageKeys> {
        self.inner.storage_keys().map(|_| self as &dyn StorageKeys)
    }
    fn auxiliary(&self) -> Option<&dyn Auxiliary> {
        self.inner.auxiliary().map(|_| self as &dyn Auxiliary)
    }
}

#[async_trait]
impl StorageKeys for Layered {
    async fn own_key(&self) -> Result<StorageKey> {
        let inner = self.inner_storage_keys()?;
        self.call(Kind::Verify, Repeat::Safe, || inner.own_key()).await
    }
    async fn narrow(&self, scope: &KeyScope, life: Duration) -> Result<Option<StorageKey>> {
        let inner = self.inner_storage_keys()?;
        self.call(Kind::Verify, Repeat::Safe, || inner.narrow(scope, life)).await
    }
}

#[async_trait]
impl Auxiliary for Layered {
    async fn leftovers(&self, owner: &OwnerTag) -> Result<Vec<Leftover>> {
        let inner = self.inner_auxiliary()?;
        self.call(Kind::Auxiliary, Repeat::Safe, || inner.leftovers(owner)).await
    }
    async fn remove(&self, leftover: &Leftover) -> Result<()> {
        let inner = self.inner_auxiliary()?;
        self.call(Kind::Auxiliary, Repeat::Safe, || inner.remove(leftover)).await
    }
    async fn admit(&self, owner: &OwnerTag, cidr: &str) -> Result<()> {
        let inner = self.inner_auxiliary()?;
        self.call(Kind::Auxiliary, Repeat::Safe, || inner.admit(owner, cidr)).await
    }
}

#[cfg(test)]
mod tests;
