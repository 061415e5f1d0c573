//! What controller and agent say to each other.
//!
//! Invariant: reports are level, not edge: after a reconnect [`FromAgent::Welcome`] tells the whole state
//! again, so nothing depends on a message that was in flight. Orders are idempotent.

use crate::store::{MountOrder, Saved, StoreAccess, StoreCall};
use fleet_types::{EndMachine, Epoch, FleetId, JobId, LogStream, StoredTree, Timestamp, Tree};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who tells a machine from inside that it will be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notifier {
    /// EC2's instance metadata. Base URL: `AWS_EC2_METADATA_SERVICE_ENDPOINT` in the agent's environment, else
    /// the link-local address.
    Ec2,
    /// Compute Engine's metadata server. Host: `GCE_METADATA_HOST` likewise.
    Gce,
}

/// What `fleet-agent start` reads from its standard input, once a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentConfig {
    pub protocol: u32,
    pub fleet: FleetId,
    pub job: JobId,
    pub epoch: Epoch,
    /// Never given a task and nobody in contact for this long: the agent ends the machine.
    pub orphan_ms: u64,
    /// The machine's life from now, whoever is awake: `max_duration` on the machine itself.
    pub expires_in_ms: u64,
    pub end_machine: EndMachine,
    /// Whom to watch for notices; `None`: this cloud gives none.
    pub notifier: Option<Notifier>,
    /// Time between two looks at it, where it does not answer by itself.
    pub notice_poll_ms: u64,
    /// Time between two beats.
    pub beat_ms: u64,
    /// The task has ended, its outcome is in the store and nobody is in contact for this long: the agent
    /// ends the machine. `None`: it waits for contact or the end of its life.
    #[serde(default)]
    pub alone_ms: Option<u64>,
}

/// A folder or file that the controller puts on the machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slot {
    Workdir,
    /// A file mount, at this absolute or `~/` path.
    Mount(String),
    /// The checkpoint folder, before the task starts.
    Checkpoint,
}

/// Something that the agent has for the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A finished checkpoint, by number within this epoch.
    Checkpoint(u32),
    /// `FLEET_OUTPUT_DIR` after the task's end.
    Output,
    /// What [`ToAgent::Pull`] asked for.
    Pull(u32),
}

/// A blob that the receiver lacks, and from which byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    pub sha256: String,
    pub from: u64,
}

/// Who gets the stop signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalTarget {
    #[default]
    Main,
    Group,
    Command(String),
}

/// The task, ready to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Shell text of the task file's `setup`, run first; its failure fails the task.
    pub setup: Option<String>,
    /// Shell text of `run`.
    pub run: String,
    /// Passed as data in the environment, never through a shell.
    pub env: BTreeMap<String, String>,
    /// Like `env`; kept out of every file and log of the agent, struck out of log lines.
    pub secrets: BTreeMap<String, String>,
    /// `TERM`, `USR1`, …
    pub signal: String,
    pub signal_to: SignalTarget,
    /// From the signal to SIGKILL where no deadline of the cloud says otherwise.
    pub grace_ms: u64,
    /// Quiet time after which a file in the checkpoint folder counts as finished.
    pub quiet_ms: u64,
    /// Checkpoints above this many bytes are refused (the relay is for small things).
    pub checkpoint_limit: u64,
    /// Checkpoints, output, logs and outcome go into the store that [`ToAgent::Store`] named, not over
    /// this line.
    #[serde(default)]
    pub to_store: bool,
    /// How long the cloud warns before it takes this machine; `None`: it does not.
    #[serde(default)]
    pub warning_ms: Option<u64>,
    /// Time between two log objects in the store; `None`: 30 s.
    #[serde(default)]
    pub log_every_ms: Option<u64>,
}

/// A signed request: the whole URL, good for one [`StoreCall`]. The URL is a key: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCall {
    pub call: StoreCall,
    pub url: String,
    pub expires_in_ms: u64,
}

impl std::fmt::Debug for SignedCall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedCall").field("call", &self.call).finish_non_exhaustive()
    }
}

/// Why a task is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The machine will be taken.
    Notice,
    Cancel,
    /// Budget, deadline or policy.
    Limit,
}

/// Stop the task: signal, wait, kill, save.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopOrder {
    pub reason: StopReason,
    /// Everything, publishing included, must be over this long from now; `None`: the task's own grace.
    pub within_ms: Option<u64>,
}

