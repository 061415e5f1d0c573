//! What machines saved, and which of it counts.

use crate::rig::{Rig, id, job, json, manifest, sha};
use flate2::Compression;
use flate2::write::GzEncoder;
use fleet_agent_api::{LogRecord, OutcomeRecord, TaskEnd, TaskStep};
use fleet_storage::{CheckpointStore, Error, Raised};
use fleet_types::bucket::key;
use fleet_types::{CheckpointId, Epoch, JobId, LogStream, StoredTree, Timestamp};
use futures_util::{StreamExt, TryStreamExt};
use std::io::Write as _;

fn base(raised: &Raised) -> Option<CheckpointId> {
    raised.base.as_ref().map(|b| b.manifest.id)
}

/// Twenty controllers raise the same fence while the old machine goes on publishing.
pub(crate) async fn racers_begin_from_one_base(rig: &Rig) {
    let (job, store) = (job(1), rig.checkpoints());
    let first = store.raise_fence(&job, Epoch(1)).await.unwrap();
    assert_eq!((first.fence.base, base(&first)), (None, None));
    let racers = (1..=20_u32).map(|n| {
        let (job, store) = (job.clone(), store.clone());
        async move {
            let text = format!("state {n}");
            rig.publish(&job, id(1, n), &[("state", &text)], None).await;
            store.raise_fence(&job, Epoch(2)).await.unwrap()
        }
    });
    let raised = futures_util::future::join_all(racers).await;
    let fence = &raised[0].fence;
    assert!(fence.base.is_some());
    for one in &raised {
        assert_eq!(&one.fence, fence, "one fence for all");
        assert_eq!(base(one), fence.base, "and one base");
        assert_eq!(one.skipped, []);
    }
    // Some of what was published came after the fence, and none of that counts.
    let newest = store.newest(&job).await.unwrap().unwrap();
    assert_eq!(Some(newest.id), fence.base);
    let counting = store.list(&job).await.unwrap();
    assert!(counting.iter().all(|m| Some(m.id) <= fence.base));
}

pub(crate) async fn a_ghost_never_wins(rig: &Rig) {
    let (job, store) = (job(2), rig.checkpoints());
    store.raise_fence(&job, Epoch(1)).await.unwrap();
    let one = rig.publish(&job, id(1, 1), &[("shared", "s"), ("state", "1/1")], None).await;
    let two = rig.publish(&job, id(1, 2), &[("shared", "s"), ("state", "1/2")], Some(&one)).await;
    assert_eq!(two.objects[&sha("s")], key::file(id(1, 1), "shared"), "not sent again");
    let raised = store.raise_fence(&job, Epoch(2)).await.unwrap();
    assert_eq!(raised.base.as_ref(), Some(&two));
    // The old machine was only asleep.
    rig.publish(&job, id(1, 3), &[("state", "ghost")], Some(&two)).await;
    assert_eq!(store.newest_stored(&job).await.unwrap().as_ref(), Some(&two));
    let again = store.raise_fence(&job, Epoch(2)).await.unwrap();
    assert_eq!((again.fence, again.base.as_ref()), (raised.fence, Some(&two)));
    let three = rig.publish(&job, id(2, 1), &[("shared", "s"), ("state", "2/1")], Some(&two)).await;
    rig.publish(&job, id(1, 99), &[("state", "ghost")], None).await;
    assert_eq!(store.newest_stored(&job).await.unwrap().as_ref(), Some(&three));
    let counting: Vec<_> = store.list(&job).await.unwrap().iter().map(|m| m.id).collect();
    assert_eq!(counting, [id(1, 1), id(1, 2), id(2, 1)]);
    let late = store.raise_fence(&job, Epoch(1)).await;
    assert!(matches!(late, Err(Error::OldEpoch { by: Epoch(2), .. })), "{late:?}");
    // One that opened with a base says so for ever, also when its own have come since.
    let again = store.raise_fence(&job, Epoch(2)).await.unwrap();
    assert_eq!(base(&again), Some(id(1, 2)));
    let raised = store.raise_fence(&job, Epoch(3)).await.unwrap();
    assert_eq!(base(&raised), Some(id(2, 1)));
    let dir = tempfile::tempdir().unwrap();
    let dest = dir.path().join("home");
    store.fetch(&job, id(2, 1), &dest).await.unwrap();
    assert_eq!(std::fs::read_to_string(dest.join("state")).unwrap(), "2/1");
    assert_eq!(std::fs::read_to_string(dest.join("shared")).unwrap(), "s");
    // Whoever tidies up takes the ghost's things and nothing of what counts.
    assert_eq!(store.keep(&job, 1).await.unwrap(), 4);
    let left = rig.keys(&job).await;
    assert!(!left.iter().any(|k| k.starts_with("000001/000099") || k.starts_with("000001/000003")));
    assert!(left.contains(&key::file(id(1, 1), "shared")), "{left:?}");
    assert_eq!(store.newest_stored(&job).await.unwrap(), Some(three));
}

