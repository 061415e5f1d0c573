//! `workdir` and `file_mounts`: what is put on the machine.
//!
//! Local paths are kept as written; whether they exist is for the caller to see. What is not acted on
//! yet is read, checked and refused all the same. Invariant: no two targets are the same or overlap.

use super::envs::{Envs, fill};
use super::remote::{self, Named};
use super::{Field, Reader, storage};
use crate::node::{Kind, Node};
use crate::redact::quote;
use crate::{BucketMount, FileMount, MountMode, MountSource, Task};
use unicode_normalization::UnicodeNormalization;

/// Folders that belong to the system, with all that is in them.
const SYSTEM: &[&str] = &[
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "~/.ssh",
    "/root/.ssh",
];
/// Folders that others live in too: something in them is fine, in their place is not.
const SHARED: &[&str] = &[
    "/", "~", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib",
    "/var/log", "/var/tmp",
];
/// Parts of `/usr` that are the user's.
const OPEN: &[&str] = &["/usr/local"];

/// Mounts of one task: each is compared with each.
const MAX_MOUNTS: usize = 1000;

const NOT_YET: &str = "a bucket or repository as a file mount is not supported yet";

/// `workdir`: a folder on this machine.
pub(super) fn workdir(
    reader: &mut Reader,
    field: Option<Field<'_>>,
    envs: &Envs,
) -> Option<String> {
    let field = field?;
    if let Kind::Map(_) = field.node.kind {
        let url = field.node.get("url").and_then(Node::text).unwrap_or_default();
        refuse_git(reader, &field, url);
        return None;
    }
    let text = fill(reader.text(&field)?, envs);
    if remote::is_remote(&text) {
        refuse_git(reader, &field, &text);
        return None;
    }
    if text.trim().is_empty() {
        reader.wrong(&field, "`workdir` is empty", "write a folder, such as `.`");
        return None;
    }
    Some(text)
}

fn refuse_git(reader: &mut Reader, field: &Field<'_>, url: &str) {
    if remote::refuse_credentials(reader, field, url, "remove them; give tokens as `secrets`") {
        return;
    }
    let message = format!("a repository as `workdir` is not supported yet: {}", quote(url));
    reader.wrong(field, message, "clone it in `setup`, or clone it here and name the folder");
}

/// `file_mounts`: targets on the machine with their sources.
pub(super) fn mounts(reader: &mut Reader, field: Option<Field<'_>>, task: &Task) -> Vec<FileMount> {
    let mut mounts: Vec<FileMount> = Vec::new();
    let Some(field) = field else { return mounts };
    let Kind::Map(entries) = &field.node.kind else {
        reader.kind(&field, "a mapping of targets to sources");
        return mounts;
    };
    if !few_enough(reader, &field, entries.len()) {
        return mounts;
    }
    let mut taken: Vec<(String, String)> = Vec::new();
    for entry in entries {
        let value = field.under(entry);
        let target = match target(&fill(&entry.key, &task.envs)) {
            Ok(target) => Some(target),
            Err((message, hint)) => {
                reader.error(entry.key_at, &value.path, message, hint);
                None
            }
        };
        if let Some(target) = &target {
            let folded: String = target.nfkc().collect();
            if let Some((message, hint)) = conflict(&folded, target, &taken) {
                reader.error(entry.key_at, &value.path, message, hint);
            }
            taken.push((folded, target.clone()));
        }
        let source = if value.node.is_null() {
            reader.error(entry.key_at, &value.path, "the mount has no source", "write a path");
            None
        } else {
            source(reader, &value, task)
        };
        if let (Some(target), Some(source)) = (target, source) {
            if let MountSource::Bucket(bucket) = &source {
                storage::agree(reader, (entry.key_at, &value.path), &mounts, bucket);
            }
            mounts.push(FileMount { target, source });
        }
    }
    mounts
}

fn few_enough(reader: &mut Reader, field: &Field<'_>, count: usize) -> bool {
    if count > MAX_MOUNTS {
        let message = format!("{count} mounts are more than {MAX_MOUNTS}");
        reader.wrong(field, message, "mount the folder that they have in common");
    }
    count <= MAX_MOUNTS
}

/// A target in its one spelling: no `.`, no double or trailing slash.
fn target(text: &str) -> Result<String, (String, &'static str)> {
    let absolute = text.starts_with('/') || text == "~" || text.starts_with("~/");
    if !absolute {
        let message = format!("target {} is not an absolute path", quote(text));
        return Err((message, "write a path that begins with `/` or `~/`"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err((format!("target {} has `..` in it", quote(text)), "write the path itself"));
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let joined = parts.join("/");
    let clean = if text.starts_with('~') { joined } else { format!("/{joined}") };
    let within = |folder: &&str| inside(&clean, folder) || clean == **folder;
    let system = SYSTEM.iter().any(within) && !OPEN.iter().any(|f| inside(&clean, f));
    if system || SHARED.contains(&clean.as_str()) || OPEN.contains(&clean.as_str()) {
        let message = format!("target {} is a folder of the system", quote(text));
        return Err((message, "choose a folder of your own, such as ~/data"));
    }
    Ok(clean)
}

fn inside(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn conflict(
    folded: &str,
    target: &str,
    taken: &[(String, String)],
) -> Option<(String, &'static str)> {
    taken.iter().find_map(|(other, written)| {
        if folded == other {
            let message = format!("target {} is given twice", quote(target));
            Some((message, "keep one of them"))
        } else if inside(folded, other) || inside(other, folded) {
            let message = format!("targets {} and {} overlap", quote(written), quote(target));
            Some((message, "mount them beside each other"))
        } else {
            None
        }
    })
}

fn source(reader: &mut Reader, field: &Field<'_>, task: &Task) -> Option<MountSource> {
    let source = match &field.node.kind {
        Kind::Map(entries) if entries.iter().any(|e| e.key == "url") => {
            MountSource::Git(remote::repository_section(reader, field, &task.envs)?)
        }
        Kind::Map(_) => MountSource::Bucket(storage::storage(reader, field, task)?),
        Kind::Seq(_) | Kind::Scalar { .. } => text_source(reader, field, &task.envs)?,
    };
    // Until machines mount. Nobody pays for a GPU that cannot see its data.
    if !matches!(source, MountSource::Local(_)) {
        let hint = "mount a folder of this machine, or fetch the data in `setup`";
        reader.wrong(field, NOT_YET, hint);
    }
    Some(source)
}

/// A path on this machine, a repository, or a bucket, which is copied.
fn text_source(reader: &mut Reader, field: &Field<'_>, envs: &Envs) -> Option<MountSource> {
    let text = fill(reader.text(field)?, envs);
    match remote::named(reader, field, text)? {
        Named::Path(path) if path.trim().is_empty() => {
            reader.wrong(field, "the mount has no source", "write a path");
            None
        }
        Named::Path(path) => Some(MountSource::Local(path)),
        Named::Repository(source) => Some(MountSource::Git(source)),
        Named::Bucket(uri) => {
            let bucket = BucketMount { uri, mode: MountMode::Copy, named: None };
            Some(MountSource::Bucket(bucket))
        }
    }
}
