//! Where AWS is and who we are there, as the realm says it.
//!
//! Invariant: every setting comes from this value. With an endpoint override all services go to it,
//! unless a service has an override of its own, so that a sandbox realm can never reach the real AWS.

use fleet_provider::ProviderError;
use fleet_provider_kit::Credentials;
use fleet_provider_kit::http::check_url;
use fleet_types::{Endpoint, Fault, Scope, TimeScale};
use std::collections::BTreeMap;
use std::fmt;

/// Used where neither the environment nor the profile names a region.
const DEFAULT_REGION: &str = "us-east-1";
const ADVISOR: &str = "https://spot-bid-advisor.s3.amazonaws.com";

/// How to reach AWS.
#[derive(Clone, Default)]
pub struct AwsConfig {
    /// Overrides: `api` for EC2 and everything without one of its own; `services` by the names
    /// `pricing`, `sts`, `advisor`. `AWS_ENDPOINT_URL_EC2` and `AWS_ENDPOINT_URL` in `environment`
    /// stand in for a missing `api`.
    pub endpoint: Endpoint,
    /// `AWS_*` variables and `HOME`, as the realm carries them.
    pub environment: BTreeMap<String, String>,
    /// Scales I/O timeouts, never below five seconds.
    pub time_scale: TimeScale,
}

impl fmt::Debug for AwsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsConfig")
            .field("endpoint", &self.endpoint)
            .field("environment", &self.environment.keys())
            .field("time_scale", &self.time_scale)
            .finish()
    }
}

impl AwsConfig {
    /// The variables, for lookups.
    pub(crate) fn look(&self) -> Credentials {
        Credentials::new(self.environment.clone())
    }

    /// The region named by the environment, if any.
    pub(crate) fn named_region(&self) -> Option<String> {
        let look = self.look();
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .iter()
            .find_map(|name| look.var(name).map(|v| v.trim().to_owned()))
    }

    /// The region for calls that belong to no place.
    pub(crate) fn default_region() -> String {
        DEFAULT_REGION.to_owned()
    }

    /// The override of EC2.
    pub(crate) fn ec2_url(&self) -> Option<String> {
        let look = self.look();
        self.endpoint.api.clone().or_else(|| {
            ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"]
                .iter()
                .find_map(|name| look.var(name).map(str::to_owned))
        })
    }

    /// The override of another service; the one of EC2 covers it where it has none of its own.
    pub(crate) fn service_url(&self, service: &str) -> Option<String> {
        self.endpoint.services.get(service).cloned().or_else(|| self.ec2_url())
    }

    /// Base URL of the spot advisor's document.
    pub(crate) fn advisor_url(&self) -> String {
        self.service_url("advisor").unwrap_or_else(|| ADVISOR.to_owned())
    }

    /// Refuses an override that would carry credentials in clear, or is no URL.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        let urls = self.ec2_url().into_iter().chain(self.endpoint.services.values().cloned());
        for url in urls {
            check_url(&url, true).map_err(|why| {
                ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "bad-endpoint")
                    .message(why)
            })?;
        }
        Ok(())
    }

    /// Whether no call of ours needs TLS, so that no trust store has to be read.
    pub(crate) fn plain(&self) -> bool {
        let plain = |url: &String| url.starts_with("http://");
        self.ec2_url().as_ref().is_some_and(plain) && self.endpoint.services.values().all(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(api: Option<&str>, env: &[(&str, &str)]) -> AwsConfig {
        AwsConfig {
            endpoint: Endpoint { api: api.map(str::to_owned), services: BTreeMap::new() },
            environment: env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            time_scale: TimeScale::default(),
        }
    }

    #[test]
    fn one_override_covers_every_service() {
        let sandbox = "http://127.0.0.1:4566";
        let mut config = with(Some(sandbox), &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
        for service in ["pricing", "sts"] {
            assert_eq!(config.service_url(service).as_deref(), Some(sandbox));
        }
        assert_eq!(config.advisor_url(), sandbox);
        assert!(config.plain());
        config.endpoint.services.insert("sts".into(), "https://127.0.0.1:2".into());
        assert_eq!(config.service_url("sts").as_deref(), Some("https://127.0.0.1:2"));
        assert!(!config.plain());
    }

    #[test]
    fn life_has_no_overrides_and_no_secret_prints() {
        let config =
            with(None, &[("AWS_SECRET_ACCESS_KEY", "wJalrXUt"), ("AWS_REGION", " eu-west-1 ")]);
        assert_eq!((config.ec2_url(), config.service_url("sts")), (None, None));
        assert_eq!(config.advisor_url(), ADVISOR);
        assert_eq!(config.named_region().as_deref(), Some("eu-west-1"));
        assert!(!format!("{config:?}").contains("wJalr"));
        assert!(config.check().is_ok() && !config.plain());
    }

    #[test]
    fn credentials_never_travel_in_clear_beyond_loopback() {
        for bad in ["http://10.0.0.1/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "ec2"] {
            assert!(with(Some(bad), &[]).check().is_err(), "{bad}");
        }
    }
}
