//! The client against a real OpenSSH server: login, commands, streams, copies, death, and a swapped key.

mod server;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fleet_ssh::{Error, HostKeyPolicy, Keepalive, KeyPair, OUTPUT_CAP, Piece, quote};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use server::{SOON, Server, below_home};

/// Quick enough for a test, slow enough for a busy machine.
const QUICK: Keepalive = Keepalive { interval: Duration::from_millis(250), misses: 3 };

#[tokio::test]
async fn a_command_gets_its_stdin_and_gives_stdout_stderr_and_status() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let ran = session.exec("cat; echo oops >&2; exit 7", &b"hello"[..], SOON).await.unwrap();
    assert_eq!(
        (ran.status, ran.stdout.as_slice(), ran.stderr.as_slice()),
        (7, &b"hello"[..], &b"oops\n"[..])
    );
    let killed = session.exec("kill -KILL $$", &b""[..], SOON).await.unwrap();
    assert_eq!(killed.status, 137);
    assert!(server.host.public_line.starts_with(session.host_key()), "{}", session.host_key());
}

#[tokio::test]
async fn many_commands_share_one_connection() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let all = (0..8).map(|n| {
        let session = session.clone();
        tokio::spawn(async move {
            session.exec(&format!("echo {n}"), &b""[..], SOON).await.unwrap().stdout
        })
    });
    for (n, ran) in all.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(ran.await.unwrap(), format!("{n}\n").into_bytes());
    }
}

#[tokio::test]
async fn output_is_capped_and_time_is_limited() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let chatty = session.exec("head -c 5000000 /dev/zero", &b""[..], SOON).await.unwrap();
    assert_eq!((chatty.stdout.len(), chatty.truncated, chatty.status), (OUTPUT_CAP, true, 0));
    let slow =
        session.exec("cat >/dev/null", tokio::io::repeat(0), Duration::from_millis(300)).await;
    assert!(matches!(slow, Err(Error::TimedOut { .. })), "{slow:?}");
    // The connection outlives the command that was given up.
    assert!(session.exec("true", &b""[..], SOON).await.unwrap().success());
}

#[tokio::test]
async fn an_unknown_login_key_is_refused() {
    let Some(server) = Server::start() else { return };
    let _up = server.session().await;
    let mut target = server.pinned();
    target.login_key = KeyPair::generate("stranger").private_pem;
    let refused = server.reach(&target, Keepalive::default()).await;
    assert!(matches!(refused, Err(Error::AuthRefused { .. })), "{refused:?}");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let Some(mut server) = Server::start() else { return };
    drop(server.session().await);
    server.swap_host_key();
    let target = server.pinned();
    drop(server);
    let gone = fleet_ssh::Session::connect(&target, SOON).await;
    assert!(matches!(gone, Err(Error::Unreachable { .. })), "{gone:?}");
}

