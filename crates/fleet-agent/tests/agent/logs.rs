//! The task's output: lossless, resumable, without secrets.

use crate::rig::{Rig, task};
use fleet_agent_api::{RunSpec, ToAgent};
use fleet_types::LogStream;
use std::collections::BTreeMap;

#[test]
fn logs_resume_at_any_offset_without_loss_or_repeat() {
    let rig = Rig::new();
    let mut link = rig.run(task(
        "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo problem >&2; printf tail",
    ));
    link.until("half of the lines", |l| l.logs.len() > 1000);
    let mut all = link.logs.clone();
    drop(link);
    while all.len() < 3002 {
        let from = all.last().unwrap().offset;
        let (mut link, state) = rig.hello(from);
        assert!(state.log_end >= from);
        link.until("some more", |l| !l.logs.is_empty());
        link.send(&ToAgent::LogAck { offset: from });
        all.extend(link.logs.clone());
    }
    let out: Vec<_> = all.iter().filter(|r| r.stream == LogStream::Stdout).collect();
    assert_eq!(out.len(), 3001);
    for (i, record) in out.iter().take(3000).enumerate() {
        assert_eq!(record.line, format!("line {i}"));
    }
    assert_eq!(out[3000].line, "tail");
    let err: Vec<_> = all.iter().filter(|r| r.stream == LogStream::Stderr).collect();
    assert_eq!((err.len(), err[0].line.as_str()), (1, "problem"));
    assert!(all.windows(2).all(|w| w[0].offset < w[1].offset));
}

#[test]
fn secrets_are_in_no_file_of_the_agent() {
    let rig = Rig::new();
    let secret = "correct-horse-battery";
    let mut spec = task(
        "printf correct-; sleep 0.05; printf horse-; printf 'battery\\n'; echo $KEY >&2; sleep 600",
    );
    spec.secrets = BTreeMap::from([("KEY".into(), secret.into())]);
    let mut link = rig.run(spec);
    link.until("both lines", |l| l.logs.len() >= 2);
    assert_eq!(link.text(), ["***", "***"]);
    let mut folders = vec![rig.base()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
                assert!(!found, "{} holds the secret", entry.path().display());
                looked_at += 1;
            }
        }
    }
    assert!(looked_at >= 3, "the spool, the state and the locks were there to look at");
}

#[test]
fn a_flood_is_lossless_and_costs_no_memory() {
    let rig = Rig::new();
    let lines = 300_000;
    let mut link = rig.run(RunSpec {
        ..task(&format!("seq 1 {lines}; head -c 1000000 /dev/zero | tr '\\0' x; echo"))
    });
    link.ended();
    link.until("all lines", |l| {
        l.logs.last().is_some_and(|r| r.line.starts_with('x'))
            && l.logs.iter().map(|r| r.line.len()).filter(|n| *n > 60_000).count() >= 15
    });
    for (i, record) in link.logs.iter().take(lines).enumerate() {
        assert_eq!(record.line, (i + 1).to_string());
    }
    let long: String = link.logs[lines..].iter().map(|r| r.line.as_str()).collect();
    assert_eq!(long.len(), 1_000_000);
    let memory = rig.memory_kib();
    println!("memory at most {memory} KiB");
    assert!(memory < 64 << 10, "{memory} KiB");
}
