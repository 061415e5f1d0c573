//! The one place that names every driver: which clouds this build has, and how to reach one in a realm.
//!
//! Adding a cloud is one line in each of two tables here. Invariants: what comes out has the layers around
//! it; a sandbox realm or a scaled clock reaches loopback only; a credential of the sandbox never goes to
//! a real cloud. It keeps nothing and asks no environment: credentials and account selectors are handed in.

mod guard;

pub use fleet_types::realm::is_sandbox_credential;

use fleet_provider::{Provider, ProviderError};
use fleet_provider_kit::{LayerSettings, layered};
use fleet_types::{Endpoint, Fault, ProviderId, Realm, Scope};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The clouds that this build has a driver for.
pub fn drivers() -> &'static [ProviderId] {
    &[
        #[cfg(feature = "aws")]
        ProviderId::Aws,
        #[cfg(feature = "lambda")]
        ProviderId::Lambda,
        #[cfg(feature = "vast")]
        ProviderId::Vast,
    ]
}

/// Makes a driver for a realm, with the layers around it. Makes no call to the cloud.
///
/// `environment` holds the realm's account selectors and the values sealed for it; `seed` is that of the
/// retries' jitter. Errors: Auth where no credential is configured, Rejected where the cloud has no driver
/// here or the realm must not reach the endpoint.
pub async fn connect(
    id: ProviderId,
    realm: &Realm,
    environment: &BTreeMap<String, String>,
    seed: u64,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let driver = bare(id, realm, environment).await?;
    Ok(layered(driver, LayerSettings { time_scale: realm.time_scale, seed }))
}

/// The same without layers: no retry, no rate limit, no time limit of its own. For the conformance suite,
/// which has to see what the driver itself does.
pub async fn bare(
    id: ProviderId,
    realm: &Realm,
    environment: &BTreeMap<String, String>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let endpoint = realm.endpoint(id);
    guard::check(id, realm, &endpoint, environment)?;
    driver(id, realm, endpoint, environment.clone()).await
}

async fn driver(
    id: ProviderId,
    realm: &Realm,
    endpoint: Endpoint,
    environment: BTreeMap<String, String>,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let time_scale = realm.time_scale;
    match id {
        #[cfg(feature = "aws")]
        ProviderId::Aws => {
            use fleet_provider_aws::{AwsConfig, connect};
            Ok(Arc::new(connect(AwsConfig { endpoint, environment, time_scale }).await?))
        }
        #[cfg(feature = "lambda")]
        ProviderId::Lambda => {
            use fleet_provider_lambda::{DEFAULT_ENDPOINT, LambdaConfig, LambdaProvider};
            let endpoint = endpoint.api.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
            Ok(Arc::new(LambdaProvider::new(LambdaConfig { endpoint, environment, time_scale })?))
        }
        #[cfg(feature = "vast")]
        ProviderId::Vast => {
            use fleet_provider_vast::{DEFAULT_ENDPOINT, VastConfig, VastProvider};
            let endpoint = endpoint.api.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
            Ok(Arc::new(VastProvider::new(VastConfig { endpoint, environment, time_scale })?))
        }
        other => Err(ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "no-driver")
            .message(format!("{} is not supported yet", other.title()))),
    }
}

#[cfg(test)]
mod tests;
