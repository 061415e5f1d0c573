//! One file per phase; `limits` holds what ends a job in any of them.

pub(crate) mod connecting;
pub(crate) mod finished;
pub(crate) mod launching;
pub(crate) mod limits;
pub(crate) mod planning;
pub(crate) mod preparing;
pub(crate) mod queued;
pub(crate) mod recovering;
pub(crate) mod running;
pub(crate) mod stopping;
