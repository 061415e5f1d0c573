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
    /// Why the real `title`, which is not on loopback, must not be reached from this realm; `None`: it may.
    /// `setting` is what would point it at loopback, for people.
    ///
    /// A sandbox never falls back to a real cloud, a clock that is not real never drives one, and the
    /// sandbox's dummy credentials, left over in a shell, are told apart from an expired key.
    pub fn forbids(
        &self,
        title: &str,
        setting: &str,
        environment: &BTreeMap<String, String>,
    ) -> Option<String> {
        let is_dummy = |v: &String| is_sandbox_credential(v.trim());
        if self.sandbox {
            Some(format!(
                "a sandbox realm must not reach the real {title}: its endpoint is not on loopback; \
                 run `fleet sandbox status`"
            ))
        } else if !self.time_scale.is_real() {
            Some(format!(
                "a time scale of {} must not drive the real {title}; unset FLEET_TIME_SCALE, or point \
                 {setting} at loopback",
                self.time_scale.factor()
            ))
        } else {
            let (variable, _) = environment.iter().find(|(_, v)| is_dummy(v))?;
            Some(format!(
                "{variable} holds a credential of the sandbox, but the endpoint is the real {title}; \
                 open a new shell, or run `eval \"$(fleet sandbox env)\"` again"
            ))
        }
    }
}

/// Beginnings of the credentials that the sandbox hands out.
const SANDBOX_CREDENTIALS: [&str; 6] = [
    "AKIASANDBOX",
    "sandbox/dummy/",
    "vast-sandbox-dummy-key-",
    "lambda-sandbox-dummy-key-",
    "runpod-sandbox-dummy-key-",
    "ya29.sandbox-dummy-",
];

/// Whether `text` is a credential that means nothing outside a sandbox.
pub fn is_sandbox_credential(text: &str) -> bool {
    SANDBOX_CREDENTIALS.iter().any(|beginning| text.starts_with(beginning))
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
    fn what_must_not_be_reached_is_refused_with_the_way_out() {
        let scaled = TimeScale::new(0.5).unwrap();
        let none = BTreeMap::new();
        let left = BTreeMap::from([("AWS_ACCESS_KEY_ID".into(), "AKIASANDBOX1".into())]);
        let sandbox = Realm { sandbox: true, ..Realm::default() };
        let fast = Realm { time_scale: scaled, ..Realm::default() };
        for (realm, environment, word) in [
            (&sandbox, &none, "fleet sandbox status"),
            (&fast, &none, "or point FLEET_X at loopback"),
            (&Realm::default(), &left, "AWS_ACCESS_KEY_ID holds a credential of the sandbox"),
        ] {
            let why = realm.forbids("AWS", "FLEET_X", environment).unwrap();
            assert!(why.contains(word) && why.contains("the real AWS"), "{why}");
        }
        assert_eq!(Realm::default().forbids("AWS", "FLEET_X", &none), None);
    }

    #[test]
    fn realms_that_differ_have_different_ids() {
        let a = Realm::default();
        let b = Realm { ssh_port: Some(2200), ..Realm::default() };
        assert_eq!(a.id(), Realm::default().id());
        assert_ne!(a.id(), b.id());
    }
}
