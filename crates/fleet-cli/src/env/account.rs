//! Variables → `Account`: endpoints, account selectors, credentials and time scale of one request.
//!
//! Invariants: a sandbox account names loopback endpoints and dummy credentials and nothing else, not
//! even a home folder in which a real key might lie; a sandbox's credentials, time scale or control
//! address never travel together with a real endpoint. Each breach is refused with its reason.

use crate::error::{Error, Result};
use fleet_controller::api::Account;
use fleet_sandbox::is_dummy_credential;
use fleet_types::realm::is_loopback_url;
use fleet_types::{Endpoint, ProviderId, Realm, TimeScale};
use std::collections::BTreeMap;

type Vars = BTreeMap<String, String>;

/// Address of a running sandbox's control endpoint: its presence makes a shell a sandbox shell.
pub(crate) const CONTROL: &str = "FLEET_SANDBOX_CONTROL";

/// Variables that select an account and hold no secret, as the clouds' own tools name them.
const SELECTORS: [&str; 10] = [
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "HOME",
    "XDG_CONFIG_HOME",
];

/// The selectors that a sandbox knows.
const SANDBOX_SELECTORS: [&str; 1] = ["AWS_REGION"];

/// Variables that are credentials.
const CREDENTIALS: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "VAST_API_KEY",
    "LAMBDA_API_KEY",
    "LAMBDA_CLOUD_API_TOKEN",
];

/// Other clouds' tools' names for what fleet calls `FLEET_<P>_ENDPOINT`, the strongest first.
const ALIASES: [(ProviderId, &str); 2] =
    [(ProviderId::Aws, "AWS_ENDPOINT_URL_EC2"), (ProviderId::Aws, "AWS_ENDPOINT_URL")];

/// A sandbox as far as the environment must be held against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lives {
    /// It answers; `one_shot`: it ends with the job that it was started for.
    Yes {
        one_shot: bool,
    },
    No,
}

/// The account that `vars` describe. `lives` tells whether the sandbox with that control address
/// still runs; it is asked only for a sandbox environment.
pub(crate) fn account(vars: &Vars, lives: impl FnOnce(&str) -> Lives) -> Result<Account> {
    let drivers = fleet_providers::drivers();
    let realm = Realm {
        endpoints: endpoints(vars)?,
        ssh_port: ssh_port(vars)?,
        time_scale: time_scale(vars)?,
        ..Realm::default()
    };
    match set(vars, CONTROL) {
        Some(control) => {
            let realm = sandboxed(realm, control, vars, drivers)?;
            match lives(control) {
                Lives::Yes { one_shot } => {
                    Ok(filled(Realm { one_shot, ..realm }, vars, &SANDBOX_SELECTORS))
                }
                Lives::No => Err(leftover(control)),
            }
        }
        None => {
            real(&realm, vars, drivers)?;
            Ok(filled(realm, vars, &SELECTORS))
        }
    }
}

/// `FLEET_TIME_SCALE`, 1 if unset.
pub(crate) fn time_scale(vars: &Vars) -> Result<TimeScale> {
    let Some(text) = set(vars, "FLEET_TIME_SCALE") else { return Ok(TimeScale::default()) };
    text.trim().parse().ok().and_then(TimeScale::new).ok_or_else(|| {
        Error::usage(format!("FLEET_TIME_SCALE=`{text}` is no factor above 0 and up to 1000"))
    })
}

fn set<'a>(vars: &'a Vars, name: &str) -> Option<&'a str> {
    vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
}

fn ssh_port(vars: &Vars) -> Result<Option<u16>> {
    let read = |text: &str| {
        text.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
            Error::usage(format!("FLEET_SSH_PORT=`{text}` is no port between 1 and 65535"))
        })
    };
    set(vars, "FLEET_SSH_PORT").map(read).transpose()
}

/// `FLEET_<P>_ENDPOINT`, `FLEET_<P>_<SERVICE>_ENDPOINT` and the aliases, each checked.
fn endpoints(vars: &Vars) -> Result<BTreeMap<ProviderId, Endpoint>> {
    let mut found = BTreeMap::new();
    for provider in ProviderId::ALL {
        let prefix = format!("FLEET_{}_", provider.as_str().to_ascii_uppercase());
        let mut endpoint = Endpoint::default();
        for (name, url) in vars.range(prefix.clone()..) {
            let Some(rest) = name.strip_prefix(&prefix) else { break };
            let Some(service) = rest.strip_suffix("ENDPOINT").filter(|_| !url.is_empty()) else {
                continue;
            };
            let url = Some(checked(name, url)?);
            match service.strip_suffix('_') {
                None if service.is_empty() => endpoint.api = url,
                None => {}
                Some(service) => {
                    endpoint.services.extend(url.map(|u| (service.to_ascii_lowercase(), u)));
                }
            }
        }
        for (_, name) in ALIASES.iter().filter(|(p, _)| *p == provider) {
            if endpoint.api.is_none()
                && let Some(url) = set(vars, name)
            {
                endpoint.api = Some(checked(name, url)?);
            }
        }
        if endpoint != Endpoint::default() {
            found.insert(provider, endpoint);
        }
    }
    Ok(found)
}

