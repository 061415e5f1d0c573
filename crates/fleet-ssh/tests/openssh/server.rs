//! A real OpenSSH server for the tests: an ordinary process on a loopback address and a high port.
//!
//! It has its own host key, its own `authorized_keys` and its own log, and dies with its value. Where
//! sshd is missing it is installed if we may; otherwise the tests say loudly that they were skipped.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fleet_ssh::{Error, HostKeyPolicy, Keepalive, KeyPair, Session, Target};
use nix::unistd::{User, geteuid};
use secrecy::ExposeSecret;

const SSHD: &str = "/usr/sbin/sshd";
const ADDRESS: &str = "127.0.0.6";

/// How long anything that ought to happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Child,
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) login: KeyPair,
    pub(crate) host: KeyPair,
}

impl Server {
    /// Starts a server, or says that this test cannot run here.
    pub(crate) fn start() -> Option<Server> {
        if !installed() {
            loudly("SKIPPED: no OpenSSH server here, and not root to install openssh-server");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory for sshd");
        let (login, host) = (KeyPair::generate("login"), KeyPair::generate("host"));
        private(&dir.path().join("host_key"), host.private_pem.expose_secret());
        private(&dir.path().join("authorized_keys"), &format!("{}\n", login.public_line));
        let port = free_port();
        let child = spawn(dir.path(), port, "VERBOSE");
        Some(Server { child, dir, port, login, host })
    }

    /// Stops the server and starts another one, with another host key, in its place.
    ///
    /// It logs in detail (which also goes to the stderr of its commands).
    pub(crate) fn swap_host_key(&mut self) -> KeyPair {
        self.stop();
        let impostor = KeyPair::generate("impostor");
        private(&self.dir.path().join("host_key"), impostor.private_pem.expose_secret());
        self.child = spawn(self.dir.path(), self.port, "DEBUG1");
        impostor
    }

    pub(crate) fn target(&self, host_key: HostKeyPolicy) -> Target {
        Target {
            host: ADDRESS.into(),
            port: self.port,
            user: user(),
            login_key: self.login.private_pem.clone(),
            host_key,
        }
    }

    pub(crate) fn pinned(&self) -> Target {
        self.target(HostKeyPolicy::Pinned(vec![self.host.public_line.clone()]))
    }

    pub(crate) async fn session(&self) -> Session {
        self.session_with(Keepalive::default()).await
    }

    /// Connects as soon as the server is up.
    pub(crate) async fn session_with(&self, keepalive: Keepalive) -> Session {
        self.reach(&self.pinned(), keepalive).await.expect("a session with sshd")
    }

    /// Connects, waiting only while nobody listens.
    pub(crate) async fn reach(
        &self,
        target: &Target,
        keepalive: Keepalive,
    ) -> Result<Session, Error> {
        let deadline = Instant::now() + SOON;
        loop {
            match Session::connect_with(target, SOON, keepalive).await {
                Err(Error::Unreachable { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                ended => return ended,
            }
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).expect("sshd's log")
    }

    fn stop(&mut self) {
        let _dead = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A directory below the home, where uploads land.
pub(crate) fn below_home() -> (PathBuf, tempfile::TempDir) {
    let home = User::from_uid(geteuid()).expect("the user table").expect("our user").dir;
    let dir = tempfile::Builder::new()
        .prefix(".fleet-ssh-test-")
        .tempdir_in(&home)
        .expect("a directory in the home");
    (home, dir)
}

fn user() -> String {
    User::from_uid(geteuid()).expect("the user table").expect("our user").name
}

fn spawn(dir: &Path, port: u16, detail: &str) -> Child {
    let log = fs::File::create(dir.join("log")).expect("a log for sshd");
    let option = |name: &str, value: &str| format!("{name}={value}");
    Command::new(SSHD)
        .args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()])
        .arg("-h")
        .arg(dir.join("host_key"))
        .args(["-o", &option("ListenAddress", ADDRESS), "-o", "UsePAM=no", "-o", "StrictModes=no"])
        .args(["-o", "PidFile=none", "-o", "PermitRootLogin=yes"])
        .args(["-o", &option("LogLevel", detail)])
        .arg("-o")
        .arg(option("AuthorizedKeysFile", &dir.join("authorized_keys").to_string_lossy()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("sshd starts")
}

fn installed() -> bool {
    let root = geteuid().is_root();
    if !Path::new(SSHD).exists() && root {
        for arguments in [vec!["update"], vec!["install", "-y", "openssh-server"]] {
            let _tried = Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
        }
    }
    if root {
        // sshd refuses to start as root without its separation directory.
        let _there = fs::create_dir_all("/run/sshd");
    }
    Path::new(SSHD).exists()
}

fn loudly(words: &str) {
    let _unheard = writeln!(std::io::stderr(), "\n*** {words} ***\n");
}

fn private(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .expect("a private file");
    file.write_all(text.as_bytes()).expect("a private file");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((ADDRESS, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
