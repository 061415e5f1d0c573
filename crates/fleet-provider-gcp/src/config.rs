//! Where GCP is and which project pays, as the realm says it.
//!
//! Invariant: every setting comes from this value. With an endpoint override all services go to it, unless
//! a service has an override of its own, so that a sandbox realm can never reach the real GCP.

use fleet_provider::ProviderError;
use fleet_provider_kit::Credentials;
use fleet_provider_kit::http::check_url;
use fleet_types::realm::is_loopback_url;
use fleet_types::{Endpoint, Fault, Scope, TimeScale};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

const COMPUTE: &str = "https://compute.googleapis.com";
const BILLING: &str = "https://cloudbilling.googleapis.com";
const RESOURCE_MANAGER: &str = "https://cloudresourcemanager.googleapis.com";

/// How to reach GCP.
#[derive(Clone, Default)]
pub struct GcpConfig {
    /// Overrides: `api` for Compute Engine and everything without one of its own; `services` by the names
    /// `billing` and `resourcemanager`.
    pub endpoint: Endpoint,
    /// `GOOGLE_*` and `CLOUDSDK_*` variables, `GCE_METADATA_HOST` and `HOME`, as the realm carries them.
    pub environment: BTreeMap<String, String>,
    /// Scales I/O timeouts, never below five seconds.
    pub time_scale: TimeScale,
}

impl fmt::Debug for GcpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpConfig")
            .field("endpoint", &self.endpoint)
            .field("environment", &self.environment.keys())
            .field("time_scale", &self.time_scale)
            .finish()
    }
}

impl GcpConfig {
    /// The variables, for lookups.
    pub(crate) fn look(&self) -> Credentials {
        Credentials::new(self.environment.clone())
    }

    /// Base URL of Compute Engine.
    pub(crate) fn compute_url(&self) -> String {
        self.endpoint.api.clone().unwrap_or_else(|| COMPUTE.to_owned())
    }

    /// Base URL of the price list.
    pub(crate) fn billing_url(&self) -> String {
        self.service_url("billing", BILLING)
    }

    /// Base URL of the service that knows permissions.
    pub(crate) fn resource_manager_url(&self) -> String {
        self.service_url("resourcemanager", RESOURCE_MANAGER)
    }

    fn service_url(&self, service: &str, usual: &str) -> String {
        let own = self.endpoint.services.get(service).or(self.endpoint.api.as_ref());
        own.cloned().unwrap_or_else(|| usual.to_owned())
    }

    /// Compute Engine is on this machine, so its machines may be too.
    pub(crate) fn is_loopback(&self) -> bool {
        self.endpoint.api.as_deref().is_some_and(is_loopback_url)
    }

    /// Refuses an override that would carry credentials in clear, or is no URL.
    pub(crate) fn check(&self) -> Result<(), ProviderError> {
        for url in [self.compute_url(), self.billing_url(), self.resource_manager_url()] {
            check_url(&url, true).map_err(|why| {
                ProviderError::new(Fault::Rejected, Scope::Provider, "connect", "bad-endpoint")
                    .message(why)
            })?;
        }
        Ok(())
    }

    /// gcloud's own folder.
    pub(crate) fn gcloud(&self) -> Option<PathBuf> {
        let look = self.look();
        let named = look.var("CLOUDSDK_CONFIG").map(|v| PathBuf::from(v.trim()));
        named.or_else(|| look.home().map(|h| h.join(".config/gcloud")))
    }

    /// The project that pays: variables, the credential's own, gcloud's active configuration.
    pub(crate) fn project(&self, credential: Option<&Value>) -> Option<String> {
        let look = self.look();
        let variable = ["GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GCLOUD_PROJECT"]
            .iter()
            .find_map(|name| look.var(name).map(|v| v.trim().to_owned()));
        let own = |field: &str| credential?.get(field)?.as_str().map(str::to_owned);
        let named = variable.or_else(|| own("project_id")).or_else(|| self.gcloud_project());
        named.or_else(|| own("quota_project_id")).filter(|p| is_project(p))
    }

    /// `[core] project` of the active configuration.
    fn gcloud_project(&self) -> Option<String> {
        use secrecy::ExposeSecret as _;
        let (look, folder) = (self.look(), self.gcloud()?);
        let active = look.secret_file(&folder.join("active_config"));
        let active = active.map_or("default".to_owned(), |f| f.secret.expose_secret().to_owned());
        let file = folder.join("configurations").join(format!("config_{active}"));
        let project = look.secret_field(&file, &["project"])?;
        Some(project.secret.expose_secret().to_owned())
    }
}

/// What may stand in a path as a project: `my-project`, or `example.com:my-project`.
fn is_project(text: &str) -> bool {
    let inner =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b':');
    (2..=100).contains(&text.len()) && text.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(api: Option<&str>, env: &[(&str, &str)]) -> GcpConfig {
        GcpConfig {
            endpoint: Endpoint { api: api.map(str::to_owned), services: BTreeMap::new() },
            environment: env.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            time_scale: TimeScale::default(),
        }
    }

    #[test]
    fn one_override_covers_every_service() {
        let mut config = with(Some("http://127.0.0.1:1"), &[]);
        let urls = |c: &GcpConfig| [c.compute_url(), c.billing_url(), c.resource_manager_url()];
        assert_eq!(urls(&config), ["http://127.0.0.1:1"; 3]);
        assert!(config.is_loopback() && config.check().is_ok());
        config.endpoint.services.insert("billing".into(), "https://127.0.0.1:2".into());
        assert_eq!(config.billing_url(), "https://127.0.0.1:2");
        let real = with(None, &[("GOOGLE_OAUTH_ACCESS_TOKEN", "ya29.canary")]);
        assert_eq!(urls(&real), [COMPUTE, BILLING, RESOURCE_MANAGER]);
        assert!(!real.is_loopback() && real.check().is_ok());
        assert!(!format!("{real:?}").contains("canary"));
        for bad in ["http://10.0.0.1/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "compute"] {
            assert!(with(Some(bad), &[]).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_project_is_found_where_googles_tools_look() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join(".config/gcloud/configurations");
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = home.path().display().to_string();
        let find = |env: &[(&str, &str)], own: &Value| with(None, env).project(Some(own));
        let (key, user) = (json!({"project_id": "key"}), json!({"quota_project_id": "quota"}));
        assert_eq!(find(&[("HOME", &path)], &json!({})), None);
        assert_eq!(find(&[("HOME", &path)], &user).as_deref(), Some("quota"));
        std::fs::write(folder.join("config_work"), "[core]\naccount = me\nproject = work-1\n")
            .expect("a file");
        std::fs::write(home.path().join(".config/gcloud/active_config"), "work\n").expect("a file");
        assert_eq!(find(&[("HOME", &path)], &user).as_deref(), Some("work-1"));
        assert_eq!(find(&[("HOME", &path)], &key).as_deref(), Some("key"));
        let named = [("HOME", path.as_str()), ("GOOGLE_CLOUD_PROJECT", " mine ")];
        assert_eq!(find(&named, &key).as_deref(), Some("mine"));
        assert_eq!(find(&[("GOOGLE_CLOUD_PROJECT", "../x")], &json!({})), None);
    }
}
