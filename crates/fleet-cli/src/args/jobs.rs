//! Flags of the commands that live with jobs.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// `fleet attach`.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Id or name of the job
    pub(crate) job: String,
}

/// `fleet status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Id or name of one job; without it, all jobs
    pub(crate) job: Option<String>,
}

/// `fleet logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Id or name of the job
    pub(crate) job: String,
    /// Go on until the job ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the last N lines
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<usize>,
}

/// `fleet cancel`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Cancel {
    /// Ids or names of jobs
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
    /// Every job that has not ended
    #[arg(long)]
    pub(crate) all: bool,
}

/// `fleet ssh`.
#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Id or name of the job
    pub(crate) job: String,
    /// Arguments for ssh, such as -L 8888:localhost:8888; without any, a shell in the task's folder
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SSH ARGUMENT")]
    pub(crate) rest: Vec<OsString>,
}

/// `fleet exec`.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Id or name of the job
    pub(crate) job: String,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// `fleet cost`.
#[derive(Debug, Args)]
pub(crate) struct Cost {
    /// Only jobs accepted since, such as 7d or 2026-01-31
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
}

/// `fleet events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Id or name of the job
    pub(crate) job: String,
}

/// `fleet get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// Id or name of the job
    pub(crate) job: String,
    /// Folder to fill; by default one named after the job, here
    pub(crate) dir: Option<PathBuf>,
    /// Only list what there is
    #[arg(long)]
    pub(crate) list: bool,
}

/// `fleet cp`.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// What to copy: a path below workdir/, output/, checkpoint/ or ~/ on the machine
    #[arg(value_name = "JOB:PATH")]
    pub(crate) source: String,
    /// Folder to copy it into
    pub(crate) dir: PathBuf,
}
