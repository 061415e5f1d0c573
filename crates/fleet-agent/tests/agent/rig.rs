//! A machine of one test: a home, an agent in it, and links to it.

use fleet_agent_api::{
    AgentConfig, AgentState, Blob, Decoder, Frame, FromAgent, Invitation, LogRecord, PROTOCOL,
    RunSpec, Slot, Source, TaskEnd, TaskState, ToAgent, Want, encode_blob, encode_message,
};
use fleet_types::{EndMachine, Epoch, FleetId, JobId, Tree, TreeEntry, TreeKind};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No wait of a test is longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    home: tempfile::TempDir,
    pub(crate) config: AgentConfig,
    pub(crate) env: Vec<(String, String)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let config = AgentConfig {
            protocol: PROTOCOL,
            fleet: FleetId::new("f"),
            job: JobId::from_bits(7),
            epoch: Epoch(3),
            orphan_ms: 600_000,
            expires_in_ms: 600_000,
            end_machine: EndMachine::Never,
            notifier: None,
            notice_poll_ms: 50,
            beat_ms: 100,
            alone_ms: None,
        };
        // Longer than a socket's address may be: homes of people are.
        let home = tempfile::Builder::new().prefix(&"long".repeat(30)).tempdir().unwrap();
        Self { home, config, env: Vec::new() }
    }
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
    pub(crate) fn base(&self) -> PathBuf {
        self.home().join(".fleet").join(self.config.job.as_str())
    }
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-agent"));
        command.args(words).env("HOME", self.home()).envs(self.env.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    pub(crate) fn try_start(&self) -> Output {
        let mut child = self.command(&["start"]).spawn().unwrap();
        let config = serde_json::to_vec(&self.config).unwrap();
        child.stdin.take().unwrap().write_all(&config).unwrap();
        child.wait_with_output().unwrap()
    }
    pub(crate) fn start(&self) {
        let output = self.try_start();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ok\n", "{output:?} {}", self.log());
    }
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.base().join("agent.log")).unwrap_or_default()
    }
    pub(crate) fn link(&self) -> Link {
        let epoch = self.config.epoch.to_string();
        let mut child =
            self.command(&["attach", self.config.job.as_str(), &epoch]).spawn().unwrap();
        let (mut output, input) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        let (sender, frames) = channel();
        std::thread::spawn(move || {
            let (mut decoder, mut buffer) = (Decoder::default(), vec![0; 256 << 10]);
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                decoder.push(&buffer[..length]);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    if sender.send(frame).is_err() {
                        return;
                    }
                }
            }
        });
        Link {
            child,
            input,
            frames,
            seen: VecDeque::new(),
            logs: Vec::new(),
            blobs: VecDeque::new(),
        }
    }
    /// A link that said hello and was welcomed.
    pub(crate) fn hello(&self, log_from: u64) -> (Link, AgentState) {
        let mut link = self.link();
        link.send(&ToAgent::Hello {
            protocol: PROTOCOL,
            job: self.config.job.clone(),
            epoch: self.config.epoch,
            log_from,
        });
        let state = link.expect("the welcome", |m| match m {
            FromAgent::Welcome { state, .. } => Some(state.clone()),
            _ => None,
        });
        (link, state)
    }
    /// Starts the agent and a task.
    pub(crate) fn run(&self, spec: RunSpec) -> Link {
        self.start();
        let (mut link, _) = self.hello(0);
        link.send(&ToAgent::Start { spec: Box::new(spec) });
        link
    }
    /// The daemon's pid, from the lock table of the kernel.
    pub(crate) fn daemon_pid(&self) -> u32 {
        let root = self.base();
        let inode = std::os::unix::fs::MetadataExt::ino(
            &std::fs::metadata(root.join("agent.lock")).unwrap(),
        );
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let line = locks.lines().find(|l| l.contains(&format!(":{inode} "))).expect("no lock");
        line.split_whitespace().nth(4).unwrap().parse().unwrap()
    }
    /// Processor time of the daemon: in user code and in the kernel.
    pub(crate) fn busy(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon_pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        format!("{}0 ms + {}0 ms", fields[11], fields[12])
    }
    pub(crate) fn memory_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.daemon_pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !self.base().join("agent.sock").exists() || std::thread::panicking() {
            if std::thread::panicking() {
                eprintln!("agent.log:\n{}", self.log());
            }
            if !self.base().join("agent.sock").exists() {
                return;
            }
        }
        let mut link = self.link();
        link.send(&ToAgent::Hello {
            protocol: PROTOCOL,
            job: self.config.job.clone(),
            epoch: self.config.epoch,
            log_from: u64::MAX,
        });
        link.send(&ToAgent::Release);
        let since = Instant::now();
        while self.base().join("agent.sock").exists() && since.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }
}

