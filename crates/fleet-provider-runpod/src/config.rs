//! Where the APIs are and where the account key is found: the places of the vendor's tools.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Credentials, Found};
use fleet_types::Endpoint;
use std::collections::BTreeMap;

/// Base URL of both APIs in ordinary life.
pub const DEFAULT_ENDPOINT: &str = "https://api.runpod.io";

/// What the driver is told.
#[derive(Clone, Default)]
pub struct RunpodConfig {
    /// Overrides: `api` for both, the service `graphql` for that one alone.
    pub endpoint: Endpoint,
    /// Account selectors and sealed values: `RUNPOD_API_KEY`, `HOME`.
    pub environment: BTreeMap<String, String>,
}

impl RunpodConfig {
    /// Base URL of REST.
    pub(crate) fn rest(&self) -> String {
        let api = self.endpoint.api.as_deref().unwrap_or(DEFAULT_ENDPOINT);
        api.trim_end_matches('/').to_owned()
    }
    /// URL of GraphQL.
    pub(crate) fn graphql(&self) -> String {
        let own = self.endpoint.services.get("graphql");
        own.cloned().unwrap_or_else(|| format!("{}/graphql", self.rest()))
    }
}

/// Finds the key: the variable, then the file of the SDK (`[default] api_key`) and of runpodctl (`apikey`).
pub(crate) fn api_key(environment: &BTreeMap<String, String>) -> Result<Found, ProviderError> {
    let look = Credentials::new(environment.clone());
    let file =
        || look.secret_field(&look.home()?.join(".runpod/config.toml"), &["api_key", "apikey"]);
    look.secret_var("RUNPOD_API_KEY").or_else(file).ok_or_else(|| {
        ProviderError::unconfigured(
            "configure",
            "no key in RUNPOD_API_KEY or ~/.runpod/config.toml; make one at \
             https://console.runpod.io/user/settings and run `runpod config`, or set RUNPOD_API_KEY",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Fault, Scope};
    use secrecy::ExposeSecret as _;

    #[test]
    fn the_key_is_found_where_both_tools_keep_it() {
        let home = tempfile::tempdir().expect("a folder");
        let mut environment =
            BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let error = api_key(&environment).expect_err("no key anywhere");
        assert_eq!((error.fault, error.scope), (Fault::Auth, Scope::Provider));
        assert!(error.is_unconfigured());
        std::fs::create_dir(home.path().join(".runpod")).expect("a folder");
        for (text, key) in [
            ("[default]\napi_key = \"rpa_sdk_123456\"\n", "rpa_sdk_123456"),
            ("apikey = 'rpa_ctl_123456'\napiurl = \"https://x\"\n", "rpa_ctl_123456"),
        ] {
            std::fs::write(home.path().join(".runpod/config.toml"), text).expect("a file");
            let found = api_key(&environment).expect("a key");
            assert_eq!(found.secret.expose_secret(), key);
            assert_eq!(found.source, "~/.runpod/config.toml");
        }
        environment.insert("RUNPOD_API_KEY".into(), "rpa_var_123456".into());
        assert_eq!(api_key(&environment).expect("a key").source, "RUNPOD_API_KEY");
    }

    #[test]
    fn one_endpoint_is_both_apis_unless_graphql_has_its_own() {
        let mut config = RunpodConfig::default();
        assert_eq!(config.graphql(), "https://api.runpod.io/graphql");
        config.endpoint.api = Some("http://127.0.0.1:1/".into());
        assert_eq!(
            (config.rest(), config.graphql()),
            ("http://127.0.0.1:1".into(), "http://127.0.0.1:1/graphql".into())
        );
        let own = "http://127.0.0.1:2/g".to_owned();
        config.endpoint.services.insert("graphql".into(), own.clone());
        assert_eq!(config.graphql(), own);
    }
}
