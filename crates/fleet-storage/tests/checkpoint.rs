//! Checkpoints in a folder: interrupted transfers, ghosts, keeping, giving back.

use bytes::Bytes;
use fleet_storage::{BlobState, CheckpointStore, Error, LocalCheckpoints, Published, RelayStore};
use fleet_types::{
    CheckpointId, CheckpointManifest, Epoch, JobId, Timestamp, Tree, TreeEntry, TreeKind,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

fn job() -> JobId {
    JobId::from_bits(7)
}

fn sha(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn file(path: &str, bytes: &[u8]) -> TreeEntry {
    let kind = TreeKind::File { size: bytes.len() as u64, sha256: sha(bytes) };
    TreeEntry { path: path.into(), mode: 0o640, kind }
}

fn link(path: &str, target: &str) -> TreeEntry {
    TreeEntry { path: path.into(), mode: 0o777, kind: TreeKind::Link { target: target.into() } }
}

fn manifest(epoch: u32, number: u32, entries: Vec<TreeEntry>) -> CheckpointManifest {
    let id = CheckpointId { epoch: Epoch(epoch), number };
    let taken_at = Timestamp::from_millis(1_764_000_000_000);
    CheckpointManifest { version: 1, job: job(), id, taken_at, tree: Tree { entries } }
}

async fn send(store: &dyn RelayStore, bytes: &[u8]) {
    let all = Bytes::copy_from_slice(bytes);
    let state = store.write_blob(&job(), &sha(bytes), bytes.len() as u64, 0, all).await.unwrap();
    assert_eq!(state, BlobState::Complete);
}

/// Publishes a checkpoint of one file with `text`.
async fn save(store: &dyn RelayStore, epoch: u32, number: u32, text: &str) -> Published {
    send(store, text.as_bytes()).await;
    store.publish(&manifest(epoch, number, vec![file("state", text.as_bytes())])).await.unwrap()
}

fn ids(all: &[CheckpointManifest]) -> Vec<(u32, u32)> {
    all.iter().map(|m| (m.id.epoch.0, m.id.number)).collect()
}

fn beaten(epoch: u32, number: u32) -> Published {
    Published::Beaten { by: CheckpointId { epoch: Epoch(epoch), number } }
}

#[tokio::test]
async fn a_checkpoint_is_published_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    store.open_epoch(&job(), Epoch(1)).await.unwrap();
    assert_eq!(store.newest(&job()).await.unwrap(), None);
    let tree = vec![file("a/model", b"weights"), file("b", b""), file("c", b"weights")];
    let first = manifest(1, 1, tree);
    let early = store.publish(&first).await;
    assert!(matches!(early, Err(Error::Incomplete { .. })), "{early:?}");
    assert_eq!(store.newest(&job()).await.unwrap(), None, "and nothing is seen");
    let mut wanted = vec![(sha(b"weights"), 0), (sha(b""), 0)];
    wanted.sort();
    assert_eq!(store.missing(&job(), &first.tree).await.unwrap(), wanted, "each content once");
    send(&store, b"weights").await;
    send(&store, b"").await;
    assert_eq!(store.missing(&job(), &first.tree).await.unwrap(), []);
    assert_eq!(store.publish(&first).await.unwrap(), Published::Published);
    assert_eq!(store.publish(&first).await.unwrap(), Published::AlreadyThere);
    let other = manifest(1, 1, vec![file("b", b"")]);
    assert!(matches!(store.publish(&other).await, Err(Error::Conflict { .. })));
    assert_eq!(store.newest(&job()).await.unwrap(), Some(first.clone()));
    let mut read = String::new();
    let mut reader = store.open(&job(), &sha(b"weights")).await.unwrap();
    reader.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "weights");
    let local = store.local_path(&job(), &sha(b"weights")).unwrap();
    assert_eq!(fs::read(local).unwrap(), b"weights");
    assert_eq!(store.local_path(&job(), "../../etc/passwd"), None);
    // It outlives the process.
    drop(store);
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    assert_eq!(store.list(&job()).await.unwrap(), [first]);
}

