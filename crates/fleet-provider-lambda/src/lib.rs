//! Lambda's on-demand cloud: whole machines at a fixed price, and no spot.
//!
//! No idempotency token, no timer, no notice, but tags: they carry the mark, and every create looks for its
//! own first. Invariants: a spot create never leaves; a type is listed in every region, sold out where Lambda
//! does not name capacity; price and capacity are read again before a create; the key that Lambda asks for
//! opens nothing; the account's firewall is never touched.
//! It does not retry, poll or choose; its only wait is the pace that the cloud asks for.

mod client;
mod config;
mod fault;
mod instance;
mod offers;
mod provider;
mod wire;

pub use config::{DEFAULT_ENDPOINT, LambdaConfig};
pub use provider::LambdaProvider;
