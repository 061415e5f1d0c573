//! Removing what nobody will restore, and nothing else.

use crate::rig::{Rig, id, job};
use fleet_storage::CheckpointStore;
use fleet_types::bucket::key;
use fleet_types::{CheckpointId, Epoch, StoredTree};
use proptest::prelude::*;

pub(crate) async fn what_is_named_stays(rig: &Rig) {
    let (job, store) = (job(10), rig.checkpoints());
    assert_eq!(store.keep(&job, 1).await.unwrap(), 0, "of nothing, nothing");
    store.raise_fence(&job, Epoch(1)).await.unwrap();
    let mut base: Option<StoredTree> = None;
    for n in 1..=5 {
        let text = format!("state {n}");
        let files = [("shared", "s"), ("state", text.as_str())];
        base = Some(rig.publish(&job, id(1, n), &files, base.as_ref()).await);
    }
    // The next one is on its way: its files are there, its manifest is not.
    rig.put(&job, 1, &key::file(id(1, 6), "state"), b"state 6").await;
    assert_eq!(store.keep(&job, 2).await.unwrap(), 3);
    assert_eq!(store.keep(&job, 2).await.unwrap(), 0);
    let left = [
        key::file(id(1, 1), "shared"),
        key::file(id(1, 4), "state"),
        key::manifest(id(1, 4)),
        key::file(id(1, 5), "state"),
        key::manifest(id(1, 5)),
        key::file(id(1, 6), "state"),
        key::open(Epoch(1)),
    ];
    assert_eq!(rig.keys(&job).await, left);
    // Fenced, the one that never came to a manifest goes too; outcome and logs stay.
    store.raise_fence(&job, Epoch(2)).await.unwrap();
    rig.put(&job, 1, &key::outcome(Epoch(1)), b"{}").await;
    rig.put(&job, 1, &key::log(Epoch(1), 0), b"x").await;
    let two =
        rig.publish(&job, id(2, 1), &[("shared", "s"), ("state", "2/1")], base.as_ref()).await;
    assert_eq!(store.keep(&job, 0).await.unwrap(), 2, "one stays always");
    let mut left = vec![
        key::file(id(1, 1), "shared"),
        key::log(Epoch(1), 0),
        key::open(Epoch(1)),
        key::outcome(Epoch(1)),
        key::file(id(2, 1), "state"),
        key::manifest(id(2, 1)),
        key::open(Epoch(2)),
    ];
    left.sort();
    assert_eq!(rig.keys(&job).await, left);
    assert_eq!(store.newest_stored(&job).await.unwrap(), Some(two));
}

pub(crate) async fn a_job_is_forgotten_whole(rig: &Rig) {
    let (job, other, store) = (job(11), job(12), rig.checkpoints());
    for of in [&job, &other] {
        store.raise_fence(of, Epoch(1)).await.unwrap();
        rig.publish(of, id(1, 1), &[("a/b/state", "x")], None).await;
    }
    assert_eq!(store.size(&job).await.unwrap().objects, 3);
    store.forget(&job).await.unwrap();
    store.forget(&job).await.unwrap();
    assert_eq!(rig.keys(&job).await, [""; 0]);
    assert_eq!(store.newest(&job).await.unwrap(), None);
    assert_eq!(rig.keys(&other).await.len(), 3);
}

/// What may happen to a job.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// The machine at work publishes its next; so many of its three files are new.
    Publish(usize),
    /// A machine of an epoch that is over publishes.
    Ghost,
    /// The machine at work has sent files and no manifest.
    Half,
    /// A new epoch begins.
    Begin,
    Keep(u32),
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..4_usize).prop_map(Deed::Publish),
        2 => Just(Deed::Ghost),
        2 => Just(Deed::Half),
        2 => Just(Deed::Begin),
        4 => (0..4_u32).prop_map(Deed::Keep),
    ]
}

/// A job's history, played into a folder.
struct Play {
    epoch: u32,
    number: u32,
    turn: u32,
    texts: [String; 3],
    base: Option<StoredTree>,
    halves: Vec<String>,
}

impl Play {
    async fn deed(&mut self, rig: &Rig, deed: Deed) {
        let (job, store) = (job(20), rig.checkpoints());
        self.turn += 1;
        match deed {
            Deed::Publish(fresh) => {
                self.number += 1;
                for text in &mut self.texts[..fresh.min(3)] {
                    *text = format!("{}/{}", self.turn, text.len());
                }
                let [a, b, c] = &self.texts;
                let files = [("a", a.as_str()), ("b", b.as_str()), ("c", c.as_str())];
                let at = id(self.epoch, self.number);
                self.base = Some(rig.publish(&job, at, &files, self.base.as_ref()).await);
                self.halves.clear();
            }
            Deed::Ghost if self.epoch > 1 => {
                let text = format!("ghost {}", self.turn);
                let at = id(self.epoch - 1, 1000 + self.turn);
                rig.publish(&job, at, &[("a", &text)], self.base.as_ref()).await;
            }
            Deed::Ghost => {}
            Deed::Half => {
                let key = key::file(id(self.epoch, self.number + 1), &format!("half{}", self.turn));
                rig.put(&job, self.epoch, &key, b"half").await;
                self.halves.push(key);
            }
            Deed::Begin => {
                self.epoch += 1;
                self.number = 0;
                self.halves.clear();
                let raised = store.raise_fence(&job, Epoch(self.epoch)).await.unwrap();
                assert_eq!(raised.base, self.base, "the last that was published in its time");
                assert_eq!(raised.skipped, []);
            }
            Deed::Keep(n) => {
                let before: Vec<CheckpointId> = ids(&store.list(&job).await.unwrap());
                store.keep(&job, n).await.unwrap();
                let after: Vec<CheckpointId> = ids(&store.list(&job).await.unwrap());
                let stays = before.len().saturating_sub(n.max(1) as usize);
                assert_eq!(after, before[stays..], "the newest {n} of {before:?}");
            }
        }
        self.check(rig).await;
    }

    async fn check(&self, rig: &Rig) {
        let (job, store) = (job(20), rig.checkpoints());
        assert_eq!(store.newest_stored(&job).await.unwrap(), self.base, "the newest is whole");
        let dir = tempfile::tempdir().unwrap();
        for manifest in store.list(&job).await.unwrap() {
            let dest = dir.path().join(manifest.id.to_string().replace('/', "-"));
            store.fetch(&job, manifest.id, &dest).await.unwrap();
        }
        let keys = rig.keys(&job).await;
        for half in &self.halves {
            assert!(keys.contains(half), "{half} may be named by what comes next");
        }
    }
}

fn ids(all: &[fleet_types::CheckpointManifest]) -> Vec<CheckpointId> {
    all.iter().map(|m| m.id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keeping_never_takes_what_counts_or_what_is_under_way(deeds in prop::collection::vec(deed(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::folder().await;
            let texts = ["x", "yy", "zzz"].map(str::to_owned);
            let mut play =
                Play { epoch: 0, number: 0, turn: 0, texts, base: None, halves: Vec::new() };
            play.deed(&rig, Deed::Begin).await;
            for deed in deeds {
                play.deed(&rig, deed).await;
            }
        });
    }
}
