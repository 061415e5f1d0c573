//! Saves into the job's store: checkpoints, the output, and how the task ended.
//!
//! One thread (`press`) does one thing at a time, in the order in which the core hands it over, and tries again
//! until it worked, is lost or something newer takes its place. Invariant: a manifest is put when the
//! store has acknowledged every content that it names, and told as saved when the manifest itself was; a
//! number names one picture only, whatever failed in between and whoever used it before.

mod press;

use crate::core::Wire;
use crate::parcel::{Hash, Parcel};
use crate::put::hash_of;
use crate::store::Store;
use fleet_agent_api::{OutcomeRecord, Saved, Source, StoreCall};
use fleet_types::bucket::key;
use fleet_types::{CheckpointId, Epoch, JobId, StoredTree};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// More files than this in a checkpoint are not signed for ahead.
const STOCKED_FILES: usize = 500;

/// What the core hands over.
pub(crate) enum Order {
    /// Look at what this epoch has in the store already, while somebody may be in contact to sign.
    Prepare,
    /// The number is the next that the core knows to be free.
    Checkpoint(u32, Parcel),
    Output(Parcel),
    Outcome(Box<OutcomeRecord>),
}

/// What the core hears.
#[derive(Debug)]
pub(crate) enum Told {
    Saved(Box<Kept>),
    /// Another takes its place, or (the reason) its files are not what they were.
    Unsaved {
        handed: u32,
        lost: Option<String>,
    },
    /// The output's digest, or why it cannot be read.
    Output(Result<String, String>),
    Outcome,
    /// Log records up to here are in the store.
    Logs(u64),
    /// It does not work for now, and why.
    Trouble(Source, String),
}

/// A checkpoint that is in the store.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its number may be higher than the one under which it was handed over.
    pub(crate) saved: Saved,
    pub(crate) digest: String,
    /// Directories of a known layout that are whole in it.
    pub(crate) whole: Vec<String>,
    /// Bytes of the last try, and the time from its first byte to the manifest.
    pub(crate) sent: (u64, Duration),
}

/// How the core reaches the thread.
#[derive(Clone)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    epoch: Epoch,
    store: Arc<Store>,
    orders: Mutex<VecDeque<Order>>,
    /// A newer checkpoint waits for the end of this one.
    outdated: AtomicU32,
    /// The same, and it is not worth finishing.
    abandoned: AtomicU32,
    /// Until when time is short.
    hurry: Mutex<Option<Instant>>,
    ledger: Mutex<Ledger>,
    /// Bytes of the checkpoint in transfer that are still to be sent.
    left: AtomicU64,
    /// As measured; 0: not yet.
    per_second: AtomicU64,
}

impl Shared {
    fn is_outdated(&self, handed: Option<u32>) -> bool {
        handed.is_some_and(|number| self.outdated.load(Ordering::SeqCst) == number)
    }
    fn is_in_a_hurry(&self) -> bool {
        locked(&self.hurry).is_some_and(|until| until > Instant::now())
    }
}

/// What is known to be in the store.
#[derive(Default)]
struct Ledger {
    /// The newest checkpoint of this machine, or the one that it began with.
    base: Option<CheckpointId>,
    /// Its contents; `None`: to be read from the store.
    objects: Option<HashMap<Hash, String>>,
    /// Acknowledged since, for pictures that came to no manifest.
    sent: HashMap<Hash, String>,
    /// The highest number that was used, and whether the store was asked for it.
    number: u32,
    is_counted: bool,
    /// Paths of the last checkpoint's files: the next one's are most likely the same.
    paths: Vec<String>,
}

impl Ledger {
    fn is_in_base(&self, hash: &Hash) -> bool {
        self.objects.as_ref().is_some_and(|objects| objects.contains_key(hash))
    }
    fn find(&self, hash: &Hash) -> Option<String> {
        let objects = self.objects.as_ref();
        objects.and_then(|o| o.get(hash)).or_else(|| self.sent.get(hash)).cloned()
    }
    /// These contents are a checkpoint now. What else was sent may be removed by whoever keeps the store in
    /// order.
    fn rebase(&mut self, id: CheckpointId, objects: &BTreeMap<String, String>) {
        let objects = objects.iter().filter_map(|(sha, key)| Some((hash_of(sha)?, key.clone())));
        (self.base, self.objects) = (Some(id), Some(objects.collect()));
        self.sent = HashMap::new();
    }
}

