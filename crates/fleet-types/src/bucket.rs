//! Buckets: how people spell them, what a job keeps under which key, and which checkpoint is the newest.
//!
//! Machine and controller share these names, so that either can read what the other wrote. Invariant: a
//! ghost never wins. [`newest`] looks at what was fenced, never at a clock or at who wrote last
//! (docs/specs/storage.md, BKT-2).

use crate::{CheckpointId, CheckpointManifest, Epoch, JobId, Timestamp, Tree};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What kind of store a URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    S3,
    R2,
    Gcs,
    Azure,
    /// A folder that every machine sees.
    File,
}

impl StoreKind {
    /// The name of its makers, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::S3 => "S3",
            Self::R2 => "R2",
            Self::Gcs => "Google Cloud Storage",
            Self::Azure => "Azure Blob",
            Self::File => "folder",
        }
    }
}

/// A place in a store: `s3://bucket/prefix`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketUri {
    pub kind: StoreKind,
    /// Account of an Azure container, where the URI names it.
    pub account: Option<String>,
    /// Bucket or container; empty for a folder.
    pub bucket: String,
    /// Without slashes at either end; an absolute path for a folder.
    pub prefix: String,
    /// A compatible server.
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

/// Why a text names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBucket {
    #[error("`{}` names no bucket; write s3://, r2://, gs://, az://, file:/// or the URL of an Azure container", .0.escape_debug())]
    Scheme(String),
    #[error(
        "`{}` is no name of a bucket: 3 to 63 lower-case letters, digits, `.`, `_` and `-`, \
         beginning and ending with a letter or digit", .0.escape_debug()
    )]
    Name(String),
    #[error("the path `{}` has an empty or dotted part", .0.escape_debug())]
    Path(String),
    #[error(
        "the bucket's URL carries credentials; remove them, fleet finds them where the cloud's own tools keep them"
    )]
    Credentials,
    #[error("`{}` is no option of a bucket's URL; there are endpoint and region", .0.escape_debug())]
    Option(String),
    #[error("the endpoint `{}` is no http or https URL", .0.escape_debug())]
    Endpoint(String),
}

const AZURE_HOST: &str = ".blob.core.windows.net";

