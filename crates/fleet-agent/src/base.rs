//! The agent's folder on the machine and what it remembers in it.
//!
//! `~/.fleet/<job>/` belongs to one job; `state.json` to one epoch of it. A new epoch on the same machine
//! begins with fresh folders. Invariant: nothing secret is ever in [`Memory`], and it is replaced by
//! rename, so that a restarted agent reads either the old one or the new one.

use crate::error::{Doing, Error, Result};
use fleet_agent_api::{Notice, RunSpec, Saved, Slot, TaskState};
use fleet_types::{CheckpointId, Epoch, JobId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

/// Where everything of one job lies on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    home: PathBuf,
    root: PathBuf,
}

impl Base {
    /// The folder of `job` below the user's home.
    pub(crate) fn of(job: &JobId) -> Result<Self> {
        if !JobId::is_valid(job.as_str()) {
            return Err(Error::Usage(format!("`{}` is no job id", job.as_str().escape_debug())));
        }
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|h| h.is_absolute());
        let home = home.ok_or_else(|| Error::Usage("HOME is not set to a folder".into()))?;
        let home = home.canonicalize().doing(|| format!("find `{}`", home.display()))?;
        Ok(Self { root: home.join(".fleet").join(job.as_str()), home })
    }
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }
    /// A name for the socket that is short however long the home's path is: a socket's address holds 108
    /// bytes. Good while the folder's handle lives.
    pub(crate) fn socket_by_handle(&self) -> std::io::Result<(std::fs::File, PathBuf)> {
        use std::os::fd::AsRawFd;
        let folder = std::fs::File::open(&self.root)?;
        let path = format!("/proc/self/fd/{}/agent.sock", folder.as_raw_fd());
        Ok((folder, path.into()))
    }
    pub(crate) fn daemon_lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }
    pub(crate) fn task_lock(&self) -> PathBuf {
        self.root.join("task.lock")
    }
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }
    pub(crate) fn spool(&self) -> PathBuf {
        self.root.join("spool.jsonl")
    }
    pub(crate) fn workdir(&self) -> PathBuf {
        self.root.join("workdir")
    }
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }
    pub(crate) fn output(&self) -> PathBuf {
        self.root.join("output")
    }
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }
    pub(crate) fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }
    pub(crate) fn done(&self) -> PathBuf {
        self.root.join("done")
    }
    pub(crate) fn preemption(&self) -> PathBuf {
        self.root.join("preemption")
    }
    fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Makes the folder itself, for its owner alone.
    pub(crate) fn create(&self) -> Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)
            .doing(|| format!("create `{}`", self.root.display()))
    }

    /// Makes the folders for `epoch` and reads back what an earlier agent of the same epoch knew. What
    /// another epoch left is removed first; only received blobs outlive an epoch.
    pub(crate) fn open(&self, epoch: Epoch) -> Result<Memory> {
        let known = self.load().filter(|m| m.epoch == epoch);
        if known.is_none() {
            for file in [self.spool(), self.done(), self.preemption(), self.state()] {
                absent(fs::remove_file(&file)).doing(|| format!("remove `{}`", file.display()))?;
            }
            for folder in [self.workdir(), self.checkpoint(), self.output()] {
                absent(fs::remove_dir_all(&folder))
                    .doing(|| format!("remove `{}`", folder.display()))?;
            }
        }
        let stage = self.stage();
        absent(fs::remove_dir_all(&stage)).doing(|| format!("remove `{}`", stage.display()))?;
        for folder in [self.workdir(), self.checkpoint(), self.output(), self.blobs(), stage] {
            fs::create_dir_all(&folder).doing(|| format!("create `{}`", folder.display()))?;
        }
        let link = self.home.join("sky_workdir");
        if link.symlink_metadata().is_err() {
            symlink(self.workdir(), &link).doing(|| format!("link `{}`", link.display()))?;
        }
        let memory = known.unwrap_or(Memory { epoch, ..Memory::default() });
        self.save(&memory)?;
        Ok(memory)
    }

    /// What an agent here wrote down last.
    pub(crate) fn load(&self) -> Option<Memory> {
        serde_json::from_slice(&fs::read(self.state()).ok()?).ok()
    }

    /// Writes the memory down.
    pub(crate) fn save(&self, memory: &Memory) -> Result<()> {
        let text = serde_json::to_vec(memory).map_err(Error::Config)?;
        write_whole(&self.state(), &text)
    }
}

/// Replaces a small file by rename.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<()> {
    let draft = path.with_extension("new");
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .doing(|| format!("write `{}`", path.display()))
}

/// What is not there need not be removed.
pub(crate) fn absent(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the agent must still know after a restart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) epoch: Epoch,
    /// The epoch's task was started: it never is again.
    pub(crate) started: bool,
    pub(crate) task: TaskState,
    /// Slots in place, each with its tree's digest.
    pub(crate) placed: Vec<(Slot, String)>,
    pub(crate) notice: Option<Notice>,
    pub(crate) settled: bool,
    pub(crate) published_at: Option<Timestamp>,
    /// Number of the last checkpoint offered.
    pub(crate) offered: u32,
    /// Number of the last checkpoint published.
    pub(crate) published: Option<u32>,
    /// Digest of the newest checkpoint that needs no offering any more.
    pub(crate) kept: Option<String>,
    /// Directories of a known layout that are whole in it.
    pub(crate) whole: Vec<String>,
    pub(crate) limits: Limits,
    /// The newest checkpoint of this epoch in the store.
    pub(crate) saved: Option<Saved>,
    /// The checkpoint that this epoch began with, where it came from the store.
    pub(crate) restored: Option<CheckpointId>,
    /// Digest of the output that is in the store.
    pub(crate) output: Option<String>,
    /// Up to here the store has the task's output lines.
    pub(crate) shipped: u64,
    /// The outcome record is in the store.
    pub(crate) recorded: bool,
}

/// The numbers of a `RunSpec` that outlive its start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) grace_ms: u64,
    pub(crate) quiet_ms: u64,
    pub(crate) checkpoint_limit: u64,
    pub(crate) to_store: bool,
    pub(crate) warning_ms: Option<u64>,
    pub(crate) log_every_ms: Option<u64>,
}

impl Limits {
    pub(crate) fn of(spec: &RunSpec) -> Self {
        Self {
            grace_ms: spec.grace_ms,
            quiet_ms: spec.quiet_ms,
            checkpoint_limit: spec.checkpoint_limit,
            to_store: spec.to_store,
            warning_ms: spec.warning_ms,
            log_every_ms: spec.log_every_ms,
        }
    }
}
