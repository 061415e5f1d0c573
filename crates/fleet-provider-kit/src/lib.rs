//! What cloud drivers share: HTTP, layers, gates, marks, boot scripts and tolerant field readers.
//!
//! It exists so that a driver holds only what is particular to its cloud. Invariant: everything that
//! waits, retries, throttles or times out is here, in [`layered`], [`Gate`] and [`Turnstile`]; a driver does none of it.
//! Nothing here knows any cloud by name, reads the environment, or prints.

pub mod boot;
pub mod credentials;
mod gate;
pub mod http;
mod layers;
pub mod mark;
mod reach;
pub mod wire;

pub use credentials::{Credentials, Found};
pub use gate::{Gate, Turnstile};
pub use http::{Call, Client, ClientSettings, Effect, Reply};
pub use layers::{LayerSettings, layered};
pub use reach::reachable;
