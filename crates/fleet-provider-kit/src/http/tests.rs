//! Bad answers, one by one, from a socket that sends exactly what it is told.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Serves `answer` to every connection and counts them; an empty answer hangs up.
async fn served(answer: Vec<u8>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::SeqCst);
            let mut buffer = [0; 4096];
            let got = socket.read(&mut buffer).await;
            if got.is_ok_and(|n| n > 0) && !answer.is_empty() {
                let _ = socket.write_all(&answer).await;
            }
        }
    });
    (format!("http://{address}"), count)
}

fn client(base_url: &str) -> Client {
    Client::new(ClientSettings {
        base_url: base_url.to_owned(),
        auth: Some(("authorization", SecretString::from("Bearer sk-secret-1"))),
        secrets: Vec::new(),
        total: Duration::from_secs(5),
    })
    .expect("a client")
}

fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}

async fn ask(answer: Vec<u8>, effect: Effect) -> Result<Value, ProviderError> {
    let (base, _) = served(answer).await;
    let reply = client(&base).send(Call::new("test", Method::PUT, "/x/", effect)).await?;
    reply.json()
}

#[tokio::test]
async fn answers_that_cannot_be_read_are_unknown_for_creates_and_passing_for_reads() {
    let mut truncated_gzip =
        http("200 OK\r\nContent-Encoding: gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    truncated_gzip.truncate(truncated_gzip.len() - 1);
    for (what, answer) in [
        ("hang-up", Vec::new()),
        ("empty", http("200 OK", b"")),
        ("html", http("200 OK\r\nContent-Type: text/html", b"<html>proxy</html>")),
        ("cut off", http("200 OK", b"{\"a\": 1}")[..60].to_vec()),
        ("bad gzip", truncated_gzip),
    ] {
        let error = ask(answer.clone(), Effect::Create).await.expect_err(what);
        assert_eq!((error.fault, error.maybe_applied), (Fault::Unknown, true), "{what}: {error}");
        let error = ask(answer, Effect::Read).await.expect_err(what);
        assert_eq!(
            (error.fault, error.maybe_applied),
            (Fault::Transient, false),
            "{what}: {error}"
        );
    }
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let call = Call::new("test", Method::PUT, "/", Effect::Create);
    let error = client(&format!("http://{address}")).send(call).await.expect_err("refused");
    assert_eq!((error.fault, error.maybe_applied), (Fault::Transient, false), "{error}");
    assert!(error.refusal().is_some());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let body = vec![b' '; ANSWER_MAX + 1];
    let error = ask(http("200 OK", &body), Effect::Read).await.expect_err("too long");
    assert!(error.text().contains("32 MiB"), "{error}");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (other, visits) = served(http("200 OK", b"{}")).await;
    let (base, _) = served(http(&format!("302 Found\r\nLocation: {other}/"), b"")).await;
    let reply = client(&base).send(Call::get("test", "/")).await.expect("a reply");
    assert_eq!(reply.status(), 302);
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn retry_after_is_clamped_and_secrets_are_struck_out() {
    for (header, seconds) in [
        ("7", Some(7)),
        ("1000000000", Some(60)),
        ("99999999999999999999999", Some(60)),
        ("-1", None),
        ("Wed, 21 Oct", None),
    ] {
        let head = format!("429 Too Many\r\nRetry-After: {header}");
        let (base, _) = served(http(&head, b"\"no: Bearer sk-secret-1\"")).await;
        let reply = client(&base).send(Call::get("test", "/")).await.expect("a reply");
        assert_eq!(reply.retry_after().map(|d| d.as_secs()), seconds, "{header}");
        assert!(!reply.excerpt().contains("sk-secret"), "{}", reply.excerpt());
        let error = reply.refused(Fault::Throttled, Scope::Provider, "429", reply.excerpt());
        assert!(!error.to_string().contains("sk-secret"));
    }
}

#[test]
fn endpoints_are_checked_before_a_byte_is_sent() {
    for (url, credential, fine) in [
        ("https://cloud.example", true, true),
        ("http://127.0.0.1:80", true, true),
        ("http://cloud.example", true, false),
        ("http://cloud.example", false, true),
        ("file:///etc/passwd", false, false),
        ("ftp://cloud.example", false, false),
        ("https://me:pw@cloud.example", true, false),
        ("cloud.example", true, false),
    ] {
        assert_eq!(check_url(url, credential).is_ok(), fine, "{url}");
    }
}

#[test]
fn a_client_does_not_print_its_credential() {
    assert!(!format!("{:?}", client("http://127.0.0.1:1")).contains("sk-secret"));
}
