//! What can be sent to a job's mailbox.

use crate::error::Result;
use crate::journal::Journal;
use fleet_lifecycle::Happening;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// What can be sent to a job.
#[derive(Debug)]
pub(crate) enum Mail {
    Happened(Happening),
    /// Cancel; answered when it is durable.
    Cancel {
        reason: String,
        done: oneshot::Sender<Result<()>>,
    },
    Pull(Pull),
    /// The job's stream, through its own writer.
    Journal(oneshot::Sender<Journal>),
    /// The controller leaves: stop working, leave everything as it is.
    Leave,
}

/// `fleet cp` from a running job.
#[derive(Debug)]
pub(crate) struct Pull {
    pub path: String,
    pub dest: PathBuf,
    pub answer: oneshot::Sender<std::result::Result<u64, String>>,
}