pub(crate) async fn only_what_is_whole_is_restored(rig: &Rig) {
    let (job, store) = (job(3), rig.checkpoints());
    let newest = |store: fleet_storage::BucketCheckpoints| async move {
        store.newest_stored(&job_of(3)).await.unwrap().map(|s| s.manifest.id)
    };
    assert_eq!(newest(store.clone()).await, None, "a job of which nothing is there");
    for n in 1..=4 {
        let text = format!("state {n}");
        rig.publish(&job, id(1, n), &[("state", &text), ("a b+c#1", "odd name")], None).await;
    }
    // A number with files and no manifest.
    rig.put(&job, 1, &key::file(id(1, 5), "state"), b"half").await;
    assert_eq!(newest(store.clone()).await, Some(id(1, 4)));
    rig.delete(&job, 1, &key::file(id(1, 4), "a b+c#1")).await;
    rig.put(&job, 1, &key::file(id(1, 3), "state"), b"short").await;
    assert_eq!(newest(store.clone()).await, Some(id(1, 2)));
    rig.put(&job, 1, &key::manifest(id(1, 2)), b"{\"version\":1,").await;
    assert_eq!(newest(store.clone()).await, Some(id(1, 1)));
    let raised = store.raise_fence(&job, Epoch(2)).await.unwrap();
    assert_eq!(base(&raised), Some(id(1, 1)));
    let skipped: Vec<_> = raised.skipped.iter().map(|s| (s.id, s.why.as_str())).collect();
    assert_eq!(
        skipped.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [id(1, 4), id(1, 3), id(1, 2)]
    );
    assert!(skipped[0].1.contains("`a b+c#1` is not there"), "{skipped:?}");
    assert!(skipped[1].1.contains("has 5 bytes there and should have 7"), "{skipped:?}");
    assert!(skipped[2].1.contains("unreadable"), "{skipped:?}");
    // The base that was opened on lost a file since: then the next older one.
    let two = rig.publish(&job, id(2, 1), &[("state", "2/1")], None).await;
    let one = store.raise_fence(&job, Epoch(3)).await.unwrap();
    assert_eq!(one.base, Some(two));
    rig.delete(&job, 2, &key::file(id(2, 1), "state")).await;
    let again = store.raise_fence(&job, Epoch(3)).await.unwrap();
    assert_eq!((again.fence.base, base(&again)), (Some(id(2, 1)), Some(id(1, 1))));
    // Right length, wrong bytes: found out on the way home, and nothing is left.
    rig.put(&job, 1, &key::file(id(1, 1), "state"), b"STATE 1").await;
    let dir = tempfile::tempdir().unwrap();
    let answer = store.fetch(&job, id(1, 1), &dir.path().join("home")).await;
    assert!(matches!(answer, Err(Error::Digest { .. })), "{answer:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let nothing = store.fetch(&job, id(1, 9), &dir.path().join("home")).await;
    assert!(matches!(nothing, Err(Error::Missing { .. })), "{nothing:?}");
}

fn job_of(n: u64) -> JobId {
    job(n)
}

/// A machine may write anything at all into its manifest.
pub(crate) async fn a_manifest_leads_nowhere_else(rig: &Rig) {
    let (job, store) = (job(4), rig.checkpoints());
    let good = rig.publish(&job, id(1, 1), &[("state", "x")], None).await;
    let lies: [&dyn Fn(&mut StoredTree); 6] = [
        &|s| {
            s.objects
                .values_mut()
                .for_each(|k| *k = "../j-000000000001/000001/000001/files/state".into())
        },
        &|s| s.objects.values_mut().for_each(|k| *k = "000001/000001/manifest.json".into()),
        &|s| s.objects.clear(),
        &|s| s.manifest.tree.entries[0].path = "../escape".into(),
        &|s| s.manifest.id = id(1, 1),
        &|s| s.manifest.job = job_of(1),
    ];
    for (n, lie) in (2..).zip(lies) {
        let mut stored = manifest(&job, id(1, n), &[("state", "x")], Some(&good));
        lie(&mut stored);
        rig.put(&job, 1, &key::manifest(id(1, n)), &json(&stored)).await;
    }
    assert_eq!(store.newest_stored(&job).await.unwrap(), Some(good));
    let raised = store.raise_fence(&job, Epoch(2)).await.unwrap();
    assert_eq!((base(&raised), raised.skipped.len()), (Some(id(1, 1)), 6), "{:?}", raised.skipped);
    // A document of a newer fleet is not guessed at.
    let mut newer = manifest(&job, id(2, 1), &[("state", "x")], None);
    newer.manifest.version = 2;
    rig.put(&job, 2, &key::manifest(id(2, 1)), &json(&newer)).await;
    assert!(matches!(store.newest(&job).await, Err(Error::Newer { found: 2, .. })));
}

fn record(offset: u64, line: &str) -> LogRecord {
    let (at, stream) = (Timestamp::from_millis(1_764_000_000_000), LogStream::Stdout);
    LogRecord { offset, at, stream, line: line.to_owned() }
}

fn packed(records: &[LogRecord]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    for record in records {
        serde_json::to_writer(&mut out, record).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.finish().unwrap()
}

pub(crate) async fn outcome_output_and_logs_are_read(rig: &Rig) {
    let (job, store) = (job(5), rig.checkpoints());
    assert_eq!(store.outcome(&job, Epoch(1)).await.unwrap(), None);
    assert_eq!(store.output(&job).await.unwrap(), None);
    let at = Timestamp::from_millis(1_764_000_000_000);
    let end = TaskEnd {
        step: TaskStep::Run,
        code: Some(0),
        signal: None,
        stopped: None,
        done: true,
        lost: false,
        at,
    };
    let outcome = OutcomeRecord {
        version: 1,
        job: job.clone(),
        epoch: Epoch(1),
        end,
        last_checkpoint: Some(id(1, 1)),
        has_output: true,
        log_end: 40,
        log_tail: vec![record(40, "bye")],
    };
    rig.put(&job, 1, &key::outcome(Epoch(1)), &json(&outcome)).await;
    assert_eq!(store.outcome(&job, Epoch(1)).await.unwrap().as_ref(), Some(&outcome));
    rig.put(&job, 2, &key::outcome(Epoch(2)), &json(&outcome)).await;
    assert!(store.outcome(&job, Epoch(2)).await.is_err(), "it speaks of another epoch");

    let mut stored = manifest(&job, id(1, 0), &[("result", "42"), ("copy", "42")], None);
    stored.objects.insert(sha("42"), key::output_file(Epoch(1), "result"));
    rig.put(&job, 1, &key::output_file(Epoch(1), "result"), b"42").await;
    rig.put(&job, 1, &key::output(Epoch(1)), &json(&stored)).await;
    let output = store.output(&job).await.unwrap().unwrap();
    assert_eq!((output.epoch, &output.tree), (Epoch(1), stored.tree()));
    let dir = tempfile::tempdir().unwrap();
    store.fetch_output(&job, &dir.path().join("out")).await.unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("out/copy")).unwrap(), "42");

    let lines: Vec<_> = (1..=4).map(|n| record(10 * n, &format!("line {n}"))).collect();
    rig.put(&job, 1, &key::log(Epoch(1), 0), &packed(&lines[..2])).await;
    // Overlaps the one before, as after a restart; and what is no piece is no piece.
    rig.put(&job, 1, &key::log(Epoch(1), 10), &packed(&lines[1..3])).await;
    rig.put(&job, 1, &key::log(Epoch(1), 30), &packed(&lines[3..])).await;
    rig.put(&job, 1, "000001/logs/notes.txt", b"x").await;
    for (from, wanted) in [(0, &lines[..]), (10, &lines[1..]), (25, &lines[2..]), (40, &lines[4..])]
    {
        let logs = store.logs(&job, Epoch(1), from).await.unwrap();
        let logs: Vec<_> = logs.try_collect().await.unwrap();
        assert_eq!(logs, wanted, "from {from}");
    }
    assert_eq!(store.logs(&job, Epoch(2), 0).await.unwrap().count().await, 0);
    let size = store.size(&job).await.unwrap();
    assert_eq!(size.objects, 8);
    // Small on the way, endless on arrival.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    (0..66).for_each(|_| bomb.write_all(&vec![b'x'; 1 << 20]).unwrap());
    rig.put(&job, 3, &key::log(Epoch(3), 0), &bomb.finish().unwrap()).await;
    let logs = store.logs(&job, Epoch(3), 0).await.unwrap().try_collect::<Vec<_>>().await;
    let why = logs.unwrap_err().to_string();
    assert!(why.contains("more than 64 MiB"), "{why}");
}
