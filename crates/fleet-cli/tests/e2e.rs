//! The product end to end: the built `fleet` binary, its server, its agent and clouds in a box.
//!
//! Every test has a home and a sandbox of its own and drives both through the command line alone, as
//! CLI.md promises it; the sandbox's ledger, which fleet never writes, is the judge of machines and
//! money. Invariants: a test leaves no process behind, also when it fails; it waits on conditions with
//! deadlines; it reaches nothing outside loopback. Unit behaviour is tested in the crates, not here.

#[path = "e2e/home.rs"]
mod home;
#[path = "e2e/ledger.rs"]
mod ledger;
#[path = "e2e/process.rs"]
mod process;

#[path = "e2e/afterwards.rs"]
mod afterwards;
#[path = "e2e/cancel.rs"]
mod cancel;
#[path = "e2e/capacity.rs"]
mod capacity;
#[path = "e2e/check.rs"]
mod check;
#[path = "e2e/clouds.rs"]
mod clouds;
#[path = "e2e/crash.rs"]
mod crash;
#[path = "e2e/machines.rs"]
mod machines;
#[path = "e2e/preemption.rs"]
mod preemption;
#[path = "e2e/reap.rs"]
mod reap;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/setup.rs"]
mod setup;
#[path = "e2e/strangers.rs"]
mod strangers;
