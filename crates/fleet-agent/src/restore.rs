//! Brings a checkpoint from the store into the checkpoint folder.
//!
//! Contents are fetched in stretches by several threads into `blobs/`, each hashed as a whole before it takes
//! its name there, and the folder is put in place as a received one is (`place`). What an earlier try
//! brought is not fetched again, whoever ended it. Invariant: all of the checkpoint or nothing reaches the
//! task, every byte of it hashed here.

use crate::base::{Base, absent};
use crate::bucket::{Bucket, StoreError};
use crate::error::{Doing, Error, Result};
use crate::parcel::PIECE;
use crate::place;
use crate::put::{self, blob_path};
use crate::store::{Failure, Pace, Store};
use fleet_agent_api::Slot;
use fleet_types::tree::is_inside;
use fleet_types::{StoredTree, TreeKind};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Threads that fetch.
const THREADS: usize = 8;
/// One request brings so much of an object.
const STRETCH: u64 = 16 << 20;
/// Without a byte for so long it has failed.
const PATIENCE: Duration = Duration::from_secs(120);
/// A blob that somebody else took meanwhile is fetched again, a few times.
const ROUNDS: u32 = 3;

/// A content to be fetched, into a file that grows in any order.
struct Object<'a> {
    sha256: &'a str,
    size: u64,
    key: &'a str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Arc<File>>,
    /// Says which stretches are here, one number a line.
    map: Option<File>,
    /// Stretches that are still to come.
    left: usize,
}

/// Refuses what must not reach the disk, and what is not all there.
pub(crate) fn check(stored: &StoredTree) -> Result<()> {
    put::check_tree(stored.tree())?;
    for (path, size, sha256) in files(stored) {
        match stored.objects.get(sha256) {
            Some(key) if is_inside(key) => {}
            Some(key) => {
                let key = key.escape_debug();
                return Err(Error::Refused(format!("`{key}` is no key of a job's store")));
            }
            None if size == 0 => {}
            None => {
                let path = path.escape_debug();
                return Err(Error::Refused(format!(
                    "the manifest of checkpoint {} does not say where `{path}` lies",
                    stored.manifest.id
                )));
            }
        }
    }
    Ok(())
}

/// Fetches a checked checkpoint and puts it in place. `is_over` ends it.
pub(crate) fn restore(
    base: &Base,
    store: &Store,
    stored: &StoredTree,
    is_over: &AtomicBool,
) -> Result<()> {
    let mut round = 0;
    loop {
        fetch_all(base, store, stored, is_over)?;
        round += 1;
        let whole = put::missing(&base.blobs(), stored.tree())?.is_empty();
        if whole {
            match place::place(base, &Slot::Checkpoint, stored.tree()) {
                // A folder that was received meanwhile has taken a content that both have.
                Err(e) if e.is_passing() && round < ROUNDS => {}
                outcome => return outcome,
            }
        } else if round >= ROUNDS {
            return Err(Error::Refused("fetched contents were taken by another folder".into()));
        }
    }
}

fn files(stored: &StoredTree) -> impl Iterator<Item = (&str, u64, &str)> {
    stored.tree().entries.iter().filter_map(|entry| match &entry.kind {
        TreeKind::File { size, sha256 } => Some((entry.path.as_str(), *size, sha256.as_str())),
        TreeKind::Link { .. } | TreeKind::Dir => None,
    })
}

