//! A fresh fleet home with a sandbox of its own, driven through the binary; both end with it.
//!
//! Invariants: no variable of the caller reaches `fleet` but `PATH` and `TMPDIR`, so that no real
//! credential and no other sandbox can; whatever a test does, dropping its home ends the server, the
//! sandbox and every process that was started for it, and says how long the test took.

use crate::process;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// No single command may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// The wait between two looks at a condition.
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(40));
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Asserts that the human text holds each of `words`.
    #[track_caller]
    pub(crate) fn says(self, words: &[&str]) -> Self {
        for word in words {
            let found = self.stderr.contains(word) || self.stdout.contains(word);
            assert!(found, "`{word}` is not in\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        }
        self
    }

    /// The lines of stdout that are JSON objects.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|l| serde_json::from_str(l).ok()).collect()
    }
}

/// A fleet of its own.
pub(crate) struct Home {
    name: &'static str,
    began: Instant,
    dir: tempfile::TempDir,
    pub(crate) env: BTreeMap<String, String>,
}

impl Home {
    /// A home in which waits are a twentieth of their real length.
    pub(crate) fn new(name: &'static str) -> Self {
        agent();
        let dir = tempfile::Builder::new().prefix("fleet-e2e-").tempdir().expect("a folder");
        let mut env = BTreeMap::new();
        for kept in ["PATH", "TMPDIR"] {
            env.extend(std::env::var(kept).ok().map(|v| (kept.to_owned(), v)));
        }
        let home = dir.path().join("f");
        std::fs::create_dir(&home).expect("a home");
        for (name, value) in [
            ("FLEET_HOME", home.to_str().expect("UTF-8")),
            ("HOME", dir.path().to_str().expect("UTF-8")),
            ("FLEET_TIME_SCALE", "0.05"),
            ("NO_COLOR", "1"),
        ] {
            env.insert(name.to_owned(), value.to_owned());
        }
        Self { name, began: Instant::now(), dir, env }
    }

    /// A home whose sandbox runs, with this environment pointed at it.
    pub(crate) fn with_sandbox(name: &'static str, args: &[&str]) -> Self {
        let mut home = Self::new(name);
        home.sandbox_up(args);
        home
    }

    /// Starts the sandbox and points this environment at it.
    pub(crate) fn sandbox_up(&mut self, args: &[&str]) {
        self.fleet(&[&["sandbox", "up"], args].concat()).ends(0);
        self.take_sandbox_env();
    }

    fn take_sandbox_env(&mut self) {
        let said = self.fleet(&["sandbox", "env"]).ends(0);
        for line in said.stdout.lines() {
            let (name, value) = line
                .strip_prefix("export ")
                .and_then(|l| l.split_once('='))
                .unwrap_or_else(|| panic!("no export line: {line}"));
            self.env.insert(name.to_owned(), value.trim_matches('\'').to_owned());
        }
    }

