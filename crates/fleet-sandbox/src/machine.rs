//! An honest local instance: a process tree that boots, answers SSH and dies like a machine.
//!
//! A machine is two processes of the same program. The *guard* stands between the sandbox and the
//! machine: it makes the namespaces, starts the *init* in them, and ends everything when the sandbox
//! lets go of its lifeline (a pipe on its stdin), which a `kill -9` of the sandbox does too. The init is
//! process 1 of the machine: it arranges the file system and serves SSH.
//!
//! How much is isolated depends on what the host allows ([`Isolation`]); the level is written to
//! `DIR/isolation`. Invariants, at every level: when the guard has ended no process of the machine is
//! left; the machine's own files lie in `DIR` alone; user data is executed only in a private root.
//!
//! Not here: what a cloud says about the machine, its metadata endpoint, and resource limits. Linux only.

mod command;
mod files;
mod guard;
mod init;
mod isolation;
mod mounts;
mod reaper;
mod server;
mod tree;

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

pub use isolation::Isolation;

/// The hidden subcommand under which the program calls [`machine_main`].
pub const SUBCOMMAND: &str = "__machine";

/// The guard's exit status when the host does not allow the isolation it was asked for.
const REFUSED: u8 = 77;

/// A machine that does not answer SSH by then will not.
const BOOT_LIMIT: Duration = Duration::from_secs(20);

/// How long the guard may take to end the machine before it is itself killed.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Everything a machine is made of.
#[derive(Clone, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The cloud's id of the instance.
    pub id: String,
    /// An absolute directory of this machine alone; made if missing. Its owner removes it.
    pub dir: PathBuf,
    /// A loopback address of this machine alone.
    pub address: Ipv4Addr,
    pub ssh_port: u16,
    /// OpenSSH public key lines; any user name may log in with any of them.
    pub authorized_keys: Vec<String>,
    /// The host key as an OpenSSH PEM; a new one is made if there is none.
    pub host_key_pem: Option<String>,
    /// Added to the environment of every command.
    pub env: Vec<(String, String)>,
    pub hostname: String,
    /// What `nvidia-smi` shows: the name of the GPU and how many.
    pub gpu: Option<(String, u32)>,
    /// Executed at boot if it is a `#!` script and the root is private; otherwise ignored.
    pub user_data: Option<String>,
}

impl std::fmt::Debug for MachineSpec {
    /// Leaves out what may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineSpec")
            .field("id", &self.id)
            .field("dir", &self.dir)
            .field("address", &self.address)
            .field("ssh_port", &self.ssh_port)
            .finish_non_exhaustive()
    }
}

/// What the two processes of a machine are told.
#[derive(Serialize, Deserialize)]
struct Boot {
    role: Role,
    isolation: Isolation,
    spec: MachineSpec,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Role {
    Guard,
    Init,
}

/// A running machine; dropping it kills it.
#[derive(Debug)]
pub struct Machine {
    pid: u32,
    guard: Child,
    lifeline: Option<ChildStdin>,
    isolation: Isolation,
}

impl Machine {
    /// Boots a machine with `program`, whose `__machine FILE` must call [`machine_main`].
    ///
    /// Returns when its SSH server listens. Fails with the machine's own last words.
    pub async fn start(program: &Path, spec: MachineSpec) -> io::Result<Machine> {
        Machine::start_at_most(program, spec, Isolation::PrivateRoot).await
    }

    /// As [`Machine::start`], with no more isolation than `strongest`.
    pub async fn start_at_most(
        program: &Path,
        spec: MachineSpec,
        strongest: Isolation,
    ) -> io::Result<Machine> {
        if !spec.dir.is_absolute() {
            return Err(io::Error::other("the directory of a machine must be absolute"));
        }
        files::prepare(&spec)?;
        for isolation in Isolation::to_try(strongest) {
            if let Some(machine) = boot(program, &spec, isolation).await? {
                tracing::debug!(id = %spec.id, pid = machine.pid, %isolation, "machine up");
                return Ok(machine);
            }
        }
        Err(io::Error::other("the host allows not even a process tree"))
    }

