//! Sends the contents of a parcel into the store, those that are not there yet.
//!
//! Several files at once, long ones in parts at once (`bucket`), all within the same few buffers. Invariant:
//! a content counts as sent when the store has acknowledged it and its file still bore its seal then.

use crate::bucket::{Bucket, Lanes, StoreError};
use crate::error::Error;
use crate::parcel::{self, Hash, Parcel, Seal};
use crate::put::hash_of;
use crate::store::Failure;
use fleet_types::TreeKind;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Files under way at once; each of them waits for a lane of its own.
const FILES: usize = 6;

/// A content that is to be sent.
pub(crate) struct Item<'a> {
    hash: Hash,
    path: &'a Path,
    seal: &'a Seal,
    key: String,
}

/// What a parcel needs in the store.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// Where every content will lie, by its digest.
    pub(crate) objects: BTreeMap<String, String>,
    pub(crate) items: Vec<Item<'a>>,
}

impl<'a> Plan<'a> {
    /// `known` says where a content lies already, `name` where the file of a path goes.
    pub(crate) fn of(
        parcel: &'a Parcel,
        known: &dyn Fn(&Hash) -> Option<String>,
        name: &dyn Fn(&str) -> String,
    ) -> Self {
        let mut plan = Self::default();
        for entry in &parcel.tree.entries {
            let TreeKind::File { sha256, .. } = &entry.kind else { continue };
            let found = hash_of(sha256).and_then(|hash| Some((hash, parcel.files.get(&hash)?)));
            let Some((hash, (path, seal))) = found else { continue };
            if plan.objects.contains_key(sha256) {
                continue;
            }
            let key = known(&hash).unwrap_or_else(|| {
                let key = name(&entry.path);
                plan.items.push(Item { hash, path, seal, key: key.clone() });
                key
            });
            plan.objects.insert(sha256.clone(), key);
        }
        // The longest first: the end is not spent waiting for one of them.
        plan.items.sort_by_key(|item| std::cmp::Reverse(item.seal.size));
        plan
    }

    /// Bytes that are to be sent.
    pub(crate) fn bytes(&self) -> u64 {
        self.items.iter().map(|item| item.seal.size).sum()
    }
}

/// Sends them all. `acked` hears of each that is there; `is_over` ends it early.
pub(crate) fn send(
    bucket: &Bucket,
    items: Vec<Item<'_>>,
    lanes: &Lanes,
    acked: &(dyn Fn(Hash, String, u64) + Sync),
    is_over: &(dyn Fn() -> bool + Sync),
) -> Result<(), Failure> {
    let threads = items.len().min(FILES);
    let (items, failed) = (Mutex::new(items.into_iter()), Mutex::new(None));
    let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || {
        loop {
            let has_failed = failure().is_some();
            let Some(item) = next().filter(|_| !has_failed) else { return };
            let stop = || is_over() || failure().is_some();
            match send_one(bucket, &item, lanes, &stop) {
                Ok(()) => acked(item.hash, item.key, item.seal.size),
                Err(e) => {
                    failure().get_or_insert(e);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where no thread can be had, fewer do it.
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

fn send_one(
    bucket: &Bucket,
    item: &Item<'_>,
    lanes: &Lanes,
    is_over: &(dyn Fn() -> bool + Sync),
) -> Result<(), Failure> {
    let Item { hash, path, seal, key } = item;
    if is_over() {
        return Err(Failure::Outdated);
    }
    let file = parcel::open_sealed(path, seal).map_err(Failure::Local)?;
    let local: Mutex<Option<Failure>> = Mutex::new(None);
    let fail = |failure: Failure| {
        local.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
        std::io::Error::other("the file cannot be read as it was")
    };
    let read = |from: u64, buffer: &mut [u8]| {
        if is_over() {
            return Err(fail(Failure::Outdated));
        }
        let what = || format!("read `{}`", path.display());
        file.read_exact_at(buffer, from)
            .map_err(|source| Error::Io { what: what(), source })
            .and_then(|()| parcel::check_seal(&file, path, seal))
            .map_err(|e| fail(Failure::Local(e)))
    };
    let sent = if seal.size == 0 {
        bucket.put(key, &[], false)
    } else {
        bucket.put_file(key, seal.size, Some(hash), &read, lanes)
    };
    let local = local.into_inner().unwrap_or_else(PoisonError::into_inner);
    match (sent, local) {
        (Ok(()), _) => parcel::check_seal(&file, path, seal).map_err(Failure::Local),
        (Err(_), Some(failure)) => Err(failure),
        (Err(StoreError::Changed(_)), None) => {
            Err(Failure::Local(Error::Changed(path.display().to_string())))
        }
        (Err(error), None) => Err(Failure::of("write", key)(error)),
    }
}
