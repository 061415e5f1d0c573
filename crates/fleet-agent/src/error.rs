//! What can go wrong in the agent, in words that the controller shows to a person.
//!
//! Invariant: an error names the object and the cause; it never holds a secret's value.

use std::io;

/// The agent's errors.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    Usage(String),
    #[error("the start configuration is unreadable: {0}")]
    Config(serde_json::Error),
    #[error(transparent)]
    Frame(#[from] fleet_agent_api::FrameError),
    #[error("the folder was refused: {0}")]
    Tree(#[from] fleet_types::tree::BadTree),
    #[error("{0}")]
    Refused(String),
    /// A file is not what it was when it was looked at. Worth another try.
    #[error("`{0}` changed while it was read")]
    Changed(String),
}

impl Error {
    /// Whether the reason is a file that somebody writes to at this moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Changed(_) => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// A result of the agent.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when a system call failed.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Error::Io { what: what(), source: e.into() })
    }
}
