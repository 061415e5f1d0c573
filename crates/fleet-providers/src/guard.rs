//! What a realm must not reach.
//!
//! Invariant: a sandbox realm names loopback explicitly for the cloud, so that a forgotten override can
//! never fall back to the real one. The rule for what is not on loopback is [`Realm::forbids`].

use fleet_provider::ProviderError;
use fleet_types::realm::is_loopback_url;
use fleet_types::{Endpoint, Fault, ProviderId, Realm, Scope};
use std::collections::BTreeMap;

/// Refuses what must not be reached, with the reason and the way out.
pub(crate) fn check(
    id: ProviderId,
    realm: &Realm,
    endpoint: &Endpoint,
    environment: &BTreeMap<String, String>,
) -> Result<(), ProviderError> {
    if is_loopback_only(endpoint) {
        return Ok(());
    }
    let setting = format!("FLEET_{}_ENDPOINT", id.as_str().to_uppercase());
    let Some(problem) = realm.forbids(id.title(), &setting, environment) else { return Ok(()) };
    let error = ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "wrong-realm");
    Err(error.message(problem))
}

/// The cloud's main API and all its services are overridden with loopback addresses.
fn is_loopback_only(endpoint: &Endpoint) -> bool {
    endpoint.api.as_deref().is_some_and(is_loopback_url)
        && endpoint.services.values().all(|url| is_loopback_url(url))
}
