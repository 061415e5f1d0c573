//! Checkpoints: whole, once, resumable, and the last one without waiting.

use crate::rig::{Folder, Rig, paths, task, wait_for};
use fleet_agent_api::{
    FromAgent, RunSpec, Slot, Source, StopOrder, StopReason, TaskState, ToAgent, Want,
};
use std::io::Write;
use std::time::{Duration, Instant};

#[test]
fn a_rename_is_a_checkpoint_and_the_unfinished_stays_out() {
    let rig = Rig::new();
    let script = r#"
cd $FLEET_CHECKPOINT_DIR
exec 3> growing; echo x >&3
mkdir step; echo one > step/model.tmp; mv step/model.tmp step/model
echo half > next.part
echo up
while [ ! -e ../go ]; do echo more >&3; sleep 0.05; done
"#;
    let spec = RunSpec { quiet_ms: 1500, ..task(script) };
    let mut link = rig.run(spec);
    let first = link.ready();
    assert_eq!(first.source, Source::Checkpoint(1));
    assert_eq!(paths(&first.tree), ["step/model"]);
    assert_eq!(link.fetch(&first)["step/model"], b"one\n");
    link.published(&first.source);
    std::fs::write(rig.base().join("go"), "").unwrap();
    link.ended();
    let last = link.ready();
    assert_eq!(last.source, Source::Checkpoint(2));
    assert_eq!(paths(&last.tree), ["growing", "step/model"]);
    link.send(&ToAgent::Declined { source: last.source, reason: "no room".into() });
    assert_eq!(link.settled(), Some(1));
    wait_for("the stages went", || {
        std::fs::read_dir(rig.base().join("stage")).unwrap().count() == 0
    });
}

#[test]
fn what_frameworks_write_last_makes_a_checkpoint_at_once_and_its_lack_makes_none() {
    let rig = Rig::new();
    // Far more quiet than a test waits: only the last words can end a save here.
    let script = r#"
cd $FLEET_CHECKPOINT_DIR
exec 4> running.log
exec 3> last.ckpt; echo half >&3
mkdir dcp-1 checkpoint-5 dcp-2
echo w > dcp-1/__0_0.distcp; echo w > dcp-2/__0_0.distcp
echo w > checkpoint-5/model.safetensors; echo a > checkpoint-5/training_args.bin
echo m > dcp-1/.metadata.tmp; mv dcp-1/.metadata.tmp dcp-1/.metadata
while [ ! -e ../a ]; do echo x >&4; sleep 0.05; done
echo s > checkpoint-5/trainer_state.json
while [ ! -e ../b ]; do sleep 0.05; done
exec 3>&-
while [ ! -e ../c ]; do sleep 0.05; done
exec 3>> last.ckpt; echo more >&3
sleep 600
"#;
    let mut link = rig.run(RunSpec { quiet_ms: 60_000, ..task(script) });
    let first = link.ready();
    assert_eq!(paths(&first.tree), ["dcp-1/.metadata", "dcp-1/__0_0.distcp"]);
    link.published(&first.source);
    std::fs::write(rig.base().join("a"), "").unwrap();
    let second = link.ready();
    assert_eq!(paths(&second.tree)[0], "checkpoint-5/model.safetensors");
    assert!(paths(&second.tree).iter().all(|p| !p.starts_with("dcp-2") && *p != "last.ckpt"));
    link.published(&second.source);
    std::fs::write(rig.base().join("b"), "").unwrap();
    let closed = |tree: &fleet_types::Tree| paths(tree).contains(&"last.ckpt");
    let mut third = link.ready();
    while !closed(&third.tree) {
        link.published(&third.source);
        third = link.ready();
    }
    assert_eq!(link.fetch(&third)["last.ckpt"], b"half\n");
    link.published(&third.source);
    // Killed while it is written anew: dcp-2 has no last word and is never part of anything.
    std::fs::write(rig.base().join("c"), "").unwrap();
    link.send(&ToAgent::Stop(StopOrder { reason: StopReason::Cancel, within_ms: None }));
    link.ended();
    for message in link.unheard() {
        if let FromAgent::Ready(invitation) = message {
            assert!(paths(&invitation.tree).iter().all(|p| !p.starts_with("dcp-2")));
        }
    }
}

