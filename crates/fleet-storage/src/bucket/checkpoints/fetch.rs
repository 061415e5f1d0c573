//! Bringing a checkpoint or an output home.
//!
//! Invariant: every content is compared with its digest while it is written, and the folder appears when all
//! of them were right, or not at all.

use super::BucketCheckpoints;
use super::stored::files;
use crate::checkpoint::export::{Export, create};
use crate::checkpoint::place::on_disk;
use crate::error::{Error, Result};
use fleet_types::{JobId, StoredTree};
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt;

/// Contents under way at once.
const AT_ONCE: usize = 8;

/// A content and where it is to lie.
struct Content {
    sha256: String,
    size: u64,
    key: String,
    paths: Vec<PathBuf>,
}

impl BucketCheckpoints {
    /// Writes what a manifest names as the folder `dest`.
    pub(super) async fn write(&self, job: &JobId, stored: &StoredTree, dest: &Path) -> Result<()> {
        let (tree, dest) = (stored.tree().clone(), dest.to_owned());
        let export = on_disk(move || Export::begin(&tree, &dest)).await?;
        let mut contents: BTreeMap<&str, Content> = BTreeMap::new();
        for (path, sha256, size) in files(stored) {
            let key = stored.objects.get(sha256).cloned().unwrap_or_default();
            let fresh = || Content { sha256: sha256.to_owned(), size, key, paths: Vec::new() };
            contents.entry(sha256).or_insert_with(fresh).paths.push(export.path(path));
        }
        let fetches = contents.into_values().map(|content| self.bring(job, content));
        stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        on_disk(move || export.finish()).await
    }

    async fn bring(&self, job: &JobId, content: Content) -> Result<()> {
        let Content { sha256, size, key, paths } = content;
        let Some((first, others)) = paths.split_first() else { return Ok(()) };
        let whole = format!("{job}/{key}");
        let missing =
            || Error::Incomplete { job: job.clone(), id: key.clone(), sha256: sha256.clone() };
        let mut pieces = self.bucket.open(&whole).await?.ok_or_else(missing)?.into_stream();
        let mut file = tokio::fs::File::from_std(create(first)?);
        let (mut hash, mut have) = (Sha256::new(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|e| self.bucket.failed(&format!("reading `{key}`"), &e))?;
            have += piece.len() as u64;
            if have > size {
                return Err(Error::TooLong { sha256, size });
            }
            hash.update(&piece);
            file.write_all(&piece).await.map_err(Error::disk(first))?;
        }
        file.flush().await.map_err(Error::disk(first))?;
        if have != size || hex::encode(hash.finalize()) != sha256 {
            return Err(Error::Digest { sha256 });
        }
        for other in others {
            tokio::fs::copy(first, other).await.map_err(Error::disk(other))?;
        }
        Ok(())
    }
}
