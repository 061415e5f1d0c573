//! Storage objects under `file_mounts`: SkyPilot's words for a bucket and what becomes of it.
//!
//! Invariant: content goes into a bucket, and a bucket goes away with its job, only where the file gave
//! that bucket by `name`; one that is named by its URL is somebody else's.

use super::envs::{Envs, fill};
use super::remote::{self, BUCKET, Named};
use super::{Field, Reader, Section};
use crate::keys::{STORAGE, STORES};
use crate::node::{Kind, Node, Pos};
use crate::redact::quote;
use crate::{BucketMount, FileMount, MountMode, MountSource, NamedBucket, Task, Upload};
use fleet_types::bucket::is_bucket;
use fleet_types::{BucketUri, PlacePattern, ProviderId, StoreKind};
use std::collections::HashSet;

/// What `source` says.
enum Content {
    Absent,
    /// It was refused.
    Wrong,
    Upload(Upload),
    /// A bucket that is there.
    Bucket(BucketUri),
}

/// Reads a storage object; `None` where it was refused.
pub(super) fn storage(reader: &mut Reader, field: &Field<'_>, task: &Task) -> Option<BucketMount> {
    let section = reader.section(field, &STORAGE)?;
    let modes = [
        ("COPY", MountMode::Copy),
        ("MOUNT", MountMode::Mount),
        ("MOUNT_CACHED", MountMode::MountCached),
    ];
    let mode = reader.choice(section.get("mode"), &modes).unwrap_or(MountMode::Mount);
    let store = section.get("store").and_then(|f| store(reader, &f, &task.envs));
    let folder = sub_path(reader, section.get("_bucket_sub_path"), &task.envs);
    let persistent = reader.truth(section.get("persistent")).unwrap_or(true);
    let content = content(reader, section.get("source"), &task.envs);
    let Some(name) = section.get("name") else {
        let uri = by_url(reader, field, &section, content)?;
        fits(reader, &section, store, &uri);
        if let (Some(given), false) = (section.get("persistent"), persistent) {
            let message = "`persistent: false` does nothing to a bucket that is there";
            let hint = "fleet removes no bucket that it did not make";
            reader.warn(given.at(), &given.path, message, hint);
        }
        let uri = folder.map_or(uri.clone(), |folder| uri.join(&folder));
        return Some(BucketMount { uri, mode, named: None });
    };
    let bucket = bucket(reader, &name, &task.envs);
    let upload = by_name(reader, &name, content, mode)?;
    let (kind, region) = home(task, store);
    let prefix = folder.unwrap_or_default();
    let uri =
        BucketUri { kind, account: None, bucket: bucket?, prefix, endpoint: None, region: None };
    Some(BucketMount { uri, mode, named: Some(NamedBucket { region, upload, persistent }) })
}

/// What is put into a bucket that is given by name; `None` where that was refused.
fn by_name(
    reader: &mut Reader,
    name: &Field<'_>,
    content: Content,
    mode: MountMode,
) -> Option<Option<Upload>> {
    match content {
        Content::Upload(upload) => Some(Some(upload)),
        Content::Absent if mode == MountMode::Copy => {
            let hint = "for a bucket that is there, write its URL as `source`";
            reader.wrong(name, "nothing to copy: the storage has no `source`", hint);
            None
        }
        Content::Absent => Some(None),
        Content::Bucket(_) => {
            let hint = "keep `source` for a bucket that is there, `name` for one of your own";
            reader.wrong(name, "`name` and the bucket in `source` exclude each other", hint);
            None
        }
        Content::Wrong => None,
    }
}

/// The bucket of a storage object without a name.
fn by_url(
    reader: &mut Reader,
    field: &Field<'_>,
    section: &Section<'_>,
    content: Content,
) -> Option<BucketUri> {
    match content {
        Content::Bucket(uri) => Some(uri),
        Content::Upload(_) => {
            let at = section.get("source");
            let hint = "add `name: BUCKET`: the bucket that the content goes to";
            let message = "the storage has content but no name";
            reader.wrong(at.as_ref().unwrap_or(field), message, hint);
            None
        }
        Content::Absent => {
            let hint = "write `source: s3://BUCKET`, or `name: BUCKET` for a new one";
            reader.wrong(field, "the storage has neither name nor source", hint);
            None
        }
        Content::Wrong => None,
    }
}