    /// `FLEET_HOME`.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("f")
    }

    /// Writes a file beside the home; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside the folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file of so many MiB that no compression shrinks.
    pub(crate) fn write_noise(&self, name: &str, mib: u64) {
        let path = PathBuf::from(self.write(name, ""));
        let noise = std::fs::File::open("/dev/urandom").expect("a source of noise");
        let mut file = std::fs::File::create(path).expect("a file");
        std::io::copy(&mut std::io::Read::take(noise, mib << 20), &mut file).expect("written");
    }

    /// Runs `fleet ARGS` to its end.
    #[track_caller]
    pub(crate) fn fleet(&self, args: &[&str]) -> Said {
        self.run(binary(), args)
    }

    /// Runs a program with this home's environment to its end.
    #[track_caller]
    pub(crate) fn run(&self, program: &Path, args: &[&str]) -> Said {
        let (out, err) = (self.sink(), self.sink());
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(&self.env)
            .stdin(Stdio::null())
            .stdout(out.reopen().expect("a file"))
            .stderr(err.reopen().expect("a file"))
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let end = Instant::now() + LIMIT;
        let read = |f: &tempfile::NamedTempFile| {
            String::from_utf8_lossy(&std::fs::read(f.path()).expect("read")).into_owned()
        };
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            if Instant::now() > end {
                let _gone = child.kill();
                panic!("{args:?} hangs; {}\n{}\n{}", read(&out), read(&err), self.server_log());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Said { code: status.code().unwrap_or(-1), stdout: read(&out), stderr: read(&err) }
    }

    fn sink(&self) -> tempfile::NamedTempFile {
        tempfile::NamedTempFile::new_in(self.dir.path()).expect("a file")
    }

    /// The document that `fleet ARGS --json` prints.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let said = self.fleet(&[args, &["--json"]].concat()).ends(0);
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|e| panic!("{args:?}: {e}: {}", said.stdout))
    }

    /// Submits a task, detached; the ids of its jobs.
    #[track_caller]
    pub(crate) fn submit(&self, file: &str, args: &[&str]) -> Vec<String> {
        self.submit_as(file, &[&["--use-spot"], args].concat())
    }

    /// The same without a wish for spot.
    #[track_caller]
    pub(crate) fn submit_as(&self, file: &str, args: &[&str]) -> Vec<String> {
        let all = [&["launch", file, "-d", "-y", "--json"], args].concat();
        let ids: Vec<String> = self
            .fleet(&all)
            .ends(0)
            .objects()
            .iter()
            .map(|e| {
                assert_eq!(e["event"], "job.accepted", "{e}");
                e["job_id"].as_str().expect("a job id").to_owned()
            })
            .collect();
        assert!(!ids.is_empty(), "no job was accepted");
        ids
    }

    /// Submits a task of one job; its id.
    #[track_caller]
    pub(crate) fn launch(&self, file: &str, args: &[&str]) -> String {
        self.submit(file, args).remove(0)
    }

    /// The job as `status` shows it.
    #[track_caller]
    pub(crate) fn job(&self, id: &str) -> Value {
        let all = self.json(&["status"]);
        let jobs = all["jobs"].as_array().expect("jobs");
        let job = jobs.iter().find(|j| j["id"] == id);
        job.unwrap_or_else(|| panic!("job {id} is lost: {all}")).clone()
    }

    /// The job once `wanted` holds of it.
    #[track_caller]
    pub(crate) fn until(
        &self,
        id: &str,
        seconds: u64,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let job = self.job(id);
            if wanted(&job) {
                return job;
            }
            assert!(
                Instant::now() < end,
                "{id}: {what} not within {seconds} s: {job}\n{}",
                self.server_log()
            );
            pause();
        }
    }

    /// The job once it is in that phase.
    #[track_caller]
    pub(crate) fn in_phase(&self, id: &str, phase: &str) -> Value {
        self.until(id, 40, phase, |j| {
            assert!(j["phase"] != "finished" || phase == "finished", "ended before {phase}: {j}");
            j["phase"] == phase
        })
    }

    /// The job once it has ended well.
    #[track_caller]
    pub(crate) fn succeeded(&self, id: &str) -> Value {
        let job = self.until(id, 90, "finished", |j| j["phase"] == "finished");
        assert_eq!(job["outcome"], "succeeded", "{job}\n{}", self.server_log());
        job
    }

    /// The job once its log holds `text`.
    #[track_caller]
    pub(crate) fn until_log(&self, id: &str, text: &str) {
        let end = Instant::now() + Duration::from_secs(40);
        loop {
            let said = self.fleet(&["logs", id]);
            if said.stdout.contains(text) {
                return;
            }
            assert!(Instant::now() < end, "`{text}` is not in {said:?}\n{}", self.server_log());
            pause();
        }
    }

    /// The job's event stream so far.
    pub(crate) fn events(&self, id: &str) -> Vec<Value> {
        self.fleet(&["events", id, "--json"]).ends(0).objects()
    }

    /// Process id of the server.
    pub(crate) fn server_pid(&self) -> Option<i32> {
        let status = self.json(&["server", "status"]);
        status["pid"].as_i64().and_then(|p| i32::try_from(p).ok())
    }

    /// SIGKILL to the server; it has gone when this returns.
    pub(crate) fn kill_server(&self) {
        let pid = self.server_pid().expect("a server runs");
        assert!(process::signal(pid, Signal::SIGKILL));
        self.until_true("the killed server is gone", || {
            !Path::new(&format!("/proc/{pid}")).exists()
        });
    }

    /// Waits for a condition.
    #[track_caller]
    pub(crate) fn until_true(&self, what: impl Display, wanted: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !wanted() {
            assert!(Instant::now() < end, "{what}: not so\n{}", self.server_log());
            pause();
        }
    }

    /// The end of the server's log, for messages.
    pub(crate) fn server_log(&self) -> String {
        let text = std::fs::read(self.path().join("server.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4000)..]).into_owned();
        format!("-- the server's log ends:\n{text}")
    }

    /// Processes that were started for this home.
    pub(crate) fn processes(&self) -> Vec<i32> {
        process::with_env(&format!("FLEET_HOME={}", self.path().display()))
    }

    fn end(&self) {
        let servers = self.processes();
        for pid in &servers {
            process::signal(*pid, Signal::SIGCONT);
        }
        for args in [["server", "stop"], ["sandbox", "down"]] {
            let mut command = Command::new(binary());
            command.args(args).env_clear().envs(&self.env).env_remove("FLEET_SANDBOX_CONTROL");
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(mut child) = command.spawn() else { continue };
            let limit = Instant::now() + Duration::from_secs(20);
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < limit {
                pause();
            }
            let _ended = child.kill();
            let _reaped = child.wait();
        }
        for pid in self.processes() {
            eprintln!("{}: left behind and killed: {}", self.name, process::command_line(pid));
            process::signal(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.end();
        let ended = if std::thread::panicking() { "FAILED" } else { "held" };
        eprintln!("{} {ended} after {:.1} s", self.name, self.began.elapsed().as_secs_f64());
    }
}

/// The binary under test: the one just built, or the one that `FLEET_BIN` names.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let named = || std::env::var_os("FLEET_BIN").map(PathBuf::from);
    BINARY.get_or_init(|| named().unwrap_or_else(|| env!("CARGO_BIN_EXE_fleet").into()))
}

/// A file of the repository's `examples`.
pub(crate) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
    path.to_str().expect("UTF-8").to_owned()
}

/// Sees to it that an agent lies beside the binary: building this package alone builds none.
fn agent() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let profile = binary().parent().expect("a folder");
        if ["fleet-agent-static", "fleet-agent"].iter().any(|n| profile.join(n).is_file()) {
            return;
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "fleet-agent", "--target-dir"])
            .arg(profile.parent().expect("a target folder"))
            .args(profile.ends_with("release").then_some("--release"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.is_ok_and(|s| s.success()), "the agent cannot be built");
    });
}
