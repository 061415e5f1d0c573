//! Flags of `launch`, `validate` and `offers`.

use clap::{ArgAction, Args};
use std::path::PathBuf;

/// `fleet launch`.
#[derive(Debug, Default, Args)]
pub(crate) struct Launch {
    /// The task file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) placement: Placement,
    /// Name of the job
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Set a variable of the task; without a value it is taken from this shell
    #[arg(long, value_name = "K=V", action = ArgAction::Append)]
    pub(crate) env: Vec<String>,
    /// Read variables of the task from a file of K=V lines
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Give a secret; without a value it is taken from this shell
    #[arg(long, value_name = "K[=V]", action = ArgAction::Append)]
    pub(crate) secret: Vec<String>,
    /// Number of machines
    #[arg(long, value_name = "N")]
    pub(crate) num_nodes: Option<u32>,
    /// What to do when no spot machine can be had
    #[arg(long, value_parser = ["on-demand", "wait", "none"])]
    pub(crate) fallback: Option<String>,
    /// Finish by then, such as 36h; needs --work
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<String>,
    /// How much work it is, such as 20h on the first accelerator named
    #[arg(long, value_name = "TIME")]
    pub(crate) work: Option<String>,
    /// Hard cap on the job's life
    #[arg(long, value_name = "TIME")]
    pub(crate) max_duration: Option<String>,
    /// Never spend more than so many dollars
    #[arg(long, value_name = "USD")]
    pub(crate) budget: Option<String>,
    /// Never pay more an hour
    #[arg(long, value_name = "USD")]
    pub(crate) max_price: Option<String>,
    /// Print the plan and touch nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Return as soon as the job is accepted
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Use the sandbox: no account, no money
    #[arg(long)]
    pub(crate) sandbox: bool,
    /// What the sandbox plays: a built-in name or a file
    #[arg(long, value_name = "NAME|FILE", requires = "sandbox")]
    pub(crate) scenario: Option<String>,
    /// Ask the clouds again instead of using offers of the last minutes
    #[arg(long)]
    pub(crate) refresh: bool,
}

/// Where and how to buy.
#[derive(Debug, Default, Args)]
pub(crate) struct Placement {
    /// Buy spot machines
    #[arg(long, visible_alias = "spot", conflicts_with = "on_demand")]
    pub(crate) use_spot: bool,
    /// Buy on-demand machines
    #[arg(long)]
    pub(crate) on_demand: bool,
    /// Allow this place, such as aws/us-east-1/us-east-1a; * stands for any
    #[arg(long, value_name = "PLACE", action = ArgAction::Append)]
    pub(crate) infra: Vec<String>,
    /// Accelerators, such as A100-80GB:8
    #[arg(long, value_name = "NAME:N")]
    pub(crate) gpus: Option<String>,
}

impl Placement {
    /// What the flags say about the market; `None` where they say nothing.
    pub(crate) fn spot(&self) -> Option<bool> {
        if self.use_spot { Some(true) } else { self.on_demand.then_some(false) }
    }
}

/// `fleet validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Task files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// `fleet offers`.
#[derive(Debug, Args)]
pub(crate) struct Offers {
    #[command(flatten)]
    pub(crate) placement: Placement,
    /// Also show rejected offers with their reason
    #[arg(long)]
    pub(crate) all: bool,
    /// Ask the clouds again instead of using offers of the last minutes
    #[arg(long)]
    pub(crate) refresh: bool,
}