#[test]
fn a_lightning_file_that_is_open_is_left_out_however_quiet() {
    let rig = Rig::new();
    let script = r#"
cd $FLEET_CHECKPOINT_DIR
exec 3> last.ckpt; echo half >&3; echo x > other
while [ ! -e ../go ]; do sleep 0.02; done
echo whole >&3; exec 3>&-
sleep 600
"#;
    let mut link = rig.run(RunSpec { quiet_ms: 200, ..task(script) });
    let first = link.ready();
    assert_eq!(paths(&first.tree), ["other"]);
    link.published(&first.source);
    std::fs::write(rig.base().join("go"), "").unwrap();
    let second = link.ready();
    assert_eq!(link.fetch(&second)["last.ckpt"], b"half\nwhole\n");
}

#[test]
fn what_is_quiet_is_a_checkpoint_once_and_a_restored_one_is_none() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let restored = Folder::default().file("model", 0o644, "old");
    link.put(Slot::Checkpoint, &restored).unwrap();
    let script = r#"
cat $FLEET_CHECKPOINT_DIR/model; echo
while [ ! -e ../a ]; do sleep 0.05; done
printf new > $FLEET_CHECKPOINT_DIR/model
while [ ! -e ../b ]; do sleep 0.05; done
touch $FLEET_CHECKPOINT_DIR/model
echo out > $FLEET_OUTPUT_DIR/result
"#;
    link.send(&ToAgent::Start { spec: Box::new(RunSpec { quiet_ms: 150, ..task(script) }) });
    link.line("old");
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(500) {
        link.pump(Duration::from_millis(50));
    }
    let unheard = link.unheard();
    assert!(
        unheard.iter().all(|m| matches!(m, FromAgent::Task { state: TaskState::Active { .. } })),
        "what was restored is offered to nobody: {unheard:?}"
    );
    std::fs::write(rig.base().join("a"), "").unwrap();
    let new = link.ready();
    assert_eq!(link.fetch(&new)["model"], b"new");
    link.published(&new.source);
    std::fs::write(rig.base().join("b"), "").unwrap();
    link.ended();
    let output = link.ready();
    assert_eq!(output.source, Source::Output, "the checkpoint has not changed");
    assert_eq!(link.fetch(&output)["result"], b"out\n");
    link.published(&output.source);
    assert_eq!(link.settled(), Some(1));
}

#[test]
fn files_that_change_all_the_time_are_never_mixed() {
    let rig = Rig::new();
    // Two files that always belong together, rewritten in place as fast as possible.
    let script = r#"
python3 - <<'EOF'
import os, time
d = os.environ["FLEET_CHECKPOINT_DIR"]
big = 200_000
n = 0
while not os.path.exists("../go"):
    n += 1
    for name in "ab":
        with open(d + "/" + name, "r+" if os.path.exists(d + "/" + name) else "w") as f:
            f.write(("%08d" % n) * big)
    if n % 10 == 0:
        open(d + "/x.tmp", "w").close()
        os.rename(d + "/x.tmp", d + "/mark")
    if n % 25 == 0:
        time.sleep(0.3)
EOF
"#;
    let mut link = rig.run(RunSpec { quiet_ms: 100, ..task(script) });
    let mut whole = 0;
    let since = Instant::now();
    while whole < 3 {
        assert!(since.elapsed() < crate::rig::PATIENCE, "no whole checkpoint came");
        let offer = link.ready();
        let hashes = |name: &str| {
            crate::rig::files(&offer.tree).find(|f| f.0 == name).map(|f| f.2.to_owned())
        };
        if let (Some(a), Some(b)) = (hashes("a"), hashes("b")) {
            assert_eq!(a, b, "two versions in one checkpoint");
            whole += 1;
        }
        link.published(&offer.source);
    }
    std::fs::write(rig.base().join("go"), "").unwrap();
    link.ended();
}

