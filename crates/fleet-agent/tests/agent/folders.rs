//! Putting folders on the machine and pulling them from it.

use crate::rig::{Folder, Rig, paths, task};
use fleet_agent_api::{FromAgent, Slot, Source, ToAgent, encode_blob};
use fleet_types::TreeKind;
use sha2::{Digest, Sha256};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

#[test]
fn folders_and_file_mounts_arrive_with_modes_links_and_duplicates() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let folder = Folder::default()
        .file("a/run.sh", 0o755, "#!/bin/sh\n")
        .file("a/twin", 0o600, "same")
        .file("b/twin", 0o644, "same")
        .file("empty", 0o644, "")
        .entry("hollow", TreeKind::Dir)
        .entry("link", TreeKind::Link { target: "a/run.sh".into() });
    std::fs::write(rig.base().join("workdir/stale"), "x").unwrap();
    link.put(Slot::Workdir, &folder).unwrap();
    let workdir = rig.base().join("workdir");
    let mode = |path: &str| workdir.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a/run.sh"), mode("a/twin"), mode("b/twin")), (0o755, 0o600, 0o644));
    assert_eq!(std::fs::read(workdir.join("b/twin")).unwrap(), b"same");
    assert!(workdir.join("hollow").is_dir() && workdir.join("empty").is_file());
    assert_eq!(std::fs::read_link(workdir.join("link")).unwrap().to_str(), Some("a/run.sh"));
    assert!(!workdir.join("stale").exists(), "the workdir is replaced as a whole");
    // A mount of one file, and a folder laid over what is there.
    let one = Folder::default().file("token", 0o600, "t");
    link.put(Slot::Mount("~/.cache/hf/token".into()), &one).unwrap();
    assert_eq!(std::fs::read(rig.home().join(".cache/hf/token")).unwrap(), b"t");
    std::fs::write(rig.home().join(".cache/hf/kept"), "k").unwrap();
    link.put(Slot::Mount("~/.cache/hf".into()), &Folder::default().file("sub/x", 0o644, "x"))
        .unwrap();
    assert!(
        rig.home().join(".cache/hf/sub/x").exists() && rig.home().join(".cache/hf/kept").exists()
    );
    let (_, state) = rig.hello(0);
    assert_eq!(state.placed.len(), 3);
}