#[tokio::test]
async fn a_transfer_goes_on_where_it_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (name, size) = (sha(&bytes), bytes.len() as u64);
    let tree = Tree { entries: vec![file("f", &bytes)] };
    let mut sent = 0;
    // Each round ends as a killed process does: nothing is closed in order.
    while sent < bytes.len() {
        let store = LocalCheckpoints::open(dir.path()).unwrap();
        store.open_epoch(&job(), Epoch(1)).await.unwrap();
        let missing = store.missing(&job(), &tree).await.unwrap();
        assert_eq!(missing, [(name.clone(), sent as u64)]);
        for _ in 0..3 {
            let piece = Bytes::copy_from_slice(&bytes[sent..bytes.len().min(sent + 77_777)]);
            let state =
                store.write_blob(&job(), &name, size, sent as u64, piece.clone()).await.unwrap();
            sent += piece.len();
            if sent == bytes.len() {
                assert_eq!(state, BlobState::Complete);
                break;
            }
            assert_eq!(state, BlobState::Partial(sent as u64));
            // Doubled, early and late pieces change nothing.
            for offset in [0, sent as u64 - 1, sent as u64 + 5] {
                let state =
                    store.write_blob(&job(), &name, size, offset, piece.clone()).await.unwrap();
                assert_eq!(state, BlobState::Partial(sent as u64));
            }
            assert_eq!(store.local_path(&job(), &name), None, "half of it is not seen");
        }
        std::mem::forget(store);
    }
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    assert_eq!(fs::read(store.local_path(&job(), &name).unwrap()).unwrap(), bytes);
    let again = store.write_blob(&job(), &name, size, 0, Bytes::new()).await.unwrap();
    assert_eq!(again, BlobState::Complete);
}

#[tokio::test]
async fn wrong_bytes_are_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    let name = sha(b"right");
    let write = |size, offset, text: &'static [u8]| {
        let (store, name) = (&store, name.clone());
        async move { store.write_blob(&job(), &name, size, offset, Bytes::from_static(text)).await }
    };
    assert!(matches!(write(5, 0, b"wrong").await, Err(Error::Digest { .. })));
    assert_eq!(store.local_path(&job(), &name), None);
    assert!(matches!(write(5, 0, b"too long").await, Err(Error::TooLong { .. })));
    assert_eq!(write(5, 0, b"ri").await.unwrap(), BlobState::Partial(2));
    assert_eq!(write(5, 2, b"ght").await.unwrap(), BlobState::Complete);
    // A part that the disk garbled is found out at the end, and the next transfer starts afresh.
    let name = sha(b"0123456789");
    let write = async |offset: u64, text: &'static [u8]| {
        store.write_blob(&job(), &name, 10, offset, Bytes::from_static(text)).await
    };
    write(0, b"01234").await.unwrap();
    drop(LocalCheckpoints::open(dir.path()).unwrap());
    let part = dir.path().join(job().as_str()).join("blobs").join(format!("{name}.part"));
    fs::write(&part, "01x34").unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    let rest = Bytes::from_static(b"56789");
    let answer = store.write_blob(&job(), &name, 10, 5, rest).await;
    assert!(matches!(answer, Err(Error::Digest { .. })), "{answer:?}");
    send(&store, b"0123456789").await;
    for bad in ["", "../../x", &"G".repeat(64), &"a".repeat(63)] {
        let answer = store.write_blob(&job(), bad, 1, 0, Bytes::new()).await;
        assert!(matches!(answer, Err(Error::BadName { .. })), "{bad}");
    }
    for bad in ["", "..", "a/b", ".trash-x", "a\0"] {
        let answer = store.newest(&JobId::new(bad)).await;
        assert!(matches!(answer, Err(Error::BadName { .. })), "{bad}");
        assert!(store.forget(&JobId::new(bad)).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_ghost_never_wins() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    store.open_epoch(&job(), Epoch(1)).await.unwrap();
    assert_eq!(save(&store, 1, 2, "1/2").await, Published::Published);
    assert_eq!(save(&store, 1, 1, "1/1").await, beaten(1, 2), "an older number");
    store.open_epoch(&job(), Epoch(2)).await.unwrap();
    assert_eq!(save(&store, 1, 3, "1/3").await, beaten(2, 0), "epoch 2 has begun");
    assert_eq!(save(&store, 1, 2, "1/2").await, Published::AlreadyThere, "that one had got in");
    assert_eq!(ids(&store.list(&job()).await.unwrap()), [(1, 2)]);
    assert_eq!(save(&store, 2, 1, "2/1").await, Published::Published);
    assert_eq!(save(&store, 1, 9_999_999, "ghost").await, beaten(2, 1));
    drop(store);
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    assert_eq!(save(&store, 1, 4, "ghost").await, beaten(2, 1), "the fence is on the disk");
    let answer = store.open_epoch(&job(), Epoch(1)).await;
    assert!(matches!(answer, Err(Error::OldEpoch { by: Epoch(2), .. })), "{answer:?}");
    store.open_epoch(&job(), Epoch(2)).await.unwrap();
    // Even a ghost's manifest that some other way got in is not the newest.
    let ghost = manifest(1, 9, vec![file("state", b"1/2")]);
    let place = dir.path().join(job().as_str()).join("000001/000009");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("manifest.json"), serde_json::to_vec(&ghost).unwrap()).unwrap();
    assert_eq!(ids(&store.list(&job()).await.unwrap()), [(1, 2), (1, 9), (2, 1)]);
    assert_eq!(store.newest(&job()).await.unwrap().unwrap().id.epoch, Epoch(2));
    // 10 is more than 9 in every digit count.
    store.open_epoch(&job(), Epoch(1_000_000)).await.unwrap();
    assert_eq!(save(&store, 1_000_000, 1, "late").await, Published::Published);
    assert_eq!(store.newest(&job()).await.unwrap().unwrap().id.epoch, Epoch(1_000_000));
}

