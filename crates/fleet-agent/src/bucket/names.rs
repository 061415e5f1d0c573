//! Addresses of hosts, looked up without the C library.
//!
//! The agent is linked statically, and glibc's `getaddrinfo` loads modules of the machine's own library for
//! it (`nsswitch.conf`: `myhostname`, `resolve`), which ends in a crash where the two differ
//! (<https://github.com/rust-lang/rust/issues/100711>). So names are read from `/etc/hosts` and asked of the
//! servers in `/etc/resolv.conf`, as RFC 1035 has it. Invariant: a look-up takes a bounded time, and an
//! answer is data of its question alone: no more is read of it than addresses.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long one server is waited for, in the first round and in the second.
const ROUNDS: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(3000)];
/// Once there are addresses of one kind, the other is not waited for any longer than this.
const SECOND_KIND: Duration = Duration::from_millis(150);
const MOST_SERVERS: usize = 3;
const MOST_ADDRESSES: usize = 16;
const HEADER: usize = 12;
/// Kinds of records: RFC 1035 and RFC 3596.
const A: u16 = 1;
const AAAA: u16 = 28;
const NO_SUCH_NAME: u8 = 3;

/// Looks names up.
#[derive(Debug)]
pub(crate) struct Names {
    hosts: PathBuf,
    servers: PathBuf,
    port: u16,
}

impl Default for Names {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), servers: "/etc/resolv.conf".into(), port: 53 }
    }
}

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let port =
            uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
        let found = self.look_up(host).map_err(ureq::Error::Io)?;
        let mut addresses = self.empty();
        for address in found.into_iter().take(MOST_ADDRESSES) {
            addresses.push(SocketAddr::new(address, port));
        }
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// What `/etc/resolv.conf` says.
struct Servers {
    addresses: Vec<IpAddr>,
    /// Domains that a short name may be in.
    search: Vec<String>,
}

/// What a server says of a name.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<IpAddr>),
    NoSuchName,
    /// It cannot say; another may.
    Failure,
    /// It did not fit: to be asked again over TCP.
    Cut,
}

impl Names {
    /// The addresses of a host, those of IPv4 first; none: there is no such host.
    fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Ok(vec![address]);
        }
        let host = host.trim_end_matches('.').to_lowercase();
        let listed = self.listed(&host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if host == "localhost" || host.ends_with(".localhost") {
            // RFC 6761: never asked of anybody.
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let servers = self.servers();
        let in_domains = servers.search.iter().map(|domain| format!("{host}.{domain}"));
        let mut names = vec![host.clone()];
        names.extend(in_domains);
        if !host.contains('.') {
            names.rotate_left(1);
        }
        for name in names {
            let found = self.ask_all(&servers.addresses, &name)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    fn listed(&self, host: &str) -> Vec<IpAddr> {
        let text = std::fs::read_to_string(&self.hosts).unwrap_or_default();
        let address = |line: &str| {
            let mut words = line.split('#').next()?.split_whitespace();
            let address: IpAddr = words.next()?.parse().ok()?;
            words.any(|name| name.eq_ignore_ascii_case(host)).then_some(address)
        };
        let mut found: Vec<IpAddr> = text.lines().filter_map(address).collect();
        found.sort_by_key(IpAddr::is_ipv6);
        found
    }

    fn servers(&self) -> Servers {
        let text = std::fs::read_to_string(&self.servers).unwrap_or_default();
        let mut servers = Servers { addresses: Vec::new(), search: Vec::new() };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    servers.addresses.extend(words.next().and_then(|w| w.parse::<IpAddr>().ok()))
                }
                Some("search" | "domain") => {
                    servers.search = words.map(|w| w.trim_end_matches('.').to_owned()).collect();
                }
                _ => {}
            }
        }
        servers.addresses.truncate(MOST_SERVERS);
        servers.search.retain(|domain| !domain.is_empty());
        servers.search.truncate(6);
        if servers.addresses.is_empty() {
            servers.addresses.push(Ipv4Addr::LOCALHOST.into());
        }
        servers
    }

    /// Asks one server after the other until one knows.
    fn ask_all(&self, servers: &[IpAddr], name: &str) -> io::Result<Vec<IpAddr>> {
        let mut last = io::Error::other("no name server answers");
        for wait in ROUNDS {
            for server in servers {
                match ask(SocketAddr::new(*server, self.port), name, wait) {
                    Ok(Some(found)) => return Ok(found),
                    Ok(None) => last = io::Error::other("the name servers fail"),
                    Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(e),
                    Err(_) => {}
                }
            }
        }
        Err(last)
    }
}

