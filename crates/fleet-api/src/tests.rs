//! The guard, met by raw bytes: what our own client would never send.
//!
//! What needs a controller with jobs is tested end to end, through the binary.

use crate::{Activity, Client, Error, bind, serve};
use fleet_controller::{Controller, Home, Options};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Served {
    socket: PathBuf,
    stop: CancellationToken,
    done: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let socket = home.socket_path();
    let listener = bind(&socket).unwrap();
    // Never put on a machine here: any file will do.
    let agent_binary = std::env::current_exe().unwrap();
    let options = Options { agent_binary, version: "test".into(), seed: Some(1) };
    let controller = Controller::start(home, options).await.unwrap();
    let stop = CancellationToken::new();
    let done = tokio::spawn(serve(listener, controller, stop.clone(), Activity::default()));
    Served { socket, stop, done, _dir: dir }
}

/// Sends bytes, reads until the server closes.
async fn raw(served: &Served, request: &str) -> String {
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection")
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_answers() {
    let served = served().await;
    let mode = std::fs::metadata(&served.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let client = Client::new(&served.socket);
    let status = client.server().await.unwrap();
    assert_eq!((status.running, status.version.as_deref()), (true, Some("test")));
    assert!(client.jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_that_is_not_there_is_exit_code_7_on_every_route() {
    let served = served().await;
    let client = Client::new(&served.socket);
    for id in ["j-000000000000", "0", "-1", "18446744073709551616", "a b", "\u{e9}"] {
        let answers = [
            client.job(id).await.map(drop),
            client.cancel(id).await.map(drop),
            client.machine(id).await.map(drop),
            client.stream(id, true).await.map(drop),
        ];
        for answer in answers {
            let error = answer.expect_err(id);
            assert!(matches!(error, Error::Refused(_)), "{id}: {error:?}");
            assert_eq!(error.exit_code(), 7, "{id}: {error}");
        }
    }
}

#[tokio::test]
async fn foreign_hosts_and_odd_targets_are_refused() {
    let served = served().await;
    let ours = "Host: fleet\r\n";
    assert!(raw(&served, &get("/v1/server", ours)).await.starts_with("HTTP/1.1 200"));
    for (path, headers) in [
        ("/v1/server", "Host: evil.example\r\n"),
        ("/v1/server", "Host: fleet\r\nHost: fleet\r\n"),
        ("/v1/server", ""),
        ("http://evil.example/v1/server", ours),
        ("/v1/jobs/%2e%2e/server", ours),
        ("/v1/jobs/%252e", ours),
        ("/v1/jobs/a%00b", ours),
    ] {
        let answer = raw(&served, &get(path, headers)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path} {headers:?}: {answer}");
    }
    assert!(raw(&served, &get("/v2/x", ours)).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn bodies_that_are_no_submission_are_refused() {
    let served = served().await;
    let deep = "[".repeat(100_000);
    for body in ["", "{", "null", deep.as_str(), r#"{"client_key":"a","client_key":"b"}"#] {
        let request = format!(
            "POST /v1/jobs HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = raw(&served, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("\"exit_code\":2"), "{answer}");
    }
    let huge = "POST /v1/jobs HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\nContent-Length: 1073741824\r\n\r\n{";
    assert!(raw(&served, huge).await.starts_with("HTTP/1.1 400"), "refused by its length alone");
}

#[tokio::test]
async fn a_header_without_end_is_cut_off() {
    let served = served().await;
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let line = format!("X: {}\r\n", "a".repeat(1000));
    stream.write_all(b"GET /v1/server HTTP/1.1\r\n").await.unwrap();
    let mut sent = 0;
    // The server hangs up: writing fails long before the header is a megabyte.
    while sent < 1 << 20 && stream.write_all(line.as_bytes()).await.is_ok() {
        sent += line.len();
    }
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 200"));
    assert!(Client::new(&served.socket).server().await.is_ok(), "others are still served");
}

#[tokio::test]
async fn stop_answers_first_and_then_the_server_leaves() {
    let served = served().await;
    let client = Client::new(&served.socket);
    assert!(client.stop().await.unwrap().is_empty());
    tokio::time::timeout(Duration::from_secs(10), served.done).await.expect("it leaves").unwrap();
    assert!(served.stop.is_cancelled());
}

#[tokio::test]
async fn nobody_listening_is_told_apart_from_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::new(&dir.path().join("none.sock")).server().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }));
    assert_eq!(error.exit_code(), 6);
}

#[test]
fn a_path_too_long_for_a_socket_says_so() {
    let path = PathBuf::from("/tmp").join("x".repeat(200));
    let error = bind(&path).unwrap_err();
    assert!(matches!(error, Error::PathTooLong { .. }));
    assert!(error.hint().unwrap().contains("FLEET_HOME"));
}