#[tokio::test]
async fn a_swapped_host_key_is_refused_before_anything_is_sent() {
    let Some(mut server) = Server::start() else { return };
    drop(server.session().await);
    let target = server.pinned();
    let impostor = server.swap_host_key();
    let error = server.reach(&target, Keepalive::default()).await.unwrap_err();
    let Error::HostKeyMismatch { expected, seen, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*expected, fleet_ssh::fingerprint(&server.host.public_line).unwrap());
    assert_eq!(*seen, fleet_ssh::fingerprint(&impostor.public_line).unwrap());
    // What the server saw: a connection that ended in the key exchange, without a user, key or command.
    let deadline = Instant::now() + SOON;
    while !server.log().contains("closed by") && !server.log().contains("reset by") {
        assert!(Instant::now() < deadline, "sshd never noted the end:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = server.log();
    assert!(log.contains("[preauth]"), "{log}");
    for word in ["Accepted", "userauth-request", "for user", "session opened", "Starting session"] {
        assert!(!log.contains(word), "`{word}` in sshd's log:\n{log}");
    }
    // The same words do appear when a login is let through, so their absence means something.
    let fine = server.target(HostKeyPolicy::Unverified);
    let session = server.reach(&fine, Keepalive::default()).await.unwrap();
    assert!(session.exec("true", &b""[..], SOON).await.unwrap().success());
    assert!(impostor.public_line.starts_with(session.host_key()));
    assert!(server.log().contains("userauth-request") && server.log().contains("Accepted"));
}

#[tokio::test]
async fn a_copy_of_200_mib_arrives_and_comes_back_with_the_same_digest() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let (home, dir) = below_home();
    let mut bytes = vec![0; 200 << 20];
    fastrand::Rng::with_seed(7).fill(&mut bytes);
    let digest = Sha256::digest(&bytes);
    let file = dir.path().join("sub dir/it's \"$HOME\" `x`.bin");
    let path = file.strip_prefix(&home).unwrap().to_str().unwrap();
    let started = Instant::now();
    session.upload(&bytes[..], path, 0o640, SOON * 4).await.unwrap();
    let up = started.elapsed();
    assert_eq!(Sha256::digest(std::fs::read(&file).unwrap()), digest);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o640);

    let started = Instant::now();
    let mut channel =
        session.open(&format!("cat {}", quote(file.to_str().unwrap()))).await.unwrap();
    let mut back = Vec::with_capacity(bytes.len());
    channel.read_to_end(&mut back).await.unwrap();
    let down = started.elapsed();
    assert_eq!(Sha256::digest(&back), digest);
    let _unheard = io::Write::write_all(
        &mut io::stderr(),
        format!("200 MiB up in {up:?}, down in {down:?}\n").as_bytes(),
    );
}