#[tokio::test]
async fn what_an_epoch_left_unfinished_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    store.open_epoch(&job(), Epoch(1)).await.unwrap();
    save(&store, 1, 1, "kept").await;
    send(&store, b"never published").await;
    let half = Bytes::from_static(b"half");
    store.write_blob(&job(), &sha(b"half of it"), 10, 0, half).await.unwrap();
    // What a kill in the middle of a put leaves.
    let base = dir.path().join(job().as_str());
    fs::create_dir_all(base.join("000001/000002")).unwrap();
    fs::write(base.join("000001/000002/manifest.json#1"), "{\"version\":1,").unwrap();
    fs::write(base.join("output.json#3"), "{").unwrap();
    fs::create_dir_all(dir.path().join(".trash-j-x/blobs")).unwrap();
    drop(store);
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    assert!(!base.join("000001/000002/manifest.json#1").exists());
    assert!(!base.join("output.json#3").exists() && !dir.path().join(".trash-j-x").exists());
    assert_eq!(ids(&store.list(&job()).await.unwrap()), [(1, 1)]);
    let blobs = || {
        let mut names: Vec<_> = fs::read_dir(base.join("blobs"))
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(blobs().len(), 3, "a restart alone keeps transfers");
    store.open_epoch(&job(), Epoch(2)).await.unwrap();
    assert_eq!(blobs(), [sha(b"kept")]);
    send(&store, b"half of it").await;
}

