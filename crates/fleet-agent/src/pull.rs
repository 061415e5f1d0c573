//! Finds what a `Pull` asks for.
//!
//! Invariant: only what lies below the user's home or the task's folders is shown; no `..`, no way through
//! a symbolic link. It reads; it changes nothing.

use crate::base::Base;
use crate::clock;
use crate::error::{Doing, Error, Result};
use crate::parcel::{self, Found, Kind, Parcel, Seal};
use fleet_types::tree::is_inside;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The path that is meant, checked part by part.
fn resolve(base: &Base, path: &str) -> Result<PathBuf> {
    let bad = || {
        Error::Refused(format!(
            "`{}` is not below workdir/, output/, checkpoint/ or ~/",
            path.escape_debug()
        ))
    };
    let trimmed = path.trim_end_matches('/');
    let (first, rest) = trimmed.split_once('/').unwrap_or((trimmed, ""));
    let (root, rest) = match first {
        "workdir" => (base.workdir(), rest),
        "output" => (base.output(), rest),
        "checkpoint" => (base.checkpoint(), rest),
        "~" => match rest.strip_prefix("sky_workdir") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                (base.workdir(), rest.trim_start_matches('/'))
            }
            _ => (base.home().to_owned(), rest),
        },
        _ => return Err(bad()),
    };
    if rest.is_empty() {
        return Ok(root);
    }
    if !is_inside(rest) {
        return Err(bad());
    }
    let mut place = root;
    for part in rest.split('/') {
        place.push(part);
        let meta = place.symlink_metadata().doing(|| format!("find `{}`", path.escape_debug()))?;
        if meta.is_symlink() {
            return Err(Error::Refused(format!(
                "`{}` leads through a symbolic link",
                path.escape_debug()
            )));
        }
    }
    Ok(place)
}

/// Reads what is at a path: a folder, or a tree of one file named by its base name.
pub(crate) fn pull(base: &Base, path: &str) -> Result<Parcel> {
    let place = resolve(base, path)?;
    let meta = place.symlink_metadata().doing(|| format!("find `{}`", path.escape_debug()))?;
    if meta.is_dir() {
        return folder(&place);
    }
    let name = place.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let (Some(name), true) = (name, meta.is_file()) else {
        return Err(Error::Refused(format!("`{}` is no file or folder", path.escape_debug())));
    };
    let kind = Kind::File(Seal::of(&meta));
    let found = vec![Found { path: name, mode: meta.mode() & 0o777, kind }];
    let at = |_: usize, _: &str| place.clone();
    Parcel::new(found, clock::now(), None, &at, &mut HashMap::new())
}

/// Reads a folder as it is.
pub(crate) fn folder(place: &Path) -> Result<Parcel> {
    let found = parcel::scan(place, &|_| false)?;
    let at = |_: usize, path: &str| place.join(path);
    Parcel::new(found, clock::now(), None, &at, &mut HashMap::new())
}
