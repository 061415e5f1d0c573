//! Flags of `check`, `reap`, `sandbox`, `server` and `completions`.

use clap::{Args, Subcommand};

/// `fleet check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Clouds to check; without any, all
    #[arg(value_name = "PROVIDER")]
    pub(crate) providers: Vec<String>,
}

/// `fleet reap`.
#[derive(Debug, Args)]
pub(crate) struct Reap {
    /// Only what is past its expiry
    #[arg(long)]
    pub(crate) expired: bool,
    /// Another fleet than this home's
    #[arg(long, value_name = "ID")]
    pub(crate) fleet: Option<String>,
    /// Only say what would be ended
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `fleet completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    pub(crate) shell: clap_complete::Shell,
}

/// `fleet sandbox`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sandbox {
    /// Start it and print where it listens
    Up(Up),
    /// End it and every instance
    Down,
    /// Show whether it runs and where it listens
    Status,
    /// Print export lines, for eval
    Env,
    /// Take machines away, as their cloud would
    Preempt(Preempt),
    /// Show what was billed, by the sandbox's own books
    Ledger,
    /// List the built-in scenarios, or print one
    Scenario(Scenario),
    /// Run it in the foreground
    #[command(hide = true)]
    Run(UpRun),
}

/// `fleet sandbox up`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Up {
    /// Fixes prices, stock and machines
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// A built-in name or a file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scenario: Option<String>,
    /// Scales waiting, not billing; default FLEET_TIME_SCALE
    #[arg(long, value_name = "X")]
    pub(crate) time_scale: Option<f64>,
}

/// `fleet sandbox run`: what `up` starts.
#[derive(Clone, Debug, Args)]
pub(crate) struct UpRun {
    #[command(flatten)]
    pub(crate) up: Up,
    /// It ends with the job that it was started for
    #[arg(long)]
    pub(crate) one_shot: bool,
    /// Leave the terminal
    #[arg(long)]
    pub(crate) detached: bool,
}

/// `fleet sandbox preempt`.
#[derive(Debug, Args)]
pub(crate) struct Preempt {
    #[command(flatten)]
    pub(crate) target: PreemptTarget,
    /// Time between notice and death; the cloud's own by default
    #[arg(long, value_name = "TIME")]
    pub(crate) warning: Option<String>,
}

/// Which machines.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PreemptTarget {
    /// The machine of this job
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<String>,
    /// This machine
    #[arg(long, value_name = "ID")]
    pub(crate) instance: Option<String>,
    /// Every machine
    #[arg(long)]
    pub(crate) all: bool,
}

/// `fleet sandbox scenario`.
#[derive(Debug, Args)]
pub(crate) struct Scenario {
    /// A built-in scenario
    pub(crate) name: Option<String>,
}

/// `fleet server`.
#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Start it in the background
    Start,
    /// Stop it; jobs and machines go on, and are named
    Stop,
    /// Show whether it runs; never starts one
    Status,
    /// Run it in the foreground
    Run(ServerRun),
}

/// `fleet server run`.
#[derive(Debug, Args)]
pub(crate) struct ServerRun {
    /// Leave after 15 idle minutes: it was started by another command
    #[arg(long, hide = true)]
    pub(crate) auto: bool,
    /// Leave the terminal
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}