/// Tries until all is here, or nothing comes any more.
fn fetch_all(base: &Base, store: &Store, stored: &StoredTree, is_over: &AtomicBool) -> Result<()> {
    let mut pace = Pace::new();
    let (mut moved, progress) = (Instant::now(), AtomicU64::new(0));
    loop {
        let (seen, before) = (store.renewals(), progress.load(Ordering::Relaxed));
        let Some(bucket) = store.bucket() else {
            return Err(Error::Refused("no store was named to restore from".into()));
        };
        let failure = match fetch(base, &bucket, stored, &progress, is_over) {
            Ok(()) => return Ok(()),
            Err(failure) => failure,
        };
        if progress.load(Ordering::Relaxed) > before {
            (moved, pace) = (Instant::now(), Pace::new());
        }
        let text = failure.to_string();
        match failure {
            Failure::Local(error) => return Err(error),
            // A key that has ended is renewed by whoever asked for this.
            Failure::Store { error, .. }
                if (error.is_passing() || matches!(error, StoreError::Expired(_)))
                    && moved.elapsed() < PATIENCE =>
            {
                let wait = pace.after(&error, true);
                store.rest(wait, seen, &|| is_over.load(Ordering::Relaxed));
            }
            Failure::Store { .. } | Failure::Outdated => return Err(Error::Refused(text)),
        }
    }
}

