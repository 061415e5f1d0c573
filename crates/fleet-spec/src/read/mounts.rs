//! `workdir` and `file_mounts`: what is put on the machine.
//!
//! Local paths are kept as written; whether they exist is for the caller to see. Buckets, URLs and
//! storage objects are read and refused until they work: nobody pays for a GPU that cannot see its data.

use super::envs::fill;
use super::{Field, Reader};
use crate::keys::STORAGE;
use crate::node::{Kind, Node};
use crate::redact::{has_credentials, quote, without_credentials};
use crate::{FileMount, MountMode, MountSource};
use std::collections::BTreeMap;
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

type Envs = BTreeMap<String, String>;

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
    if is_remote(&text) {
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
    if has_credentials(url) {
        return refuse_credentials(reader, field, url);
    }
    let message = format!("a repository as `workdir` is not supported yet: {}", quote(url));
    reader.wrong(field, message, "clone it in `setup`, or clone it here and name the folder");
}

fn refuse_credentials(reader: &mut Reader, field: &Field<'_>, url: &str) {
    let message = format!("{} carries credentials", quote(url));
    reader.wrong(field, message, "remove them; give tokens as `secrets`");
}

/// `file_mounts`: targets on the machine with their sources.
pub(super) fn mounts(reader: &mut Reader, field: Option<Field<'_>>, envs: &Envs) -> Vec<FileMount> {
    let mut mounts: Vec<FileMount> = Vec::new();
    let Some(field) = field else { return mounts };
    let Kind::Map(entries) = &field.node.kind else {
        reader.kind(&field, "a mapping of targets to sources");
        return mounts;
    };
    let mut taken: Vec<(String, String)> = Vec::new();
    for entry in entries {
        let value = field.under(entry);
        let target = match target(&fill(&entry.key, envs)) {
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
            source(reader, &value, envs)
        };
        if let (Some(target), Some(source)) = (target, source) {
            mounts.push(FileMount { target, source });
        }
    }
    mounts
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

fn source(reader: &mut Reader, field: &Field<'_>, envs: &Envs) -> Option<MountSource> {
    if let Kind::Map(_) = field.node.kind {
        return storage(reader, field, envs);
    }
    let text = fill(reader.text(field)?, envs);
    if !is_remote(&text) {
        if text.trim().is_empty() {
            reader.wrong(field, "the mount has no source", "write a path");
        }
        return Some(MountSource::Local(text));
    }
    checked_uri(reader, field, &text)?;
    not_yet(reader, field, &format!("{} as a file mount", quote(&text)));
    Some(MountSource::Uri { uri: text, mode: MountMode::Copy })
}

fn not_yet(reader: &mut Reader, field: &Field<'_>, what: &str) {
    let hint = "mount a folder of this machine, or fetch the data in `setup`";
    reader.wrong(field, format!("{what} is not supported yet"), hint);
}

fn storage(reader: &mut Reader, field: &Field<'_>, envs: &Envs) -> Option<MountSource> {
    let section = reader.section(field, &STORAGE)?;
    let modes = [
        ("COPY", MountMode::Copy),
        ("MOUNT", MountMode::Mount),
        ("MOUNT_CACHED", MountMode::MountCached),
    ];
    let mode = reader.choice(section.get("mode"), &modes).unwrap_or(MountMode::Mount);
    let persistent = reader.truth(section.get("persistent")).unwrap_or(true);
    let store = section.get("store").and_then(|f| reader.text(&f).map(str::to_owned));
    let name = section.get("name").and_then(|f| {
        let name = fill(reader.text(&f)?, envs);
        if is_bucket(&name) {
            return Some(name);
        }
        reader.wrong(&f, format!("{} is no name of a bucket", quote(&name)), BUCKET);
        None
    });
    let mut sources = Vec::new();
    for one in section.get("source").iter().flat_map(Field::one_or_more) {
        let text = reader.text(&one).map(|text| fill(text, envs)).unwrap_or_default();
        if is_remote(&text) {
            checked_uri(reader, &one, &text);
        }
        sources.push(text);
    }
    let source = sources.into_iter().next();
    if name.is_none() && source.is_none() && section.get("name").is_none() {
        reader.wrong(field, "the storage has neither name nor source", "");
    }
    not_yet(reader, field, "a storage object as a file mount");
    Some(MountSource::Storage { name, source, mode, store, persistent })
}

/// A bucket or URL, checked.
pub(super) fn uri(reader: &mut Reader, field: &Field<'_>) -> Option<String> {
    let text = reader.text(field)?;
    checked_uri(reader, field, text).map(|()| text.to_owned())
}

const BUCKET: &str = "3 to 63 lower-case letters, digits, `.`, `_` and `-`, beginning and ending with a letter or digit";

fn checked_uri(reader: &mut Reader, field: &Field<'_>, uri: &str) -> Option<()> {
    if has_credentials(uri) {
        refuse_credentials(reader, field, uri);
        return None;
    }
    let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
    let bucket = rest.split('/').next().unwrap_or_default();
    if matches!(scheme, "s3" | "gs" | "r2" | "nebius" | "oci") && !is_bucket(bucket) {
        let shown = quote(&without_credentials(bucket));
        reader.wrong(field, format!("{shown} is no name of a bucket"), BUCKET);
        return None;
    }
    Some(())
}

fn is_bucket(name: &str) -> bool {
    let end = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len())
        && end(bytes.first())
        && end(bytes.last())
        && bytes.iter().all(|b| end(Some(b)) || b"._-".contains(b))
        && !name.contains("..")
}

/// A bucket, a URL or a repository, and no path on this machine.
fn is_remote(text: &str) -> bool {
    let scp = || {
        let (host, _) = text.split_once(':')?;
        let (user, host) = host.split_once('@')?;
        Some(!user.is_empty() && !host.is_empty() && !text.contains(' '))
    };
    text.contains("://") || scp().unwrap_or_default()
}
