//! The job's store, here a folder: what is saved there, what survives, what comes back.

use crate::rig::{Folder, Link, Rig, files, task, wait_for};
use flate2::read::GzDecoder;
use fleet_agent_api::{
    FromAgent, LogRecord, OutcomeRecord, RunSpec, Saved, Slot, Source, StopOrder, StopReason,
    StoreAccess, StoreKey, StorePlace, TaskState, ToAgent,
};
use fleet_types::bucket::{Fence, key, newest};
use fleet_types::{
    CheckpointId, CheckpointManifest, EndMachine, Epoch, StoreKind, StoredTree, Timestamp, Tree,
    TreeEntry, TreeKind,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A folder that every machine of a test sees.
struct Shared {
    dir: tempfile::TempDir,
}

impl Shared {
    fn new() -> Self {
        let shared = Self { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(shared.root()).unwrap();
        shared
    }
    fn root(&self) -> PathBuf {
        self.dir.path().join("job")
    }
    fn access(&self) -> StoreAccess {
        StoreAccess {
            place: StorePlace {
                kind: StoreKind::File,
                endpoint: String::new(),
                path_style: false,
                region: String::new(),
                bucket: String::new(),
                prefix: self.root().to_str().unwrap().to_owned(),
            },
            key: StoreKey::Folder,
            expires_in_ms: None,
        }
    }
    fn path(&self, key: &str) -> PathBuf {
        self.root().join(key)
    }
    fn write(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    /// Every key, in order, but for what is being written.
    fn keys(&self) -> Vec<String> {
        let (mut keys, mut folders) = (Vec::new(), vec![self.root()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if !entry.file_name().to_str().unwrap().starts_with(".fleet-unfinished") {
                    keys.push(path.strip_prefix(self.root()).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        keys.sort();
        keys
    }
    fn manifest(&self, epoch: u32, number: u32) -> StoredTree {
        read_json(&self.path(&key::manifest(id(epoch, number))))
    }
    /// All checkpoints that are published; each is whole, by size and digest.
    fn checkpoints(&self) -> Vec<CheckpointId> {
        let mut found = Vec::new();
        for key in self.keys() {
            if let key::Named::Manifest(id) = key::named(&key) {
                let stored: StoredTree = read_json(&self.path(&key));
                assert_eq!(stored.manifest.id, id);
                self.check(&stored);
                found.push(id);
            }
        }
        found
    }
    fn check(&self, stored: &StoredTree) {
        for (path, size, sha256) in files(stored.tree()) {
            let key = &stored.objects[sha256];
            let bytes = std::fs::read(self.path(key)).unwrap_or_else(|e| panic!("{key}: {e}"));
            assert_eq!(bytes.len() as u64, size, "{path} at {key}");
            assert_eq!(hex::encode(Sha256::digest(&bytes)), sha256, "{path} at {key}");
        }
    }
    fn bytes(&self, stored: &StoredTree, path: &str) -> Vec<u8> {
        let (_, _, sha256) = files(stored.tree()).find(|(p, ..)| *p == path).unwrap();
        std::fs::read(self.path(&stored.objects[sha256])).unwrap()
    }
    fn outcome(&self, epoch: u32) -> OutcomeRecord {
        read_json(&self.path(&key::outcome(Epoch(epoch))))
    }
    /// The output of an epoch: its pieces join without gap or repeat.
    fn log(&self, epoch: u32) -> Vec<LogRecord> {
        let (mut records, mut at) = (Vec::new(), 0);
        for key in self.keys() {
            let key::Named::Log(of, from) = key::named(&key) else { continue };
            if of != Epoch(epoch) {
                continue;
            }
            assert_eq!(from, at, "a piece begins where the one before ends");
            let packed = std::fs::read(self.path(&key)).unwrap();
            for line in BufReader::new(GzDecoder::new(&packed[..])).lines() {
                let record: LogRecord = serde_json::from_str(&line.unwrap()).unwrap();
                assert!(record.offset > at);
                at = record.offset;
                records.push(record);
            }
        }
        records
    }
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    let text = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn id(epoch: u32, number: u32) -> CheckpointId {
    CheckpointId { epoch: Epoch(epoch), number }
}

/// A task that saves into the store.
fn saving(run: &str) -> RunSpec {
    RunSpec { to_store: true, checkpoint_limit: 1, log_every_ms: Some(100), ..task(run) }
}

/// An agent with a store, and no task yet.
fn ready(rig: &Rig, shared: &Shared) -> Link {
    rig.start();
    let (mut link, _) = rig.hello(0);
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    link
}

fn run(rig: &Rig, shared: &Shared, spec: RunSpec) -> Link {
    let mut link = ready(rig, shared);
    link.send(&ToAgent::Start { spec: Box::new(spec) });
    link
}

fn saved(link: &mut Link) -> Saved {
    link.expect("a saved checkpoint", |m| match m {
        FromAgent::Saved(saved) => Some(saved.clone()),
        _ => None,
    })
}

fn refused(link: &mut Link) -> (Source, String) {
    link.expect("a reason", |m| match m {
        FromAgent::NotReady { source, reason } => Some((source.clone(), reason.clone())),
        _ => None,
    })
}

fn restore(link: &mut Link, stored: &StoredTree) -> Result<(), String> {
    link.send(&ToAgent::Restore { stored: Box::new(stored.clone()) });
    link.expect("an answer to restore", |m| match m {
        FromAgent::Placed { slot: Slot::Checkpoint } => Some(Ok(())),
        FromAgent::PutFailed { slot: Slot::Checkpoint, reason } => Some(Err(reason.clone())),
        _ => None,
    })
}

fn go(rig: &Rig, name: &str) {
    std::fs::write(rig.base().join(name), "").unwrap();
}

/// Kills the agent and waits until it is gone.
fn kill(rig: &Rig, mut link: Link) {
    let pid = rig.daemon_pid();
    let outcome = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(outcome.unwrap().success());
    link.expect_hangup();
    // The kernel lets go of the lock in its own time.
    let lock = std::fs::File::open(rig.base().join("agent.lock")).unwrap();
    wait_for("the lock", || lock.try_lock().is_ok());
}

#[test]
fn what_a_task_leaves_is_in_the_store_and_comes_back_elsewhere() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let script = r#"
cd $FLEET_CHECKPOINT_DIR
head -c 3000000 /dev/urandom > a.tmp; mv a.tmp a
while [ ! -e ../go ]; do sleep 0.02; done
mkdir d; : > d/empty; ln -s ../a d/link; chmod 600 a
echo two > b.tmp; mv b.tmp d/b
echo bye; echo out > $FLEET_OUTPUT_DIR/result; exit 3
"#;
    let mut link = run(&rig, &shared, saving(script));
    let first = saved(&mut link);
    assert_eq!(
        (first.number, first.files, first.bytes, first.sent_bytes),
        (1, 1, 3_000_000, 3_000_000)
    );
    go(&rig, "go");
    let end = link.ended();
    let second = saved(&mut link);
    assert_eq!(second.files, 3);
    assert!(second.sent_bytes < 10, "what has not changed is not sent again: {second:?}");
    let last = second.number;
    assert_eq!(link.settled(), Some(last));
    assert!(
        link.unheard()
            .iter()
            .all(|m| !matches!(m, FromAgent::Ready(_) | FromAgent::NotReady { .. })),
        "nothing goes over the line"
    );
    assert_eq!(shared.checkpoints(), [id(3, 1), id(3, last)]);
    let stored = shared.manifest(3, last);
    assert_eq!(shared.bytes(&stored, "d/b"), b"two\n");
    let big = &files(stored.tree()).find(|f| f.0 == "a").unwrap().2.to_owned();
    assert_eq!(stored.objects[big], key::file(id(3, 1), "a"), "it lies where it was first");
    let output: StoredTree = read_json(&shared.path(&key::output(Epoch(3))));
    assert_eq!(
        (output.manifest.id.number, &shared.bytes(&output, "result")[..]),
        (0, &b"out\n"[..])
    );
    shared.check(&output);
    let outcome = shared.outcome(3);
    assert_eq!((outcome.version, &outcome.end), (1, &end));
    assert_eq!((outcome.last_checkpoint, outcome.has_output), (Some(id(3, last)), true));
    let log = shared.log(3);
    assert_eq!(log.iter().map(|r| r.line.as_str()).collect::<Vec<_>>(), ["bye"]);
    assert_eq!((outcome.log_end, outcome.log_tail), (log[0].offset, log));
    let (_, state) = rig.hello(0);
    assert_eq!((state.saved.unwrap(), state.settled), (second, true));
    // Another machine, the next epoch.
    let mut next = Rig::new();
    next.config.epoch = Epoch(4);
    let mut link = ready(&next, &shared);
    restore(&mut link, &stored).unwrap();
    restore(&mut link, &stored).unwrap();
    let script = "cd $FLEET_CHECKPOINT_DIR; stat -c %a a; cat d/b; readlink d/link; wc -c < d/empty; sleep 600";
    link.send(&ToAgent::Start { spec: Box::new(saving(script)) });
    link.line("0");
    assert_eq!(link.text(), ["600", "two", "../a", "0"]);
    let bytes = std::fs::read(next.base().join("checkpoint/a")).unwrap();
    assert_eq!(hex::encode(Sha256::digest(bytes)), *big);
    assert!(std::fs::read_dir(next.base().join("blobs")).unwrap().next().is_none());
    link.send(&ToAgent::Stop(StopOrder { reason: StopReason::Cancel, within_ms: None }));
    assert_eq!(link.settled(), None, "what was restored is not saved again");
    assert_eq!(shared.outcome(4).last_checkpoint, Some(id(3, last)));
    restore(&mut link, &shared.manifest(3, 1)).unwrap_err();
}

#[test]
fn a_ghost_may_publish_and_never_wins() {
    let (shared, ghost) = (Shared::new(), Rig::new());
    let script = "cd $FLEET_CHECKPOINT_DIR; for i in 1 2 3; do while [ ! -e ../$i ]; do sleep 0.02; done; echo $FLEET_ATTEMPT-$i > m.tmp; cp m.tmp n.tmp; mv m.tmp m-$i; mv n.tmp n-$i; done; sleep 600";
    let mut old = run(&ghost, &shared, saving(script));
    go(&ghost, "1");
    let base = id(3, saved(&mut old).number);
    let mut heir = Rig::new();
    heir.config.epoch = Epoch(4);
    let fence = Fence {
        version: 1,
        job: heir.config.job.clone(),
        epoch: Epoch(4),
        base: Some(base),
        at: Timestamp::from_millis(0),
    };
    shared.write(&key::open(Epoch(4)), serde_json::to_vec(&fence).unwrap());
    let mut new = ready(&heir, &shared);
    restore(&mut new, &shared.manifest(3, base.number)).unwrap();
    new.send(&ToAgent::Start { spec: Box::new(saving(script)) });
    // Both save, the ghost last.
    go(&heir, "1");
    let mine = saved(&mut new);
    go(&ghost, "2");
    let theirs = saved(&mut old);
    assert!(theirs.number > base.number);
    let all = shared.checkpoints();
    assert!(all.contains(&id(3, theirs.number)), "{all:?}");
    assert_eq!(newest(all, &[(Epoch(4), Some(base))]), Some(id(4, mine.number)));
}

#[test]
fn numbers_and_files_of_somebody_else_are_left_alone() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let foreign = |number: u32, text: &str| {
        let file = key::file(id(3, number), "m");
        shared.write(&file, text);
        let sha256 = hex::encode(Sha256::digest(text));
        let kind = TreeKind::File { size: text.len() as u64, sha256: sha256.clone() };
        let entries = vec![TreeEntry { path: "m".into(), mode: 0o644, kind }];
        let stored = StoredTree {
            manifest: CheckpointManifest {
                version: 1,
                job: rig.config.job.clone(),
                id: id(3, number),
                taken_at: Timestamp::from_millis(0),
                tree: Tree { entries },
            },
            objects: BTreeMap::from([(sha256, file)]),
        };
        shared.write(&key::manifest(id(3, number)), serde_json::to_vec(&stored).unwrap());
    };
    foreign(1, "before");
    // A file of a checkpoint that came to nothing: a later manifest may name it.
    shared.write(&key::file(id(3, 2), "m"), "stray");
    let script = "cd $FLEET_CHECKPOINT_DIR; umask 022; for i in 3 4 5; do echo $i > m.tmp; mv m.tmp m; while [ ! -e ../$i ]; do sleep 0.02; done; done; sleep 600";
    let mut link = run(&rig, &shared, saving(script));
    assert_eq!(saved(&mut link).number, 3, "1 and 2 were used when it began");
    foreign(4, "other");
    go(&rig, "3");
    assert_eq!(saved(&mut link).number, 5, "4 came between");
    // The very same content: a put whose answer was lost.
    foreign(6, "5\n");
    go(&rig, "4");
    let same = saved(&mut link);
    assert_eq!(same.number, 6);
    assert_eq!(shared.manifest(3, 6).manifest.taken_at, Timestamp::from_millis(0), "left as it is");
    assert_eq!(shared.checkpoints(), [1, 3, 4, 5, 6].map(|n| id(3, n)));
    for (number, text) in [(1, "before"), (3, "3\n"), (4, "other"), (5, "4\n"), (6, "5\n")] {
        assert_eq!(shared.bytes(&shared.manifest(3, number), "m"), text.as_bytes());
    }
    assert_eq!(std::fs::read(shared.path(&key::file(id(3, 2), "m"))).unwrap(), b"stray");
}

#[test]
fn killed_at_any_moment_the_store_holds_whole_checkpoints_only() {
    // However slow or quick the machine is: until enough kills fell into a transfer.
    let mut cut = 0;
    for seed in 1..=40_usize {
        if seed > 8 && cut >= 3 {
            break;
        }
        let (shared, rig) = (Shared::new(), Rig::new());
        let script = r#"
cd $FLEET_CHECKPOINT_DIR
for step in 1 2; do
  mkdir tmp-checkpoint-$step
  for i in $(seq 1 12); do head -c 2000000 /dev/urandom > tmp-checkpoint-$step/shard-$i; done
  mv tmp-checkpoint-$step checkpoint-$step
  while [ ! -e ../$step ]; do sleep 0.02; done
done
sleep 600
"#;
        let mut link = run(&rig, &shared, RunSpec { grace_ms: 200, ..saving(script) });
        let step = 1 + (seed as u32) % 2;
        if step == 2 {
            saved(&mut link);
            go(&rig, "1");
        }
        // Killed as soon as so many of the twelve shards are there: never, some, all, the manifest too.
        let shards = |shared: &Shared| {
            let below = key::epoch(Epoch(3));
            let is_shard = |key: &&String| key.starts_with(&below) && key.contains("/files/");
            shared.keys().iter().filter(is_shard).count()
        };
        let target = 12 * (step as usize - 1) + (seed * 7) % 13;
        wait_for("the moment", || shards(&shared) >= target);
        kill(&rig, link);
        let before = shared.checkpoints();
        cut += usize::from(before.len() < step as usize && shards(&shared) > 0);
        rig.start();
        let (mut link, state) = rig.hello(0);
        assert!(!state.settled);
        if let Some(told) = &state.saved {
            assert!(before.contains(&id(3, told.number)), "seed {seed}: a false saved");
        }
        link.send(&ToAgent::Store { access: Box::new(shared.access()) });
        let last = link.settled();
        let all = shared.checkpoints();
        assert!(before.iter().all(|id| all.contains(id)), "seed {seed}: {before:?} {all:?}");
        assert_eq!(all.last().map(|id| id.number), last, "seed {seed}");
        let stored = shared.manifest(3, last.unwrap());
        let newest = files(stored.tree()).filter(|f| f.0.contains(&format!("checkpoint-{step}/")));
        assert_eq!(newest.count(), 12, "seed {seed}");
        if let Some(earlier) = before.first().filter(|_| step == 2) {
            let earlier = shared.manifest(3, earlier.number).objects;
            let is_reused = |(sha256, key)| stored.objects.get(sha256) == Some(key);
            assert!(earlier.iter().all(is_reused), "seed {seed}: sent again after the restart");
        }
        assert!(shared.outcome(3).end.lost, "seed {seed}");
        shared.log(3);
    }
    assert!(cut >= 3, "only {cut} kills fell into a transfer");
}

#[test]
fn a_notice_is_saved_in_time_with_nobody_in_contact() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let script = "trap 'echo last > $FLEET_CHECKPOINT_DIR/m; exit 0' TERM; echo first > $FLEET_CHECKPOINT_DIR/m; echo up; while :; do sleep 0.05; done";
    let mut link = run(&rig, &shared, saving(script));
    link.line("up");
    let first = saved(&mut link);
    link.send(&ToAgent::Stop(StopOrder { reason: StopReason::Notice, within_ms: Some(15_000) }));
    wait_for("the order came", || rig.base().join("preemption").exists());
    drop(link);
    wait_for("the outcome", || shared.path(&key::outcome(Epoch(3))).exists());
    let outcome = shared.outcome(3);
    assert_eq!((outcome.end.code, outcome.end.stopped), (Some(0), Some(StopReason::Notice)));
    let last = outcome.last_checkpoint.unwrap();
    assert!(last.number > first.number);
    assert_eq!(shared.bytes(&shared.manifest(3, last.number), "m"), b"last\n");
    let log = shared.log(3);
    assert_eq!(log[0].line, "up");
    assert_eq!(log.last().unwrap().offset, outcome.log_end, "the outcome comes after the log");
}

#[test]
fn at_the_end_of_its_life_a_machine_saves_before_it_goes() {
    let (shared, mut rig) = (Shared::new(), Rig::new());
    let mark = rig.home().join("ended").to_str().unwrap().to_owned();
    rig.config.end_machine = EndMachine::Command(vec!["touch".into(), mark.clone()]);
    rig.config.expires_in_ms = 1500;
    let script = "trap 'head -c 9000000 /dev/urandom > $FLEET_CHECKPOINT_DIR/m; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut link = run(&rig, &shared, saving(script));
    link.line("up");
    drop(link);
    wait_for("the end of the machine", || Path::new(&mark).exists());
    let outcome = shared.outcome(3);
    assert_eq!(outcome.end.stopped, Some(StopReason::Limit));
    let last = outcome.last_checkpoint.unwrap();
    assert_eq!(shared.bytes(&shared.manifest(3, last.number), "m").len(), 9_000_000);
}

#[test]
fn a_store_that_fails_is_told_once_and_saved_to_when_it_is_mended() {
    let (shared, rig) = (Shared::new(), Rig::new());
    std::fs::remove_dir(shared.root()).unwrap();
    let script = "cd $FLEET_CHECKPOINT_DIR; i=0; while [ ! -e ../stop ]; do i=$((i+1)); echo $i > m.tmp; mv m.tmp m; echo $i > ../c; mv ../c ../count; sleep 0.3; done";
    let mut link = run(&rig, &shared, saving(script));
    let (source, reason) = refused(&mut link);
    assert_eq!(source, Source::Checkpoint(1));
    assert!(reason.contains("no such bucket"), "{reason}");
    // Newer pictures take the place of those that wait; it is tried again and told no more.
    let tried = Instant::now();
    while tried.elapsed() < Duration::from_secs(3) {
        link.pump(Duration::from_millis(50));
    }
    let heard = link.unheard();
    assert!(
        !heard.iter().any(|m| matches!(m, FromAgent::Saved(_) | FromAgent::NotReady { .. })),
        "{heard:?}"
    );
    // Another failure: a file lies where the epoch's folder should.
    std::fs::create_dir(shared.root()).unwrap();
    std::fs::write(shared.path("000003"), "in the way").unwrap();
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    let (_, reason) = refused(&mut link);
    assert!(reason.contains("000003"), "{reason}");
    drop(link);
    let (mut link, state) = rig.hello(0);
    assert_eq!(state.saved, None, "nothing was saved, and nothing is said to be");
    assert_eq!(refused(&mut link).1, reason, "whoever comes later hears it too");
    std::fs::remove_file(shared.path("000003")).unwrap();
    let written: u32 =
        std::fs::read_to_string(rig.base().join("count")).unwrap().trim().parse().unwrap();
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    let first = saved(&mut link);
    let text = shared.bytes(&shared.manifest(3, first.number), "m");
    let text: u32 = String::from_utf8(text).unwrap().trim().parse().unwrap();
    assert!(
        text + 1 >= written,
        "the newest is saved, not what waited for long: {text} of {written}"
    );
    go(&rig, "stop");
    link.settled().unwrap();
    shared.checkpoints();
}

#[test]
fn an_outcome_is_written_once() {
    let (shared, rig) = (Shared::new(), Rig::new());
    // Nothing but the outcome is to be saved, and it cannot be yet.
    std::fs::remove_dir(shared.root()).unwrap();
    let mut link = run(&rig, &shared, saving("exit 5"));
    link.ended();
    let (source, reason) = refused(&mut link);
    assert!(source == Source::Output && reason.contains("outcome.json"), "{reason}");
    assert!(!rig.hello(0).1.settled, "it is settled when its outcome is there");
    let (mut link, _) = rig.hello(0);
    std::fs::create_dir(shared.root()).unwrap();
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    link.settled();
    let path = shared.path(&key::outcome(Epoch(3)));
    let first = std::fs::read(&path).unwrap();
    let at = std::fs::metadata(&path).unwrap().modified().unwrap();
    kill(&rig, link);
    rig.start();
    let (mut link, state) = rig.hello(0);
    assert!(state.settled, "it is remembered");
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    // One that does not remember finds it there.
    kill(&rig, link);
    std::fs::remove_file(rig.base().join("state.json")).unwrap();
    let mut link = run(&rig, &shared, saving("exit 6"));
    link.settled();
    assert_eq!(std::fs::read(&path).unwrap(), first);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), at);
    assert_eq!(shared.outcome(3).end.code, Some(5));
}

#[test]
fn a_flood_is_in_the_store_in_pieces_without_gap_or_repeat() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let lines = 200_000;
    let mut link = run(&rig, &shared, saving(&format!("seq 1 {lines}")));
    link.settled();
    let log = shared.log(3);
    assert_eq!(log.len(), lines);
    for (i, record) in log.iter().enumerate() {
        assert_eq!(record.line, (i + 1).to_string());
    }
    assert_eq!(shared.outcome(3).log_end, log[lines - 1].offset);
    let tail = shared.outcome(3).log_tail;
    assert_eq!(tail[..], log[lines - tail.len()..]);
    assert!(shared.keys().iter().filter(|k| k.contains("/logs/")).count() > 5, "in pieces");
}

#[test]
fn logs_in_the_store_have_no_gap_and_no_repeat_over_kills() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.002; done";
    let spec = RunSpec { log_every_ms: Some(300), grace_ms: 200, ..saving(script) };
    let mut link = run(&rig, &shared, spec);
    let pieces = || shared.keys().iter().filter(|k| k.contains("/logs/")).count();
    link.until("two pieces", |_| pieces() >= 2);
    // Some more, which are in no piece yet.
    let seen = link.logs.len();
    link.until("more lines", |l| l.logs.len() > seen + 5);
    kill(&rig, link);
    // What was carried, but not remembered, is found in the store.
    let state = rig.base().join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    let mut memory: serde_json::Value = serde_json::from_str(&text).unwrap();
    memory["shipped"] = 0.into();
    std::fs::write(&state, memory.to_string()).unwrap();
    rig.start();
    let (mut link, _) = rig.hello(0);
    link.send(&ToAgent::Store { access: Box::new(shared.access()) });
    link.settled();
    let log = shared.log(3);
    assert!(log.len() > seen);
    for (i, record) in log.iter().enumerate() {
        assert_eq!(record.line, (i + 1).to_string());
    }
    assert_eq!(shared.outcome(3).log_end, log.last().unwrap().offset);
}

#[test]
fn a_machine_left_alone_ends_after_its_outcome_is_in_the_store_and_not_before() {
    let (shared, mut rig) = (Shared::new(), Rig::new());
    std::fs::remove_dir(shared.root()).unwrap();
    let mark = rig.home().join("ended").to_str().unwrap().to_owned();
    rig.config.end_machine = EndMachine::Command(vec!["touch".into(), mark.clone()]);
    rig.config.alone_ms = Some(300);
    let mut link = run(&rig, &shared, saving("echo result > $FLEET_OUTPUT_DIR/r"));
    link.ended();
    refused(&mut link);
    drop(link);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(1500) {
        assert!(!Path::new(&mark).exists(), "the outcome is nowhere yet");
        std::thread::yield_now();
    }
    std::fs::create_dir(shared.root()).unwrap();
    wait_for("the end of the machine", || Path::new(&mark).exists());
    let outcome = shared.outcome(3);
    assert_eq!((outcome.end.code, outcome.has_output), (Some(0), true));
}

#[test]
fn without_a_store_a_machine_left_alone_waits() {
    let mut rig = Rig::new();
    let mark = rig.home().join("ended").to_str().unwrap().to_owned();
    rig.config.end_machine = EndMachine::Command(vec!["touch".into(), mark.clone()]);
    rig.config.alone_ms = Some(50);
    let mut link = rig.run(task("exit 0"));
    link.settled();
    drop(link);
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(700) {
        assert!(!Path::new(&mark).exists(), "the controller must have its lines first");
        std::thread::yield_now();
    }
}

#[test]
fn secrets_never_reach_the_store() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let secret = "correct-horse-battery";
    let mut spec = saving("echo $KEY; echo err $KEY >&2; echo ok > $FLEET_OUTPUT_DIR/r; exit 1");
    spec.secrets = BTreeMap::from([("KEY".into(), secret.into())]);
    let mut link = run(&rig, &shared, spec);
    link.settled();
    let mut looked_at = 0;
    for key in shared.keys() {
        let mut bytes = std::fs::read(shared.path(&key)).unwrap();
        if key.ends_with(".gz") {
            let packed = std::mem::take(&mut bytes);
            GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
        }
        let has = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(!has(secret), "{key} holds the secret");
        looked_at += usize::from(has("***"));
    }
    assert!(looked_at >= 2, "the log and the outcome's last lines were there to look at");
}

