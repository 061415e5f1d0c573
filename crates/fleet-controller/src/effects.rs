//! The edges of a job: one file per kind of work that a state asks for.
//!
//! Invariant: an effect decides nothing. It does its one thing, idempotently, and reports with the epoch
//! it was asked for.

pub(crate) mod launch;
pub(crate) mod plan;
pub(crate) mod settle;
pub(crate) mod watch;
