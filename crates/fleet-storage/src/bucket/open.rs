//! What opening a bucket may look at, and what it must not reach.
//!
//! Invariant: everything comes from the arguments, files below `HOME` included; no process's environment is
//! read here. A realm that must not reach a real cloud does not, and no key travels in clear beyond loopback.

use super::refused::Refused;
use fleet_provider::StorageKeys;
use fleet_provider_kit::http::check_url;
use fleet_types::{BucketUri, Realm, is_loopback_url};
use object_store::{BackoffConfig, RetryConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A bucket that is to be opened.
pub(super) struct Asking<'a> {
    pub(super) uri: &'a BucketUri,
    pub(super) realm: &'a Realm,
    pub(super) environment: &'a BTreeMap<String, String>,
    /// The cloud driver's keys, where its cloud is S3's.
    pub(super) keys: Option<Arc<dyn StorageKeys>>,
}

impl Asking<'_> {
    /// A variable that is not empty.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|v| !v.trim().is_empty())
    }

    /// The text of a file in the user's home.
    pub(super) fn home_file(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(Path::new(self.var("HOME")?).join(path)).ok()
    }

    /// Refuses an endpoint that must not be reached. `setting` would point it elsewhere, for people.
    pub(super) fn check(&self, endpoint: &str, setting: &str) -> Result<(), Refused> {
        check_url(endpoint, true).map_err(Refused::Setting)?;
        if is_loopback_url(endpoint) {
            return Ok(());
        }
        match self.realm.forbids(self.uri.kind.title(), setting, self.environment) {
            Some(why) => Err(Refused::Setting(why)),
            None => Ok(()),
        }
    }
}

/// How often what passes is tried again. Whoever asks decides what to do after that.
pub(super) fn objects_retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
    }
}
