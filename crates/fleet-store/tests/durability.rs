//! What only a real file and a real process can show: kill -9, a full disk, a busy lock, damage, versions.

use fleet_store::conformance::{event, job, job_id, machine};
use fleet_store::{Commit, Error, SqliteStore, Store, Tuning};
use fleet_types::RowState;
use rusqlite::Connection;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the database to the process that is killed.
const CHILD: &str = "FLEET_STORE_TEST_CHILD";

fn block_on<F: Future>(future: F) -> F::Output {
    // One thread, so that the store's threads inherit the mount namespace of the test's thread.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn step(n: u64, from_version: u64) -> Commit {
    Commit {
        job: job_id(n),
        from_version,
        state: json!({ "step": from_version }),
        finished: false,
        events: vec![event(n, &from_version.to_string())],
        rows: vec![machine(n, 1, from_version as u32, RowState::Intent)],
    }
}

fn home() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db");
    (home, path)
}

async fn made(path: &Path, jobs: u64) {
    let store = SqliteStore::open(path).await.unwrap();
    store.accept("k", (1..=jobs).map(job).collect()).await.unwrap();
}

#[test]
#[ignore = "the process that the next test kills"]
fn child_that_acknowledges() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open(path.as_ref()).await.unwrap());
        let writers = (1..=4_u64).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut version = store.job(&job_id(n)).await.unwrap().unwrap().version;
                loop {
                    version = store.commit(step(n, version)).await.unwrap();
                    writeln!(std::io::stdout(), "\nack {n} {version}").unwrap();
                }
            })
        });
        // They end by SIGKILL only.
        let writers: Vec<_> = writers.collect();
        let first = writers.into_iter().next().unwrap();
        first.await.unwrap();
    });
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let (_home, path) = home();
    block_on(made(&path, 4));
    for round in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_acknowledges", "--ignored", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = [0_u64; 5];
        let (mut seen, wanted) = (0, 20 + 37 * round);
        let mut note = |line: String| {
            let Some(ack) = line.strip_prefix("ack ") else { return };
            let Some((n, version)) = ack.split_once(' ') else { return };
            let (Ok(n), Ok(version)) = (n.parse::<usize>(), version.parse()) else { return };
            acknowledged[n] = version;
            seen += 1;
            if seen == wanted {
                child.kill().unwrap();
            }
        };
        // Reading on after the kill: what was already in the pipe was acknowledged too. The last line may be torn.
        for line in &mut lines {
            note(line.unwrap());
        }
        child.wait().unwrap();
        block_on(async {
            let store = SqliteStore::open(&path).await.unwrap();
            for n in 1..=4 {
                let version = store.job(&job_id(n)).await.unwrap().unwrap().version;
                assert!(version >= acknowledged[n as usize], "{version} < {acknowledged:?}");
                assert_eq!(store.rows(&job_id(n)).await.unwrap().len() as u64, version);
                let events = store.events(&job_id(n), 0, usize::MAX).await.unwrap();
                assert_eq!(events.len() as u64, version + 1, "state, rows and events together");
            }
        });
        assert!(seen >= wanted);
    }
}