/// `store` beside a bucket's URL says nothing new, or something wrong.
fn fits(reader: &mut Reader, section: &Section<'_>, store: Option<StoreKind>, uri: &BucketUri) {
    if let (Some(at), Some(store)) = (section.get("store"), store.filter(|s| *s != uri.kind)) {
        let title = store.title();
        let message = format!("{} is not in {title}", quote(&uri.to_string()));
        reader.wrong(&at, message, "leave `store` out: the URL says it");
    }
}

fn bucket(reader: &mut Reader, field: &Field<'_>, envs: &Envs) -> Option<String> {
    let name = fill(reader.text(field)?, envs);
    if is_bucket(&name) {
        return Some(name);
    }
    let hint = if remote::is_remote(&name) { "write the URL as `source`" } else { BUCKET };
    reader.wrong(field, format!("{} is no name of a bucket", quote(&name)), hint);
    None
}

fn store(reader: &mut Reader, field: &Field<'_>, envs: &Envs) -> Option<StoreKind> {
    let text = fill(reader.text(field)?, envs);
    let word = text.trim().to_ascii_lowercase();
    let kinds = [StoreKind::S3, StoreKind::R2, StoreKind::Gcs, StoreKind::Azure];
    if let Some((_, kind)) = STORES.iter().zip(kinds).find(|(name, _)| **name == word) {
        return Some(kind);
    }
    if let Some((title, hint)) = remote::other_store(&word) {
        reader.wrong(field, format!("{title} is not supported: `store: {word}`"), hint);
        return None;
    }
    let (message, hint) = match word.as_str() {
        "volume" => {
            ("volumes are not supported yet".to_owned(), "use a bucket, or `disk_size`".to_owned())
        }
        "aws" | "amazon" => (unknown(&text), "did you mean `s3`?".to_owned()),
        "gs" | "gcp" | "google" => (unknown(&text), "did you mean `gcs`?".to_owned()),
        "az" | "blob" => (unknown(&text), "did you mean `azure`?".to_owned()),
        _ => (unknown(&text), format!("one of {}", STORES.join(", "))),
    };
    reader.wrong(field, message, &hint);
    None
}

fn unknown(text: &str) -> String {
    format!("unknown store {}", quote(text))
}

/// Where a bucket is that is given by name: in the store that was said, else in that of the first cloud
/// that has one, beside the machines.
fn home(task: &Task, said: Option<StoreKind>) -> (StoreKind, Option<String>) {
    let of = |place: &PlacePattern| place.provider.and_then(own_store);
    let mut places = task.resources.alternatives.iter().flat_map(|a| &a.places);
    let kind = said.or_else(|| places.clone().find_map(of)).unwrap_or(StoreKind::S3);
    let region = places.find(|place| of(place) == Some(kind)).and_then(|p| p.region.clone());
    (kind, region)
}

fn own_store(provider: ProviderId) -> Option<StoreKind> {
    match provider {
        ProviderId::Aws => Some(StoreKind::S3),
        ProviderId::Gcp => Some(StoreKind::Gcs),
        ProviderId::Azure => Some(StoreKind::Azure),
        ProviderId::Lambda | ProviderId::Runpod | ProviderId::Vast => None,
    }
}

fn sub_path(reader: &mut Reader, field: Option<Field<'_>>, envs: &Envs) -> Option<String> {
    let field = field?;
    let text = fill(reader.text(&field)?, envs);
    let path = text.trim_matches('/');
    if path.split('/').any(|part| matches!(part, "." | "..") || part.is_empty()) {
        let message = format!("the path {} has an empty or dotted part", quote(&text));
        reader.wrong(&field, message, "write a folder inside the bucket, such as runs/one");
        return None;
    }
    Some(path.to_owned())
}

