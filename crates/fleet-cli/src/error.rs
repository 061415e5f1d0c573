//! Every way a command can fail, with its exit code and the next command.
//!
//! Invariant: each failure has exactly one exit code of the table in CLI.md, and its text names the
//! object, the cause and what to do next. The renderer is in `printer`.

use std::io;

/// `Result` of everything in this binary.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A command that did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Our own words.
    #[error("{message}")]
    Said { message: String, hint: Option<String>, code: u8 },
    #[error(transparent)]
    Api(#[from] fleet_api::Error),
    #[error(transparent)]
    Controller(#[from] fleet_controller::Error),
    #[error(transparent)]
    Sandbox(#[from] fleet_sandbox::Error),
    /// Whoever read our output has had enough: not a failure worth a word.
    #[error("the reader of the output has gone")]
    BrokenPipe,
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// All has been said already.
    #[error("")]
    Told(u8),
}

/// Exit codes of CLI.md.
pub(crate) mod code {
    pub(crate) const TASK: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const CAPACITY: u8 = 3;
    pub(crate) const CREDENTIALS: u8 = 4;
    pub(crate) const STOPPED: u8 = 5;
    pub(crate) const INTERNAL: u8 = 6;
    pub(crate) const NOT_FOUND: u8 = 7;
    pub(crate) const INTERRUPTED: u8 = 130;
}

impl Error {
    fn said(code: u8, message: impl Into<String>) -> Self {
        Self::Said { message: message.into(), hint: None, code }
    }
    /// Wrong usage or a bad file.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::said(code::USAGE, message)
    }
    /// Something of ours or of this machine does not work.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::said(code::INTERNAL, message)
    }
    /// Nothing has that name.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::said(code::NOT_FOUND, message)
    }
    /// Part of the contract that this build leaves out.
    pub(crate) fn not_supported(what: &str) -> Self {
        Self::usage(format!("{what} is not supported yet"))
    }
    /// Adds the next command, where the error has none of its own.
    #[must_use]
    pub(crate) fn hint(self, text: impl Into<String>) -> Self {
        match self {
            Self::Said { message, code, .. } => {
                Self::Said { message, hint: Some(text.into()), code }
            }
            other => other,
        }
    }
    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Said { code, .. } | Self::Told(code) => *code,
            Self::Api(e) => e.exit_code(),
            Self::Controller(e) => e.exit_code(),
            Self::Sandbox(e) => sandbox_code(e),
            Self::BrokenPipe => 0,
            Self::Output(_) => code::INTERNAL,
        }
    }
    /// The next command.
    pub(crate) fn next_command(&self) -> Option<String> {
        match self {
            Self::Said { hint, .. } => hint.clone(),
            Self::Api(e) => e.hint(),
            Self::Controller(e) => e.hint(),
            Self::Sandbox(_) | Self::BrokenPipe | Self::Output(_) | Self::Told(_) => None,
        }
    }
}

impl From<io::Error> for Error {
    /// Only writing to stdout uses `?` on bare I/O errors.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Output(error),
        }
    }
}

fn sandbox_code(error: &fleet_sandbox::Error) -> u8 {
    use fleet_sandbox::Error as E;
    match error {
        E::NotRunning(_) | E::NoLedger(_) => code::NOT_FOUND,
        E::UnknownScenario(_)
        | E::BadScenario { .. }
        | E::AlreadyRunning { .. }
        | E::Refused(_) => code::USAGE,
        E::File { .. } | E::Listen(_) | E::Control { .. } => code::INTERNAL,
    }
}
