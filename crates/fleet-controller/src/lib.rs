//! The controller: one mailbox per job around the pure step, edges that do what the state wants, and
//! beside them keepers and reconcilers that see every machine to its proven end.
//!
//! `job` is the mailbox; `effects` and `session` are the edges of one job; `keeper` ends machines; what
//! happens at a preemption is decided in `fleet-lifecycle` (`phase/running.rs`, `phase/recovering.rs`) and
//! done in `session/talk.rs`. Invariant: nothing is acted on before it is committed; a restart at any line
//! does the same work again and makes no second machine.
//!
//! Deliberately absent: decisions (lifecycle, optimizer), printing, the environment (fleet-cli).

mod address;
pub mod api;
mod clock;
mod clouds;
mod contact;
mod controller;
mod death;
mod effects;
mod error;
mod home;
mod inner;
mod job;
mod journal;
mod keeper;
mod keys;
mod mail;
mod outcome;
mod planning;
mod reap;
mod reconcile;
mod record;
mod run_spec;
mod sandbox;
mod scene;
mod session;
mod stores;
mod vault;

pub use controller::{Controller, Options};
pub use error::{Error, ErrorDoc};
pub use home::Home;
pub use planning::{check, offers, plan};
pub use reap::reap;