#[tokio::test]
async fn an_upload_that_breaks_off_leaves_the_old_file() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let (home, dir) = below_home();
    let file = dir.path().join("file");
    let path = file.strip_prefix(&home).unwrap().to_str().unwrap();
    session.upload(&b"old"[..], path, 0o600, SOON).await.unwrap();

    let broken = tokio_util::io::StreamReader::new(Broken { dir: dir.path().into(), chunks: 0 });
    let error = session.upload(broken, path, 0o600, SOON).await.unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"old");

    session.upload(&b"new"[..], path, 0o600, SOON).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
    assert_eq!(parts(dir.path()), 0, "what was left behind is cleaned up");
    for bad in ["", "/etc/x", "dir/", "a\nb"] {
        let error = session.upload(&b""[..], bad, 0o600, SOON).await.unwrap_err();
        assert!(matches!(error, Error::Upload { .. }), "{bad:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_channel_is_a_duplex_stream_that_ends_cleanly_or_with_an_error() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let mut channel = session.open("cat; echo bye >&2; exit 3").await.unwrap();
    let mut bytes = [0; 5];
    for _ in 0..3 {
        channel.write_all(b"hello").await.unwrap();
        channel.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }
    channel.shutdown().await.unwrap();
    assert_eq!(channel.read(&mut bytes).await.unwrap(), 0);
    let deadline = Instant::now() + SOON;
    while channel.status().is_none() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((channel.status(), channel.stderr()), (Some(3), b"bye\n".to_vec()));

    let mut cut = session.open("echo $PPID; exec cat").await.unwrap();
    let pid = first_line(&mut cut).await;
    kill(pid, Signal::SIGKILL).unwrap();
    let error = cut.read(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    tokio::time::timeout(SOON, session.closed()).await.expect("the death is noticed");
    assert!(session.is_closed());
}

#[tokio::test]
async fn streams_bring_all_of_stderr_in_order_and_the_status_with_the_end() {
    let Some(server) = Server::start() else { return };
    let session = server.session().await;
    let script =
        "cat; head -c 300000 /dev/zero | tr '\\0' x >&2; echo between; echo last >&2; exit 4";
    let mut streams = session.streams(script).await.unwrap();
    let mut input = streams.input();
    input.write_all(b"typed\n").await.unwrap();
    input.shutdown().await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(piece) = streams.next().await.unwrap() {
        match piece {
            Piece::Stdout(bytes) => out.extend_from_slice(&bytes),
            Piece::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    assert_eq!(String::from_utf8(out).unwrap(), "typed\nbetween\n");
    assert_eq!(err.len(), 300_000 + "last\n".len(), "stderr is not whole");
    assert!(err.ends_with(b"xlast\n"));
    assert_eq!(streams.status(), Some(4));

    let mut cut = session.streams("echo $PPID; exec cat").await.unwrap();
    let Some(Piece::Stdout(line)) = cut.next().await.unwrap() else { panic!("no line") };
    let pid = String::from_utf8(line.to_vec()).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(cut.next().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_by_keepalive() {
    let Some(server) = Server::start() else { return };
    let session = server.session_with(QUICK).await;
    let mut channel = session.open("echo $PPID; exec cat").await.unwrap();
    let stopped = Stopped::new(first_line(&mut channel).await);
    let started = Instant::now();
    let running = session.exec("true", &b""[..], SOON * 2).await;
    assert!(matches!(running, Err(Error::Lost { .. })), "{running:?}");
    tokio::time::timeout(SOON, session.closed()).await.expect("the silence is noticed");
    let patience = QUICK.interval * 3;
    assert!(started.elapsed() >= patience, "dead after {:?}", started.elapsed());
    drop(stopped);
}

#[tokio::test]
async fn a_server_that_falls_silent_in_the_middle_of_a_copy_is_noticed() {
    let Some(server) = Server::start() else { return };
    let session = server.session_with(QUICK).await;
    let mut channel = session.open("echo $PPID; exec cat").await.unwrap();
    let pid = first_line(&mut channel).await;
    // Several at once, so that their windows together exceed what the socket buffers hold.
    let sent = Arc::new(AtomicU64::new(0));
    let copies: Vec<_> = (0..8)
        .map(|_| {
            let (session, source) = (session.clone(), Endless(sent.clone()));
            tokio::spawn(async move { session.exec("cat >/dev/null", source, SOON * 2).await })
        })
        .collect();
    let deadline = Instant::now() + SOON;
    while sent.load(Ordering::Relaxed) < 64 << 20 {
        assert!(Instant::now() < deadline, "the copies do not move");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped = Stopped::new(pid);
    for copy in copies {
        let ended = copy.await.unwrap();
        assert!(matches!(ended, Err(Error::Lost { .. })), "{ended:?}");
    }
    drop(stopped);
}

/// Reads the process id that a command prints first.
async fn first_line(channel: &mut fleet_ssh::Channel) -> Pid {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(channel.read_u8().await.unwrap()));
    }
    Pid::from_raw(line.trim().parse().unwrap())
}

/// A stopped process, killed at the end of the test.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: Pid) -> Stopped {
        kill(pid, Signal::SIGSTOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _dead = kill(self.0, Signal::SIGKILL);
    }
}

/// Yields zeros for ever and counts them.
struct Endless(Arc<AtomicU64>);

impl AsyncRead for Endless {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let length = buf.remaining();
        buf.put_slice(&vec![0; length]);
        self.0.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// How many unfinished copies lie in a directory.
fn parts(dir: &Path) -> usize {
    let names = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".part")).count()
}

/// Yields some bytes and, once they begin to arrive, an error, as a disk that fails.
struct Broken {
    dir: PathBuf,
    chunks: usize,
}

impl futures_util::Stream for Broken {
    type Item = io::Result<bytes::Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks += 1;
        if self.chunks < 20 {
            return Poll::Ready(Some(Ok(bytes::Bytes::from_static(&[1; 1024]))));
        }
        if parts(&self.dir) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(io::Error::other("the disk failed"))))
    }
}