#[test]
fn a_full_disk_fails_whole_and_heals() {
    if !nix::unistd::geteuid().is_root() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_full_disk_fails_whole_and_heals: needs root for a small tmpfs"
        );
        return;
    }
    use nix::mount::{MsFlags, mount};
    let (home, path) = home();
    // A mount namespace of this thread's own: nothing of it outlives the test.
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED a_full_disk_fails_whole_and_heals: no namespace: {error}"
        );
        return;
    }
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), home.path(), Some("tmpfs"), MsFlags::empty(), Some("size=2m")).unwrap();
    let ballast = home.path().join("ballast");
    std::fs::write(&ballast, vec![1; 300 << 10]).unwrap();
    block_on(async {
        made(&path, 1).await;
        let store = SqliteStore::open(&path).await.unwrap();
        let big = |version| Commit { state: json!("x".repeat(40 << 10)), ..step(1, version) };
        let mut version = 0;
        let error = loop {
            match store.commit(big(version)).await {
                Ok(next) => version = next,
                Err(error) => break error,
            }
            assert!(version < 1000, "the disk never filled");
        };
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        let found = store.job(&job_id(1)).await.unwrap().unwrap();
        assert_eq!(found.version, version);
        assert_eq!(store.rows(&job_id(1)).await.unwrap().len() as u64, version);
        std::fs::remove_file(&ballast).unwrap();
        assert_eq!(store.commit(step(1, version)).await.unwrap(), version + 1, "it heals");
        drop(store);
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.job(&job_id(1)).await.unwrap().unwrap().version, version + 1);
    });
    nix::mount::umount2(home.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn a_lock_of_somebody_else_is_unavailable_and_passes() {
    let (_home, path) = home();
    block_on(async {
        made(&path, 2).await;
        let tuning = Tuning { busy_timeout: Duration::from_millis(50), ..Tuning::default() };
        let store = SqliteStore::open_tuned(&path, tuning).await.unwrap();
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let started = Instant::now();
        let (a, b) = futures_util::join!(store.commit(step(1, 0)), store.commit(step(2, 0)));
        assert!(matches!(a, Err(Error::Unavailable(_))), "{a:?}");
        assert!(matches!(b, Err(Error::Unavailable(_))), "{b:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        assert_eq!(store.job(&job_id(1)).await.unwrap().unwrap().version, 0, "reads go on");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(store.commit(step(1, 0)).await.unwrap(), 1);
    });
}

#[test]
fn a_newer_schema_is_refused() {
    let (_home, path) = home();
    block_on(async {
        made(&path, 1).await;
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        let error = SqliteStore::open(&path).await.unwrap_err();
        assert!(matches!(error, Error::Newer { found: 99, known: 1, .. }), "{error}");
    });
}

#[test]
fn damage_is_named_and_never_taken_for_an_empty_store() {
    type Spoiler = (&'static str, fn(&Path));
    let spoilers: &[Spoiler] = &[
        ("cut to nothing", |p| std::fs::write(p, b"").unwrap()),
        ("cut to a header", |p| cut(p, 100)),
        ("cut to a page", |p| cut(p, 4096)),
        ("cut in half", |p| cut(p, std::fs::metadata(p).unwrap().len() / 2)),
        ("garbage", |p| std::fs::write(p, [0xa5; 40_000]).unwrap()),
        ("garbled inside", |p| {
            let mut bytes = std::fs::read(p).unwrap();
            bytes[4096..20_000].fill(0x5a);
            std::fs::write(p, bytes).unwrap();
        }),
        ("no schema of ours", |p| {
            std::fs::remove_file(p).unwrap();
            Connection::open(p).unwrap().execute_batch("CREATE TABLE x (y)").unwrap();
        }),
        ("gone, its log left", |p| {
            std::fs::remove_file(p).unwrap();
            std::fs::write(p.with_file_name("db-wal"), [1; 5000]).unwrap();
        }),
    ];
    for (name, spoil) in spoilers {
        let (home, path) = home();
        block_on(async {
            made(&path, 50).await;
            spoil(&path);
            let answer = SqliteStore::open(&path).await;
            assert!(matches!(answer, Err(Error::Damaged { .. })), "{name}: {answer:?}");
        });
        drop(home);
    }
}

fn cut(path: &Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn one_poisoned_document_spoils_only_its_job() {
    let (_home, path) = home();
    block_on(async {
        made(&path, 2).await;
        let store = SqliteStore::open(&path).await.unwrap();
        for n in 1..=2 {
            store.put_row(machine(n, 1, 0, RowState::Live)).await.unwrap();
        }
        let poison = "UPDATE jobs SET state = '{' WHERE id = ?1";
        Connection::open(&path).unwrap().execute(poison, [job_id(1).as_str()]).unwrap();
        let poison = "UPDATE machines SET document = '{\"token\":1}' WHERE job = ?1";
        Connection::open(&path).unwrap().execute(poison, [job_id(1).as_str()]).unwrap();
        assert!(matches!(store.job(&job_id(1)).await, Err(Error::Document(_))));
        let token = machine(1, 1, 0, RowState::Live).token;
        assert!(matches!(store.row(&token).await, Err(Error::Document(_))));
        let jobs = store.jobs(true).await.unwrap();
        assert_eq!(jobs.len(), 2);
        assert_eq!((&jobs[0].state, &jobs[1].state), (&json!(null), &job(2).state));
        assert_eq!(store.live_rows().await.unwrap(), [machine(2, 1, 0, RowState::Live)]);
        assert_eq!(store.commit(step(2, 0)).await.unwrap(), 1);
    });
}

#[test]
fn the_files_are_the_owners_alone() {
    let (home, path) = home();
    block_on(async {
        made(&path, 1).await;
        let store = SqliteStore::open(&path).await.unwrap();
        store.commit(step(1, 0)).await.unwrap();
        let backup = store.back_up().await.unwrap();
        assert_eq!(backup, home.path().join("db.backup"));
        let mut names = Vec::new();
        for file in std::fs::read_dir(home.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", file.file_name());
            names.push(file.file_name().into_string().unwrap());
        }
        names.sort();
        assert_eq!(names, ["db", "db-shm", "db-wal", "db.backup"], "nothing is left over");
    });
}

#[test]
fn the_backup_is_a_whole_database_and_stays_fresh() {
    let (home, path) = home();
    block_on(async {
        made(&path, 3).await;
        let tuning = Tuning { backup_every: Duration::from_millis(20), ..Tuning::default() };
        let store = SqliteStore::open_tuned(&path, tuning).await.unwrap();
        store.commit(step(2, 0)).await.unwrap();
        let restored = home.path().join("restored");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // The copy may be from before the commit; a later one is not.
            if std::fs::copy(home.path().join("db.backup"), &restored).is_ok() {
                let copy = SqliteStore::open(&restored).await.unwrap();
                assert!([0, 3].contains(&copy.jobs(false).await.unwrap().len()));
                if copy.job(&job_id(2)).await.unwrap().is_some_and(|j| j.version == 1) {
                    break;
                }
                drop(copy);
                std::fs::remove_file(&restored).unwrap();
            }
            assert!(Instant::now() < deadline, "no fresh backup");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn requests_that_wait_share_a_transaction() {
    let (_home, path) = home();
    block_on(async {
        made(&path, 200).await;
        let store = SqliteStore::open(&path).await.unwrap();
        let log = path.with_file_name("db-wal");
        let frames = || std::fs::metadata(&log).unwrap().len() / 4096;
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let before = frames();
        let all = futures_util::future::join_all((1..=200).map(|n| store.commit(step(n, 0))));
        let release = async { other.execute_batch("ROLLBACK").unwrap() };
        // Polled in this order: all 200 wait when the lock goes.
        let (all, ()) = futures_util::join!(all, release);
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        // A commit of its own costs each at least the pages of job, machine and event.
        let written = frames() - before;
        assert!(written < 2 * 200, "{written} pages for 200 commits");
    });
}
