//! The command line as types: what may be typed, and nothing about what it does.
//!
//! Names and flags are the contract of CLI.md. Invariant: parsing touches no file, no environment and
//! no network, so `--help` and `--version` are instant.

mod jobs;
mod launch;
mod operate;
mod simulate;

pub(crate) use jobs::{Attach, Cancel, Copy, Cost, Events, Exec, Get, Logs, Ssh, Status};
pub(crate) use launch::{Launch, Offers, Placement, Validate};
pub(crate) use operate::{
    Check, Completions, Preempt, Reap, Sandbox, Scenario, Server, ServerRun, Up, UpRun,
};
pub(crate) use simulate::Simulate;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;

/// Finds the cheapest reliable spot GPU across clouds, runs a task on it, and keeps the task alive
/// when the machine is taken away.
#[derive(Debug, Parser)]
#[command(
    name = "fleet",
    version,
    max_term_width = 100,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Try it without an account: fleet launch examples/train.yaml --use-spot --sandbox"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(crate) color: ColorChoice,
    /// Print one JSON document (streams: one object a line) on stdout
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,
    /// Only data and errors
    #[arg(short, long, global = true, help_heading = "Output", conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for traces
    #[arg(short, long, global = true, help_heading = "Output", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    Auto,
    Always,
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a task on the best machine and follow it to its end
    Launch(Box<Launch>),
    /// Check task files without running anything
    Validate(Validate),
    /// Show ranked offers of all clouds
    Offers(Offers),
    /// Follow a job again
    Attach(Attach),
    /// Show jobs
    Status(Status),
    /// Show what a job printed
    Logs(Logs),
    /// Cancel jobs and end their machines
    Cancel(Cancel),
    /// Open a shell on a job's machine
    Ssh(Ssh),
    /// Run a command on a job's machine
    Exec(Exec),
    /// Show what jobs have cost
    Cost(Cost),
    /// Show what happened to a job
    Events(Events),
    /// Show which clouds are usable, as whom, and why not
    Check(Check),
    /// Find what carries our tag in every cloud and end what nobody owns
    Reap(Reap),
    /// Bring home the newest checkpoint and the outputs of a job
    Get(Get),
    /// Copy files from a running job
    Cp(Copy),
    /// The clouds in a box, on this machine
    #[command(subcommand)]
    Sandbox(Sandbox),
    /// The controller process
    #[command(subcommand)]
    Server(Server),
    /// Replay recorded spot traces under the policies
    Simulate(Box<Simulate>),
    /// Print the JSON Schema of task files
    Schema,
    /// Print a completion script
    Completions(Completions),
    /// Print the version
    Version,
    /// Not supported yet
    #[command(hide = true)]
    Advise(Later),
    /// Not supported yet
    #[command(hide = true)]
    Sweep(Later),
    /// Not supported yet
    #[command(hide = true)]
    Rehearse(Later),
}

/// Whatever follows a command that is not supported yet.
#[derive(Debug, Args)]
pub(crate) struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) rest: Vec<OsString>,
}