pub(crate) struct Link {
    pub(crate) child: Child,
    pub(crate) input: ChildStdin,
    frames: Receiver<Frame>,
    seen: VecDeque<FromAgent>,
    pub(crate) logs: Vec<LogRecord>,
    blobs: VecDeque<Blob>,
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Link {
    pub(crate) fn send(&mut self, message: &ToAgent) {
        self.send_bytes(&encode_message(message).unwrap());
    }
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        // The agent may have hung up, which the test sees where it listens.
        let _ = self.input.write_all(bytes).and_then(|()| self.input.flush());
    }
    /// Takes one frame in. `false`: the agent hung up.
    pub(crate) fn pump(&mut self, wait: Duration) -> bool {
        match self.frames.recv_timeout(wait) {
            Ok(Frame::Blob(blob)) => self.blobs.push_back(blob),
            Ok(frame) => match frame.message().unwrap() {
                FromAgent::Log { records } => self.logs.extend(records),
                message => self.seen.push_back(message),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }
    /// Waits for a message; others are kept, but for beats.
    pub(crate) fn expect<T>(&mut self, what: &str, pick: impl Fn(&FromAgent) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            if let Some(at) = self.seen.iter().position(|m| pick(m).is_some()) {
                let message = self.seen.remove(at).unwrap();
                return pick(&message).unwrap();
            }
            self.seen.retain(|m| !matches!(m, FromAgent::Beat(_)));
            assert!(since.elapsed() < PATIENCE, "{what} did not come");
            assert!(self.pump(Duration::from_millis(50)), "the agent hung up before {what}");
        }
    }
    pub(crate) fn expect_hangup(&mut self) {
        let since = Instant::now();
        while self.pump(Duration::from_millis(50)) {
            assert!(since.elapsed() < PATIENCE, "the agent did not hang up");
        }
    }
    /// What came so far and was not asked for, beats left out.
    pub(crate) fn unheard(&mut self) -> Vec<FromAgent> {
        self.seen.drain(..).filter(|m| !matches!(m, FromAgent::Beat(_))).collect()
    }
    pub(crate) fn until(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !is_true(self) {
            assert!(
                since.elapsed() < PATIENCE,
                "{what} did not happen; last lines {:?}",
                self.logs.iter().rev().take(9).map(|r| &r.line).collect::<Vec<_>>()
            );
            assert!(self.pump(Duration::from_millis(20)), "the agent hung up before {what}");
        }
    }
    pub(crate) fn active(&mut self) -> u32 {
        self.expect("the start of run", |m| match m {
            FromAgent::Task {
                state: TaskState::Active { step: fleet_agent_api::TaskStep::Run, pid, .. },
            } => Some(*pid),
            _ => None,
        })
    }
    pub(crate) fn ended(&mut self) -> TaskEnd {
        self.expect("the end", |m| match m {
            FromAgent::Task { state: TaskState::Ended(end) } => Some(end.clone()),
            _ => None,
        })
    }
    pub(crate) fn settled(&mut self) -> Option<u32> {
        self.expect("the settling", |m| match m {
            FromAgent::Settled { last_checkpoint, .. } => Some(*last_checkpoint),
            _ => None,
        })
    }
    pub(crate) fn ready(&mut self) -> Invitation {
        self.expect("an invitation", |m| match m {
            FromAgent::Ready(invitation) => Some(invitation.clone()),
            _ => None,
        })
    }
    pub(crate) fn line(&mut self, text: &str) {
        self.until(&format!("the line `{text}`"), |l| l.logs.iter().any(|r| r.line == text));
    }
    pub(crate) fn text(&self) -> Vec<&str> {
        self.logs.iter().map(|r| r.line.as_str()).collect()
    }
    /// Asks for every blob of a tree and checks it; path to bytes.
    pub(crate) fn fetch(&mut self, invitation: &Invitation) -> HashMap<String, Vec<u8>> {
        let mut wanted: Vec<(String, u64)> =
            files(&invitation.tree).map(|(_, size, sha256)| (sha256.to_owned(), size)).collect();
        wanted.sort();
        wanted.dedup();
        let blobs = wanted.iter().map(|(s, _)| Want { sha256: s.clone(), from: 0 }).collect();
        self.send(&ToAgent::Want { source: invitation.source.clone(), blobs });
        let mut whole = HashMap::new();
        for _ in &wanted {
            let (sha256, bytes) = self.blob(Vec::new());
            whole.insert(sha256, bytes);
        }
        files(&invitation.tree).map(|(p, _, s)| (p.to_owned(), whole[s].clone())).collect()
    }
    /// Takes the pieces of one blob, behind what is there of it; checks the digest.
    pub(crate) fn blob(&mut self, mut bytes: Vec<u8>) -> (String, Vec<u8>) {
        loop {
            let piece = self.piece();
            assert_eq!(piece.offset, bytes.len() as u64, "pieces come in order");
            bytes.extend_from_slice(&piece.bytes);
            if bytes.len() as u64 == piece.size {
                assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), piece.sha256);
                return (hex::encode(piece.sha256), bytes);
            }
        }
    }
    pub(crate) fn piece(&mut self) -> Blob {
        self.until("a piece of a blob", |l| !l.blobs.is_empty());
        self.blobs.pop_front().unwrap()
    }
    pub(crate) fn published(&mut self, source: &Source) {
        self.send(&ToAgent::Published { source: source.clone() });
    }
    /// Puts a folder, sending what is needed.
    pub(crate) fn put(&mut self, slot: Slot, folder: &Folder) -> Result<(), String> {
        self.send(&ToAgent::Put { slot: slot.clone(), tree: folder.tree.clone() });
        loop {
            let answer = self.expect("an answer to put", |m| match m {
                FromAgent::Need { slot: s, .. }
                | FromAgent::Placed { slot: s }
                | FromAgent::PutFailed { slot: s, .. }
                    if *s == slot =>
                {
                    Some(m.clone())
                }
                _ => None,
            });
            match answer {
                FromAgent::Need { blobs, .. } => {
                    for want in blobs {
                        let digest = hex::decode(&want.sha256).unwrap().try_into().unwrap();
                        self.give(digest, &folder.bytes[&want.sha256], want.from);
                    }
                }
                FromAgent::PutFailed { reason, .. } => return Err(reason),
                _ => return Ok(()),
            }
        }
    }
    pub(crate) fn give(&mut self, digest: [u8; 32], bytes: &[u8], from: u64) {
        let mut at = from as usize;
        for piece in bytes[from as usize..].chunks(256 << 10) {
            let frame = encode_blob(&digest, at as u64, bytes.len() as u64, piece);
            self.send_bytes(&frame);
            at += piece.len();
        }
    }
}

