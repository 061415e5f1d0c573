//! A bucket to test with, and a machine that saves into it as machines do: by signed requests alone.

use crate::servers::{Server, skipped};
use bytes::Bytes;
use fleet_agent_api::{SignedCall, StoreCall};
use fleet_storage::{Bucket, BucketCheckpoints, Buckets};
use fleet_types::bucket::key;
use fleet_types::{
    BucketUri, CheckpointId, CheckpointManifest, Epoch, FleetId, JobId, Realm, StoreKind,
    StoredTree, Timestamp, Tree, TreeEntry, TreeKind,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub(crate) const FLEET: &str = "00112233445566778899aabbccddeeff";

pub(crate) fn fleet() -> FleetId {
    FleetId::new(FLEET)
}

pub(crate) fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

/// Opens a bucket in an ordinary realm.
pub(crate) async fn open(uri: &str, pairs: &[(&str, &str)]) -> fleet_storage::Result<Bucket> {
    let uri = BucketUri::parse(uri).unwrap();
    Buckets::default().open(&uri, &Realm::default(), &environment(pairs), None).await
}

/// A bucket, made, and the server that it is in.
pub(crate) struct Rig {
    pub(crate) bucket: Bucket,
    pub(crate) http: reqwest::Client,
    folder: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    _server: Option<Server>,
    _dir: Option<tempfile::TempDir>,
}

impl Rig {
    async fn new(uri: &str, pairs: &[(&str, &str)], server: Option<Server>) -> Self {
        let bucket = open(uri, pairs).await.unwrap();
        bucket.create(&fleet()).await.unwrap();
        fleet_provider_kit::http::install_crypto();
        // As a program of somebody else's would reach it.
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let environment = environment(pairs);
        Self { bucket, http, folder: None, environment, _server: server, _dir: None }
    }

    pub(crate) async fn folder() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared/runs of mine");
        let mut rig = Self::new(&format!("file://{}", path.display()), &[], None).await;
        (rig.folder, rig._dir) = (Some(path), Some(dir));
        rig
    }

    pub(crate) async fn moto() -> Option<Self> {
        let (server, [(id, secret), _]) = Server::moto(true).map_err(|e| skipped(&e)).ok()?;
        let uri = format!("s3://bucket/runs of mine?endpoint={}", server.url);
        let keys = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret.as_str())];
        Some(Self::new(&uri, &keys, Some(server)).await)
    }

    pub(crate) async fn rclone() -> Option<Self> {
        let server = Server::rclone().map_err(|e| skipped(&e)).ok()?;
        let uri = format!("s3://bucket/runs of mine?endpoint={}", server.url);
        let keys = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "SECRET")];
        Some(Self::new(&uri, &keys, Some(server)).await)
    }

    pub(crate) async fn azurite() -> Option<Self> {
        let server = Server::azurite().map_err(|e| skipped(&e)).ok()?;
        let uri = format!("az://bucket/runs of mine?endpoint={}", server.url);
        Some(Self::new(&uri, &[], Some(server)).await)
    }

    /// Google's, as far as it is faked.
    pub(crate) async fn gcs() -> Self {
        let server = crate::fake_gcs::start();
        let uri = format!("gs://bucket/runs of mine?endpoint={}", server.url);
        Self::new(&uri, &[("GOOGLE_CLOUD_PROJECT", "p")], None).await
    }

    /// Another place in the same store.
    pub(crate) async fn open(&self, uri: &BucketUri) -> Bucket {
        Buckets::default().open(uri, &Realm::default(), &self.environment, None).await.unwrap()
    }

    pub(crate) fn checkpoints(&self) -> BucketCheckpoints {
        self.bucket.checkpoints()
    }

    /// Signs one call of an epoch's machine.
    pub(crate) async fn signed(
        &self,
        job: &JobId,
        epoch: u32,
        method: &str,
        key: &str,
        query: &[(&str, &str)],
    ) -> SignedCall {
        let query = query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let call = StoreCall { method: method.into(), key: key.into(), query };
        let scope = self.bucket.job_scope(job, Epoch(epoch));
        self.bucket.sign(&scope, &[call]).await.unwrap().remove(0)
    }

    /// Puts an object as the machine of an epoch.
    pub(crate) async fn put(&self, job: &JobId, epoch: u32, key: &str, bytes: &[u8]) {
        if let Some(folder) = &self.folder {
            let path = folder.join(job.as_str()).join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            return std::fs::write(path, bytes).unwrap();
        }
        let signed = self.signed(job, epoch, "PUT", key, &[]).await;
        let mut request = self.http.put(&signed.url).body(Bytes::copy_from_slice(bytes));
        if self.bucket.uri().kind == StoreKind::Azure {
            request = request.header("x-ms-blob-type", "BlockBlob");
        }
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{key}: {}", answer.text().await.unwrap());
    }

    /// Removes an object as the machine of an epoch.
    pub(crate) async fn delete(&self, job: &JobId, epoch: u32, key: &str) {
        if let Some(folder) = &self.folder {
            return std::fs::remove_file(folder.join(job.as_str()).join(key)).unwrap();
        }
        let signed = self.signed(job, epoch, "DELETE", key, &[]).await;
        let answer = self.http.delete(&signed.url).send().await.unwrap();
        assert!(answer.status().is_success(), "{key}: {}", answer.text().await.unwrap());
    }

    /// Publishes a checkpoint of these files; what `base` has is not sent again.
    pub(crate) async fn publish(
        &self,
        job: &JobId,
        id: CheckpointId,
        files: &[(&str, &str)],
        base: Option<&StoredTree>,
    ) -> StoredTree {
        let stored = manifest(job, id, files, base);
        for (path, text) in files {
            let key = key::file(id, path);
            if stored.objects[&sha(text)] == key {
                self.put(job, id.epoch.0, &key, text.as_bytes()).await;
            }
        }
        self.put(job, id.epoch.0, &key::manifest(id), &json(&stored)).await;
        stored
    }

    /// Every key of a job, sorted.
    pub(crate) async fn keys(&self, job: &JobId) -> Vec<String> {
        let all = self.bucket.list(job.as_str()).await.unwrap();
        let prefix = format!("{job}/");
        let mut keys: Vec<_> =
            all.iter().map(|h| h.key.strip_prefix(&prefix).unwrap().to_owned()).collect();
        keys.sort();
        keys
    }
}

pub(crate) fn manifest(
    job: &JobId,
    id: CheckpointId,
    files: &[(&str, &str)],
    base: Option<&StoredTree>,
) -> StoredTree {
    let mut objects: BTreeMap<String, String> = BTreeMap::new();
    let mut entries = Vec::new();
    for (path, text) in files {
        let there = base.and_then(|b| b.objects.get(&sha(text)));
        objects.entry(sha(text)).or_insert_with(|| there.cloned().unwrap_or(key::file(id, path)));
        let kind = TreeKind::File { size: text.len() as u64, sha256: sha(text) };
        entries.push(TreeEntry { path: (*path).to_owned(), mode: 0o640, kind });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let (job, tree) = (job.clone(), Tree { entries });
    let taken_at = Timestamp::from_millis(1_764_000_000_000);
    StoredTree { manifest: CheckpointManifest { version: 1, job, id, taken_at, tree }, objects }
}

pub(crate) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

pub(crate) fn sha(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

pub(crate) fn job(n: u64) -> JobId {
    JobId::from_bits(n)
}

pub(crate) fn id(epoch: u32, number: u32) -> CheckpointId {
    CheckpointId { epoch: Epoch(epoch), number }
}