#[test]
fn three_hundred_megabytes_are_saved_and_restored_in_little_memory() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let script = "cd $FLEET_CHECKPOINT_DIR; mkdir s.tmp; for i in 1 2 3 4 5 6; do head -c 50000000 /dev/urandom > s.tmp/$i; done; echo written; mv s.tmp s; sleep 600";
    let mut link = run(&rig, &shared, RunSpec { quiet_ms: 5000, ..saving(script) });
    link.line("written");
    let since = Instant::now();
    assert_eq!(saved(&mut link).bytes, 300_000_000);
    println!("saved after {:?} with {} KiB", since.elapsed(), rig.memory_kib());
    assert!(rig.memory_kib() < 64 << 10, "{} KiB", rig.memory_kib());
    let mut next = Rig::new();
    next.config.epoch = Epoch(4);
    let mut link = ready(&next, &shared);
    let since = Instant::now();
    restore(&mut link, &shared.manifest(3, 1)).unwrap();
    println!("restored after {:?} with {} KiB", since.elapsed(), next.memory_kib());
    assert!(next.memory_kib() < 64 << 10, "{} KiB", next.memory_kib());
}

#[test]
fn what_cannot_be_restored_whole_is_not_restored_at_all() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let big: Vec<u8> = (0..40_000_000_u32).map(|i| (i % 251) as u8).collect();
    let folder = Folder::default()
        .file("big", 0o644, big.clone())
        .file("d/small", 0o600, "small")
        .file("empty", 0o644, "");
    let mut stored = StoredTree {
        manifest: CheckpointManifest {
            version: 1,
            job: rig.config.job.clone(),
            id: id(2, 9),
            taken_at: Timestamp::from_millis(0),
            tree: folder.tree.clone(),
        },
        objects: BTreeMap::new(),
    };
    for (path, _, sha256) in files(&folder.tree) {
        let key = key::file(id(2, 9), path);
        shared.write(&key, &folder.bytes[sha256]);
        stored.objects.insert(sha256.to_owned(), key);
    }
    let place = |path: &str| shared.path(&key::file(id(2, 9), path));
    let mut link = ready(&rig, &shared);
    let kept = rig.base().join("checkpoint/kept");
    std::fs::write(&kept, "").unwrap();
    let mut wrong = |what: &str, word: &str, stored: &StoredTree| {
        let reason = restore(&mut link, stored).unwrap_err();
        assert!(reason.contains(word), "{what}: {reason}");
        assert!(kept.exists() && !rig.base().join("checkpoint/d").exists(), "{what} was placed");
    };
    let mut bytes = big.clone();
    bytes[17_000_000] ^= 1;
    std::fs::write(place("big"), &bytes).unwrap();
    wrong("another content", "000002/000009/files/big` in the job's store has the digest", &stored);
    std::fs::write(place("big"), &big[..20_000_000]).unwrap();
    wrong("a short object", "ends before", &stored);
    std::fs::write(place("big"), [&big[..], b"more"].concat()).unwrap();
    wrong("a long object", "goes on", &stored);
    std::fs::write(place("big"), &big).unwrap();
    let mut odd = stored.clone();
    odd.manifest.tree.entries[1].path = "../out".into();
    wrong("a path that leaves", "leave the folder", &odd);
    let mut odd = stored.clone();
    odd.objects.values_mut().for_each(|key| *key = format!("../{key}"));
    wrong("a key that leaves", "no key of a job's store", &odd);
    let mut odd = stored.clone();
    odd.objects.clear();
    wrong("a manifest with holes", "does not say where", &odd);
    // An object that is missing; what came before is not fetched again: it may even be gone.
    let late = Folder::default().file("late", 0o644, "late");
    let sha256 = hex::encode(Sha256::digest("late"));
    let mut stored = stored.clone();
    stored.manifest.tree.entries.extend(late.tree.entries);
    stored.objects.insert(sha256, key::file(id(2, 9), "late"));
    wait_for("the big one was fetched", || {
        wrong("a missing object", "files/late", &stored);
        std::fs::read_dir(rig.base().join("blobs")).unwrap().flatten().any(|e| {
            let is_whole = !e.file_name().to_str().unwrap().contains('.');
            is_whole && e.metadata().unwrap().len() == big.len() as u64
        })
    });
    std::fs::remove_file(place("big")).unwrap();
    std::fs::write(place("late"), "late").unwrap();
    restore(&mut link, &stored).unwrap();
    assert_eq!(std::fs::read(rig.base().join("checkpoint/big")).unwrap(), big);
    assert!(!kept.exists(), "the folder is replaced as a whole");
    let (_, state) = rig.hello(0);
    assert_eq!(state.placed, [Slot::Checkpoint]);
}