pub(crate) fn files(tree: &Tree) -> impl Iterator<Item = (&str, u64, &str)> {
    tree.entries.iter().filter_map(|e| match &e.kind {
        TreeKind::File { size, sha256 } => Some((e.path.as_str(), *size, sha256.as_str())),
        _ => None,
    })
}

pub(crate) fn paths(tree: &Tree) -> Vec<&str> {
    tree.entries.iter().map(|e| e.path.as_str()).collect()
}

/// A tree with its bytes.
#[derive(Default, Clone)]
pub(crate) struct Folder {
    pub(crate) tree: Tree,
    pub(crate) bytes: HashMap<String, Vec<u8>>,
}

impl Folder {
    pub(crate) fn file(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let kind = TreeKind::File { size: bytes.len() as u64, sha256: sha256.clone() };
        self.tree.entries.push(TreeEntry { path: path.into(), mode, kind });
        self.bytes.insert(sha256, bytes);
        self
    }
    pub(crate) fn entry(mut self, path: &str, kind: TreeKind) -> Self {
        self.tree.entries.push(TreeEntry { path: path.into(), mode: 0o755, kind });
        self
    }
}

/// A task with test-sized times.
pub(crate) fn task(run: &str) -> RunSpec {
    RunSpec {
        run: run.into(),
        signal: "TERM".into(),
        grace_ms: 10_000,
        quiet_ms: 300,
        checkpoint_limit: 2 << 30,
        ..RunSpec::default()
    }
}

/// Waits for something outside the conversation.
pub(crate) fn wait_for(what: &str, mut is_true: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_true() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::yield_now();
    }
}
