//! The controller's door: HTTP/1 with JSON on the unix socket in the home, and its client.
//!
//! Routes carry the documents of `fleet_controller::api` unchanged, so that the socket adds nothing
//! to what the controller means. Invariants: the socket is 0600 in a 0700 folder; a request with a
//! foreign or doubled `Host`, an oversized or slow body, or an odd path is refused before it reaches
//! the controller; every error is an `ErrorDoc`.
//!
//! Deliberately absent: decisions, storage, a TCP port, and (until the team server) tokens.

mod client;
mod error;
mod guard;
mod routes;
mod serve;

pub use client::{Client, Lines};
pub use error::Error;
pub use routes::{PullReply, PullRequest, ReapRequest};
pub use serve::{Activity, bind, serve};

/// The only `Host` that the socket answers to.
pub(crate) const HOST: &str = "fleet";

#[cfg(test)]
mod tests;
