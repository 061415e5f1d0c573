//! Buckets of the clouds as the controller uses them: opened, made, read, kept small, and lent to machines.
//!
//! A [`Bucket`] is one place in one store, whatever store it is. [`BucketCheckpoints`] reads what machines
//! saved there and says which checkpoint counts; [`Grant`] and signed URLs are what a machine gets to save.
//! Invariants: nothing is read from a process's environment; a realm that must not reach a real cloud does
//! not; our own keys leave in signatures alone. Rules: docs/specs/storage.md, BKT-1 to BKT-9.

mod admin;
mod azure;
mod checkpoints;
mod gcs;
mod grant;
mod http;
mod objects;
mod open;
mod refused;
mod s3;
mod scope;
mod v4;

pub use admin::Created;
pub use checkpoints::{BucketCheckpoints, LogRecords, Raised, Skipped};
pub use grant::Grant;
pub use objects::{Held, Size};
pub use refused::Refused;
pub use scope::Scope;

use crate::error::Result;
use azure::Azure;
use fleet_provider::StorageKeys;
use fleet_types::{BucketUri, Realm, StoreKind};
use gcs::Gcs;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use open::Asking;
use s3::{Regions, S3};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Opens buckets, and remembers in which region they are.
#[derive(Debug, Default)]
pub struct Buckets {
    regions: Regions,
}

impl Buckets {
    /// Opens the place that `uri` names.
    ///
    /// `environment` holds the realm's account selectors and the values sealed for it; `keys` are those of
    /// AWS's driver. Asks S3 for the bucket's region where the URI does not name it; whether the bucket is
    /// there shows at the first use.
    ///
    /// # Errors
    /// [`Refused::Setting`] where the realm must not reach it or a setting is wrong, [`Refused::NoKey`],
    /// [`Refused::Unreachable`].
    pub async fn open(
        &self,
        uri: &BucketUri,
        realm: &Realm,
        environment: &BTreeMap<String, String>,
        keys: Option<Arc<dyn StorageKeys>>,
    ) -> Result<Bucket> {
        let asking = Asking { uri, realm, environment, keys };
        let door = match uri.kind {
            StoreKind::S3 | StoreKind::R2 => Door::S3(S3::open(&asking, &self.regions).await?),
            StoreKind::Gcs => Door::Gcs(Gcs::open(&asking)?),
            StoreKind::Azure => Door::Azure(Azure::open(&asking)?),
            StoreKind::File => Door::Folder(PathBuf::from(&uri.prefix)),
        };
        let wrong = |e: object_store::Error| Refused::Setting(e.to_string());
        let objects = match &door {
            Door::S3(s3) => s3.objects().map_err(wrong)?,
            Door::Gcs(gcs) => gcs.objects(),
            Door::Azure(azure) => azure.objects(),
            Door::Folder(_) => Arc::new(LocalFileSystem::new().with_fsync(true)),
        };
        Ok(Bucket { inner: Arc::new(Inner { uri: uri.clone(), door, objects }) })
    }
}

/// A place in a store. Cheap to clone.
#[derive(Clone)]
pub struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    uri: BucketUri,
    door: Door,
    objects: Arc<dyn ObjectStore>,
}

/// What is particular to each kind of store.
enum Door {
    S3(S3),
    Gcs(Gcs),
    Azure(Azure),
    /// A folder that every machine sees.
    Folder(PathBuf),
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({})", self.inner.uri)
    }
}

impl Bucket {
    /// What it was opened as.
    pub fn uri(&self) -> &BucketUri {
        &self.inner.uri
    }

    /// The checkpoints of jobs in it.
    pub fn checkpoints(&self) -> BucketCheckpoints {
        BucketCheckpoints::new(self.clone())
    }

    /// The bucket's name, for people.
    fn name(&self) -> &str {
        match &self.inner.door {
            Door::S3(_) | Door::Gcs(_) | Door::Azure(_) => &self.inner.uri.bucket,
            Door::Folder(_) => &self.inner.uri.prefix,
        }
    }

    /// The region that requests are signed for; empty where there is none.
    pub fn region(&self) -> &str {
        match &self.inner.door {
            Door::S3(s3) => s3.region(),
            Door::Gcs(_) | Door::Azure(_) | Door::Folder(_) => "",
        }
    }
}
