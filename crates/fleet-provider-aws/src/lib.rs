//! AWS EC2 as a cloud of fleet: spot and on-demand GPU machines through `aws-sdk-ec2`.
//!
//! It exists because EC2 is the one cloud with everything: an idempotency token, tags on every part, a
//! price for each zone, and a preemption notice that can be seen from outside. Invariants: the body of
//! a create is a pure function of its request, so the same token always carries the same body; an error
//! is classified by its code before its HTTP status, because a capacity refusal is an HTTP 500; a list
//! that did not come is never an empty list. Nothing here retries, polls, caches or reads the process's
//! environment (see README.md for the two places where the SDK itself does).

mod auxiliary;
mod client;
mod config;
mod credentials;
mod fault;
mod instance;
mod network;
mod offers;
mod provider;
mod storage;
mod wire;

#[cfg(test)]
mod tests;

pub use config::AwsConfig;
pub use provider::{AwsProvider, connect};
