//! Files that appear whole or not at all.
//!
//! Invariant: a name is given only to complete content; where asked, content and name are on the disk
//! before the call returns.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// Makes a folder and its parents.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(Error::disk(path))
}

/// Syncs a folder's list of names.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::disk(path))
}

/// A file without a lasting name in `folder`.
pub(crate) fn young(folder: &Path) -> Result<NamedTempFile> {
    NamedTempFile::new_in(folder).map_err(Error::disk(folder))
}

/// Gives `file` its name, over whatever had it.
pub(crate) fn name(file: NamedTempFile, path: &Path) -> Result<()> {
    file.persist(path).map(drop).map_err(|e| Error::disk(path)(e.error))
}

/// Writes `bytes` under `path`; synced with its folder when `durable`.
pub(crate) fn write(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = young(folder)?;
    file.write_all(bytes).map_err(Error::disk(path))?;
    if durable {
        file.as_file().sync_all().map_err(Error::disk(path))?;
    }
    name(file, path)?;
    if durable { sync_dir(folder) } else { Ok(()) }
}
