//! What every store must do, whatever it speaks.

use crate::agent::bucket::{Bucket, Lanes, Page, StoreError};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

/// What differs from one server to the next.
#[derive(Clone, Copy)]
pub(crate) struct Server {
    /// It knows conditional puts.
    pub(crate) has_conditions: bool,
    /// They hold when several come at once.
    pub(crate) is_atomic: bool,
    /// Keys that it cannot keep, though its protocol can.
    pub(crate) not_these: &'static [&'static str],
    /// It keeps objects without bytes.
    pub(crate) keeps_empty: bool,
    /// It gives out long listings in pages.
    pub(crate) has_pages: bool,
    /// Bytes of the large file.
    pub(crate) large: u64,
    /// Objects of the long listing.
    pub(crate) many: usize,
}

pub(crate) const EVERYTHING: Server = Server {
    has_conditions: true,
    is_atomic: true,
    keeps_empty: true,
    not_these: &[],
    has_pages: true,
    large: 100_000_007,
    many: 2_500,
};

/// XML cannot hold its first character, and changes its last.
pub(crate) const CONTROL: &str = "\u{1} tab\tline\nreturn\r";

/// Keys that have to be escaped one way in an address, another in a signature, a third in a document.
pub(crate) const ODD_KEYS: [&str; 15] = [
    "a b/c d",
    "50%/100%25",
    "plus+plus/%2B",
    "ü/ñ/日本語",
    "e\u{301}",
    "q?x=1&y#z",
    "'(!*)'",
    "tilde~-_.",
    "semi;colon,comma",
    "at@eq=amp&",
    "\"quotes\"",
    "<tag>&amp;",
    "[x]{y}|z^`",
    "trailing.",
    CONTROL,
];

/// Bytes of a file that is nowhere: those at `from`.
pub(crate) fn fill(from: u64, out: &mut [u8]) {
    let mut filled = 0;
    while filled < out.len() {
        let at = from + filled as u64;
        let word = (at / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).to_le_bytes();
        let begin = (at % 8) as usize;
        let length = (8 - begin).min(out.len() - filled);
        out[filled..filled + length].copy_from_slice(&word[begin..begin + length]);
        filled += length;
    }
}

pub(crate) fn read(from: u64, out: &mut [u8]) -> io::Result<()> {
    fill(from, out);
    Ok(())
}

pub(crate) fn everything(bucket: &Bucket, server: Server) {
    small_objects(bucket, server);
    conditions(bucket, server);
    large_files(bucket, server);
    stretches(bucket);
    odd_keys(bucket, server);
    a_changed_file_is_no_object(bucket, server);
    long_listings(bucket, server);
}

fn small_objects(bucket: &Bucket, server: Server) {
    assert_eq!(bucket.get("small/none", 10), Err(StoreError::Missing));
    bucket.delete("small/none").unwrap();
    let bytes = [&b"first"[..], b"and the second", b""];
    for bytes in &bytes[..if server.keeps_empty { 3 } else { 2 }] {
        bucket.put("small/one", bytes, false).unwrap();
        assert_eq!(bucket.get("small/one", 100).unwrap(), *bytes);
    }
    bucket.put("small/one", b"0123456789", false).unwrap();
    assert_eq!(bucket.get("small/one", 10).unwrap(), b"0123456789");
    let told = bucket.get("small/one", 9).unwrap_err().to_string();
    assert!(told.contains("small/one") && told.contains("longer than 9 bytes"), "{told}");
    bucket.delete("small/one").unwrap();
    assert_eq!(bucket.get("small/one", 10), Err(StoreError::Missing));
    for key in ["", "/a", "a//b", "a/../b", "a/", "./a", "a\0b"] {
        assert!(matches!(bucket.put(key, b"x", false), Err(StoreError::Odd(_))), "{key:?}");
    }
}

