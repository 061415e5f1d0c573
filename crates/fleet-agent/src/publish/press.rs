//! The thread that saves: tries, tells, tries again.
//!
//! Invariant: the files of a number are written only while no manifest lies under it, so that no published
//! checkpoint is ever written over.

use super::{Kept, Ledger, Order, STOCKED_FILES, Shared, Told, locked};
use crate::bucket::{Bucket, Lanes, StoreError};
use crate::clock;
use crate::core::{Event, Wire};
use crate::error::Error;
use crate::parcel::{Hash, Parcel};
use crate::shards::{self, Plan};
use crate::store::{Failure, Pace};
use fleet_agent_api::{OutcomeRecord, Saved, Source};
use fleet_types::bucket::key;
use fleet_types::{CheckpointId, CheckpointManifest, JobId, StoredTree, TreeKind};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::Discriminant;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A manifest of a hundred thousand files fits.
const MANIFEST_LIMIT: usize = 64 << 20;
/// What passes is told when it has not passed after so many tries.
const TOLD_AFTER: u32 = 5;
/// Less says more about the store's latency than about the line.
const MEASURED: u64 = 256 << 10;
const LONG: Duration = Duration::from_secs(3600);

struct Press {
    job: JobId,
    shared: Arc<Shared>,
    wire: Wire,
    lanes: Lanes,
    /// Kinds of failure that were told since something worked.
    told: HashSet<Discriminant<StoreError>>,
}

/// Starts the thread.
pub(super) fn start(job: JobId, shared: Arc<Shared>, wire: Wire) {
    let lanes = Lanes::default();
    let mut press = Press { job, shared, wire, lanes, told: HashSet::new() };
    thread::spawn(move || press.run());
}