#[test]
fn a_download_goes_on_where_it_was_cut_and_is_offered_again() {
    let rig = Rig::new();
    let script = "head -c 5000000 /dev/urandom > $FLEET_CHECKPOINT_DIR/m.tmp; mv $FLEET_CHECKPOINT_DIR/m.tmp $FLEET_CHECKPOINT_DIR/m; sleep 600";
    let mut link = rig.run(task(script));
    let offer = link.ready();
    let sha256 = crate::rig::files(&offer.tree).next().unwrap().2.to_owned();
    let want = |from| ToAgent::Want {
        source: offer.source.clone(),
        blobs: vec![Want { sha256: sha256.clone(), from }],
    };
    link.send(&want(0));
    let mut bytes = link.piece().bytes.to_vec();
    bytes.extend_from_slice(&link.piece().bytes);
    drop(link);
    let (mut link, _) = rig.hello(0);
    assert_eq!(link.ready(), offer, "the same offer again");
    link.send(&want(bytes.len() as u64));
    let (digest, bytes) = link.blob(bytes);
    assert_eq!((digest, bytes.len()), (sha256.clone(), 5_000_000));
    link.published(&offer.source);
    link.send(&want(0));
    link.expect("a no", |m| matches!(m, FromAgent::NotReady { .. }).then_some(()));
}

#[test]
fn what_changes_in_transfer_is_dropped_and_offered_anew() {
    let rig = Rig::new();
    let script = "head -c 3000000 /dev/zero > $FLEET_CHECKPOINT_DIR/m; sleep 600";
    let mut link = rig.run(task(script));
    let offer = link.ready();
    let file = rig.base().join("checkpoint/m");
    std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(b"more").unwrap();
    let sha256 = crate::rig::files(&offer.tree).next().unwrap().2.to_owned();
    link.send(&ToAgent::Want { source: offer.source, blobs: vec![Want { sha256, from: 0 }] });
    link.expect("a no", |m| {
        matches!(m, FromAgent::NotReady { source: Source::Checkpoint(1), .. }).then_some(())
    });
    let offer = link.ready();
    assert_eq!((&offer.source, offer.tree.size()), (&Source::Checkpoint(2), 3_000_004));
    assert_eq!(link.fetch(&offer)["m"].len(), 3_000_004);
}

#[test]
fn a_checkpoint_above_the_limit_is_refused_with_a_reason() {
    let rig = Rig::new();
    let script = "head -c 5000 /dev/zero > $FLEET_CHECKPOINT_DIR/m; sleep 600";
    let mut link = rig.run(RunSpec { checkpoint_limit: 4096, ..task(script) });
    let reason = link.expect("a reason", |m| match m {
        FromAgent::NotReady { source: Source::Checkpoint(1), reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("5000") && reason.contains("4096"), "{reason}");
    link.send(&ToAgent::Stop(StopOrder { reason: StopReason::Cancel, within_ms: None }));
    assert_eq!(link.ended().stopped, Some(StopReason::Cancel));
    assert_eq!(link.settled(), None);
}

#[test]
fn a_hundred_megabytes_are_carried_quickly_in_little_memory() {
    let rig = Rig::new();
    let script = "cd $FLEET_CHECKPOINT_DIR; head -c 100000000 /dev/urandom > m.tmp; echo written; mv m.tmp m; sleep 600";
    let mut link = rig.run(task(script));
    link.line("written");
    let since = Instant::now();
    let offer = link.ready();
    let offered = since.elapsed();
    assert_eq!(link.fetch(&offer)["m"].len(), 100_000_000);
    let memory = rig.memory_kib();
    println!("offered after {offered:?}, here after {:?}, memory {memory} KiB", since.elapsed());
    assert!(cfg!(debug_assertions) || memory < 32 << 10, "{memory} KiB");
}
