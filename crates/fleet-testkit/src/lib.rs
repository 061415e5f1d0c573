//! The conformance suite of the provider contract: what every driver must do, tried against the sandbox.
//!
//! `docs/specs/provider.md` numbers the MUSTs; [`trials`] holds a trial for each number; `tests/conformance.rs`
//! runs providers × MUSTs. Invariant: a trial talks to a real sandbox over its wire and judges by the
//! sandbox's own ledger, never by what the driver says of itself alone. No trial sleeps: it waits on a
//! condition with a deadline.

mod bench;
mod spec;
pub mod trials;

pub use bench::Bench;
pub use spec::numbers;
