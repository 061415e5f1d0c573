//! Where the API is and where the account key is found: the places of Vast's own command line.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Credentials, Found};
use fleet_types::TimeScale;
use std::collections::BTreeMap;

/// Base URL of the API in ordinary life.
pub const DEFAULT_ENDPOINT: &str = "https://console.vast.ai";

/// What the driver is told.
#[derive(Clone)]
pub struct VastConfig {
    /// Base URL; [`DEFAULT_ENDPOINT`] in ordinary life.
    pub endpoint: String,
    /// Account selectors and sealed values: `VAST_API_KEY`, `HOME`, `XDG_CONFIG_HOME`.
    pub environment: BTreeMap<String, String>,
    /// Stretches the rate gates.
    pub time_scale: TimeScale,
}

/// Finds the key: variable, the tool's folder, the tool's older file.
pub(crate) fn api_key(environment: &BTreeMap<String, String>) -> Result<Found, ProviderError> {
    let look = Credentials::new(environment.clone());
    look.secret_var("VAST_API_KEY")
        .or_else(|| look.secret_file(&look.config_home()?.join("vastai/vast_api_key")))
        .or_else(|| look.secret_file(&look.home()?.join(".config/vastai/vast_api_key")))
        .or_else(|| look.secret_file(&look.home()?.join(".vast_api_key")))
        .ok_or_else(|| {
            ProviderError::unconfigured(
                "configure",
                "no key in VAST_API_KEY, $XDG_CONFIG_HOME/vastai/vast_api_key, \
                 ~/.config/vastai/vast_api_key or ~/.vast_api_key; \
                 run `vastai set api-key KEY` or set VAST_API_KEY",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Fault, Scope};
    use secrecy::ExposeSecret as _;

    #[test]
    fn the_key_is_found_where_the_vendors_tool_keeps_it_in_its_order() {
        let home = tempfile::tempdir().expect("a folder");
        let xdg = home.path().join("xdg");
        let at = |p: &std::path::Path, key: &str| {
            std::fs::create_dir_all(p.parent().expect("a parent")).expect("a folder");
            std::fs::write(p, key).expect("a file");
        };
        let mut environment = BTreeMap::from([
            ("HOME".to_owned(), home.path().display().to_string()),
            ("XDG_CONFIG_HOME".to_owned(), xdg.display().to_string()),
        ]);
        let error = api_key(&environment).expect_err("no key anywhere");
        assert_eq!((error.fault, error.scope), (Fault::Auth, Scope::Provider));
        assert!(error.is_unconfigured());
        let check = |key: &str| {
            let found = api_key(&environment).expect("a key");
            assert_eq!(found.secret.expose_secret(), key);
            found.source
        };
        at(&home.path().join(".vast_api_key"), "legacy\n");
        assert_eq!(check("legacy"), "~/.vast_api_key");
        at(&home.path().join(".config/vastai/vast_api_key"), "dotconfig\n");
        assert_eq!(check("dotconfig"), "~/.config/vastai/vast_api_key");
        at(&xdg.join("vastai/vast_api_key"), "xdg\n");
        assert_eq!(check("xdg"), "~/xdg/vastai/vast_api_key");
        environment.insert("VAST_API_KEY".into(), "variable".into());
        assert_eq!(api_key(&environment).expect("a key").source, "VAST_API_KEY");
    }
}