fn conditions(bucket: &Bucket, server: Server) {
    if !server.has_conditions {
        return;
    }
    bucket.put("once/a", b"first", true).unwrap();
    assert_eq!(bucket.put("once/a", b"second", true), Err(StoreError::Exists));
    assert_eq!(bucket.put("once/a", b"first", true), Err(StoreError::Exists), "the same again");
    assert_eq!(bucket.get("once/a", 10).unwrap(), b"first");
    bucket.delete("once/a").unwrap();
    bucket.put("once/a", b"third", true).unwrap();
    if !server.is_atomic {
        return;
    }
    for round in 0..5 {
        let (start, key) = (Barrier::new(8), format!("once/race {round}"));
        let winners: Vec<_> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8_u8)
                .map(|number| {
                    let (start, key) = (&start, &key);
                    scope.spawn(move || {
                        start.wait();
                        (number, bucket.put(key, &[number; 100], true))
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) =
            winners.iter().partition(|(_, outcome)| outcome.is_ok());
        assert_eq!(won.len(), 1, "{winners:?}");
        assert!(lost.iter().all(|(_, outcome)| *outcome == Err(StoreError::Exists)), "{lost:?}");
        assert_eq!(bucket.get(&key, 100).unwrap(), [won[0].0; 100]);
    }
}

fn large_files(bucket: &Bucket, server: Server) {
    let lanes = Lanes::default();
    let sizes = [0, 1, 8 << 20, (8 << 20) + 1, server.large];
    for size in sizes.into_iter().filter(|size| *size > 0 || server.keeps_empty) {
        let digest = digest(size);
        bucket.put_file("large/file", size, Some(&digest), &read, &lanes).unwrap();
        let (mut sum, mut length) = (Sha256::new(), 0);
        let had = bucket
            .get_range("large/file", 0, u64::MAX, &mut |piece| {
                sum.update(piece);
                length += piece.len() as u64;
                Ok(())
            })
            .unwrap();
        assert_eq!((had, length), (size, size));
        assert_eq!(sum.finalize()[..], digest, "{size}");
    }
    let wrong = [7; 32];
    let told = bucket.put_file("large/other", 10, Some(&wrong), &read, &lanes);
    assert!(matches!(&told, Err(StoreError::Changed(_))), "{told:?}");
    assert_eq!(bucket.get("large/other", 10), Err(StoreError::Missing));
}

fn digest(size: u64) -> [u8; 32] {
    let (mut sum, mut at, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    while at < size {
        let length = (size - at).min(buffer.len() as u64) as usize;
        fill(at, &mut buffer[..length]);
        sum.update(&buffer[..length]);
        at += length as u64;
    }
    sum.finalize().into()
}

fn stretches(bucket: &Bucket) {
    let mut all = vec![0; 300_000];
    fill(0, &mut all);
    bucket.put("stretch", &all, false).unwrap();
    for (from, length, wanted) in [
        (0, 1, 0..1),
        (1, 99, 1..100),
        (70_000, 200_000, 70_000..270_000),
        (299_999, 1, 299_999..300_000),
        (299_999, 1000, 299_999..300_000),
        (300_000, 10, 300_000..300_000),
        (900_000, 10, 300_000..300_000),
        (5, 0, 5..5),
    ] {
        let mut got = Vec::new();
        let had = bucket.get_range("stretch", from, length, &mut |piece| {
            got.extend_from_slice(piece);
            Ok(())
        });
        assert_eq!(had, Ok(got.len() as u64), "{from} {length}");
        assert!(got == all[wanted], "{from} {length}");
    }
    let mut pieces = 0;
    let told = bucket.get_range("stretch", 0, 300_000, &mut |_| {
        pieces += 1;
        Err(io::Error::other("the disk is full"))
    });
    assert!(
        matches!(&told, Err(StoreError::Odd(why)) if why.contains("the disk is full")),
        "{told:?}"
    );
    assert_eq!(pieces, 1, "what cannot be kept is not fetched again");
    let none = bucket.get_range("none", 0, 10, &mut |_| Ok(()));
    assert_eq!(none, Err(StoreError::Missing));
}

fn odd_keys(bucket: &Bucket, server: Server) {
    let keys: Vec<_> = ODD_KEYS.iter().filter(|key| !server.not_these.contains(key)).collect();
    for key in &keys {
        let key = format!("odd/{key}");
        bucket.put(&key, key.as_bytes(), true).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(bucket.get(&key, 100).as_deref(), Ok(key.as_bytes()), "{key}");
        // Nothing but this very key is there.
        if server.has_conditions {
            assert_eq!(bucket.put(&key, b"", true), Err(StoreError::Exists), "{key}");
        }
    }
    let listed: BTreeSet<_> =
        bucket.list("odd/", None).unwrap().entries.into_iter().map(|e| e.key).collect();
    let wanted: BTreeSet<_> = keys.iter().map(|key| format!("odd/{key}")).collect();
    assert_eq!(listed, wanted);
    for key in keys {
        let folder = format!("odd/{key}");
        let page = bucket.list(&folder, None).unwrap();
        assert_eq!(page.entries.len(), 1, "{folder}");
        bucket.delete(&folder).unwrap();
        assert_eq!(bucket.get(&folder, 100), Err(StoreError::Missing), "{folder}");
    }
    assert_eq!(bucket.list("odd/", None).unwrap(), Page::default());
}

/// A file that is written to while it is sent.
fn a_changed_file_is_no_object(bucket: &Bucket, server: Server) {
    for size in [1000, server.large] {
        let changing = |from: u64, out: &mut [u8]| {
            fill(from, out);
            if from + (out.len() as u64) < size {
                Ok(())
            } else {
                Err(io::Error::other("it was written to"))
            }
        };
        let told = bucket.put_file("changing", size, None, &changing, &Lanes::default());
        let Err(StoreError::Changed(why)) = &told else { panic!("{told:?}") };
        assert!(why.contains("changing") && why.contains("it was written to"), "{why}");
        assert_eq!(bucket.get("changing", 10), Err(StoreError::Missing));
    }
}

fn long_listings(bucket: &Bucket, server: Server) {
    let key = |number: usize| format!("many/{:03}/{number:06}", number % 7);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst) as usize;
                    if number >= server.many {
                        return;
                    }
                    bucket.put(&key(number), &vec![7; 1 + number % 50], false).unwrap();
                }
            });
        }
    });
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = bucket.list("many/", after.as_deref()).unwrap();
        assert!(page.entries.len() <= 1000 || !server.has_pages);
        pages += 1;
        all.extend(page.entries);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert!(pages >= server.many.div_ceil(1000) || !server.has_pages, "{pages}");
    let mut wanted: Vec<_> = (0..server.many).map(|n| (key(n), 1 + (n % 50) as u64)).collect();
    wanted.sort();
    let found: Vec<_> = all.iter().map(|e| (e.key.clone(), e.size)).collect();
    assert!(found == wanted, "{} of {}, or in another order", found.len(), wanted.len());
    let year = 365 * 24 * 3_600_000;
    let now = crate::agent::clock::now().millis();
    for entry in &all {
        let at = entry.modified.expect("a time").millis();
        assert!((now - at).abs() < year, "{entry:?}");
        assert!(entry.etag.as_ref().is_some_and(|tag| !tag.contains('"')), "{entry:?}");
    }
    // A prefix is no folder: it may end within a name.
    let part = bucket.list("many/003/0000", None).unwrap();
    let wanted = (0..100.min(server.many)).filter(|n| n % 7 == 3).count();
    assert_eq!(part.entries.len(), wanted);
}
