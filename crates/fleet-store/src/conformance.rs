//! What every body of the store must do, as trials that take any [`Store`], numbered as in
//! docs/specs/store.md.
//!
//! A body's test makes an empty store for each trial and runs it; [`model::ModelStore`] is the reference
//! that random histories are compared with. Invariant: nothing here knows SQLite.
//! Deliberately absent: what only a body can show (kill -9, a full disk, a damaged file).

pub mod history;
pub mod model;
mod samples;
mod trials;

pub use samples::{event, job, job_id, machine};
pub use trials::{TRIALS, Trial};