impl BucketUri {
    /// Reads a spelling.
    pub fn parse(text: &str) -> Result<Self, BadBucket> {
        let scheme = || BadBucket::Scheme(shown(text));
        let (scheme_text, rest) = text.split_once("://").ok_or_else(scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.split('/').next().is_some_and(|authority| authority.contains('@')) {
            return Err(BadBucket::Credentials);
        }
        let (kind, account, path) = match scheme_text {
            "s3" => (StoreKind::S3, None, path),
            "r2" => (StoreKind::R2, None, path),
            "gs" => (StoreKind::Gcs, None, path),
            "az" => (StoreKind::Azure, None, path),
            "file" => (StoreKind::File, None, path),
            "https" => {
                let (host, path) = path.split_once('/').ok_or_else(scheme)?;
                let account = host.strip_suffix(AZURE_HOST).ok_or_else(scheme)?;
                (StoreKind::Azure, Some(account.to_owned()), path)
            }
            _ => return Err(scheme()),
        };
        let (endpoint, region) = options(query)?;
        let (bucket, prefix) = match kind {
            StoreKind::File => ("", path.strip_prefix('/').ok_or_else(scheme)?),
            _ => path.split_once('/').unwrap_or((path, "")),
        };
        if kind != StoreKind::File && !is_bucket(bucket) {
            return Err(BadBucket::Name(shown(bucket)));
        }
        let prefix = prefix.trim_end_matches('/');
        let odd = |part: &str| part.is_empty() || part == "." || part == "..";
        if (!prefix.is_empty() && prefix.split('/').any(odd)) || prefix.contains('\0') {
            return Err(BadBucket::Path(shown(prefix)));
        }
        let root = if kind == StoreKind::File { "/" } else { "" };
        Ok(Self {
            kind,
            account,
            bucket: bucket.to_owned(),
            prefix: format!("{root}{prefix}"),
            endpoint,
            region,
        })
    }

    /// The same store, further down.
    pub fn join(&self, below: &str) -> Self {
        let prefix = match self.prefix.as_str() {
            "" => below.to_owned(),
            prefix => format!("{}/{below}", prefix.trim_end_matches('/')),
        };
        Self { prefix, ..self.clone() }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn options(query: &str) -> Result<(Option<String>, Option<String>), BadBucket> {
    let (mut endpoint, mut region) = (None, None);
    for option in query.split('&').filter(|o| !o.is_empty()) {
        match option.split_once('=') {
            Some(("endpoint", url)) => {
                let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                match host {
                    Some(host) if host.contains('@') => return Err(BadBucket::Credentials),
                    Some(host) if !host.is_empty() => {
                        endpoint = Some(url.trim_end_matches('/').to_owned());
                    }
                    _ => return Err(BadBucket::Endpoint(shown(url))),
                }
            }
            Some(("region", name)) => region = Some(name.to_owned()),
            _ => {
                let name = option.split('=').next().unwrap_or(option);
                return Err(BadBucket::Option(shown(name)));
            }
        }
    }
    Ok((endpoint, region))
}

/// Whether `name` can be a bucket in every store.
pub fn is_bucket(name: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && end(bytes.first())
        && end(bytes.last())
        && bytes.iter().all(|b| end(Some(b)) || b"._-".contains(b))
        && !name.contains("..")
}

impl fmt::Display for BucketUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        match (self.kind, &self.account) {
            (StoreKind::S3, _) => write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)?,
            (StoreKind::R2, _) => write!(f, "r2://{}{slash}{}", self.bucket, self.prefix)?,
            (StoreKind::Gcs, _) => write!(f, "gs://{}{slash}{}", self.bucket, self.prefix)?,
            (StoreKind::Azure, None) => write!(f, "az://{}{slash}{}", self.bucket, self.prefix)?,
            (StoreKind::Azure, Some(account)) => {
                write!(f, "https://{account}{AZURE_HOST}/{}{slash}{}", self.bucket, self.prefix)?;
            }
            (StoreKind::File, _) => write!(f, "file://{}", self.prefix)?,
        }
        let options = [("endpoint", &self.endpoint), ("region", &self.region)];
        let given = options.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (index, (name, value)) in given.enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for BucketUri {
    type Error = BadBucket;
    fn try_from(text: String) -> Result<Self, BadBucket> {
        Self::parse(&text)
    }
}

impl From<BucketUri> for String {
    fn from(uri: BucketUri) -> Self {
        uri.to_string()
    }
}

/// Keys of what a job keeps, relative to `PREFIX/JOB/`.
pub mod key {
    use super::{CheckpointId, Epoch};
    use sha2::{Digest, Sha256};

    /// Everything of an epoch.
    pub fn epoch(epoch: Epoch) -> String {
        format!("{:06}/", epoch.0)
    }
    /// The fence of an epoch.
    pub fn open(epoch: Epoch) -> String {
        format!("{:06}/open.json", epoch.0)
    }
    /// What makes a checkpoint exist.
    pub fn manifest(id: CheckpointId) -> String {
        format!("{:06}/{:06}/manifest.json", id.epoch.0, id.number)
    }
    /// A shard of a checkpoint, under [`plain`] of its path.
    pub fn file(id: CheckpointId, path: &str) -> String {
        format!("{:06}/{:06}/files/{}", id.epoch.0, id.number, plain(path))
    }
    /// What makes an output exist.
    pub fn output(epoch: Epoch) -> String {
        format!("{:06}/output/manifest.json", epoch.0)
    }
    /// A file of the output, under [`plain`] of its path.
    pub fn output_file(epoch: Epoch, path: &str) -> String {
        format!("{:06}/output/files/{}", epoch.0, plain(path))
    }
    /// Log records from this spool offset on.
    pub fn log(epoch: Epoch, from: u64) -> String {
        format!("{:06}/logs/{from:012}.jsonl.gz", epoch.0)
    }
    /// How the task ended.
    pub fn outcome(epoch: Epoch) -> String {
        format!("{:06}/outcome.json", epoch.0)
    }

    /// A path in characters that every store, URL and file system takes as they are.
    ///
    /// ASCII letters, digits, `-`, `_`, `.` and `/` stay; every other byte is `=` and two hex digits, and
    /// so is a dot at the end of a name. A path that is too long for a key is `==` and its SHA-256.
    pub fn plain(path: &str) -> String {
        let mut text = String::with_capacity(path.len());
        for (index, byte) in path.bytes().enumerate() {
            let ends = matches!(path.as_bytes().get(index + 1), None | Some(b'/'));
            match byte {
                b'.' if ends => text.push_str("=2E"),
                b'-' | b'_' | b'.' | b'/' => text.push(char::from(byte)),
                byte if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
                byte => text.push_str(&format!("={byte:02X}")),
            }
        }
        if text.len() <= LONGEST && text.split('/').all(|part| part.len() <= LONGEST_PART) {
            return text;
        }
        format!("=={}", hex::encode(Sha256::digest(path)))
    }

    /// A key has at most 1024 bytes, the bucket's prefix included, and a file's name 255.
    const LONGEST: usize = 512;
    const LONGEST_PART: usize = 240;

    /// What a key relative to a job is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Named {
        Open(Epoch),
        Manifest(CheckpointId),
        Output(Epoch),
        Log(Epoch, u64),
        Outcome(Epoch),
        /// A shard, a file of an output, or nothing of ours.
        Other,
    }

    /// Reads a key back.
    pub fn named(key: &str) -> Named {
        let mut parts = key.splitn(3, '/');
        let Some(epoch) = parts.next().and_then(six) else { return Named::Other };
        let epoch = Epoch(epoch);
        match (parts.next(), parts.next()) {
            (Some("open.json"), None) => Named::Open(epoch),
            (Some("outcome.json"), None) => Named::Outcome(epoch),
            (Some("output"), Some("manifest.json")) => Named::Output(epoch),
            (Some("logs"), Some(name)) => {
                let from = name.strip_suffix(".jsonl.gz").and_then(|n| n.parse().ok());
                from.map_or(Named::Other, |from| Named::Log(epoch, from))
            }
            (Some(number), Some("manifest.json")) => six(number)
                .map_or(Named::Other, |number| Named::Manifest(CheckpointId { epoch, number })),
            _ => Named::Other,
        }
    }

    fn six(text: &str) -> Option<u32> {
        let is_number = text.len() >= 6 && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    }
}

/// The fence of an epoch (`open.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// Version of this document: 1.
    pub version: u32,
    pub job: JobId,
    pub epoch: Epoch,
    /// The newest checkpoint when it was raised; lower epochs' later ones never count.
    pub base: Option<CheckpointId>,
    pub at: Timestamp,
}

