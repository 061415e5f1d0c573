//! Folders made durable: frozen workdirs, checkpoints and outputs.
//!
//! A workdir is frozen once, into a store addressed by content, so that every attempt runs the same code.
//! A checkpoint is whole files plus one manifest that is published last, so that half of one is never
//! seen and a ghost of an old epoch never wins. Invariant: nothing read from a task, a machine or a store
//! is written outside the folder it belongs to.
//!
//! Deliberately absent: the network, clocks, the environment. What moves bytes between machines is the
//! caller; buckets will be another body of [`CheckpointStore`].

pub mod bucket;
pub mod checkpoint;
mod durable;
mod error;
pub mod snapshot;

pub use bucket::Refused;
pub use checkpoint::{
    BlobReader, BlobState, CheckpointStore, LocalCheckpoints, Output, Published, RelayStore,
};
pub use error::{Error, Result};
pub use snapshot::{FreezeOptions, Frozen, SnapshotStore, Swept};