#[tokio::test]
async fn keeping_leaves_the_newest_and_what_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    assert_eq!(store.keep(&job(), 1).await.unwrap(), 0);
    for n in 1..=5 {
        let text = format!("state {n}");
        send(&store, text.as_bytes()).await;
        send(&store, b"shared").await;
        let tree = vec![file("shared", b"shared"), file("state", text.as_bytes())];
        store.publish(&manifest(1, n, tree)).await.unwrap();
    }
    let tree = Tree { entries: vec![file("result", b"state 1")] };
    assert_eq!(store.publish_output(&job(), Epoch(1), &tree).await.unwrap(), Published::Published);
    // A checkpoint under way counts on a file of an old one.
    let next = manifest(1, 6, vec![file("state", b"state 2")]);
    assert_eq!(store.missing(&job(), &next.tree).await.unwrap(), []);
    assert_eq!(store.keep(&job(), 2).await.unwrap(), 3);
    assert_eq!(store.keep(&job(), 2).await.unwrap(), 0);
    assert_eq!(ids(&store.list(&job()).await.unwrap()), [(1, 4), (1, 5)]);
    let here = |text: &str| store.local_path(&job(), &sha(text.as_bytes())).is_some();
    assert!(here("shared") && here("state 4") && here("state 5"));
    assert!(here("state 1"), "the output names it");
    assert!(here("state 2"), "an answer promised it");
    assert!(!here("state 3"));
    assert_eq!(store.publish(&next).await.unwrap(), Published::Published);
    assert_eq!(store.keep(&job(), 0).await.unwrap(), 2, "one stays always");
    assert_eq!(ids(&store.list(&job()).await.unwrap()), [(1, 6)]);
    // One that lost a file is not what is kept.
    save(&store, 1, 7, "lost").await;
    fs::remove_file(store.local_path(&job(), &sha(b"lost")).unwrap()).unwrap();
    assert_eq!(store.newest(&job()).await.unwrap(), Some(next));
    assert_eq!(store.keep(&job(), 1).await.unwrap(), 0);
    store.forget(&job()).await.unwrap();
    store.forget(&job()).await.unwrap();
    assert_eq!(store.newest(&job()).await.unwrap(), None);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_output_is_replaced_only_by_its_epoch_or_a_higher_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    let tree = |text: &[u8]| Tree { entries: vec![file("result", text)] };
    assert_eq!(store.output(&job()).await.unwrap(), None);
    let early = store.publish_output(&job(), Epoch(2), &tree(b"two")).await;
    assert!(matches!(early, Err(Error::Incomplete { .. })));
    for text in ["one", "two", "more"] {
        send(&store, text.as_bytes()).await;
    }
    let publish = async |epoch, text: &[u8]| {
        store.publish_output(&job(), Epoch(epoch), &tree(text)).await.unwrap()
    };
    assert_eq!(publish(2, b"two").await, Published::Published);
    assert_eq!(publish(2, b"two").await, Published::AlreadyThere);
    assert_eq!(publish(1, b"one").await, beaten(2, 0));
    assert_eq!(publish(2, b"more").await, Published::Published);
    store.open_epoch(&job(), Epoch(3)).await.unwrap();
    assert_eq!(publish(2, b"two").await, beaten(3, 0));
    let output = store.output(&job()).await.unwrap().unwrap();
    assert_eq!((output.epoch, &output.tree), (Epoch(2), &tree(b"more")));
    let dest = dir.path().join("home");
    store.export_tree(&job(), &output.tree, &dest).unwrap();
    assert_eq!(fs::read(dest.join("result")).unwrap(), b"more");
}

#[tokio::test]
async fn a_checkpoint_comes_home_whole_or_not_at_all() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(&dir.path().join("store")).unwrap();
    send(&store, b"x").await;
    let empty = TreeEntry { path: "empty".into(), mode: 0o755, kind: TreeKind::Dir };
    let good = manifest(1, 1, vec![file("a/b/x", b"x"), link("a/to", "b/x"), empty]);
    let dest = dir.path().join("new/home");
    store.export(&good, &dest).unwrap();
    assert_eq!(fs::read(dest.join("a/to")).unwrap(), b"x");
    assert!(dest.join("empty").is_dir());
    assert_eq!(fs::metadata(dest.join("a/b/x")).unwrap().permissions().mode() & 0o777, 0o640);
    fs::write(dest.join("a/b/x"), "edited").unwrap();
    let blob = store.local_path(&job(), &sha(b"x")).unwrap();
    assert_eq!(fs::read(blob).unwrap(), b"x", "a copy, not the store's own file");
    assert!(matches!(store.export(&good, &dest), Err(Error::Occupied(_))));
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    let lacking = manifest(1, 1, vec![file("a", b"x"), file("b", b"not here")]);
    assert!(matches!(store.export(&lacking, &other), Err(Error::Incomplete { .. })));
    for entries in [
        vec![file("../x", b"x")],
        vec![link("a", "/etc")],
        vec![link("d/up", ".."), link("k", "d/up/../x")],
        vec![link("a", "b"), file("a/x", b"x")],
    ] {
        let bad = manifest(1, 1, entries);
        assert!(matches!(store.export(&bad, &other), Err(Error::BadTree(_))), "{bad:?}");
        assert!(matches!(store.publish(&bad).await, Err(Error::BadTree(_))), "{bad:?}");
    }
    assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left over");
    store.export(&good, &other).unwrap();
    // By its name, as every store can.
    store.publish(&good).await.unwrap();
    let third = dir.path().join("third");
    store.fetch(&job(), good.id, &third).await.unwrap();
    assert_eq!(fs::read(third.join("a/to")).unwrap(), b"x");
    let nothing = CheckpointId { number: 9, ..good.id };
    let answer = store.fetch(&job(), nothing, &dir.path().join("fourth")).await;
    assert!(matches!(answer, Err(Error::Missing { .. })), "{answer:?}");
    let answer = store.fetch_output(&job(), &dir.path().join("fourth")).await;
    assert!(matches!(answer, Err(Error::Missing { .. })), "{answer:?}");
    assert!(!dir.path().join("fourth").exists());
}

