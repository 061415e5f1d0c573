//! What can go wrong when the sandbox is started, read or asked.

use std::path::PathBuf;

/// Errors of the sandbox itself. What its clouds answer to callers is wire text, not these.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "a sandbox already runs in {dir} (pid {pid}); `fleet sandbox down` ends it", dir = dir.display()
    )]
    AlreadyRunning { dir: PathBuf, pid: u32 },
    #[error("no sandbox runs in {dir}; `fleet sandbox up` starts one", dir = .0.display())]
    NotRunning(PathBuf),
    #[error("no sandbox has run in {dir} yet, so there is no ledger", dir = .0.display())]
    NoLedger(PathBuf),
    #[error("{what} {path}: {source}", path = path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("scenario `{0}` is neither built in ({names}) nor a file", names = crate::scenario::names().join(" "))]
    UnknownScenario(String),
    #[error("scenario {name}: {reason}")]
    BadScenario { name: String, reason: String },
    #[error("the sandbox cannot listen on loopback: {0}")]
    Listen(std::io::Error),
    #[error("the sandbox's control endpoint {url} does not answer: {reason}")]
    Control { url: String, reason: String },
    #[error("the sandbox refused: {0}")]
    Refused(String),
}
