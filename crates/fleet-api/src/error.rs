//! What a caller of the socket can meet.

use fleet_controller::ErrorDoc;
use std::path::PathBuf;

/// Errors of the socket and its client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens: no server runs in this home.
    #[error("no server answers at {}", socket.display())]
    Unreachable { socket: PathBuf, source: std::io::Error },
    /// The server answered, and said no.
    #[error("{}", .0.message)]
    Refused(ErrorDoc),
    /// The connection ended in the middle of an answer: the server died.
    #[error("the connection to the server was lost while reading {what}")]
    Lost { what: String },
    /// It took longer than such a request may.
    #[error("the server did not answer {what} within {seconds} s")]
    TimedOut { what: String, seconds: u64 },
    /// An answer that is not ours.
    #[error("the server's answer to {what} is not understood: {reason}")]
    Garbled { what: String, reason: String },
    /// The socket could not be made.
    #[error("cannot listen on {}: {source}", path.display())]
    Listen { path: PathBuf, source: std::io::Error },
    /// The path does not fit into a socket address.
    #[error("the socket path {} is {} bytes long; systems take {most} at most", path.display(), path.as_os_str().len())]
    PathTooLong { path: PathBuf, most: usize },
}

impl Error {
    /// The exit code that a command ends with (CLI.md, "Exit codes").
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(doc) => doc.exit_code,
            _ => 6,
        }
    }
    /// The next command.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(doc) => doc.hint.clone(),
            Self::Unreachable { .. } => Some("start one: fleet server start".to_owned()),
            Self::Lost { .. } => Some("see whether it runs: fleet server status".to_owned()),
            Self::PathTooLong { .. } => Some("set FLEET_HOME to a shorter path".to_owned()),
            Self::TimedOut { .. } | Self::Garbled { .. } | Self::Listen { .. } => None,
        }
    }
}
