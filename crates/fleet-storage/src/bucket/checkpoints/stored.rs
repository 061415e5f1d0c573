//! Manifests as machines wrote them, and whether what they name is there.
//!
//! Invariant: a manifest is followed only if it is what its key says, its tree may reach a disk, and every
//! content has a key that is a file of this very job; so a manifest leads nowhere else.

use super::{BucketCheckpoints, VERSION};
use crate::checkpoint::export;
use crate::error::{Error, Result};
use fleet_types::bucket::key;
use fleet_types::tree::is_inside;
use fleet_types::{CheckpointId, JobId, StoredTree, TreeKind};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::collections::{BTreeMap, HashMap};

/// A manifest of some hundred thousand files.
pub(super) const MANIFEST: u64 = 64 << 20;
/// Files of one folder that are asked for one by one; above it the folder is listed.
const ONE_BY_ONE: usize = 16;
const AT_ONCE: usize = 16;

impl BucketCheckpoints {
    /// Reads a manifest. `None`: not published; the inner error says why it cannot be followed.
    pub(super) async fn stored(
        &self,
        job: &JobId,
        id: CheckpointId,
    ) -> Result<Option<std::result::Result<StoredTree, String>>> {
        self.stored_at(job, id, &key::manifest(id)).await
    }

    /// The output of the highest epoch that has one.
    pub(super) async fn stored_output(&self, job: &JobId) -> Result<Option<StoredTree>> {
        let survey = self.survey(job).await?;
        for epoch in survey.outputs.into_iter().rev() {
            let (id, key) = (CheckpointId { epoch, number: 0 }, key::output(epoch));
            match self.stored_at(job, id, &key).await? {
                Some(Ok(stored)) => return Ok(Some(stored)),
                Some(Err(why)) => tracing::warn!(%job, %epoch, why, "an output cannot be read"),
                None => {}
            }
        }
        Ok(None)
    }

    pub(super) async fn stored_at(
        &self,
        job: &JobId,
        id: CheckpointId,
        key: &str,
    ) -> Result<Option<std::result::Result<StoredTree, String>>> {
        let Some(bytes) = self.bucket.get(&format!("{job}/{key}"), MANIFEST).await? else {
            return Ok(None);
        };
        let stored: StoredTree = match serde_json::from_slice(&bytes) {
            Ok(stored) => stored,
            Err(e) => return Ok(Some(Err(format!("its manifest is unreadable: {e}")))),
        };
        if stored.manifest.version > VERSION {
            return Err(Error::Newer { job: job.clone(), found: stored.manifest.version });
        }
        Ok(Some(check(job, id, &stored).map(|()| stored)))
    }

    /// The first content that is not there with its whole length, in words.
    pub(super) async fn lacking(&self, job: &JobId, stored: &StoredTree) -> Result<Option<String>> {
        let sizes = self.sizes(job, stored).await?;
        Ok(lack(stored, &sizes))
    }

    /// Sizes of what a manifest names, as far as it is there.
    async fn sizes(&self, job: &JobId, stored: &StoredTree) -> Result<HashMap<String, u64>> {
        let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key in stored.objects.values() {
            let folder = key.split_once("/files/").map_or("", |(folder, _)| folder);
            folders.entry(folder).or_default().push(key);
        }
        let mut sizes = HashMap::new();
        for (folder, keys) in folders {
            if keys.len() > ONE_BY_ONE {
                for held in self.bucket.list(&format!("{job}/{folder}/files")).await? {
                    if let Some(key) = held.key.strip_prefix(&format!("{job}/")) {
                        sizes.insert(key.to_owned(), held.size);
                    }
                }
                continue;
            }
            let asks = keys.into_iter().map(|key| self.size_of(job, key.to_owned()));
            let asks = asks.collect::<Vec<_>>();
            let found: Vec<_> = stream::iter(asks).buffered(AT_ONCE).try_collect().await?;
            sizes.extend(found.into_iter().flatten());
        }
        Ok(sizes)
    }

    async fn size_of(&self, job: &JobId, key: String) -> Result<Option<(String, u64)>> {
        let size = self.bucket.size_of(&format!("{job}/{key}")).await?;
        Ok(size.map(|size| (key, size)))
    }
}

/// The first content of a manifest that `sizes` does not have whole.
pub(super) fn lack(stored: &StoredTree, sizes: &HashMap<String, u64>) -> Option<String> {
    let lacks = |(path, sha256, size): (&str, &str, u64)| {
        let found = stored.objects.get(sha256).and_then(|key| sizes.get(key));
        match found {
            Some(found) if *found == size => None,
            Some(found) => Some(format!("`{path}` has {found} bytes there and should have {size}")),
            None => Some(format!("`{path}` is not there")),
        }
    };
    files(stored).find_map(lacks)
}

/// Path, digest and size of every file.
pub(super) fn files(stored: &StoredTree) -> impl Iterator<Item = (&str, &str, u64)> {
    stored.tree().entries.iter().filter_map(|entry| match &entry.kind {
        TreeKind::File { size, sha256 } => Some((entry.path.as_str(), sha256.as_str(), *size)),
        TreeKind::Link { .. } | TreeKind::Dir => None,
    })
}

/// Says why a manifest must not be followed.
fn check(job: &JobId, id: CheckpointId, stored: &StoredTree) -> std::result::Result<(), String> {
    if stored.manifest.job != *job || stored.manifest.id != id {
        return Err("its manifest is of another checkpoint".to_owned());
    }
    export::check(stored.tree()).map_err(|e| e.to_string())?;
    for (path, sha256, _) in files(stored) {
        let key = stored.objects.get(sha256);
        let key = key.ok_or_else(|| format!("its manifest does not say where `{path}` lies"))?;
        if !is_file(key) {
            return Err(format!("its manifest looks for `{path}` outside the files of the job"));
        }
    }
    Ok(())
}

/// Whether a key is a file of some checkpoint or output of the job.
pub(super) fn is_file(key: &str) -> bool {
    let parts: Vec<&str> = key.splitn(4, '/').collect();
    let number = |text: &str| text.len() >= 6 && text.bytes().all(|b| b.is_ascii_digit());
    is_inside(key)
        && matches!(parts[..], [epoch, folder, "files", _]
            if number(epoch) && (number(folder) || folder == "output"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_lies_among_the_files_of_the_job_and_nowhere_else() {
        for yes in ["000001/000002/files/a", "000001/output/files/a/b", "000001/1234567/files/=2E"]
        {
            assert!(is_file(yes), "{yes}");
        }
        for no in [
            "../j-2/000001/000002/files/a",
            "000001/000002/files/../../../x",
            "000001/000002/manifest.json",
            "000001/open.json",
            "000001/logs/files/a",
            "/000001/000002/files/a",
            "000001/000002/files/",
            "000001/000002/files",
            "",
        ] {
            assert!(!is_file(no), "{no}");
        }
    }
}
