//! Google Compute Engine as a cloud of fleet: spot and on-demand GPU machines through Google's own client.
//!
//! It exists because GCP tells most about capacity and least about money: prices are sums over a list of
//! price texts, a want of capacity may show only after the create was accepted, and a machine that was taken
//! leaves nothing but an operation that says so. Invariants: a create names one zone and one name that follow
//! from its token; an error is classified by its reason before its HTTP status; a machine is dead only by its
//! own status or by the operation that ended it; a list that did not come is never an empty list. Nothing
//! here retries, polls or caches; the one wait is Google's own, for the verdict on a create.

mod auxiliary;
mod client;
mod config;
mod credentials;
mod fault;
mod instance;
mod network;
mod offers;
mod operation;
mod provider;
mod wire;

#[cfg(test)]
mod tests;

pub use config::GcpConfig;
pub use provider::{GcpProvider, connect};
