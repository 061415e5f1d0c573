//! Making and removing buckets.
//!
//! A bucket that fleet makes says whose it is: by its tags, labels or metadata, else by an object. Invariant:
//! what was there before is never marked, and only what carries exactly this fleet's id is ever removed.

use super::refused::Refused;
use super::{Bucket, Door};
use crate::durable;
use crate::error::{Error, Result};
use bytes::Bytes;
use fleet_types::FleetId;
use object_store::path::Path as Key;
use object_store::{ObjectStoreExt, PutPayload};
use std::path::Path;

/// Names the owner where the store knows no tags.
const MARK: &str = ".fleet-id";

/// Whether a bucket is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Here,
    Absent,
    /// It is there, and this account may not even look at it.
    Denied,
}

/// What came of making a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    /// It was this account's before.
    Before,
}

/// What came of asking for a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was made, and is marked as this fleet's.
    New,
    /// It was there, and stays whose it is.
    Existed,
}

impl Bucket {
    /// Whether the bucket is there.
    ///
    /// # Errors
    /// [`Refused::Denied`] where it is and this account may not look at it, [`Refused::WrongRegion`],
    /// [`Refused::NoKey`], [`Refused::Unreachable`].
    pub async fn exists(&self) -> Result<bool> {
        match self.presence().await? {
            Presence::Here => Ok(true),
            Presence::Absent => Ok(false),
            Presence::Denied => Err(Refused::Denied {
                bucket: self.name().to_owned(),
                what: "looking at the bucket".into(),
                code: "status 403".into(),
            }
            .into()),
        }
    }

    /// Makes the bucket if it is not there.
    ///
    /// # Errors
    /// As [`Self::exists`], and [`Refused::Taken`] where the name is somebody else's.
    pub async fn create(&self, fleet: &FleetId) -> Result<Created> {
        match self.presence().await? {
            Presence::Here => return Ok(Created::Existed),
            Presence::Denied => return Err(Refused::Taken(self.name().to_owned()).into()),
            Presence::Absent => {}
        }
        let made = match &self.inner.door {
            Door::S3(s3) => s3.make(fleet).await?,
            Door::Gcs(gcs) => gcs.make(fleet).await?,
            Door::Azure(azure) => azure.make(fleet).await?,
            Door::Folder(dir) => make_folder(dir, fleet)?,
        };
        if made == Made::Before {
            return Ok(Created::Existed);
        }
        if self.tagged().await?.as_deref() != Some(fleet.as_str()) {
            let mark = PutPayload::from(Bytes::copy_from_slice(fleet.as_str().as_bytes()));
            let put = self.inner.objects.put(&Key::from(MARK), mark).await;
            put.map_err(|e| self.failed("marking the bucket", &e))?;
        }
        Ok(Created::New)
    }

    /// Removes the bucket and everything in it, if this fleet made it.
    ///
    /// # Errors
    /// [`Refused::NotOurs`]; as [`Self::exists`].
    pub async fn remove(&self, fleet: &FleetId) -> Result<()> {
        if !self.exists().await? {
            return Ok(());
        }
        if self.owner().await?.as_deref() != Some(fleet.as_str()) {
            return Err(Refused::NotOurs(self.name().to_owned()).into());
        }
        match &self.inner.door {
            Door::S3(s3) => {
                self.empty().await?;
                s3.unmake().await?;
            }
            Door::Gcs(gcs) => {
                self.empty().await?;
                gcs.unmake().await?;
            }
            Door::Azure(azure) => azure.unmake().await?,
            Door::Folder(dir) => std::fs::remove_dir_all(dir).map_err(Error::disk(dir))?,
        }
        Ok(())
    }

    async fn presence(&self) -> Result<Presence> {
        Ok(match &self.inner.door {
            Door::S3(s3) => s3.presence().await?,
            Door::Gcs(gcs) => gcs.presence().await?,
            Door::Azure(azure) => azure.presence().await?,
            Door::Folder(dir) if dir.is_dir() => Presence::Here,
            Door::Folder(_) => Presence::Absent,
        })
    }

    async fn tagged(&self) -> Result<Option<String>> {
        Ok(match &self.inner.door {
            Door::S3(s3) => s3.owner().await?,
            Door::Gcs(gcs) => gcs.owner().await?,
            Door::Azure(azure) => azure.owner().await?,
            Door::Folder(dir) => std::fs::read_to_string(dir.join(MARK)).ok(),
        })
    }

    /// The fleet that made the bucket, if one did.
    async fn owner(&self) -> Result<Option<String>> {
        if let Some(owner) = self.tagged().await? {
            return Ok(Some(owner));
        }
        match self.inner.objects.get(&Key::from(MARK)).await {
            Ok(found) if found.meta.size <= 64 => {
                let bytes = found.bytes().await.map_err(|e| self.failed("reading the mark", &e))?;
                Ok(String::from_utf8(bytes.into()).ok())
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(self.failed("reading the mark", &e)),
        }
    }
}

fn make_folder(dir: &Path, fleet: &FleetId) -> Result<Made> {
    durable::make_dir(dir)?;
    durable::write(&dir.join(MARK), fleet.as_str().as_bytes(), true)?;
    Ok(Made::Now)
}
