//! Flags of `simulate`.

use clap::Args;
use std::path::PathBuf;

/// `fleet simulate`.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// Trace of one zone; repeat for more, numbered in this order
    #[arg(long = "trace", value_name = "FILE", conflicts_with = "cases")]
    pub(crate) traces: Vec<PathBuf>,
    /// Index into the traces at which the job starts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) start_tick: usize,
    /// Work of the job, in hours
    #[arg(long, value_name = "HOURS", required_unless_present = "cases")]
    pub(crate) duration_hours: Option<f64>,
    /// Deadline, in hours from the start
    #[arg(long, value_name = "HOURS", required_unless_present = "cases")]
    pub(crate) deadline_hours: Option<f64>,
    /// What each launch costs before work goes on, in hours
    #[arg(long, value_name = "HOURS", required_unless_present = "cases")]
    pub(crate) restart_overhead_hours: Option<f64>,
    /// Dollars for each launch in another region than the last
    #[arg(long, value_name = "USD", default_value_t = 0.0)]
    pub(crate) migration_cost: f64,
    /// Dollars an hour of on-demand, instead of the traces'
    #[arg(long, value_name = "USD")]
    pub(crate) on_demand_price: Option<f64>,
    /// Dollars an hour of spot, instead of the traces'
    #[arg(long, value_name = "USD")]
    pub(crate) spot_price: Option<f64>,
    /// default, on-demand, greedy, spot-only, uniform-progress, uniform-progress-plain,
    /// time-sliced:N or optimum; repeat to compare
    #[arg(long = "policy", value_name = "NAME", default_value = "default")]
    pub(crate) policies: Vec<String>,
    /// Places are only known by trying them
    #[arg(long)]
    pub(crate) blind: bool,
    /// Useful hours from one checkpoint to the next; without it, none are modelled
    #[arg(long, value_name = "HOURS")]
    pub(crate) checkpoint_interval_hours: Option<f64>,
    /// Hours that each checkpoint takes
    #[arg(
        long,
        value_name = "HOURS",
        default_value_t = 0.0,
        requires = "checkpoint_interval_hours"
    )]
    pub(crate) checkpoint_cost_hours: f64,
    /// Warning before a preemption, in seconds
    #[arg(long, value_name = "S", default_value_t = 0.0, requires = "checkpoint_interval_hours")]
    pub(crate) notice_seconds: f64,
    /// Many cases at once: a JSON list of them
    #[arg(long, value_name = "FILE")]
    pub(crate) cases: Option<PathBuf>,
    /// Folder that the traces of `--cases` are in
    #[arg(long, value_name = "DIR", default_value = ".", requires = "cases")]
    pub(crate) root: PathBuf,
}
