//! Vast.ai: a marketplace of other people's machines, rented as containers.
//!
//! The extreme without an idempotency token, tags, notices or a timer. So the label carries the mark,
//! every create looks for its own label first, and a machine that stopped without our stop was outbid.
//! Invariants: a spot create without a bid never leaves; an unknown price is never 0; the account key
//! never reaches a machine; a contract that was left behind by a refused create is destroyed.
//! It does not retry, poll or choose; its only wait is the rate gate that the cloud asks for.

mod client;
mod config;
mod fault;
mod instance;
mod offers;
mod provider;
mod wire;

pub use config::{DEFAULT_ENDPOINT, VastConfig};
pub use provider::VastProvider;