/// Controller to agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ToAgent {
    /// First message. Log records from this spool offset on are wanted.
    Hello {
        protocol: u32,
        job: JobId,
        epoch: Epoch,
        log_from: u64,
    },
    /// Put this tree there. Answered by `Need`, blobs, then `Placed` or `PutFailed`.
    Put {
        slot: Slot,
        tree: Tree,
    },
    /// The job's store and the key for it; again when the key is renewed.
    Store {
        access: Box<StoreAccess>,
    },
    /// Fetch this checkpoint from the store into the checkpoint folder, before the task. Answered by
    /// `Placed` or `PutFailed` of that slot.
    Restore {
        stored: Box<StoredTree>,
    },
    /// Show a store's folder at a path, before the task. Answered by `Mounted` or `MountFailed`.
    Mount(Box<MountOrder>),
    /// Answer to `Sign`.
    Signed {
        request: u32,
        calls: Vec<SignedCall>,
    },
    /// Answer to `Sign` that could not be followed.
    NotSigned {
        request: u32,
        reason: String,
    },
    /// Run this. Ignored where the epoch's task was started already.
    Start {
        spec: Box<RunSpec>,
    },
    /// Everything up to this spool offset is durable here.
    LogAck {
        offset: u64,
    },
    /// Send these blobs of what you have.
    Want {
        source: Source,
        blobs: Vec<Want>,
    },
    /// It is durable and published here; you may forget it.
    Published {
        source: Source,
    },
    /// It will not be taken (too large, older than what is there).
    Declined {
        source: Source,
        reason: String,
    },
    Stop(StopOrder),
    /// Show what is at this path of the task's folders (`workdir/…`, `output/…`, `checkpoint/…`, or `~/…`).
    Pull {
        request: u32,
        path: String,
    },
    /// Contact. Sent at least every `beat_ms`.
    Ping,
    /// Nothing more is wanted of this machine: strike secrets and leave. The machine is ended from outside.
    Release,
}

/// Which script a task is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStep {
    Setup,
    Run,
}

/// How the task ended on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskEnd {
    pub step: TaskStep,
    pub code: Option<i32>,
    /// Signal that killed its main process.
    pub signal: Option<i32>,
    /// It was told to stop, and why.
    pub stopped: Option<StopReason>,
    /// It created `$FLEET_DONE_FILE`.
    pub done: bool,
    /// It was not the task that failed: what supervised it was killed, or the machine started anew.
    #[serde(default)]
    pub lost: bool,
    pub at: Timestamp,
}

/// Where the task is on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "s", rename_all = "snake_case")]
pub enum TaskState {
    /// Not started.
    #[default]
    Idle,
    Active {
        step: TaskStep,
        since: Timestamp,
        pid: u32,
    },
    /// No process of it is left. Its last checkpoint may still be on its way.
    Ended(TaskEnd),
}

/// The cloud will take the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// `EC2 spot/instance-action`.
    pub source: String,
    pub deadline: Timestamp,
    pub seen_at: Timestamp,
}

/// The agent's whole state: what `Welcome` carries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentState {
    pub task: TaskState,
    /// End of the spool in bytes.
    pub log_end: u64,
    pub notice: Option<Notice>,
    /// Slots that are in place.
    pub placed: Vec<Slot>,
    /// Task ended, every finished checkpoint and the output published or declined.
    pub settled: bool,
    /// Work after this moment is in no published checkpoint of this epoch.
    pub published_at: Option<Timestamp>,
    /// The newest checkpoint of this epoch in the store.
    #[serde(default)]
    pub saved: Option<Saved>,
    /// Targets that are mounted.
    #[serde(default)]
    pub mounted: Vec<String>,
}

/// One line of output in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Spool offset behind this record.
    pub offset: u64,
    pub at: Timestamp,
    pub stream: LogStream,
    /// At most 64 KiB; longer lines come in pieces. Invalid UTF-8 is replaced.
    pub line: String,
}

/// One GPU, now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuSample {
    pub name: String,
    pub utilisation_percent: f64,
    pub memory_used_mib: f64,
    pub memory_total_mib: f64,
}

/// Sign of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    pub gpus: Vec<GpuSample>,
    pub load: Option<f64>,
    pub memory_used_mib: Option<f64>,
    pub disk_free_mib: Option<f64>,
}

/// Something the agent has ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invitation {
    pub source: Source,
    pub taken_at: Timestamp,
    pub tree: Tree,
}

/// Agent to controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum FromAgent {
    /// Answer to `Hello`; the whole state.
    Welcome {
        protocol: u32,
        version: String,
        job: JobId,
        epoch: Epoch,
        state: AgentState,
    },
    /// These blobs of the tree are not here yet. Empty: all are.
    Need {
        slot: Slot,
        blobs: Vec<Want>,
    },
    Placed {
        slot: Slot,
    },
    PutFailed {
        slot: Slot,
        reason: String,
    },
    Task {
        state: TaskState,
    },
    Log {
        records: Vec<LogRecord>,
    },
    /// Come and take it: answered by `Want`, `Published` or `Declined`. Repeated after a reconnect.
    Ready(Invitation),
    /// It could not be read or is too large; the task goes on.
    NotReady {
        source: Source,
        reason: String,
    },
    /// A checkpoint is published in the store.
    Saved(Saved),
    /// A checkpoint of this size does not reach the store within the cloud's warning. Said once it was
    /// measured, and again after a reconnect.
    Slow {
        /// What had to be sent.
        bytes: u64,
        /// As measured.
        per_second: u64,
        warning_ms: u64,
    },
    /// These requests need a signature: there is no key here.
    Sign {
        request: u32,
        calls: Vec<StoreCall>,
    },
    /// A store's folder is at its path; `how` says by what means, for people.
    Mounted {
        target: String,
        how: String,
    },
    MountFailed {
        target: String,
        reason: String,
    },
    Notice(Notice),
    Beat(Beat),
    /// The task is gone and all that it left is published: the handover's confirmation.
    Settled {
        last_checkpoint: Option<u32>,
        /// End of the spool: every line before it is the task's and must be home first.
        #[serde(default)]
        log_end: u64,
    },
    /// An order that could not be followed.
    Refused {
        reason: String,
    },
}
