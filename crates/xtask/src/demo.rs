//! The README's first command: the main job, in the sandbox, through a preemption.

use crate::build;
use crate::workspace::{self, root, target};
use anyhow::Result;
use std::process::Command;

/// Runs the example and shows the sandbox's own ledger.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let fleet = build::all()?;
    let home = target().join("demo-home");
    let mut launch = Command::new(&fleet);
    launch.args(["launch", "examples/train.yaml", "--use-spot", "--sandbox", "--yes"]);
    workspace::run(launch.args(args).env("FLEET_HOME", &home).current_dir(root()))?;
    println!("\nThe sandbox's own ledger of what was billed:");
    let mut ledger = Command::new(&fleet);
    workspace::run(ledger.args(["sandbox", "ledger"]).env("FLEET_HOME", &home))?;
    let mut stop = Command::new(&fleet);
    workspace::run(stop.args(["server", "stop"]).env("FLEET_HOME", &home))
}
