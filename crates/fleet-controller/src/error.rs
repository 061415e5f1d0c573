//! What the controller can fail with, as people and scripts see it.
//!
//! Invariant: every error names the object and the cause, has an exit code of CLI.md, and a next command
//! where there is one.

use fleet_provider::ProviderError;
use fleet_types::{Fault, ProviderId};
use serde::{Deserialize, Serialize};

/// A request that could not be served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("no job `{}`", .0.escape_debug())]
    NoSuchJob(String),
    #[error("`{0}` names {1} jobs; use the id of one")]
    Ambiguous(String, usize),
    #[error("job `{0}` has no machine now")]
    NoMachine(String),
    #[error("the fleet home `{path}`: {detail}")]
    Home { path: String, detail: String },
    #[error("{what}: {detail}")]
    Internal { what: &'static str, detail: String },
    #[error(transparent)]
    Store(#[from] fleet_store::Error),
    #[error("{}: {source}", .provider.title())]
    Provider { provider: ProviderId, source: ProviderError },
    #[error("the snapshot `{0}` is not in the fleet home")]
    NoSnapshot(String),
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn internal(what: &'static str, detail: impl std::fmt::Display) -> Self {
        Self::Internal { what, detail: detail.to_string() }
    }
    /// Exit code of CLI.md.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoSuchJob(_) | Self::NoMachine(_) => 7,
            Self::Ambiguous(..) | Self::Invalid(_) | Self::NoSnapshot(_) => 2,
            Self::Home { .. } | Self::Internal { .. } | Self::Store(_) => 6,
            Self::Provider { source, .. } => match source.fault {
                Fault::Auth => 4,
                Fault::Capacity | Fault::Quota | Fault::Price => 3,
                Fault::Throttled
                | Fault::Transient
                | Fault::Rejected
                | Fault::Conflict
                | Fault::NotFound
                | Fault::Unknown => 6,
            },
        }
    }
    /// The next command, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchJob(_) | Self::Ambiguous(..) => {
                Some("`fleet status` lists the jobs".into())
            }
            Self::NoMachine(job) => Some(format!("`fleet status {job}` says where it stands")),
            Self::Provider { provider, source } if source.fault == Fault::Auth => {
                Some(format!("`fleet check {provider}` says what is missing"))
            }
            Self::Store(fleet_store::Error::Unavailable(_)) => Some(
                "free space on the disk of the fleet home; running tasks go on meanwhile".into(),
            ),
            Self::Provider { .. }
            | Self::Home { .. }
            | Self::Internal { .. }
            | Self::Store(_)
            | Self::NoSnapshot(_)
            | Self::Invalid(_) => None,
        }
    }
}

/// An error as a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDoc {
    pub message: String,
    pub hint: Option<String>,
    pub exit_code: u8,
}

impl From<&Error> for ErrorDoc {
    fn from(e: &Error) -> Self {
        Self { message: e.to_string(), hint: e.hint(), exit_code: e.exit_code() }
    }
}

/// What every call answers.
pub(crate) type Result<T> = std::result::Result<T, Error>;
