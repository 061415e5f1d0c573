//! A store that plays a script: what no server does on demand.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    /// Of a part its first bytes.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
    /// `PUT /path?query`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What is said to it.
pub(crate) struct Reply {
    status: u16,
    headers: String,
    body: Vec<u8>,
    /// Bytes of the body that are sent before the line breaks.
    until: Option<usize>,
    /// The line breaks before anything is said.
    silent: bool,
}

pub(crate) fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, headers: String::new(), body: body.into(), until: None, silent: false }
}

/// The line breaks, though the request was heard.
pub(crate) fn silence() -> Reply {
    Reply { silent: true, ..reply(200, "") }
}

impl Reply {
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push_str(&format!("{name}: {}\r\n", value.to_string()));
        self
    }
    pub(crate) fn breaks_after(mut self, bytes: usize) -> Self {
        self.until = Some(bytes);
        self
    }
}

/// A failure as S3 and Azure write it.
pub(crate) fn fault(status: u16, code: &str) -> Reply {
    reply(status, format!("<Error><Code>{code}</Code><Message>So it is</Message></Error>"))
}

type Script = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

/// The server. It lives as long as the test's process.
pub(crate) struct Played {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Played {
    /// The script gets each request with the number of requests that came before.
    pub(crate) fn new(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, all): (Arc<Script>, _) = (Arc::new(script), seen.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, all) = (script.clone(), all.clone());
                std::thread::spawn(move || serve(&stream, &*script, &all));
            }
        });
        Self { url, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }
}

/// Serves one connection until either side has enough.
fn serve(stream: &TcpStream, script: &Script, all: &Mutex<Vec<Seen>>) {
    let mut reader = BufReader::new(stream);
    while let Some(seen) = hear(stream, &mut reader) {
        let number = {
            let mut all = all.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        let said = script(&seen, number);
        if said.silent || say(stream, &said).is_err() || said.until.is_some() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

fn hear(mut stream: &TcpStream, reader: &mut BufReader<&TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    if headers.contains_key("expect") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let length = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // A script about thousands of parts is not about their bytes.
    if target.contains("partNumber=") {
        body.truncate(16);
    }
    Some(Seen { method, target, headers, body })
}

fn say(mut stream: &TcpStream, said: &Reply) -> std::io::Result<()> {
    let Reply { status, headers, body, until, .. } = said;
    let head = format!("HTTP/1.1 {status} So\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..until.unwrap_or(body.len())])?;
    stream.flush()
}
