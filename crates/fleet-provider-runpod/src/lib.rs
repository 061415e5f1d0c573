//! RunPod: containers in data centres of its own and on other people's machines.
//!
//! No idempotency token, no tags, no notice. So the name carries the mark, every create looks for its own
//! name first, and a spot pod that exited without our stop was taken. Spot lives in an API that its vendor is
//! ending, so all of it is in `graphql`, and where that is gone spot is not offered and nothing else changes.
//! Invariants: a spot create never leaves without a bid and never as on-demand; a pod that came up in another
//! place or dearer than its limit is terminated before the refusal is told; words are matched in one row only.
//! It does not retry, poll, wait or choose.

mod client;
mod config;
mod fault;
mod graphql;
mod instance;
mod offers;
mod provider;
mod wire;

pub use config::{DEFAULT_ENDPOINT, RunpodConfig};
pub use provider::RunpodProvider;