/// A base URL to which a credential may travel: https, or http on loopback.
fn checked(name: &str, url: &str) -> Result<String> {
    let refuse = |why: &str| Err(Error::usage(format!("{name}=`{url}` is refused: {why}")));
    let rest = match url.split_once("://") {
        Some(("http", _)) if !is_loopback_url(url) => {
            return refuse("credentials would travel in clear; only loopback may be http");
        }
        Some(("http" | "https", rest)) => rest,
        _ => return refuse("it is no http:// or https:// URL"),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains('@') {
        return refuse("it needs a host, and no user or password");
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// The sandbox realm, or why this environment is none.
fn sandboxed(realm: Realm, control: &str, vars: &Vars, drivers: &[ProviderId]) -> Result<Realm> {
    if !is_loopback_url(control) || !realm.is_loopback_only(drivers) {
        let (name, url) =
            first_real(&realm, drivers).unwrap_or_else(|| (CONTROL.to_owned(), control.to_owned()));
        return Err(mixed(&format!("{CONTROL} is set, but {name} {url}")));
    }
    for name in CREDENTIALS {
        if set(vars, name).is_some_and(|v| !is_dummy_credential(v)) {
            return Err(mixed(&format!(
                "{name} is no dummy, and a sandbox gets no real credential"
            )));
        }
    }
    Ok(Realm { sandbox: true, sandbox_control: Some(control.to_owned()), ..realm })
}

/// Refuses leftovers of a sandbox that would reach a real cloud.
fn real(realm: &Realm, vars: &Vars, drivers: &[ProviderId]) -> Result<()> {
    let Some((name, url)) = first_real(realm, drivers) else { return Ok(()) };
    if !realm.time_scale.is_real() {
        let scale = realm.time_scale.factor();
        return Err(Error::usage(format!(
            "FLEET_TIME_SCALE={scale} is refused: {name} {url}, and against a real cloud time runs as it does"
        ))
        .hint("unset FLEET_TIME_SCALE, or use a sandbox: eval \"$(fleet sandbox env)\""));
    }
    for credential in CREDENTIALS {
        if set(vars, credential).is_some_and(is_dummy_credential) {
            return Err(mixed(&format!("{credential} is a sandbox's, but {name} {url}")));
        }
    }
    Ok(())
}

/// The first driver that would talk to the real world, in words that follow its variable's name.
fn first_real(realm: &Realm, drivers: &[ProviderId]) -> Option<(String, String)> {
    drivers.iter().find_map(|p| {
        let prefix = format!("FLEET_{}", p.as_str().to_ascii_uppercase());
        let endpoint = realm.endpoint(*p);
        let Some(api) = endpoint.api else {
            return Some((format!("{prefix}_ENDPOINT"), "is not set".to_owned()));
        };
        if !is_loopback_url(&api) {
            return Some((format!("{prefix}_ENDPOINT"), format!("is {api}")));
        }
        let (service, url) = endpoint.services.into_iter().find(|(_, u)| !is_loopback_url(u))?;
        let name = format!("{prefix}_{}_ENDPOINT", service.to_ascii_uppercase());
        Some((name, format!("is {url}")))
    })
}

fn mixed(reason: &str) -> Error {
    Error::usage(format!("this shell mixes a sandbox with the real world: {reason}"))
        .hint("open a fresh shell, or take the sandbox whole: eval \"$(fleet sandbox env)\"")
}

fn leftover(control: &str) -> Error {
    Error::usage(format!(
        "this shell points at a sandbox that no longer runs ({CONTROL}={control})"
    ))
    .hint("start one and point at it: fleet sandbox up && eval \"$(fleet sandbox env)\"; or open a fresh shell")
}

fn filled(realm: Realm, vars: &Vars, selectors: &[&str]) -> Account {
    let take = |names: &[&str]| -> BTreeMap<String, String> {
        names.iter().filter_map(|n| set(vars, n).map(|v| ((*n).to_owned(), v.to_owned()))).collect()
    };
    let (accounts, credentials) = (take(selectors), take(&CREDENTIALS));
    let sealed = credentials.keys().cloned().collect();
    let environment = accounts.clone().into_iter().chain(credentials).collect();
    Account { realm: Realm { accounts, sealed, ..realm }, environment }
}

#[cfg(test)]
mod tests;
