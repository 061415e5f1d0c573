//! What a machine may do in a bucket, and which requests stay inside that.
//!
//! Invariant: a request is signed only if it is one of the few that saving and restoring need, spelled in one
//! way only; it reads inside what may be read and writes inside what may be written. All else is refused.

use super::refused::Refused;
use fleet_agent_api::StoreCall;
use fleet_types::bucket::key::{self, Named};
use fleet_types::tree::is_inside;
use fleet_types::{Epoch, JobId, StoreKind};

/// Query names of a listing.
const LISTING: [&str; 6] =
    ["continuation-token", "encoding-type", "list-type", "max-keys", "prefix", "start-after"];
/// The longest value of a query.
const LONGEST: usize = 4096;

/// What a machine may read and write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    prefix: String,
    /// One object, by its key below the prefix.
    only: Option<String>,
    /// Below the prefix; empty: all of it. `None`: nothing.
    write: Option<String>,
    is_job: bool,
}

impl Scope {
    /// A job below `prefix`: it is read whole, and written by one epoch into its own folder.
    pub(super) fn job(prefix: &str, job: &JobId, epoch: Epoch) -> Self {
        let prefix = match prefix.trim_end_matches('/') {
            "" if !prefix.is_empty() => format!("/{job}"),
            "" => job.to_string(),
            prefix => format!("{prefix}/{job}"),
        };
        Self { prefix, only: None, write: Some(key::epoch(epoch)), is_job: true }
    }

    /// A folder, or one object of it, to be mounted.
    pub(super) fn folder(prefix: &str, only: Option<&str>, writes: bool) -> Self {
        let write = writes.then(String::new);
        Self { prefix: prefix.to_owned(), only: only.map(str::to_owned), write, is_job: false }
    }

    /// What keys are relative to, without a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The one object that is meant, relative to the prefix.
    pub fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    pub(super) fn is_job(&self) -> bool {
        self.is_job
    }

    /// What every whole key that may be read begins with.
    pub(super) fn readable(&self) -> String {
        self.whole(self.only.as_deref().unwrap_or_default())
    }

    /// What every whole key that may be written begins with.
    pub(super) fn writable(&self) -> Option<String> {
        let write = self.write.as_ref()?;
        Some(self.whole(self.only.as_deref().unwrap_or(write)))
    }

    fn whole(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// The whole key of a request that may be signed; a listing has none.
    pub(super) fn check(&self, kind: StoreKind, call: &StoreCall) -> Result<String, Refused> {
        let refuse = |why: &str| {
            let shown: String = call.key.escape_debug().take(80).collect();
            let method: String = call.method.escape_debug().take(10).collect();
            Err(Refused::Call(format!("{method} `{shown}`: {why}")))
        };
        let mut names: Vec<&str> = call.query.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("a parameter of its query comes twice");
        }
        let Some(right) = right(kind, call, &names) else {
            return refuse("it is none that saving or restoring needs");
        };
        match right {
            Right::List => {
                let prefix = value(call, "prefix").unwrap_or_default();
                if !prefix.starts_with(&self.readable()) {
                    return refuse("it would list more than this machine may read");
                }
                return Ok(String::new());
            }
            Right::Read | Right::Write if !is_inside(&call.key) => return refuse("it is no key"),
            Right::Read | Right::Write if self.only.as_ref().is_some_and(|o| *o != call.key) => {
                return refuse("this machine may use one object only");
            }
            Right::Read => {}
            Right::Write => {
                let may = self.only.is_some() || {
                    let below = self.write.as_deref().unwrap_or_default();
                    call.key.starts_with(below)
                };
                if self.write.is_none() || !may {
                    return refuse("this machine may not write there");
                }
                // Which checkpoint an epoch began with is not the machine's to say.
                if self.is_job && matches!(key::named(&call.key), Named::Open(_)) {
                    return refuse("a fence is raised by the server alone");
                }
            }
        }
        Ok(self.whole(&call.key))
    }
}

/// What a request needs.
enum Right {
    Read,
    List,
    Write,
}

fn value<'a>(call: &'a StoreCall, name: &str) -> Option<&'a str> {
    call.query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// What a request needs, if it is one of those that are signed. `names` are its query's, sorted.
fn right(kind: StoreKind, call: &StoreCall, names: &[&str]) -> Option<Right> {
    let plain = |v: &str| !v.is_empty() && v.len() <= LONGEST && !v.chars().any(char::is_control);
    let is = |name: &str, wanted: &str| value(call, name) == Some(wanted);
    let upload = || value(call, "uploadId").is_some_and(plain);
    let part = || {
        let number = value(call, "partNumber").filter(|n| n.bytes().all(|b| b.is_ascii_digit()));
        number.and_then(|n| n.parse().ok()).is_some_and(|n: u32| (1..=10_000).contains(&n))
    };
    let in_parts = match kind {
        StoreKind::S3 | StoreKind::R2 | StoreKind::Gcs => true,
        StoreKind::Azure => false,
        StoreKind::File => return None,
    };
    match (call.method.as_str(), names) {
        ("GET", []) => Some(Right::Read),
        ("GET", names) if call.key.is_empty() && in_parts => {
            let fits = names.iter().all(|name| LISTING.contains(name))
                && is("list-type", "2")
                && value(call, "prefix").is_some()
                && value(call, "encoding-type").is_none_or(|v| v == "url")
                && value(call, "max-keys").is_none_or(|v| v.parse::<u16>().is_ok())
                && call.query.iter().all(|(_, v)| v.len() <= LONGEST);
            fits.then_some(Right::List)
        }
        ("PUT" | "DELETE", []) => Some(Right::Write),
        ("PUT", ["partNumber", "uploadId"]) if in_parts => {
            (part() && upload()).then_some(Right::Write)
        }
        ("POST", ["uploads"]) if in_parts => is("uploads", "").then_some(Right::Write),
        ("GET" | "POST" | "DELETE", ["uploadId"]) if in_parts => upload().then_some(Right::Write),
        ("PUT", ["blockid", "comp"]) if !in_parts => {
            let block = value(call, "blockid").is_some_and(plain);
            (is("comp", "block") && block).then_some(Right::Write)
        }
        ("GET" | "PUT", ["comp"]) if !in_parts => is("comp", "blocklist").then_some(Right::Write),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
