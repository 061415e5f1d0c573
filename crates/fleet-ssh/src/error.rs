//! What can go wrong between us and an instance, sorted by what the caller does next.
//!
//! `Unreachable` is retried while the instance boots; `HostKeyMismatch` and `AuthRefused` are not
//! retried: they mean another machine or another key. `Lost` says the connection died under a
//! command, so its effect is unknown.

use std::io;
use std::time::Duration;

/// A failure of the SSH connection or of something done over it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing answered as an SSH server in time: refused, timed out, or hung up before it said who it is.
    #[error("cannot reach {endpoint} over SSH")]
    Unreachable { endpoint: String, source: io::Error },
    /// The server proved another host key than the pinned ones; nothing was sent to it.
    #[error(
        "{endpoint} shows the host key {seen}, expected {expected}; it may be another machine, nothing was sent to it"
    )]
    HostKeyMismatch { endpoint: String, expected: String, seen: String },
    /// The server does not accept our login key for this user.
    #[error("{endpoint} refuses the login key for user `{user}`")]
    AuthRefused { endpoint: String, user: String },
    /// The peer does not speak the SSH we speak.
    #[error("SSH with {endpoint} failed")]
    Protocol { endpoint: String, source: russh::Error },
    /// The connection died; what was running on it may or may not have finished.
    #[error("the SSH connection to {endpoint} was lost while {doing}")]
    Lost { endpoint: String, doing: String },
    /// A command did not end in time; it was hung up on.
    #[error("`{command}` on {endpoint} did not end within {} s", after.as_secs_f64())]
    TimedOut { endpoint: String, command: String, after: Duration },
    /// A key given to us is not an OpenSSH key.
    #[error("the {what} is not a valid OpenSSH key: {detail}")]
    BadKey { what: &'static str, detail: String },
    /// What we wanted to send could not be read.
    #[error("cannot read what is to be sent to {endpoint}")]
    Source { endpoint: String, source: io::Error },
    /// A copy did not arrive as it was sent, or could not be written; the old file, if any, is untouched.
    #[error("copy to `{path}` on {endpoint} failed: {detail}")]
    Upload { endpoint: String, path: String, detail: String },
}