/// A checkpoint or an output in a bucket: the manifest and where its contents lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTree {
    #[serde(flatten)]
    pub manifest: CheckpointManifest,
    /// Key of every content by its SHA-256, relative to the job.
    pub objects: BTreeMap<String, String>,
}

impl StoredTree {
    /// The tree that it restores.
    pub fn tree(&self) -> &Tree {
        &self.manifest.tree
    }
}

/// The newest checkpoint of those `published` that counts under `fences` (BKT-2).
pub fn newest(
    published: impl IntoIterator<Item = CheckpointId>,
    fences: &[(Epoch, Option<CheckpointId>)],
) -> Option<CheckpointId> {
    published.into_iter().filter(|id| counts(*id, fences)).max()
}

/// Whether a published checkpoint counts under `fences` (BKT-2).
pub fn counts(id: CheckpointId, fences: &[(Epoch, Option<CheckpointId>)]) -> bool {
    fences
        .iter()
        .filter(|(epoch, _)| *epoch > id.epoch)
        .all(|(_, base)| base.is_some_and(|base| id <= base))
}

#[cfg(test)]
mod tests {
    use super::key::{Named, named};
    use super::*;

    fn id(epoch: u32, number: u32) -> CheckpointId {
        CheckpointId { epoch: Epoch(epoch), number }
    }

    #[test]
    fn every_spelling_is_read_and_written_again() {
        for text in [
            "s3://bucket",
            "s3://bucket/a/b",
            "r2://bucket/a",
            "gs://bucket/a",
            "az://container/a",
            "https://account.blob.core.windows.net/container/a/b",
            "file:///mnt/shared/runs",
            "s3://bucket/a?endpoint=http://127.0.0.1:9000&region=eu-west-1",
        ] {
            let uri = BucketUri::parse(text).unwrap();
            assert_eq!(uri.to_string(), text);
            assert_eq!(BucketUri::parse(&uri.join("j-1").to_string()).unwrap(), uri.join("j-1"));
        }
        assert_eq!(BucketUri::parse("s3://bucket/a/").unwrap().prefix, "a");
        assert_eq!(BucketUri::parse("file:///").unwrap().join("a").prefix, "/a");
    }

