//! The command line as a stranger meets it: exit code, stdout and stderr of each door, as snapshots.
//!
//! Nothing here reaches beyond this machine: each test has a home of its own and an environment without
//! accounts. Jobs that run on machines are tested end to end elsewhere.

#[path = "cli/bad_input.rs"]
mod bad_input;
#[path = "cli/doors.rs"]
mod doors;
#[path = "cli/files.rs"]
mod files;
#[path = "cli/realm.rs"]
mod realm;
#[path = "cli/server.rs"]
mod server;
#[path = "cli/simulate.rs"]
mod simulate;
#[path = "cli/stage.rs"]
mod stage;
