//! The buckets of jobs: opened in the job's realm and kept, keys for machines, outcomes.
//!
//! Invariant: a bucket is opened with the credentials of its job's realm alone; after a refusal it is opened
//! anew, so that a new login heals without a restart. What goes to a machine is a grant, never our key.

use crate::error::{Error, Result};
use crate::inner::Inner;
use crate::record::JobDoc;
use async_trait::async_trait;
use fleet_optimizer::transfer::{self, End};
use fleet_provider::{KeyScope, Provider, ProviderError, StorageKey, StorageKeys};
use fleet_storage::{Bucket, Buckets};
use fleet_types::{BucketUri, Fault, Place, ProviderId, RealmId, Scope, StoreKind, Usd};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// The buckets in use.
#[derive(Default)]
pub(crate) struct Stores {
    buckets: Buckets,
    open: Mutex<HashMap<(RealmId, BucketUri), Bucket>>,
}

impl Stores {
    /// A bucket in a realm.
    pub(crate) async fn open(
        &self,
        inner: &Inner,
        realm: &RealmId,
        uri: &BucketUri,
    ) -> Result<Bucket> {
        let key = (realm.clone(), uri.clone());
        if let Some(bucket) = self.open.lock().await.get(&key) {
            return Ok(bucket.clone());
        }
        let account = inner.account(realm).await?;
        let keys: Option<Arc<dyn StorageKeys>> = match uri.kind {
            StoreKind::S3 => {
                let driver = inner.clouds.get(realm, ProviderId::Aws).await;
                Some(Arc::new(KeysOf(driver.map_err(|e| failed(uri, e))?)))
            }
            StoreKind::R2 | StoreKind::Gcs | StoreKind::Azure | StoreKind::File => None,
        };
        let environment = &account.environment;
        let bucket = self.buckets.open(uri, &account.realm, environment, keys).await;
        let bucket = bucket.map_err(|e| failed(uri, e))?;
        self.open.lock().await.insert(key, bucket.clone());
        Ok(bucket)
    }

    /// The next use opens it anew, from the credentials as they are then.
    pub(crate) async fn forget(&self, realm: &RealmId, uri: &BucketUri) {
        self.open.lock().await.remove(&(realm.clone(), uri.clone()));
    }
}

/// The bucket of a job, where its task names one.
pub(crate) async fn of(inner: &Inner, doc: &JobDoc) -> Result<Option<Bucket>> {
    let Some(uri) = &doc.task.checkpoint.store else { return Ok(None) };
    inner.stores.open(inner, &doc.facts.realm, uri).await.map(Some)
}

fn failed(uri: &BucketUri, error: impl std::fmt::Display) -> Error {
    Error::Invalid(format!("the store {uri}: {error}"))
}

/// What moving bytes to or from a machine costs; 0 where it is not known.
pub(crate) fn egress(bucket: &Bucket, place: &Place, bytes: u64, to_machine: bool) -> Usd {
    let store = End::Store {
        kind: bucket.uri().kind,
        region: Some(bucket.region()).filter(|r| !r.is_empty()),
    };
    let machine = End::Machine { place, egress_usd_per_gb: None };
    let (from, to) = if to_machine { (store, machine) } else { (machine, store) };
    transfer::usd_per_gb(from, to).map_or(Usd::ZERO, |rate| transfer::cost(bytes, rate))
}

/// A driver's keys, owned.
struct KeysOf(Arc<dyn Provider>);

impl KeysOf {
    fn keys(&self) -> fleet_provider::Result<&dyn StorageKeys> {
        self.0.storage_keys().ok_or_else(|| {
            ProviderError::new(Fault::Rejected, Scope::Provider, "storage", "unsupported")
        })
    }
}

#[async_trait]
impl StorageKeys for KeysOf {
    async fn own_key(&self) -> fleet_provider::Result<StorageKey> {
        self.keys()?.own_key().await
    }
    async fn narrow(
        &self,
        scope: &KeyScope,
        life: Duration,
    ) -> fleet_provider::Result<Option<StorageKey>> {
        self.keys()?.narrow(scope, life).await
    }
}
