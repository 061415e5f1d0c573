//! The contract with a cloud: one dyn-safe trait, its requests, its errors.
//!
//! `docs/specs/provider.md` numbers every MUST (PRV-n); the conformance suite in `fleet-testkit` has a
//! trial for each. Invariant: a driver never sleeps, retries, polls, caches or picks a zone. Layers
//! (`fleet-provider-kit`) retry, throttle, time out and trace; the controller polls; the optimizer picks.

mod capabilities;
mod error;
mod launch;
mod provider;
mod storage;

pub use capabilities::{Capabilities, Idempotency, NoticeSource};
pub use error::ProviderError;
pub use launch::{Boot, Candidate, LaunchRequest, OwnerTag};
pub use provider::{Auxiliary, Identity, Leftover, Listing, Provider, Termination};
pub use storage::{KeyScope, StorageKey, StorageKeys};

/// What every call answers.
pub type Result<T> = std::result::Result<T, ProviderError>;
