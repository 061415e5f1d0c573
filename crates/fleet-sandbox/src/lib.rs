//! The clouds in a box: servers on loopback that speak the wire protocols of EC2, Vast and Lambda.
//!
//! One world (places, prices, stock, quota, faults, clock, ledger), one wire module a cloud (`aws`,
//! `vast`, `lambda`; three more slot in beside them), one instance runtime (`machine`). The production drivers
//! and the clouds' own clients run against it unchanged; only endpoints and credentials differ.
//!
//! Invariants: nothing here opens a connection beyond loopback; the ledger is kept from what the
//! sandbox itself did, never from what fleet says; when the sandbox ends, every machine is dead.
//!
//! Deliberately absent: signature checks (moto does that), the other three clouds, storage.

mod aws;
mod boot;
mod clock;
mod config;
mod control;
mod error;
mod facts;
mod host;
mod http;
mod imds;
mod lambda;
pub mod machine;
mod runtime;
mod scenario;
mod serve;
mod text;
mod vast;
mod world;

#[cfg(test)]
mod tests;

pub use config::{
    Config, DUMMY_CREDENTIALS, DUMMY_ENVIRONMENT, Endpoints, State, env, is_dummy_credential,
    ledger_path, state, state_path,
};
pub use control::client::{
    Preempted, Target, down, end_machine_url, ledger, preempt, report_running, settled, status,
};
pub use error::Error;
pub use scenario::{CallRule, PlaceRule, PreemptRule, Scenario, Since, builtin, names};
pub use serve::run;
