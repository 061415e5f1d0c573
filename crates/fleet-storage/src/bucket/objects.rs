//! The objects below a bucket's prefix, by keys relative to it.
//!
//! Invariant: "not there" is answered only when the store says so of the key; a bucket that is not there, a
//! folder that is not mounted or a right that is missing is an error, so that a job never starts anew for it.

use super::refused::{Refused, is_missing, of_store};
use super::{Bucket, Door};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{GetResult, ObjectStoreExt, PutMode, PutPayload};

/// An object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Relative to the bucket's prefix.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub bytes: u64,
    pub objects: u64,
}

/// What lies directly in a folder of a bucket, by name.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) folders: Vec<String>,
    pub(super) objects: Vec<String>,
}

impl Bucket {
    /// Every object below a folder; `""` is all below the prefix.
    ///
    /// # Errors
    /// [`Error::Bucket`].
    pub async fn list(&self, below: &str) -> Result<Vec<Held>> {
        self.ready()?;
        let folder = self.path(below)?;
        let found = self.inner.objects.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let found = found.map_err(|e| self.failed("listing", &e))?;
        let held = |o: object_store::ObjectMeta| {
            Some(Held { key: self.relative(&o.location)?, size: o.size })
        };
        Ok(found.into_iter().filter_map(held).collect())
    }

    /// How much lies below a folder; `""` is all below the prefix.
    ///
    /// # Errors
    /// [`Error::Bucket`].
    pub async fn size(&self, below: &str) -> Result<Size> {
        let all = self.list(below).await?;
        Ok(Size { bytes: all.iter().map(|h| h.size).sum(), objects: all.len() as u64 })
    }

    /// What lies directly in a folder.
    pub(super) async fn listed(&self, folder: &str) -> Result<Listed> {
        self.ready()?;
        let path = self.path(folder)?;
        let found = self.inner.objects.list_with_delimiter(Some(&path)).await;
        let found = found.map_err(|e| self.failed("listing", &e))?;
        let name = |key: &Key| key.filename().map(str::to_owned);
        Ok(Listed {
            folders: found.common_prefixes.iter().filter_map(name).collect(),
            objects: found.objects.iter().filter_map(|o| name(&o.location)).collect(),
        })
    }

    /// An object of at most `limit` bytes; `None`: it is not there.
    pub(super) async fn get(&self, key: &str, limit: u64) -> Result<Option<Bytes>> {
        let Some(found) = self.open(key).await? else { return Ok(None) };
        if found.meta.size > limit {
            return Err(self.damaged(key, &format!("it has {} bytes", found.meta.size)));
        }
        let bytes = found.bytes().await;
        Ok(Some(bytes.map_err(|e| self.failed(&reading(key), &e))?))
    }

    /// An object, to be read.
    pub(super) async fn open(&self, key: &str) -> Result<Option<GetResult>> {
        self.ready()?;
        match self.inner.objects.get(&self.path(key)?).await {
            Ok(found) => Ok(Some(found)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed(&reading(key), &e)),
        }
    }

    /// An object's size; `None`: it is not there.
    pub(super) async fn size_of(&self, key: &str) -> Result<Option<u64>> {
        match self.inner.objects.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed(&reading(key), &e)),
        }
    }

    /// Puts an object where there is none; `false`: there is one.
    pub(super) async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool> {
        let path = self.path(key)?;
        let payload = PutPayload::from(bytes.clone());
        let error = match self.inner.objects.put_opts(&path, payload, PutMode::Create.into()).await
        {
            Ok(_) => return Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => return Ok(false),
            Err(error) => error,
        };
        // An answer that was lost may have been a yes.
        match self.get(key, bytes.len() as u64).await {
            Ok(Some(there)) => Ok(there == bytes),
            Ok(None) | Err(_) => Err(self.failed(&format!("writing `{key}`"), &error)),
        }
    }

    /// Removes objects; those that are not there count as removed.
    pub(super) async fn delete(&self, keys: Vec<String>) -> Result<()> {
        let paths = keys.iter().map(|k| self.path(k)).collect::<Result<Vec<_>>>()?;
        self.delete_paths(paths).await
    }

    async fn delete_paths(&self, paths: Vec<Key>) -> Result<()> {
        let mut gone = self.inner.objects.delete_stream(stream::iter(paths).map(Ok).boxed());
        while let Some(outcome) = gone.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(e) => return Err(self.failed("removing objects", &e)),
            }
        }
        Ok(())
    }

    /// Removes every object of the whole bucket, outside the prefix too.
    pub(super) async fn empty(&self) -> Result<()> {
        let found = self.inner.objects.list(None).map_ok(|o| o.location).try_collect().await;
        self.delete_paths(found.map_err(|e| self.failed("listing", &e))?).await
    }

    /// The whole key.
    pub(super) fn path(&self, key: &str) -> Result<Key> {
        let prefix = self.inner.uri.prefix.trim_matches('/');
        let whole = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}/{key}") };
        let bad = |e: object_store::path::Error| Refused::Setting(e.to_string());
        Ok(Key::parse(whole.trim_end_matches('/')).map_err(bad)?)
    }

    fn relative(&self, key: &Key) -> Option<String> {
        let prefix = self.inner.uri.prefix.trim_matches('/');
        let rest = key.as_ref().strip_prefix(prefix)?;
        Some(rest.trim_start_matches('/').to_owned())
    }

    /// A folder that is not there may be one that is not mounted: nothing in it may be taken for nothing.
    fn ready(&self) -> Result<()> {
        match &self.inner.door {
            Door::Folder(dir) if !dir.is_dir() => {
                Err(Refused::NoBucket(dir.display().to_string()).into())
            }
            Door::Folder(_) | Door::S3(_) | Door::Gcs(_) | Door::Azure(_) => Ok(()),
        }
    }

    pub(super) fn failed(&self, what: &str, error: &object_store::Error) -> Error {
        of_store(self.name(), self.region(), what, error)
    }

    /// A document of ours that is none.
    pub(super) fn damaged(&self, key: &str, why: &str) -> Error {
        let (bucket, what) = (self.name().to_owned(), reading(key));
        Refused::Failed { bucket, what, detail: why.to_owned() }.into()
    }
}

fn reading(key: &str) -> String {
    format!("reading `{}`", key.escape_debug())
}
