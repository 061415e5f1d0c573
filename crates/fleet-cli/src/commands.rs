//! One file per command: each takes the context and its flags, and returns an exit code.

pub(crate) mod attach;
pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod cost;
pub(crate) mod cp;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod get;
pub(crate) mod launch;
pub(crate) mod ledger;
pub(crate) mod logs;
pub(crate) mod offers;
pub(crate) mod preempt;
pub(crate) mod reap;
pub(crate) mod sandbox;
pub(crate) mod scenario;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod simulate;
pub(crate) mod ssh;
pub(crate) mod status;
pub(crate) mod validate;
pub(crate) mod version;