impl Press {
    fn run(&mut self) {
        loop {
            let seen = self.shared.store.bell.count();
            let order = locked(&self.shared.orders).pop_front();
            match order {
                Some(Order::Prepare) => self.prepare(),
                Some(Order::Checkpoint(number, parcel)) => self.checkpoint(number, &parcel),
                Some(Order::Output(parcel)) => self.output(&parcel),
                Some(Order::Outcome(record)) => self.outcome(&record),
                None => self.shared.store.bell.wait(seen, LONG),
            }
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        locked(&self.shared.ledger)
    }

    fn tell(&self, told: Told) {
        // The daemon is leaving when nobody listens.
        let _ = self.wire.send(Event::Told(told));
    }

    /// Tries until it worked. `handed`: the checkpoint that it is about, if a newer one may replace it. No
    /// error: that happened.
    fn insist<T>(
        &mut self,
        source: &Source,
        handed: Option<u32>,
        attempt: &mut dyn FnMut(&Self, &Bucket) -> Result<T, Failure>,
    ) -> Result<T, Option<Error>> {
        let (mut pace, mut tries) = (Pace::new(), 0);
        let shared = Arc::clone(&self.shared);
        loop {
            let seen = shared.store.renewals();
            let wait = match shared.store.bucket().map(|bucket| attempt(self, &bucket)) {
                Some(Ok(done)) => {
                    self.told.clear();
                    return Ok(done);
                }
                Some(Err(failure)) => {
                    let text = failure.to_string();
                    tries += 1;
                    match failure {
                        Failure::Local(error) => return Err(Some(error)),
                        Failure::Outdated => return Err(None),
                        Failure::Store { error, .. } => {
                            self.trouble(source, &error, text, tries);
                            pace.after(&error, shared.is_in_a_hurry())
                        }
                    }
                }
                // The controller knows that it has not named the store.
                None => LONG,
            };
            let was_in_a_hurry = shared.is_in_a_hurry();
            let is_over =
                || shared.is_outdated(handed) || (shared.is_in_a_hurry() && !was_in_a_hurry);
            shared.store.rest(wait, seen, &is_over);
            if shared.is_outdated(handed) {
                return Err(None);
            }
        }
    }

    /// Tells a failure, once for each kind until something works again.
    fn trouble(&mut self, source: &Source, error: &StoreError, text: String, tries: u32) {
        let is_due = !error.is_passing() || tries >= TOLD_AFTER;
        if is_due && self.told.insert(std::mem::discriminant(error)) {
            crate::note(&text);
            self.tell(Told::Trouble(source.clone(), text));
        }
    }

    fn prepare(&self) {
        // One try: whoever saves first finds out what is left, and tells.
        if let Some(bucket) = self.shared.store.bucket()
            && let Err(e) = self.count(&bucket)
        {
            crate::note(&e.to_string());
        }
    }

    /// Finds out, once, which numbers were used and what the base has.
    fn count(&self, bucket: &Bucket) -> Result<(), Failure> {
        let (is_counted, known, base) = {
            let ledger = self.ledger();
            (ledger.is_counted, ledger.number, ledger.base.filter(|_| ledger.objects.is_none()))
        };
        if !is_counted {
            let used = used(bucket, CheckpointId { epoch: self.shared.epoch, number: known })?;
            let mut ledger = self.ledger();
            (ledger.number, ledger.is_counted) = (ledger.number.max(used), true);
        }
        let Some(id) = base else { return Ok(()) };
        match read(bucket, id)? {
            There::Manifest(stored) => self.ledger().rebase(id, &stored.objects),
            // Then all is sent anew.
            There::Nothing | There::Odd => self.ledger().objects = Some(HashMap::new()),
        }
        Ok(())
    }

    fn checkpoint(&mut self, handed: u32, parcel: &Parcel) {
        let source = Source::Checkpoint(handed);
        let mut number = None;
        let outcome = self.insist(&source, Some(handed), &mut |press, bucket| {
            press.try_checkpoint(bucket, handed, &mut number, parcel)
        });
        self.shared.left.store(0, Ordering::Relaxed);
        self.tell(match outcome {
            Ok(kept) => Told::Saved(Box::new(kept)),
            Err(lost) => Told::Unsaved { handed, lost: lost.map(|e| e.to_string()) },
        });
    }

    /// One try. Contents that were acknowledged in an earlier one are not sent again; `number` is what that
    /// one had.
    fn try_checkpoint(
        &self,
        bucket: &Bucket,
        handed: u32,
        number: &mut Option<u32>,
        parcel: &Parcel,
    ) -> Result<Kept, Failure> {
        self.count(bucket)?;
        loop {
            let id = self.number(handed, number);
            let began = Instant::now();
            let name = key::manifest(id);
            if let There::Nothing = read(bucket, id)? {
                let (objects, bytes) = self.send(bucket, id, handed, parcel)?;
                let stored = self.stored(id, parcel, objects);
                match bucket.put(&name, &text(&stored)?, true) {
                    Ok(()) => {
                        return Ok(self.kept(&stored, parcel, (bytes, began.elapsed())));
                    }
                    Err(StoreError::Exists) => {}
                    Err(error) => return Err(Failure::of("write", &name)(error)),
                }
            }
            match read(bucket, id)? {
                There::Manifest(there) if self.is_this(&there, id, parcel) => {
                    return Ok(self.kept(&there, parcel, (0, began.elapsed())));
                }
                // Somebody of this epoch was here. Their files are not to be written over, and what we sent
                // under the same names may be theirs by now.
                There::Manifest(_) | There::Odd | There::Nothing => {
                    self.ledger().sent.clear();
                    *number = None;
                }
            }
        }
    }

    /// The number of a picture: the one that it has, else one that nobody had.
    fn number(&self, handed: u32, number: &mut Option<u32>) -> CheckpointId {
        let mut ledger = self.ledger();
        let number = *number.get_or_insert_with(|| handed.max(ledger.number + 1));
        ledger.number = ledger.number.max(number);
        CheckpointId { epoch: self.shared.epoch, number }
    }

    /// Sends what is not there; where everything is, and how many bytes were sent.
    fn send(
        &self,
        bucket: &Bucket,
        id: CheckpointId,
        handed: u32,
        parcel: &Parcel,
    ) -> Result<(BTreeMap<String, String>, u64), Failure> {
        let shared = &self.shared;
        let find = |hash: &Hash| locked(&shared.ledger).find(hash);
        let plan = Plan::of(parcel, &find, &|path| key::file(id, path));
        let (bytes, began) = (plan.bytes(), Instant::now());
        shared.left.store(bytes, Ordering::Relaxed);
        let acked = |hash, key, size| {
            locked(&shared.ledger).sent.insert(hash, key);
            shared.left.fetch_sub(size, Ordering::Relaxed);
        };
        let is_over = || shared.abandoned.load(Ordering::SeqCst) == handed;
        shards::send(bucket, plan.items, &self.lanes, &acked, &is_over)?;
        if bytes >= MEASURED {
            let millis = began.elapsed().as_millis().max(1);
            let now = u64::try_from(u128::from(bytes) * 1000 / millis).unwrap_or(u64::MAX);
            let before = shared.per_second.load(Ordering::Relaxed);
            let mean = if before == 0 { now } else { before / 2 + now / 2 };
            shared.per_second.store(mean, Ordering::Relaxed);
        }
        Ok((plan.objects, bytes))
    }

    fn stored(
        &self,
        id: CheckpointId,
        parcel: &Parcel,
        objects: BTreeMap<String, String>,
    ) -> StoredTree {
        let (job, tree) = (self.job.clone(), parcel.tree.clone());
        let taken_at = parcel.taken_at;
        StoredTree { manifest: CheckpointManifest { version: 1, job, id, taken_at, tree }, objects }
    }

    /// Whether a manifest is this picture's own, put in a try whose answer was lost.
    fn is_this(&self, there: &StoredTree, id: CheckpointId, parcel: &Parcel) -> bool {
        let manifest = &there.manifest;
        manifest.id == id && manifest.job == self.job && manifest.tree == parcel.tree
    }

    /// It is there: from now on it is what others are compared with.
    fn kept(&self, stored: &StoredTree, parcel: &Parcel, sent: (u64, Duration)) -> Kept {
        let mut ledger = self.ledger();
        let new = parcel.files.iter().filter(|(hash, _)| !ledger.is_in_base(hash));
        let sent_bytes = new.map(|(_, (_, seal))| seal.size).sum();
        ledger.rebase(stored.manifest.id, &stored.objects);
        let paths: Vec<&str> = files(parcel).collect();
        let saved = Saved {
            number: stored.manifest.id.number,
            taken_at: parcel.taken_at,
            bytes: parcel.tree.size(),
            files: paths.len() as u64,
            sent_bytes,
            took_ms: u64::try_from(clock::now().since(parcel.taken_at).as_millis())
                .unwrap_or(u64::MAX),
        };
        ledger.paths = paths.into_iter().take(STOCKED_FILES).map(str::to_owned).collect();
        let digest = parcel.tree.digest();
        Kept { saved, digest, whole: parcel.whole.clone(), sent }
    }

    /// The task is gone: its output is what it is, and what an earlier agent put is replaced.
    fn output(&mut self, parcel: &Parcel) {
        let (epoch, sent) = (self.shared.epoch, Mutex::new(HashMap::new()));
        let outcome = self.insist(&Source::Output, None, &mut |press, bucket| {
            let find = |hash: &Hash| locked(&sent).get(hash).cloned();
            let plan = Plan::of(parcel, &find, &|path| key::output_file(epoch, path));
            let acked = |hash, key, _| drop(locked(&sent).insert(hash, key));
            shards::send(bucket, plan.items, &press.lanes, &acked, &|| false)?;
            let stored = press.stored(CheckpointId { epoch, number: 0 }, parcel, plan.objects);
            let name = key::output(epoch);
            bucket.put(&name, &text(&stored)?, false).map_err(Failure::of("write", &name))
        });
        self.tell(Told::Output(match outcome {
            Ok(()) => Ok(parcel.tree.digest()),
            Err(error) => Err(error.map_or_else(String::new, |e| e.to_string())),
        }));
    }

    /// Written once: one that is there already stands.
    fn outcome(&mut self, record: &OutcomeRecord) {
        let name = key::outcome(self.shared.epoch);
        let outcome = self.insist(&Source::Output, None, &mut |_, bucket| match bucket.put(
            &name,
            &text(record)?,
            true,
        ) {
            Ok(()) | Err(StoreError::Exists) => Ok(()),
            Err(error) => Err(Failure::of("write", &name)(error)),
        });
        match outcome {
            Ok(()) => self.tell(Told::Outcome),
            Err(error) => crate::note(&format!("the outcome could not be written: {error:?}")),
        }
    }
}

/// The highest number that an epoch has used in the store, `known.number` at least.
fn used(bucket: &Bucket, known: CheckpointId) -> Result<u32, Failure> {
    let below = key::epoch(known.epoch);
    let (mut highest, mut after) = (known.number, None);
    loop {
        let page = match bucket.list(&below, after.as_deref()) {
            Ok(page) => page,
            Err(error) if error.is_passing() => return Err(Failure::of("list", &below)(error)),
            // A key that may not list: what the agent remembers must do.
            Err(_) => return Ok(highest),
        };
        for entry in page.entries {
            let number = entry.key.strip_prefix(&below).and_then(|rest| rest.split('/').next());
            highest = highest.max(number.and_then(|n| n.parse().ok()).unwrap_or(0));
        }
        after = page.next;
        if after.is_none() {
            return Ok(highest);
        }
    }
}

/// What lies under a checkpoint's number.
enum There {
    /// No manifest, or none that we may see.
    Nothing,
    Manifest(StoredTree),
    /// Something that is none of ours.
    Odd,
}

fn read(bucket: &Bucket, id: CheckpointId) -> Result<There, Failure> {
    let name = key::manifest(id);
    match bucket.get(&name, MANIFEST_LIMIT) {
        Ok(text) => Ok(serde_json::from_slice(&text).map_or(There::Odd, There::Manifest)),
        Err(error) if error.is_passing() => Err(Failure::of("read", &name)(error)),
        Err(StoreError::Odd(_)) => Ok(There::Odd),
        // The put tells what is wrong.
        Err(_) => Ok(There::Nothing),
    }
}

fn text(document: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(document).map_err(|e| Failure::Local(Error::Refused(e.to_string())))
}

fn files(parcel: &Parcel) -> impl Iterator<Item = &str> {
    let is_file = |kind: &TreeKind| matches!(kind, TreeKind::File { .. });
    parcel.tree.entries.iter().filter(move |e| is_file(&e.kind)).map(|e| e.path.as_str())
}