/// Asks a server for both kinds of addresses. `None`: it cannot say.
fn ask(server: SocketAddr, name: &str, wait: Duration) -> io::Result<Option<Vec<IpAddr>>> {
    let own: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((own, 0))?;
    socket.connect(server)?;
    let chance = RandomState::new().build_hasher().finish();
    let questions = [(A, chance as u16), (AAAA, (chance >> 16) as u16 ^ 1)];
    let questions = questions.map(|(kind, id)| (id, question(id, name, kind)));
    for (_, question) in &questions {
        socket.send(question.as_ref().map_err(invalid)?)?;
    }
    let mut until = Instant::now() + wait;
    let (mut answers, mut buffer) = ([None, None], [0; 4096]);
    while answers.iter().any(Option::is_none) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Ok(length) => length,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        for (index, (id, question)) in questions.iter().enumerate() {
            let question = question.as_ref().map_err(invalid)?;
            let answer = match read(&buffer[..length], *id, question) {
                Some(Answer::Cut) => over_tcp(server, *id, question, left).ok(),
                answer => answer,
            };
            if let Some(answer) = answer {
                if matches!(&answer, Answer::Addresses(found) if !found.is_empty()) {
                    until = until.min(Instant::now() + SECOND_KIND);
                }
                answers[index] = Some(answer);
            }
        }
    }
    Ok(both(answers))
}

/// What two answers come to; `None` where another server should be asked.
fn both(answers: [Option<Answer>; 2]) -> Option<Vec<IpAddr>> {
    let mut found = Vec::new();
    let mut known = false;
    for answer in answers.into_iter().flatten() {
        match answer {
            Answer::Addresses(addresses) => {
                known = true;
                found.extend(addresses);
            }
            Answer::NoSuchName => known = true,
            Answer::Failure | Answer::Cut => {}
        }
    }
    known.then_some(found)
}

fn over_tcp(server: SocketAddr, id: u16, question: &[u8], wait: Duration) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, wait)?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    match read(&answer, id, question) {
        Some(answer) if answer != Answer::Cut => Ok(answer),
        _ => Err(io::Error::other("a name server's answer is none")),
    }
}

fn invalid(why: &&'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, *why)
}

/// A question in the form of RFC 1035, 4.1.
fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, &'static str> {
    let mut bytes = id.to_be_bytes().to_vec();
    // Recursion desired; one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        bytes.push(length.ok_or("it is no name of a host")?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    if bytes.len() > HEADER + 255 {
        return Err("the name of the host is too long");
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    Ok(bytes)
}

/// Reads an answer; `None`: it is not one to this question, or not whole.
fn read(bytes: &[u8], id: u16, question: &[u8]) -> Option<Answer> {
    let asked = question.get(HEADER..)?;
    let is_answer = bytes.get(2)? & 0x80 != 0;
    let repeated = bytes.get(HEADER..HEADER + asked.len());
    // Servers may write the name in their own case.
    let same = repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(asked));
    if number(bytes, 0)? != id || !is_answer || !same {
        return None;
    }
    if bytes.get(2)? & 2 != 0 {
        return Some(Answer::Cut);
    }
    match bytes.get(3)? & 15 {
        0 => {}
        NO_SUCH_NAME => return Some(Answer::NoSuchName),
        _ => return Some(Answer::Failure),
    }
    let mut at = HEADER + asked.len();
    let mut found = Vec::new();
    for _ in 0..number(bytes, 6)? {
        at = after_name(bytes, at)?;
        let (kind, length) = (number(bytes, at)?, usize::from(number(bytes, at + 8)?));
        let value = bytes.get(at + 10..at + 10 + length)?;
        // An alias stands before the addresses of what it names; whose they are is the server's word.
        match kind {
            A => found.extend(<[u8; 4]>::try_from(value).ok().map(IpAddr::from)),
            AAAA => found.extend(<[u8; 16]>::try_from(value).ok().map(IpAddr::from)),
            _ => {}
        }
        at += 10 + length;
    }
    Some(Answer::Addresses(found))
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Where the name that begins at `at` ends. A pointer ends it.
fn after_name(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests;
