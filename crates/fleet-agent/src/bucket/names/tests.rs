//! Look-ups against a name server that plays a script.

use super::*;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// A server at one port of UDP and TCP; it is told the name and the kind that are asked for.
struct Played {
    names: Names,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
    _folder: tempfile::TempDir,
}

type Script = dyn Fn(&str, u16, bool) -> Option<Vec<u8>> + Send + Sync;

/// The header's third and fourth byte, and the records.
fn said(flags: u8, code: u8, records: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut bytes = vec![0x80 | flags, code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    // The question goes between.
    bytes.extend(records.concat());
    Some(bytes)
}

/// A record of the name that was asked for.
fn record(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 12];
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60, 0, value.len() as u8]);
    bytes.extend(value);
    bytes
}

fn answer(
    question: &[u8],
    script: &Script,
    tcp: bool,
    asked: &Mutex<Vec<(String, u16)>>,
) -> Option<Vec<u8>> {
    let (mut at, mut labels) = (HEADER, Vec::new());
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let (name, kind) = (labels.join("."), number(question, at + 1).unwrap());
    asked.lock().unwrap().push((name.clone(), kind));
    let said = script(&name, kind, tcp)?;
    Some([&question[..2], &said[..10], &question[HEADER..], &said[10..]].concat())
}

fn played(
    hosts: &str,
    more: &str,
    script: impl Fn(&str, u16, bool) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> Played {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let udp = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let (asked, script): (Arc<Mutex<_>>, Arc<Script>) = (Arc::default(), Arc::new(script));
    let (heard, plays) = (asked.clone(), script.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            if let Some(said) = answer(&buffer[..length], &*plays, false, &heard) {
                udp.send_to(&said, from).unwrap();
            }
        }
    });
    let heard = asked.clone();
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().map_while(Result::ok) {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let said = answer(&question, &*script, true, &heard).unwrap();
            stream.write_all(&(said.len() as u16).to_be_bytes()).unwrap();
            stream.write_all(&said).unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let names =
        Names { hosts: folder.path().join("hosts"), servers: folder.path().join("conf"), port };
    std::fs::write(&names.hosts, hosts).unwrap();
    std::fs::write(&names.servers, format!("# ours\nnameserver 127.0.0.1\n{more}\n")).unwrap();
    Played { names, asked, _folder: folder }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn both_kinds_of_addresses_are_asked_for() {
    let played = played("", "", |_, kind, _| match kind {
        // An alias first, as stores have it.
        A => said(
            1,
            0x80,
            &[record(5, &[1, b'x', 0]), record(A, &[10, 0, 0, 1]), record(A, &[10, 0, 0, 2])],
        ),
        _ => said(1, 0x80, &[record(AAAA, &[0; 16])]),
    });
    let found = played.names.look_up("Bucket.S3.example.com").unwrap();
    assert_eq!(found, addresses(&["10.0.0.1", "10.0.0.2", "::"]));
    let asked = played.asked.lock().unwrap();
    assert!(asked.contains(&("bucket.s3.example.com".into(), A)), "{asked:?}");
}

#[test]
fn nobody_is_asked_for_what_is_known_here() {
    let hosts = "10.1.1.1 store other.example.com # note\n::1 store\n#10.9.9.9 store\n";
    let played = played(hosts, "", |_, _, _| panic!("asked"));
    for (host, wanted) in [
        ("10.2.3.4", vec!["10.2.3.4"]),
        ("[fd00::1]", vec!["fd00::1"]),
        ("STORE", vec!["10.1.1.1", "::1"]),
        ("other.example.com.", vec!["10.1.1.1"]),
        ("localhost", vec!["127.0.0.1", "::1"]),
        ("bucket.localhost", vec!["127.0.0.1", "::1"]),
    ] {
        assert_eq!(played.names.look_up(host).unwrap(), addresses(&wanted), "{host}");
    }
    assert!(played.asked.lock().unwrap().is_empty());
}

#[test]
fn a_short_name_is_looked_for_in_its_domains() {
    let found = |name: &str, kind: u16, _: bool| match (name, kind) {
        ("minio.b.example", A) => said(0, 0, &[record(A, &[10, 0, 0, 7])]),
        _ => said(0, NO_SUCH_NAME, &[]),
    };
    let played = played("", "search a.example b.example.\noptions ndots:5", found);
    assert_eq!(played.names.look_up("minio").unwrap(), addresses(&["10.0.0.7"]));
    let names = |kind| {
        let asked = played.asked.lock().unwrap();
        asked.iter().filter(|(_, k)| *k == kind).map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(A), ["minio.a.example", "minio.b.example"]);
    assert_eq!(played.names.look_up("no.where").unwrap(), Vec::<IpAddr>::new());
    assert_eq!(names(A)[2..], ["no.where", "no.where.a.example", "no.where.b.example"]);
}

#[test]
fn a_long_answer_comes_over_tcp() {
    let many: Vec<_> = (0..40).map(|n| record(A, &[10, 0, 0, n])).collect();
    let played = played("", "", move |_, kind, tcp| match (kind, tcp) {
        (A, false) => said(2, 0, &[]),
        (A, true) => said(0, 0, &many),
        _ => said(0, 0, &[]),
    });
    assert_eq!(played.names.look_up("many.example").unwrap().len(), 40);
}

#[test]
fn a_server_that_fails_is_no_answer() {
    let played = played("", "", |_, _, _| said(0, 2, &[]));
    let told = played.names.look_up("a.example").unwrap_err().to_string();
    assert!(told.contains("name servers fail"), "{told}");
    let told = played.names.look_up(&format!("{}.example", "x".repeat(64))).unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn one_kind_alone_is_enough() {
    let played =
        played(
            "",
            "",
            |_, kind, _| if kind == A { said(0, 0, &[record(A, &[10, 0, 0, 1])]) } else { None },
        );
    assert_eq!(played.names.look_up("a.example").unwrap(), addresses(&["10.0.0.1"]));
}

#[test]
fn what_is_no_answer_is_passed_over() {
    let question = question(7, "a.example", A).unwrap();
    let whole =
        |said: Vec<u8>| [&question[..2], &said[..10], &question[HEADER..], &said[10..]].concat();
    let right = whole(said(0, 0, &[record(A, &[10, 0, 0, 1])]).unwrap());
    assert_eq!(read(&right, 7, &question), Some(Answer::Addresses(addresses(&["10.0.0.1"]))));
    assert_eq!(read(&right, 8, &question), None, "another question's number");
    let other = super::question(7, "b.example", A).unwrap();
    assert_eq!(read(&right, 7, &other), None, "another name");
    for length in 0..right.len() {
        assert_eq!(read(&right[..length], 7, &question), None, "{length} bytes of it");
    }
    // A record that is said to be longer than the rest.
    let mut lying = right.clone();
    let at = lying.len() - 5;
    lying[at] = 200;
    assert_eq!(read(&lying, 7, &question), None);
}