/// One try to bring what is missing.
fn fetch(
    base: &Base,
    bucket: &Bucket,
    stored: &StoredTree,
    progress: &AtomicU64,
    is_over: &AtomicBool,
) -> std::result::Result<(), Failure> {
    let objects = objects(base, stored).map_err(Failure::Local)?;
    let mut steps = Vec::new();
    for object in &objects {
        let here = here(base, object.sha256);
        let missing = (0..object.size.div_ceil(STRETCH)).filter(|number| !here.contains(number));
        let first = steps.len();
        steps.extend(missing.map(|number| (object, Some(number))));
        if steps.len() == first {
            // All here: what is left is to look whether it is right.
            steps.push((object, None));
        }
        object.lock().left = steps.len() - first;
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
    let stop = || is_over.load(Ordering::Relaxed);
    let run = || {
        while let Some((object, number)) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
            // What others have begun they end: the next try need not begin it again.
            let is_failed = failure().is_some();
            let outcome = match number {
                _ if is_failed || stop() => Err(Failure::Outdated),
                Some(number) => object.stretch(base, bucket, *number, progress, &stop),
                None => Ok(()),
            };
            if let Err(e) = outcome.and_then(|()| object.step_done(base, &stop)) {
                failure().get_or_insert(e);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..THREADS.min(steps.len()) {
            // Where no thread can be had, fewer do it.
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The contents that are not here whole.
fn objects<'a>(base: &Base, stored: &'a StoredTree) -> Result<Vec<Object<'a>>> {
    let missing = put::missing(&base.blobs(), stored.tree())?;
    let missing: HashSet<String> = missing.into_iter().map(|want| want.sha256).collect();
    let mut seen = HashSet::new();
    Ok(files(stored)
        .filter(|(_, _, sha256)| missing.contains(*sha256) && seen.insert(*sha256))
        .filter_map(|(_, size, sha256)| {
            let key = stored.objects.get(sha256)?;
            Some(Object { sha256, size, key, state: Mutex::default() })
        })
        .collect())
}

/// Where a content grows, and where it is noted which of its stretches are here.
fn drafts(base: &Base, sha256: &str) -> (PathBuf, PathBuf) {
    let beside = |end: &str| base.blobs().join(format!("{sha256}.{end}"));
    (beside("got"), beside("map"))
}

/// The stretches that an earlier try brought.
fn here(base: &Base, sha256: &str) -> HashSet<u64> {
    let (draft, map) = drafts(base, sha256);
    let text = fs::read_to_string(map).unwrap_or_default();
    // A last line without its end was cut.
    let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    if draft.is_file() { lines.filter_map(|l| l.parse().ok()).collect() } else { HashSet::new() }
}

impl Object<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, base: &Base) -> Result<Arc<File>> {
        let mut state = self.lock();
        if let Some(file) = &state.file {
            return Ok(Arc::clone(file));
        }
        let (draft, map) = drafts(base, self.sha256);
        let open = |path: &Path| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(false).read(true).mode(0o600);
            options.write(true).append(path == map).open(path)
        };
        if !draft.exists() {
            absent(fs::remove_file(&map)).doing(|| format!("remove `{}`", map.display()))?;
        }
        let file = Arc::new(open(&draft).doing(|| format!("open `{}`", draft.display()))?);
        state.map = Some(open(&map).doing(|| format!("open `{}`", map.display()))?);
        state.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Brings one stretch. Of the last one a byte more is asked for, which must not be there.
    fn stretch(
        &self,
        base: &Base,
        bucket: &Bucket,
        number: u64,
        progress: &AtomicU64,
        stop: &dyn Fn() -> bool,
    ) -> std::result::Result<(), Failure> {
        let file = self.open(base).map_err(Failure::Local)?;
        let from = number * STRETCH;
        let end = self.size.min(from + STRETCH);
        let over = u64::from(end == self.size);
        let (mut at, mut local) = (from, None);
        let mut keep = |bytes: &[u8]| {
            if stop() {
                local = Some(Failure::Outdated);
                return Err(io::Error::other("it is not wanted any more"));
            }
            let room = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(room)];
            file.write_all_at(bytes, at).map_err(|source| {
                let what = format!("keep `{}` as it comes", self.key.escape_debug());
                let again = io::Error::from(source.kind());
                local = Some(Failure::Local(Error::Io { what, source }));
                again
            })?;
            at += bytes.len() as u64;
            progress.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(())
        };
        let got = bucket.get_range(self.key, from, end - from + over, &mut keep);
        match (got, local) {
            (_, Some(failure)) => Err(failure),
            (Err(error), None) => Err(Failure::of("read", self.key)(error)),
            (Ok(got), None) if got == end - from => self.note(number).map_err(Failure::Local),
            (Ok(got), None) => {
                let is = if got < end - from { "ends before" } else { "goes on behind" };
                Err(self.wrong(format!("{is} the {} bytes that its manifest names", self.size)))
            }
        }
    }

    fn note(&self, number: u64) -> Result<()> {
        match &mut self.lock().map {
            Some(map) => {
                writeln!(map, "{number}").doing(|| format!("note what came of `{}`", self.key))
            }
            None => Ok(()),
        }
    }

    fn wrong(&self, how: String) -> Failure {
        let key = self.key.escape_debug();
        Failure::Local(Error::Refused(format!("`{key}` in the job's store {how}")))
    }

    /// A step is over; after the last one the content takes its name, if it is what it should be.
    fn step_done(&self, base: &Base, stop: &dyn Fn() -> bool) -> std::result::Result<(), Failure> {
        {
            let mut state = self.lock();
            state.left = state.left.saturating_sub(1);
            if state.left > 0 {
                return Ok(());
            }
            (state.file, state.map) = (None, None);
        }
        let (draft, map) = drafts(base, self.sha256);
        let what = || format!("store `{}`", self.key.escape_debug());
        let sum = digest(&draft, stop)?;
        let remove =
            |path: &Path| absent(fs::remove_file(path)).doing(what).map_err(Failure::Local);
        if sum != self.sha256 {
            remove(&map)?;
            remove(&draft)?;
            return Err(self.wrong(format!("has the digest {sum}, not {}", self.sha256)));
        }
        let place = blob_path(base, self.sha256);
        fs::rename(&draft, place).doing(what).map_err(Failure::Local)?;
        remove(&map)
    }
}

fn digest(path: &Path, stop: &dyn Fn() -> bool) -> std::result::Result<String, Failure> {
    let what = || format!("read `{}`", path.display());
    let mut file = File::open(path).doing(what).map_err(Failure::Local)?;
    let (mut sum, mut buffer) = (Sha256::new(), vec![0; PIECE]);
    loop {
        if stop() {
            return Err(Failure::Outdated);
        }
        match file.read(&mut buffer).doing(what).map_err(Failure::Local)? {
            0 => return Ok(hex::encode(sum.finalize())),
            length => sum.update(&buffer[..length]),
        }
    }
}
