//! What a realm must not reach.
//!
//! Invariants: a sandbox realm names loopback explicitly for the cloud, so that a forgotten override can
//! never fall back to the real one; a clock that is not real never drives a real cloud; and the sandbox's
//! dummy credentials, left over in a shell, are told apart from an expired key.

use fleet_provider::ProviderError;
use fleet_types::realm::is_loopback_url;
use fleet_types::{Endpoint, Fault, ProviderId, Realm, Scope};
use std::collections::BTreeMap;

/// Beginnings of the credentials that the sandbox hands out.
const SANDBOX_CREDENTIALS: [&str; 3] = ["AKIASANDBOX", "sandbox/dummy/", "vast-sandbox-dummy-key-"];

/// Whether `text` is a credential that means nothing outside a sandbox.
pub fn is_sandbox_credential(text: &str) -> bool {
    SANDBOX_CREDENTIALS.iter().any(|beginning| text.starts_with(beginning))
}

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
    let (title, name) = (id.title(), id.as_str().to_uppercase());
    let problem = if realm.sandbox {
        format!(
            "a sandbox realm must not reach the real {title}: its endpoint is not on loopback; \
             run `fleet sandbox status`"
        )
    } else if !realm.time_scale.is_real() {
        format!(
            "a time scale of {} must not drive the real {title}; unset FLEET_TIME_SCALE, or point \
             FLEET_{name}_ENDPOINT at loopback",
            realm.time_scale.factor()
        )
    } else if let Some(variable) = leftover(environment) {
        format!(
            "{variable} holds a credential of the sandbox, but the endpoint is the real {title}; \
             open a new shell, or run `eval \"$(fleet sandbox env)\"` again"
        )
    } else {
        return Ok(());
    };
    let error = ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "wrong-realm");
    Err(error.message(problem))
}

/// The cloud's main API and all its services are overridden with loopback addresses.
fn is_loopback_only(endpoint: &Endpoint) -> bool {
    endpoint.api.as_deref().is_some_and(is_loopback_url)
        && endpoint.services.values().all(|url| is_loopback_url(url))
}

fn leftover(environment: &BTreeMap<String, String>) -> Option<&str> {
    environment.iter().find(|(_, v)| is_sandbox_credential(v.trim())).map(|(k, _)| k.as_str())
}
