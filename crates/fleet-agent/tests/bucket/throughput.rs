//! How fast the client sends, beside a program that does nothing else. Run by hand:
//!
//!     RUSTFLAGS='-C target-feature=+crt-static' cargo test -p fleet-agent --profile agent \
//!         --target x86_64-unknown-linux-gnu --test bucket -- --ignored --nocapture beside_rclone

use crate::agent::bucket::Lanes;
use crate::servers::{Server, aws, open, place, python_programs, skipped};
use crate::suite::fill;
use fleet_types::StoreKind;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FILES: usize = 8;
const SIZE: u64 = 256 << 20;
const ROUNDS: usize = 5;

fn name(number: usize) -> String {
    format!("shard-{number}.bin")
}

/// Sends all files, four at a time.
fn ours(url: &str, folder: &Path, lanes: &Lanes) -> Duration {
    let bucket = open(place(StoreKind::S3, url), aws("AKID", "SECRET"));
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= FILES {
                        return;
                    }
                    let file = File::open(folder.join(name(number))).unwrap();
                    let read = |from: u64, out: &mut [u8]| file.read_exact_at(out, from);
                    bucket.put_file(&name(number), SIZE, None, &read, lanes).unwrap();
                }
            });
        }
    });
    begun.elapsed()
}

fn theirs(url: &str, folder: &Path) -> Duration {
    let program = python_programs().unwrap().join("rclone");
    let mut command = Command::new(program);
    command.args(["copy", "--config", "/dev/null", "--transfers", "4", "--ignore-times"]);
    command.args([
        "--s3-upload-concurrency",
        "4",
        "--s3-no-check-bucket",
        "--s3-provider",
        "Rclone",
    ]);
    command.args(["--s3-access-key-id", "AKID", "--s3-secret-access-key", "SECRET"]);
    command.args(["--s3-endpoint", url]).arg(folder).arg(":s3:bucket/rclone");
    let begun = Instant::now();
    let out = command.output().unwrap();
    assert!(out.status.success(), "{out:?}");
    begun.elapsed()
}

/// The most memory that this process has had, in MiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
#[ignore = "it sends twenty gigabytes; see the head of this file"]
fn beside_rclone() {
    let server = match Server::rclone() {
        Ok(server) => server,
        Err(why) => return skipped(&why),
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut piece = vec![0; 1 << 20];
    for number in 0..FILES {
        let file = File::create(folder.path().join(name(number))).unwrap();
        for at in (0..SIZE).step_by(piece.len()) {
            fill(at + number as u64 * SIZE, &mut piece);
            file.write_all_at(&piece, at).unwrap();
        }
    }
    drop(piece);
    let speed = |took: Duration| (FILES as u64 * SIZE) as f64 / 1e6 / took.as_secs_f64();
    let (lanes, mut own, mut other) = (Lanes::default(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(speed(ours(&server.url, folder.path(), &lanes)));
        other.push(speed(theirs(&server.url, folder.path())));
    }
    let middle = |speeds: &mut Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[ROUNDS / 2]
    };
    eprintln!("MB/s ours {own:.0?} rclone {other:.0?}");
    let (own, other) = (middle(&mut own), middle(&mut other));
    let memory = peak_memory();
    eprintln!("in the middle {own:.0} and {other:.0}: {:.0} %; {memory} MiB", own / other * 100.0);
    assert!(memory < 64, "{memory} MiB");
}
