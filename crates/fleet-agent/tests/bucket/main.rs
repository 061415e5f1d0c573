//! The client of object stores, against servers that others wrote.
//!
//! The client is a module of the agent's binary; it is compiled into these tests as it is. What no server does on demand
//! (a broken line, a full store, another region) comes from one that plays a script.

#[path = "../../src"]
#[expect(dead_code, reason = "the agent's clock is here for the client, which needs a part of it")]
mod agent {
    pub(crate) mod bucket;
    pub(crate) mod clock;
}
mod played;
mod servers;
mod stores;
mod suite;
mod throughput;
mod troubles;
