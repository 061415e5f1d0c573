//! The SSH client through which the controller reaches an instance.
//!
//! One [`Session`] is one authenticated connection to one instance. Over it run short commands
//! ([`Session::exec`]), the agent's long-lived byte stream ([`Session::open`]), commands of the user's
//! ([`Session::streams`]) and file copies ([`Session::upload`]). [`Session::closed`] says when the connection died.
//!
//! Invariant: with pinned host keys nothing, not even the user name, is sent to a server that has not
//! proved possession of one of them.
//!
//! Not here: a terminal for people (`fleet ssh` runs the system's `ssh`), sftp, port forwarding,
//! retries, and any decision about what a lost connection means.

mod channel;
mod error;
mod exec;
mod key;
mod progress;
mod quote;
mod session;
mod streams;
mod target;
mod upload;

pub use channel::{Channel, Piece};
pub use error::Error;
pub use exec::{OUTPUT_CAP, Output};
pub use key::{KeyPair, fingerprint, public_line};
pub use quote::quote;
pub use session::{Keepalive, Session};
pub use streams::{Input, Streams};
pub use target::{HostKeyPolicy, Target};