    #[test]
    fn what_names_no_bucket_is_refused_with_its_reason() {
        for (text, word) in [
            ("bucket/a", "names no bucket"),
            ("ftp://bucket/a", "names no bucket"),
            ("https://example.org/a", "names no bucket"),
            ("file://relative", "names no bucket"),
            ("s3://Bad_Name/a", "no name of a bucket"),
            ("s3://", "no name of a bucket"),
            ("s3://bucket/a/../b", "dotted part"),
            ("s3://bucket//a", "empty"),
            ("s3://key:secret@bucket/a", "credentials"),
            ("s3://bucket/a?endpoint=http://key:secret@host", "credentials"),
            ("s3://bucket/a?endpoint=file:///etc", "no http"),
            ("s3://bucket/a?secret=1", "no option"),
        ] {
            let error = BucketUri::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
            assert!(!error.contains("key:secret"), "{error}");
        }
    }

    #[test]
    fn keys_are_read_back_as_what_they_are() {
        let long = CheckpointId { epoch: Epoch(12), number: 1_234_567 };
        for (text, what) in [
            (key::open(Epoch(3)), Named::Open(Epoch(3))),
            (key::manifest(id(3, 7)), Named::Manifest(id(3, 7))),
            (key::manifest(long), Named::Manifest(long)),
            (key::output(Epoch(1)), Named::Output(Epoch(1))),
            (key::outcome(Epoch(1)), Named::Outcome(Epoch(1))),
            (key::log(Epoch(1), 4096), Named::Log(Epoch(1), 4096)),
            (key::file(id(3, 7), "manifest.json"), Named::Other),
            (key::output_file(Epoch(1), "manifest.json"), Named::Other),
            ("3/7/manifest.json".to_owned(), Named::Other),
            ("000001/x00001/manifest.json".to_owned(), Named::Other),
        ] {
            assert_eq!(named(&text), what, "{text}");
        }
    }

    #[test]
    fn paths_of_any_characters_make_keys_that_every_store_takes() {
        for (path, key) in [
            ("step-1/rank_0.pt", "step-1/rank_0.pt"),
            ("a b+c#1?.pt", "a=20b=2Bc=231=3F.pt"),
            ("ü/100%=\n", "=C3=BC/100=25=3D=0A"),
            (".metadata/x./...", ".metadata/x=2E/..=2E"),
        ] {
            assert_eq!(key::plain(path), key);
        }
        for long in ["x".repeat(241), "x/".repeat(300) + "y", "ü".repeat(41)] {
            assert_eq!(key::plain(&long).len(), 66, "{long}");
        }
        assert_ne!(key::plain(&"x".repeat(241)), key::plain(&"x".repeat(242)));
        assert_eq!(key::file(id(1, 2), "a b"), "000001/000002/files/a=20b");
        assert_eq!(key::output_file(Epoch(1), "a b"), "000001/output/files/a=20b");
    }

    #[test]
    fn a_ghost_never_wins() {
        let fences = [(Epoch(1), None), (Epoch(2), Some(id(1, 6)))];
        // Published by epoch 1 after epoch 2 had opened on (1, 6).
        assert_eq!(newest([id(1, 5), id(1, 6), id(1, 7)], &fences), Some(id(1, 6)));
        assert_eq!(newest([id(1, 6), id(1, 99), id(2, 1)], &fences), Some(id(2, 1)));
        // An epoch that opened on nothing shuts out all below it.
        let empty = [(Epoch(1), None), (Epoch(2), None)];
        assert_eq!(newest([id(1, 1)], &empty), None);
        assert_eq!(newest([id(2, 1), id(1, 1)], &empty), Some(id(2, 1)));
        // Every fence above counts, not only the next.
        let three = [(Epoch(2), Some(id(1, 6))), (Epoch(3), Some(id(1, 4)))];
        assert!(!counts(id(1, 5), &three) && counts(id(1, 4), &three));
        assert!(!counts(id(2, 1), &three), "epoch 3 opened without it");
    }
}
