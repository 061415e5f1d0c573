//! The job's object store as a machine sees it: where it is, the key for it, and what is written there.
//!
//! Invariant: a key is for one job's prefix and is never printed: `Debug` shows its kind alone. The names
//! below the prefix are `fleet_types::bucket::key`; the rules are docs/specs/storage.md.

use crate::message::{LogRecord, TaskEnd};
use fleet_types::{CheckpointId, Epoch, JobId, StoreKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a store is, down to the folder that a key opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorePlace {
    pub kind: StoreKind,
    /// Base URL of the server: of the region for S3, of the account for Azure. Empty for a folder.
    pub endpoint: String,
    /// The bucket is a part of the path, not of the host name.
    pub path_style: bool,
    pub region: String,
    /// Bucket or container; empty for a folder.
    pub bucket: String,
    /// What every key begins with, without a slash at its end: `PREFIX/JOB`; empty for a whole bucket.
    pub prefix: String,
}

/// What opens it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKey {
    /// Signature version 4.
    Aws { access_key_id: String, secret_access_key: String, session_token: Option<String> },
    /// `Authorization: Bearer`.
    Bearer { token: String },
    /// A shared access signature: the query without its question mark.
    Sas { query: String },
    /// None: every request is signed by the controller ([`crate::FromAgent::Sign`]).
    Asked,
    /// A folder needs none.
    Folder,
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aws { .. } => "Aws",
            Self::Bearer { .. } => "Bearer",
            Self::Sas { .. } => "Sas",
            Self::Asked => "Asked",
            Self::Folder => "Folder",
        })
    }
}

/// A store with its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreAccess {
    pub place: StorePlace,
    pub key: StoreKey,
    /// The key's life from now; `None`: it does not end.
    pub expires_in_ms: Option<u64>,
}

/// One request to a store, to be signed. The key is relative to the place's prefix; an empty one is the bucket
/// itself, for a listing, whose `prefix` in the query is whole. Google Cloud Storage is spoken to by its XML
/// interface. Azure signs objects: the machine adds what it does with them in parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreCall {
    /// `GET`, `PUT`, `POST`, `DELETE`.
    pub method: String,
    pub key: String,
    /// Query parameters in any order, neither name nor value escaped.
    pub query: Vec<(String, String)>,
}

/// How a folder of a store is seen at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountForm {
    /// A private copy, made before the task.
    Copy,
    /// Read on demand, written through when a file is closed.
    Through,
    /// Read on demand and kept; written in the background.
    Cached,
}

/// A program that a machine may fetch, known by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tool {
    /// A ZIP file that holds it.
    pub url: String,
    /// SHA-256 of that file, in lower-case hex.
    pub sha256: String,
    /// Path of the program in it.
    pub member: String,
}

/// Show a store's folder or object at a path. The same target again renews the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountOrder {
    /// Absolute or `~/` path.
    pub target: String,
    pub access: StoreAccess,
    pub form: MountForm,
    /// Where the mounting program comes from, if the machine has none.
    pub tool: Option<Tool>,
}

/// A checkpoint that this machine has published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub number: u32,
    pub taken_at: Timestamp,
    /// Of the whole checkpoint.
    pub bytes: u64,
    pub files: u64,
    /// What had to be sent; the rest was there from before.
    pub sent_bytes: u64,
    /// From the picture to the manifest.
    pub took_ms: u64,
}

/// How a task ended, as the machine wrote it into the store (`outcome.json`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Version of this document: 1.
    pub version: u32,
    pub job: JobId,
    pub epoch: Epoch,
    pub end: TaskEnd,
    /// The newest checkpoint that the epoch restored or published.
    pub last_checkpoint: Option<CheckpointId>,
    pub has_output: bool,
    /// End of the spool: so far reach the log objects.
    pub log_end: u64,
    /// The last lines, for a reader without the log objects.
    pub log_tail: Vec<LogRecord>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_print() {
        let access = StoreAccess {
            place: StorePlace {
                kind: StoreKind::S3,
                endpoint: "https://s3.us-east-1.amazonaws.com".into(),
                path_style: true,
                region: "us-east-1".into(),
                bucket: "bucket".into(),
                prefix: "runs/j-1".into(),
            },
            key: StoreKey::Aws {
                access_key_id: "AKIACANARY".into(),
                secret_access_key: "canary-secret".into(),
                session_token: Some("canary-token".into()),
            },
            expires_in_ms: Some(1),
        };
        assert!(!format!("{access:?}").to_lowercase().contains("canary"));
    }
}