#[test]
fn a_cut_restore_goes_on_where_it_was() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let bytes: Vec<u8> = (0..40_000_000_u32).map(|i| (i % 251) as u8).collect();
    let folder = Folder::default().file("big", 0o644, bytes.clone());
    let (_, _, sha256) = files(&folder.tree).next().unwrap();
    let place = key::file(id(2, 1), "big");
    let stored = StoredTree {
        manifest: CheckpointManifest {
            version: 1,
            job: rig.config.job.clone(),
            id: id(2, 1),
            taken_at: Timestamp::from_millis(0),
            tree: folder.tree.clone(),
        },
        objects: BTreeMap::from([(sha256.to_owned(), place.clone())]),
    };
    let mut link = ready(&rig, &shared);
    // So far it comes; the first stretch is noted.
    shared.write(&place, &bytes[..20_000_000]);
    let map = rig.base().join("blobs").join(format!("{sha256}.map"));
    wait_for("the first stretch", || {
        assert!(restore(&mut link, &stored).unwrap_err().contains("ends before"));
        std::fs::read_to_string(&map).is_ok_and(|text| text.lines().any(|line| line == "0"))
    });
    kill(&rig, link);
    let mut link = ready(&rig, &shared);
    // Fetched again it would be wrong.
    let mut other = bytes.clone();
    other[..1000].fill(0);
    shared.write(&place, &other);
    restore(&mut link, &stored).unwrap();
    assert!(std::fs::read(rig.base().join("checkpoint/big")).unwrap() == bytes);
    assert!(!map.exists());
}

