//! Folders made durable: frozen workdirs, checkpoints and outputs.
//!
//! A workdir is frozen once, into a store addressed by content, so that every attempt runs the same code.
//! A checkpoint is whole files plus one manifest that is published last, so that half of one is never
//! seen and a ghost of an old epoch never wins. Invariant: nothing read from a task, a machine or a store
//! is written outside the folder it belongs to.
//!
//! A bucket is reached by [`Buckets`]: the controller's side of what machines save by themselves.
//! Deliberately absent: the environment, and moving bytes between machines.

pub mod bucket;
pub mod checkpoint;
mod clock;
mod durable;
mod error;
pub mod snapshot;

pub use bucket::{
    Bucket, BucketCheckpoints, Buckets, Created, Grant, Held, LogRecords, Raised, Refused, Scope,
    Size, Skipped,
};
pub use checkpoint::{
    BlobReader, BlobState, CheckpointStore, LocalCheckpoints, Output, Published, RelayStore,
};
pub use error::{Error, Result};
pub use snapshot::{FreezeOptions, Frozen, SnapshotStore, Swept};
