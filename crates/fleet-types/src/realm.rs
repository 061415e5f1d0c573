//! The realm: which endpoints, accounts and clock a job belongs to.
//!
//! Invariant: a job lives and dies in the realm it was accepted in. The first shell that started the
//! server does not decide who pays, a sandbox realm never names anything but loopback, and recovery
//! and reap never cross realms. No secret is in here: only where secrets come from.

use crate::{ProviderId, RealmId, TimeScale};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Overrides for one cloud. Empty in ordinary life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// Base URL of the main API.
    pub api: Option<String>,
    /// Further base URLs by service name (`pricing`, `sts`, `advisor`).
    pub services: BTreeMap<String, String>,
}

/// How the agent ends the machine it runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndMachine {
    /// It cannot: the cloud has no safe way from inside.
    #[default]
    Never,
    /// Run this argument list (`sudo shutdown -h now`).
    Command(Vec<String>),
    /// POST to this URL: the sandbox's machines, which must never shut their host down.
    Post(String),
}

/// Everything about "where" that a request carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Realm {
    /// A sandbox: loopback endpoints and dummy credentials only.
    pub sandbox: bool,
    /// The sandbox was started by one launch and ends with that job.
    pub one_shot: bool,
    /// Control endpoint of the sandbox.
    pub sandbox_control: Option<String>,
    pub endpoints: BTreeMap<ProviderId, Endpoint>,
    /// Non-secret account selectors as the clouds' own tools name them
    /// (`AWS_PROFILE`, `AWS_CONFIG_FILE`, `XDG_CONFIG_HOME`, `HOME`, …).
    pub accounts: BTreeMap<String, String>,
    /// Names of environment variables whose values are sealed in the home under this realm's id.
    pub sealed: Vec<String>,
    pub ssh_port: Option<u16>,
    pub time_scale: TimeScale,
}

impl Realm {
    /// The realm's name: a digest of all that it says.
    pub fn id(&self) -> RealmId {
        let text = serde_json::to_vec(self).unwrap_or_default();
        RealmId::new(hex::encode(&Sha256::digest(text)[..8]))
    }
    /// The overrides of one cloud.
    pub fn endpoint(&self, provider: ProviderId) -> Endpoint {
        self.endpoints.get(&provider).cloned().unwrap_or_default()
    }
    /// Whether every cloud in `drivers` is pointed at loopback.
    pub fn is_loopback_only(&self, drivers: &[ProviderId]) -> bool {
        drivers.iter().all(|p| {
            self.endpoints.get(p).is_some_and(|e| {
                e.api.as_deref().is_some_and(is_loopback_url)
                    && e.services.values().all(|u| is_loopback_url(u))
            })
        })
    }
}

/// Whether a URL is plain HTTP(S) to a loopback address.
pub fn is_loopback_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return false;
    }
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => authority.rsplit_once(':').map_or(authority, |(h, _)| h),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_loopback_only() {
        for yes in
            ["http://127.0.0.1:8080/", "http://127.9.8.7", "http://[::1]:1/", "https://localhost:9"]
        {
            assert!(is_loopback_url(yes), "{yes}");
        }
        for no in [
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1.evil.example/",
            "file:///etc/passwd",
            "http://10.0.0.1/",
            "http://localhost.evil.example",
            "",
        ] {
            assert!(!is_loopback_url(no), "{no}");
        }
    }

    #[test]
    fn realms_that_differ_have_different_ids() {
        let a = Realm::default();
        let b = Realm { ssh_port: Some(2200), ..Realm::default() };
        assert_eq!(a.id(), Realm::default().id());
        assert_ne!(a.id(), b.id());
    }
}
