//! How a sandbox is started, where its state lies, and what a shell needs to talk to it.
//!
//! Invariant: every credential named here is a dummy that `is_dummy_credential` recognises, so that
//! fleet can refuse to send one to a real cloud and the sandbox can refuse anything that is not one.

use crate::Scenario;
use fleet_types::{TimeScale, Timestamp};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What `run` needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of this sandbox (`$FLEET_HOME/sandbox`).
    pub dir: PathBuf,
    /// Fixes prices, stock and the machines on offer.
    pub seed: u64,
    pub scenario: Scenario,
    /// Scales visibility lag and rate gates; never billing or warnings.
    pub time_scale: TimeScale,
    /// The program whose hidden subcommand `__machine` runs one instance.
    pub program: PathBuf,
    /// It was started by one launch and ends with that job. The sandbox only remembers this.
    pub one_shot: bool,
}

/// Base URLs of the clouds that answer, by their usual names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    pub aws: String,
    pub vast: String,
    #[serde(default)]
    pub lambda: String,
}

/// What `state.json` says while a sandbox runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub pid: u32,
    /// Kernel start time of that process, so that a reused pid is not taken for it.
    pub pid_start: u64,
    pub started_at: Timestamp,
    pub seed: u64,
    /// Name of the scenario; `default` is none.
    pub scenario: String,
    pub time_scale: TimeScale,
    pub one_shot: bool,
    pub endpoints: Endpoints,
    /// Base URL of the control endpoint.
    pub control: String,
    /// Port on which every machine's SSH server listens, each on its own address.
    pub ssh_port: u16,
}

/// Beginning of every access key id that the sandbox's AWS accepts.
pub(crate) const AWS_KEY_PREFIX: &str = "AKIASANDBOX";

/// The credentials that `env` hands out.
pub const DUMMY_CREDENTIALS: [&str; 4] = [
    "AKIASANDBOX000000000",
    "sandbox/dummy/secret/of/no/account/at/all",
    "vast-sandbox-dummy-key-00000000000000000000000000000000000000000",
    "lambda-sandbox-dummy-key-0000000000000000000000000000000000000000",
];

/// The variables in which they are handed out: those of fleet and of the clouds' own clients.
pub const DUMMY_ENVIRONMENT: [(&str, &str); 5] = [
    ("AWS_ACCESS_KEY_ID", DUMMY_CREDENTIALS[0]),
    ("AWS_SECRET_ACCESS_KEY", DUMMY_CREDENTIALS[1]),
    ("VAST_API_KEY", DUMMY_CREDENTIALS[2]),
    ("LAMBDA_API_KEY", DUMMY_CREDENTIALS[3]),
    ("LAMBDA_CLOUD_API_TOKEN", DUMMY_CREDENTIALS[3]),
];

/// Whether `text` is a credential that means nothing outside a sandbox.
pub fn is_dummy_credential(text: &str) -> bool {
    DUMMY_CREDENTIALS.contains(&text) || text.starts_with(AWS_KEY_PREFIX)
}

/// Where the state of a running sandbox is written.
pub fn state_path(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

/// Where the ledger is written; it outlives the sandbox.
pub fn ledger_path(dir: &Path) -> PathBuf {
    dir.join("ledger.json")
}

/// The sandbox that runs in `dir`; `None` if none does, also when its file was left by a crash.
pub fn state(dir: &Path) -> Option<State> {
    let text = std::fs::read(state_path(dir)).ok()?;
    let state: State = serde_json::from_slice(&text).ok()?;
    (pid_start(state.pid)? == state.pid_start).then_some(state)
}

/// The variables to export so that fleet and the clouds' own clients talk to this sandbox.
pub fn env(state: &State) -> Vec<(String, String)> {
    let aws = state.endpoints.aws.as_str();
    let vast = state.endpoints.vast.as_str();
    let lambda = state.endpoints.lambda.as_str();
    let own = [
        ("FLEET_AWS_ENDPOINT", aws),
        ("AWS_ENDPOINT_URL", aws),
        ("AWS_ENDPOINT_URL_EC2", aws),
        ("AWS_REGION", "us-east-1"),
        // The aws command line of the first generation knows only this one.
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("FLEET_VAST_ENDPOINT", vast),
        ("VAST_URL", vast),
        ("FLEET_LAMBDA_ENDPOINT", lambda),
        ("LAMBDA_CLOUD_BASE_URL", lambda),
        ("FLEET_SSH_PORT", &state.ssh_port.to_string()),
        ("FLEET_TIME_SCALE", &state.time_scale.factor().to_string()),
        ("FLEET_SANDBOX_CONTROL", &state.control),
    ];
    let all = own.iter().chain(&DUMMY_ENVIRONMENT);
    all.map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Start time of a live process in the kernel's ticks; `Some(0)` where the system keeps no /proc.
pub(crate) fn pid_start(pid: u32) -> Option<u64> {
    let raw = i32::try_from(pid).ok()?;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(raw), None).ok()?;
    if !Path::new("/proc/self/stat").exists() {
        return Some(0);
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold spaces and brackets: fields are counted from its last bracket.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    let alive = rest.next()? != "Z";
    rest.nth(18)?.parse().ok().filter(|_| alive)
}

/// Writes a file so that a reader sees the old text or the new, never a part.
pub(crate) fn write_atomically(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension("part");
    std::fs::write(&part, text)?;
    std::fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_handed_out_are_dummies_and_a_real_looking_key_is_not() {
        assert!(DUMMY_CREDENTIALS.iter().all(|c| is_dummy_credential(c)));
        assert!(!is_dummy_credential("AKIAIOSFODNN7EXAMPLE"));
    }

    #[test]
    fn a_state_file_of_a_dead_process_is_no_sandbox() {
        let dir = tempfile::tempdir().unwrap();
        let me = std::process::id();
        let mut state_now = State {
            pid: me,
            pid_start: pid_start(me).unwrap(),
            started_at: Timestamp::from_millis(0),
            seed: 1,
            scenario: "default".into(),
            time_scale: TimeScale::default(),
            one_shot: false,
            endpoints: Endpoints {
                aws: "http://127.0.0.1:1".into(),
                vast: "x".into(),
                lambda: "y".into(),
            },
            control: "http://127.0.0.1:2".into(),
            ssh_port: 3,
        };
        let write =
            |s: &State| std::fs::write(state_path(dir.path()), serde_json::to_vec(s).unwrap());
        write(&state_now).unwrap();
        assert_eq!(state(dir.path()).as_ref(), Some(&state_now));
        state_now.pid_start += 1;
        write(&state_now).unwrap();
        assert_eq!(state(dir.path()), None, "a reused pid is not the sandbox");
    }
}