/// What a checkpoint that waits would mean for the one in transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Bytes still to be sent of the one in transfer, and of the one that waits.
    pub(crate) left: u64,
    pub(crate) new: u64,
    /// 0: not measured yet.
    pub(crate) per_second: u64,
}

impl Outlook {
    /// Whether to give up the one in transfer: both do not fit into the time, the newer one alone does.
    pub(crate) fn should_yield(self, time: Duration) -> bool {
        let bytes = u128::from(self.per_second) * time.as_millis() / 1000;
        self.per_second > 0
            && u128::from(self.left) + u128::from(self.new) > bytes
            && u128::from(self.new) <= bytes
    }
}

impl Publisher {
    /// Starts the thread. `number` is the highest that was used, `base` the newest checkpoint here.
    pub(crate) fn start(
        (job, epoch): (JobId, Epoch),
        store: Arc<Store>,
        wire: Wire,
        number: u32,
        base: Option<CheckpointId>,
    ) -> Self {
        let shared = Arc::new(Shared {
            epoch,
            store,
            orders: Mutex::default(),
            outdated: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            hurry: Mutex::default(),
            ledger: Mutex::new(Ledger { base, number, ..Ledger::default() }),
            left: AtomicU64::new(0),
            per_second: AtomicU64::new(0),
        });
        press::start(job, Arc::clone(&shared), wire);
        Self { shared }
    }
    pub(crate) fn order(&self, order: Order) {
        locked(&self.shared.orders).push_back(order);
        self.shared.store.bell.ring();
    }
    /// A newer checkpoint waits for this one's end.
    pub(crate) fn outdate(&self, handed: u32) {
        self.shared.outdated.store(handed, Ordering::SeqCst);
        self.shared.store.bell.ring();
    }
    /// This one is to make room at once.
    pub(crate) fn abandon(&self, handed: u32) {
        self.shared.abandoned.store(handed, Ordering::SeqCst);
        self.outdate(handed);
    }
    /// Until then every second counts.
    pub(crate) fn hurry(&self, span: Duration) {
        let until = Instant::now().checked_add(span);
        let mut hurry = locked(&self.shared.hurry);
        *hurry = (*hurry).max(until);
        drop(hurry);
        self.shared.store.bell.ring();
    }
    pub(crate) fn is_in_a_hurry(&self) -> bool {
        self.shared.is_in_a_hurry()
    }
    /// A checkpoint was restored: what it names need not be sent again.
    pub(crate) fn restored(&self, stored: &StoredTree) {
        locked(&self.shared.ledger).rebase(stored.manifest.id, &stored.objects);
    }
    pub(crate) fn outlook(&self, waiting: &Parcel) -> Outlook {
        let ledger = locked(&self.shared.ledger);
        let new = waiting.files.iter().filter(|(hash, _)| ledger.find(hash).is_none());
        Outlook {
            left: self.shared.left.load(Ordering::Relaxed),
            new: new.map(|(_, (_, seal))| seal.size).sum(),
            per_second: self.shared.per_second.load(Ordering::Relaxed),
        }
    }
    /// What the next checkpoint and the end will ask of the store, as far as it can be known.
    pub(crate) fn calls_ahead(&self) -> Vec<StoreCall> {
        let ledger = locked(&self.shared.ledger);
        let epoch = self.shared.epoch;
        let next = CheckpointId { epoch, number: ledger.number + 1 };
        let put = |key| StoreCall { method: "PUT".into(), key, query: Vec::new() };
        let mut calls = vec![
            StoreCall { method: "GET".into(), key: key::manifest(next), query: Vec::new() },
            put(key::manifest(next)),
            put(key::output(epoch)),
            put(key::outcome(epoch)),
        ];
        calls.extend(ledger.paths.iter().map(|path| put(key::file(next, path))));
        calls
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_in_transfer_yields_only_to_one_that_still_fits() {
        let time = Duration::from_secs(100);
        let yields = |left, new, per_second| Outlook { left, new, per_second }.should_yield(time);
        assert!(!yields(40, 50, 1), "both fit");
        assert!(yields(60, 50, 1), "only the newer one fits");
        assert!(!yields(60, 150, 1), "the newer one does not fit: the older is better than none");
        assert!(!yields(60, 50, 0), "nothing was measured");
    }
}