    /// The process whose death is the machine's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Ends every process of the machine at once, and returns when none is left. Idempotent.
    pub async fn kill(&mut self) {
        self.lifeline = None;
        if timeout(KILL_LIMIT, self.guard.wait()).await.is_err() {
            // In namespaces this ends the machine as well; without them it is the last resort.
            let _gone = self.guard.kill().await;
        }
    }

    /// Whether the machine has died, by [`Machine::kill`] or on its own.
    pub fn has_exited(&mut self) -> bool {
        !matches!(self.guard.try_wait(), Ok(None))
    }
}

/// Boots at one level; `None` if the host does not allow that level.
async fn boot(
    program: &Path,
    spec: &MachineSpec,
    isolation: Isolation,
) -> io::Result<Option<Machine>> {
    let file = files::write_boot(
        &Boot { role: Role::Guard, isolation, spec: spec.clone() },
        "guard.json",
    )?;
    let mut guard = Command::new(program)
        .arg(SUBCOMMAND)
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(files::log(&spec.dir)?)
        .process_group(0)
        .spawn()?;
    let lifeline = guard.stdin.take();
    let said = guard.stdout.take().map(BufReader::new);
    let pid = guard.id().unwrap_or_default();
    let mut machine = Machine { pid, guard, lifeline, isolation };
    let mut line = String::new();
    let heard = match said {
        Some(mut said) => timeout(BOOT_LIMIT, said.read_line(&mut line)).await,
        None => Ok(Ok(0)),
    };
    match heard {
        Ok(Ok(_)) if line == READY => return Ok(Some(machine)),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => machine.kill().await,
    }
    let status = machine.guard.wait().await?;
    if status.code() == Some(i32::from(REFUSED)) {
        return Ok(None);
    }
    Err(io::Error::other(format!(
        "machine `{}` did not boot ({status}): {}",
        spec.id,
        files::last_words(&spec.dir)
    )))
}

/// What the init says when SSH listens.
const READY: &str = "ready\n";

/// What the init says when its guard is to map the users of its new user namespace.
const MAP: &str = "map\n";

/// The body of the hidden subcommand: one of the two processes of a machine.
///
/// Must be called before the process has a second thread.
pub fn machine_main(spec_path: &Path) -> ExitCode {
    let boot = match files::read_boot(spec_path) {
        Ok(boot) => boot,
        Err(error) => return fail("cannot read its specification", &error),
    };
    let ended = match boot.role {
        Role::Guard => guard::run(boot),
        Role::Init => init::run(boot),
    };
    match ended {
        Ok(code) => code,
        Err(Failure::Refused(what, error)) => {
            fail(what, &error);
            ExitCode::from(REFUSED)
        }
        Err(Failure::Broken(what, error)) => fail(what, &error),
    }
}

/// Why a process of the machine gave up.
#[derive(Debug)]
enum Failure {
    /// The host does not allow this isolation; a lower one may do.
    Refused(&'static str, io::Error),
    /// Nothing will help.
    Broken(&'static str, io::Error),
}

/// Puts words to an error of the system.
trait Explain<T> {
    fn or_refused(self, what: &'static str) -> Result<T, Failure>;
    fn or_broken(self, what: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Explain<T> for Result<T, E> {
    fn or_refused(self, what: &'static str) -> Result<T, Failure> {
        self.map_err(|e| Failure::Refused(what, e.into()))
    }

    fn or_broken(self, what: &'static str) -> Result<T, Failure> {
        self.map_err(|e| Failure::Broken(what, e.into()))
    }
}

/// Stderr is the machine's log file.
fn fail(what: &str, error: &io::Error) -> ExitCode {
    use std::io::Write;
    let _unheard = writeln!(io::stderr(), "{what}: {error}");
    ExitCode::FAILURE
}