#[tokio::test]
async fn a_hundred_megabytes_are_quick() {
    let dir = tempfile::tempdir().unwrap();
    let store = LocalCheckpoints::open(dir.path()).unwrap();
    let piece: Vec<u8> = (0..256 << 10).map(|n: u32| (n * 7) as u8).collect();
    let mut hash = Sha256::new();
    (0..400).for_each(|_| hash.update(&piece));
    let (name, size) = (hex::encode(hash.finalize()), 400 * piece.len() as u64);
    let piece = Bytes::from(piece);
    let started = Instant::now();
    let mut state = BlobState::Partial(0);
    while let BlobState::Partial(have) = state {
        state = store.write_blob(&job(), &name, size, have, piece.clone()).await.unwrap();
    }
    let took = started.elapsed();
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "100 MB in pieces, synced: {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// Paths and targets that an attacker, or chance, would choose.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c", "up"]).prop_map(str::to_owned),
        2 => Just("..".to_owned()),
        1 => prop::sample::select(vec![".", "", "/", "\\", "a\0", "\u{202e}", "..."])
            .prop_map(str::to_owned),
    ]
}

fn entry() -> impl Strategy<Value = TreeEntry> {
    let path = prop::collection::vec(part(), 1..4).prop_map(|p| p.join("/"));
    let target = prop::collection::vec(part(), 1..5).prop_map(|p| p.join("/"));
    let kind = prop_oneof![
        3 => Just(TreeKind::File { size: 1, sha256: sha(b"x") }),
        3 => target.prop_map(|target| TreeKind::Link { target }),
        1 => Just(TreeKind::Dir),
    ];
    (path, prop_oneof![9 => Just(0o755_u32), 1 => any::<u32>()], kind)
        .prop_map(|(path, mode, kind)| TreeEntry { path, mode, kind })
}

/// Links that stay inside by their text, and climb out together.
fn climbing_link() -> impl Strategy<Value = TreeEntry> {
    let path = prop::sample::select(vec!["a/b", "c", "d/e"]);
    let target = prop::sample::select(vec!["..", "a/b/..", "a/b/../a", "a", "../a/b/.."]);
    (path, target).prop_map(|(path, target)| link(path, target))
}

fn entries() -> impl Strategy<Value = Vec<TreeEntry>> {
    let climbing = prop::collection::vec(climbing_link(), 2..4);
    prop_oneof![2 => prop::collection::vec(entry(), 1..5), 1 => climbing]
}

/// Everything below `root`, links not followed.
fn below(root: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for found in fs::read_dir(root).unwrap().flatten() {
        if found.file_type().unwrap().is_dir() {
            all.extend(below(&found.path()));
        }
        all.push(found.path());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_tree_reaches_outside_its_folder(mut entries in entries()) {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().canonicalize().unwrap();
        let store = LocalCheckpoints::open(&outside.join("store")).unwrap();
        let blobs = outside.join("store").join(job().as_str()).join("blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(sha(b"x")), "x").unwrap();
        // Where a tree would land if it climbed, so that links to there resolve.
        for bait in ["a", "b", "c"] {
            fs::create_dir(outside.join(bait)).unwrap();
        }
        let before = below(&outside);
        let dest = outside.join("dest");
        let count = entries.len();
        match store.export(&manifest(1, 1, entries), &dest) {
            Err(_) => prop_assert_eq!(below(&outside), before),
            Ok(()) => {
                prop_assert!(below(&dest).len() >= count);
                for path in below(&dest) {
                    if let Ok(real) = path.canonicalize() {
                        prop_assert!(real.starts_with(&dest), "{path:?} -> {real:?}");
                    }
                }
                fs::remove_dir_all(&dest).unwrap();
                prop_assert_eq!(below(&outside), before);
            }
        }
    }
}