fn content(reader: &mut Reader, field: Option<Field<'_>>, envs: &Envs) -> Content {
    let Some(field) = field else { return Content::Absent };
    if let Kind::Seq(items) = &field.node.kind {
        return upload(reader, &field, items, envs).map_or(Content::Wrong, Content::Upload);
    }
    let Some(text) = reader.text(&field).map(|text| fill(text, envs)) else {
        return Content::Wrong;
    };
    match remote::named(reader, &field, text) {
        Some(Named::Path(path)) if path.trim().is_empty() => {
            reader.wrong(&field, "`source` is empty", "write a folder, or the URL of a bucket");
            Content::Wrong
        }
        Some(Named::Path(path)) => Content::Upload(Upload::Folder(path)),
        Some(Named::Bucket(uri)) => Content::Bucket(uri),
        Some(Named::Repository(_)) => {
            let hint = "mount the repository itself, or clone it here and name the folder";
            reader.wrong(&field, "a repository is not uploaded into a bucket", hint);
            Content::Wrong
        }
        None => Content::Wrong,
    }
}

/// A list of files and folders, each of which keeps its own last name.
fn upload(reader: &mut Reader, field: &Field<'_>, items: &[Node], envs: &Envs) -> Option<Upload> {
    if items.is_empty() {
        reader.wrong(field, "`source` is empty", "write a folder, or the URL of a bucket");
        return None;
    }
    let mut names = HashSet::new();
    let mut paths = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let item = field.item(index, item);
        let Some(path) = reader.text(&item).map(|text| fill(text, envs)) else { continue };
        let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        if remote::is_remote(&path) {
            let message = format!("{} stands in a list of paths", quote(&path));
            reader.wrong(&item, message, "write one bucket alone: `source: s3://BUCKET`");
        } else if matches!(name.trim(), "" | "." | ".." | "~") {
            let message = format!("{} has no name of its own in the bucket", quote(&path));
            reader.wrong(&item, message, "write the name of a file or folder");
        } else if names.contains(&name) {
            let message = format!("two sources are called {}", quote(&name));
            reader.wrong(&item, message, "give one of them another name");
        } else {
            names.insert(name);
            paths.push(path);
        }
    }
    (paths.len() == items.len()).then_some(Upload::Items(paths))
}

/// Mounts of one named bucket agree about its end.
pub(super) fn agree(
    reader: &mut Reader,
    (at, path): (Pos, &str),
    mounts: &[FileMount],
    new: &BucketMount,
) {
    let stays = |mount: &BucketMount| mount.named.as_ref().map(|named| named.persistent);
    let differs = |mount: &BucketMount| {
        same_bucket(&mount.uri, &new.uri)
            && stays(mount).is_some_and(|other| stays(new).is_some_and(|own| own != other))
    };
    if mounts.iter().filter_map(bucket_of).any(differs) {
        let message = format!("{} is persistent in one mount only", quote(&new.uri.bucket));
        reader.error(at, path, message, "say the same in both");
    }
}

/// Checkpoints lie neither in a bucket that goes away nor where the task writes by itself.
pub(super) fn apart(reader: &mut Reader, field: &Field<'_>, store: &BucketUri, task: &Task) {
    for mount in &task.file_mounts {
        let Some(bucket) = bucket_of(mount) else { continue };
        let goes = bucket.named.as_ref().is_some_and(|named| !named.persistent);
        if goes && same_bucket(&bucket.uri, store) {
            let name = quote(&store.bucket);
            let message = format!("the checkpoints go away with the bucket {name}");
            reader.wrong(field, message, "name another bucket, or make it `persistent: true`");
        } else if bucket.mode != MountMode::Copy
            && (covers(&bucket.uri, store) || covers(store, &bucket.uri))
        {
            let target = quote(&mount.target);
            let message = format!("the checkpoints lie within the mount {target}");
            let hint = "give `store` a folder beside the mounted one";
            reader.warn(field.at(), &field.path, message, hint);
        }
    }
}

fn bucket_of(mount: &FileMount) -> Option<&BucketMount> {
    match &mount.source {
        MountSource::Bucket(bucket) => Some(bucket),
        MountSource::Local(_) | MountSource::Git(_) => None,
    }
}

fn same_bucket(a: &BucketUri, b: &BucketUri) -> bool {
    a.kind == b.kind && a.account == b.account && a.bucket == b.bucket && a.endpoint == b.endpoint
}

/// Whether `inner` is `outer` or lies in it.
fn covers(outer: &BucketUri, inner: &BucketUri) -> bool {
    let folder = outer.prefix.trim_end_matches('/');
    let rest = inner.prefix.strip_prefix(folder);
    let within = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    same_bucket(outer, inner) && (folder.is_empty() || within)
}