#[test]
fn what_would_leave_its_folder_is_refused() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let bad = [
        Folder::default().file("../x", 0o644, "x"),
        Folder::default().file("/etc/x", 0o644, "x"),
        Folder::default().entry("l", TreeKind::Link { target: "../../x".into() }),
        Folder::default().entry("l", TreeKind::Link { target: "d".into() }).file("l/x", 0o644, "x"),
        Folder::default().file("x", 0o4755, "x"),
    ];
    for folder in bad {
        link.put(Slot::Workdir, &folder).unwrap_err();
    }
    let fine = Folder::default().file("x", 0o644, "x");
    for mount in ["relative", "~/../x", "~other/x", "/a/../b", ""] {
        link.put(Slot::Mount(mount.into()), &fine).unwrap_err();
    }
    std::fs::create_dir(rig.home().join("mine")).unwrap();
    std::os::unix::fs::symlink("/tmp", rig.home().join("mine/out")).unwrap();
    let through = Folder::default().file("out/fleet-test", 0o644, "x");
    let reason = link.put(Slot::Mount("~/mine".into()), &through).unwrap_err();
    assert!(reason.contains("in the way"), "{reason}");
    // Bytes that are not what they are called.
    let fine = Folder::default().file("x", 0o644, "y");
    link.send(&ToAgent::Put { slot: Slot::Workdir, tree: fine.tree.clone() });
    link.send_bytes(&encode_blob(&Sha256::digest("y").into(), 0, 1, b"z"));
    let reason = link.expect("a failure", |m| match m {
        FromAgent::PutFailed { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("digest"), "{reason}");
    link.put(Slot::Workdir, &fine).unwrap();
    link.send(&ToAgent::Start { spec: Box::new(task("cat x; echo; sleep 600")) });
    link.line("y");
    link.put(Slot::Workdir, &Folder::default().file("z", 0o644, "z")).unwrap_err();
}

#[test]
fn a_cut_upload_goes_on_where_it_was() {
    let rig = Rig::new();
    rig.start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let folder = Folder::default().file("big", 0o644, bytes.clone());
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    let (mut link, _) = rig.hello(0);
    let put = ToAgent::Put { slot: Slot::Checkpoint, tree: folder.tree.clone() };
    link.send(&put);
    link.send_bytes(&encode_blob(&digest, 0, 3_000_000, &bytes[..1_000_000]));
    link.send_bytes(&encode_blob(&digest, 1_000_000, 3_000_000, &bytes[1_000_000..1_500_000]));
    let part = rig.base().join("blobs").join(format!("{}.part", hex::encode(digest)));
    crate::rig::wait_for("half of it arrived", || {
        part.metadata().is_ok_and(|m| m.len() == 1_500_000)
    });
    drop(link);
    let (mut link, _) = rig.hello(0);
    link.send(&put);
    let from = link.expect("the need", |m| match m {
        FromAgent::Need { blobs, .. } => Some(blobs[0].from),
        _ => None,
    });
    assert_eq!(from, 1_500_000);
    link.give(digest, &bytes, from);
    link.expect("the placing", |m| matches!(m, FromAgent::Placed { .. }).then_some(()));
    assert_eq!(std::fs::read(rig.base().join("checkpoint/big")).unwrap(), bytes);
}

#[test]
fn ten_thousand_files_are_put_quickly() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let mut folder = Folder::default();
    for i in 0..10_000_u32 {
        let bytes: Vec<u8> = (0..5_000_u32).flat_map(|k| (k ^ (i << 8)).to_le_bytes()).collect();
        folder = folder.file(&format!("d{:03}/f{i:05}", i / 100), 0o644, bytes);
    }
    let since = Instant::now();
    link.put(Slot::Workdir, &folder).unwrap();
    println!("10,000 files, 200 MB put in {:?}, {} of the agent's", since.elapsed(), rig.busy());
    let since = Instant::now();
    link.put(Slot::Workdir, &folder).unwrap();
    println!("unchanged: {:?}; memory at most {} KiB", since.elapsed(), rig.memory_kib());
    assert_eq!(std::fs::read_dir(rig.base().join("workdir/d099")).unwrap().count(), 100);
    assert_eq!(std::fs::read_dir(rig.base().join("blobs")).unwrap().count(), 0, "no byte twice");
}

#[test]
fn pulls_show_files_and_folders_below_home_and_nothing_else() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    let folder = Folder::default().file("d/a", 0o644, "A").file("d/b", 0o600, "B");
    link.put(Slot::Workdir, &folder).unwrap();
    std::os::unix::fs::symlink("/etc", rig.home().join("etc")).unwrap();
    for (request, path, expected) in [
        (1, "workdir/d", vec!["a", "b"]),
        (2, "workdir/d/a", vec!["a"]),
        (3, "~/sky_workdir/d/b", vec!["b"]),
    ] {
        link.send(&ToAgent::Pull { request, path: path.into() });
        let invitation = link.ready();
        assert_eq!(invitation.source, Source::Pull(request));
        assert_eq!(paths(&invitation.tree), expected);
        let bytes = link.fetch(&invitation);
        assert_eq!(bytes[expected[0]], expected[0].to_uppercase().as_bytes());
    }
    for path in
        ["/etc/passwd", "~/../x", "workdir/../../x", "~/etc/passwd", "nowhere/x", "~/absent", ""]
    {
        link.send(&ToAgent::Pull { request: 9, path: path.into() });
        link.expect("a no", |m| {
            matches!(m, FromAgent::NotReady { source: Source::Pull(9), .. }).then_some(())
        });
    }
}