#[test]
fn a_restore_without_a_store_is_refused() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let stored = StoredTree {
        manifest: CheckpointManifest {
            version: 1,
            job: rig.config.job.clone(),
            id: id(1, 1),
            taken_at: Timestamp::from_millis(0),
            tree: Tree::default(),
        },
        objects: BTreeMap::new(),
    };
    assert!(restore(&mut link, &stored).unwrap_err().contains("no store was named"));
}

#[test]
fn nothing_is_started_over_a_checkpoint_that_is_being_restored() {
    let (mut access, rig) = (Shared::new().access(), Rig::new());
    access.key = StoreKey::Asked;
    access.place.kind = StoreKind::S3;
    access.place.bucket = "bucket".into();
    access.place.endpoint = "http://127.0.0.1:9".into();
    access.place.prefix = "runs/j".into();
    rig.start();
    let (mut link, _) = rig.hello(0);
    link.send(&ToAgent::Store { access: Box::new(access) });
    let folder = Folder::default().file("m", 0o644, "m");
    let (_, _, sha256) = files(&folder.tree).next().unwrap();
    let stored = StoredTree {
        manifest: CheckpointManifest {
            version: 1,
            job: rig.config.job.clone(),
            id: id(1, 1),
            taken_at: Timestamp::from_millis(0),
            tree: folder.tree.clone(),
        },
        objects: BTreeMap::from([(sha256.to_owned(), key::file(id(1, 1), "m"))]),
    };
    link.send(&ToAgent::Restore { stored: Box::new(stored) });
    // It is not answered: the restore goes on for as long as the test needs.
    link.expect("a question", |m| matches!(m, FromAgent::Sign { .. }).then_some(()));
    link.send(&ToAgent::Start { spec: Box::new(saving("echo never")) });
    let reason = link.expect("a no", |m| match m {
        FromAgent::Refused { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("being restored"), "{reason}");
    let (_, state) = rig.hello(0);
    assert_eq!(state.task, TaskState::Idle);
}

#[test]
fn a_save_slower_than_the_warning_is_told() {
    let (shared, rig) = (Shared::new(), Rig::new());
    let script =
        "cd $FLEET_CHECKPOINT_DIR; head -c 5000000 /dev/urandom > m.tmp; mv m.tmp m; sleep 600";
    let mut link = run(&rig, &shared, RunSpec { warning_ms: Some(1), ..saving(script) });
    let slow = |m: &FromAgent| match m {
        FromAgent::Slow { bytes, per_second, warning_ms } => {
            Some((*bytes, *per_second > 0, *warning_ms))
        }
        _ => None,
    };
    assert_eq!(link.expect("the warning", slow), (5_000_000, true, 1));
    drop(link);
    let (mut link, _) = rig.hello(0);
    assert_eq!(link.expect("the warning again", slow), (5_000_000, true, 1));
}

#[test]
fn without_a_key_every_request_is_asked_of_whoever_is_in_contact() {
    let (mut shared, rig) = (Shared::new().access(), Rig::new());
    shared.key = StoreKey::Asked;
    shared.place.kind = StoreKind::S3;
    shared.place.bucket = "bucket".into();
    // Nobody listens there; a signed address would be tried, a refused signature is not.
    shared.place.endpoint = "http://127.0.0.1:9".into();
    shared.place.prefix = "runs/j".into();
    rig.start();
    let (mut link, _) = rig.hello(0);
    link.send(&ToAgent::Store { access: Box::new(shared) });
    let script = "echo x > $FLEET_CHECKPOINT_DIR/m; sleep 600";
    link.send(&ToAgent::Start { spec: Box::new(saving(script)) });
    let mut asked = Vec::new();
    let reason = loop {
        let (question, reason) = link.expect("a question or a reason", |m| match m {
            FromAgent::Sign { request, calls } => Some((Some((*request, calls.clone())), None)),
            FromAgent::NotReady { reason, .. } => Some((None, Some(reason.clone()))),
            _ => None,
        });
        if let Some(reason) = reason {
            break reason;
        }
        let (request, calls) = question.unwrap();
        asked.extend(calls.into_iter().map(|call| call.key));
        link.send(&ToAgent::NotSigned { request, reason: "not now".into() });
    };
    assert!(reason.contains("not now"), "{reason}");
    assert!(asked.contains(&key::outcome(Epoch(3))), "asked for ahead: {asked:?}");
}
