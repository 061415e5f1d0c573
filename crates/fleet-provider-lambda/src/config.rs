//! Where the API is and where the account key is found: the places of the tools that people have.

use fleet_provider::ProviderError;
use fleet_provider_kit::{Credentials, Found};
use fleet_types::TimeScale;
use std::collections::BTreeMap;

/// Base URL of the API in ordinary life.
pub const DEFAULT_ENDPOINT: &str = "https://cloud.lambda.ai";

/// What the driver is told.
#[derive(Clone)]
pub struct LambdaConfig {
    /// Base URL; [`DEFAULT_ENDPOINT`] in ordinary life.
    pub endpoint: String,
    /// Account selectors and sealed values: `LAMBDA_API_KEY`, `LAMBDA_CLOUD_API_TOKEN`, `HOME`.
    pub environment: BTreeMap<String, String>,
    /// Stretches the pace of the calls.
    pub time_scale: TimeScale,
}

/// Finds the key: the variables, then the file in which SkyPilot keeps it.
pub(crate) fn api_key(environment: &BTreeMap<String, String>) -> Result<Found, ProviderError> {
    let look = Credentials::new(environment.clone());
    look.secret_var("LAMBDA_API_KEY")
        .or_else(|| look.secret_var("LAMBDA_CLOUD_API_TOKEN"))
        .or_else(|| look.secret_field(&look.home()?.join(".lambda_cloud/lambda_keys"), &["api_key"]))
        .ok_or_else(|| {
            ProviderError::unconfigured(
                "configure",
                "no key in LAMBDA_API_KEY, LAMBDA_CLOUD_API_TOKEN or ~/.lambda_cloud/lambda_keys \
                 (`api_key = KEY`); make one at https://cloud.lambda.ai/api-keys and set LAMBDA_API_KEY",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Fault, Scope};
    use secrecy::ExposeSecret as _;

    #[test]
    fn the_key_is_found_where_others_keep_it_in_our_order() {
        let home = tempfile::tempdir().expect("a folder");
        let mut environment =
            BTreeMap::from([("HOME".to_owned(), home.path().display().to_string())]);
        let error = api_key(&environment).expect_err("no key anywhere");
        assert_eq!((error.fault, error.scope), (Fault::Auth, Scope::Provider));
        assert!(error.is_unconfigured());
        let folder = home.path().join(".lambda_cloud");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("lambda_keys"), "api_key = secret_file_1.x\n").expect("a file");
        for (name, value, source) in [
            ("LAMBDA_UNUSED", "", "~/.lambda_cloud/lambda_keys"),
            ("LAMBDA_CLOUD_API_TOKEN", "secret_token_1.x", "LAMBDA_CLOUD_API_TOKEN"),
            ("LAMBDA_API_KEY", "secret_key_1.x", "LAMBDA_API_KEY"),
        ] {
            environment.insert(name.into(), value.into());
            let found = api_key(&environment).expect("a key");
            assert_eq!(found.source, source);
            let secret = if value.is_empty() { "secret_file_1.x" } else { value };
            assert_eq!(found.secret.expose_secret(), secret);
        }
    }
}
