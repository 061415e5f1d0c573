//! `fleet-agent supervise`: the parent of everything that the task starts.
//!
//! A process of its own, subreaper of all that descends from it, `setsid` and double forks included: when
//! it has no child left, no process of the task is left, and only then does it say that the task ended.
//! Orders come in and reports go out over the socket that is its standard input; its standard output and
//! error are the task's. Invariant: it never ends while a process of the task lives; when the daemon goes,
//! it stops the task.

use crate::base::Base;
use crate::clock;
use crate::error::{Doing, Error, Result};
use crate::procs;
use fleet_agent_api::{SignalTarget, TaskStep};
use fleet_types::JobId;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What the shell left behind has this long from SIGTERM to SIGKILL.
const LEFTOVERS: Duration = Duration::from_secs(2);
/// A process that the shell had only just forked hears the signal as the shell would, and then becomes
/// another program that never heard it. For this long such ones are looked for.
const FRESH: Duration = Duration::from_secs(2);
/// A shell between two commands is given this long to start the next: the signal is for that one too.
const BETWEEN_COMMANDS: Duration = Duration::from_millis(100);
/// Between two rounds of killing.
const ROUND: Duration = Duration::from_millis(20);
/// Longer scripts go through a file: an argument of a program has a limit.
const LONGEST_ARGUMENT: usize = 96 << 10;

/// First line from the daemon. It holds secrets and is never written anywhere.
#[derive(Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) job: JobId,
    pub(crate) setup: Option<String>,
    pub(crate) run: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) signal: String,
    pub(crate) signal_to: SignalTarget,
    pub(crate) grace_ms: u64,
}

/// Later lines from the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Signal now, kill what is left then.
    Stop { kill_in_ms: u64 },
}

/// Lines to the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Report {
    Active { step: TaskStep, pid: u32 },
    Ended(Ending),
}

/// How the shell ended; nothing of the task is left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Ending {
    pub(crate) step: TaskStep,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// It was told to stop before it ended.
    pub(crate) stopped: bool,
    /// Whoever watched over it was killed, or the machine started anew.
    pub(crate) lost: bool,
}

/// Runs one task to its very end.
pub(crate) fn supervise() -> Result<()> {
    // Fails where this is a session's leader already, which is as good.
    let _ = setsid();
    set_child_subreaper(true).doing(|| "become the task's reaper".into())?;
    let input = std::io::stdin().as_fd().try_clone_to_owned().doing(|| "copy a socket".into())?;
    let mut control = UnixStream::from(input);
    let mut inbox = Vec::new();
    let first = loop {
        if let Some(line) = take_line(&mut inbox) {
            break line;
        }
        let mut buffer = [0; 4096];
        match control.read(&mut buffer).doing(|| "read the assignment".into())? {
            0 => return Err(Error::Refused("no assignment came".into())),
            length => inbox.extend_from_slice(&buffer[..length]),
        }
    };
    let assignment: Assignment = serde_json::from_slice(&first).map_err(Error::Config)?;
    let base = Base::of(&assignment.job)?;
    let lock = crate::start::open_lock(&base.task_lock())?;
    lock.try_lock().map_err(|_| Error::Refused("a task of this job runs here already".into()))?;
    control.set_nonblocking(true).doing(|| "set up a socket".into())?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().doing(|| "block a signal".into())?;
    let children = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .doing(|| "listen for children".into())?;
    let supervisor = Supervisor {
        base,
        assignment,
        control,
        inbox,
        children,
        shell: None,
        stop: None,
        ordered_at: None,
        signalled_at: None,
        signalled: HashMap::new(),
        ending: None,
        leftovers_at: None,
    };
    supervisor.run()
}

struct Supervisor {
    base: Base,
    assignment: Assignment,
    control: UnixStream,
    inbox: Vec<u8>,
    children: SignalFd,
    shell: Option<(TaskStep, Pid)>,
    /// When what is left is killed.
    stop: Option<Instant>,
    /// When the first stop order came.
    ordered_at: Option<Instant>,
    signalled_at: Option<Instant>,
    /// Who got the stop signal, and what each ran then.
    signalled: HashMap<i32, Option<Vec<u8>>>,
    ending: Option<Ending>,
    leftovers_at: Option<Instant>,
}

impl Supervisor {
    fn run(mut self) -> Result<()> {
        let first = if self.assignment.setup.is_some() { TaskStep::Setup } else { TaskStep::Run };
        self.start(first);
        loop {
            let is_alone = self.reap();
            if let Some(ending) = self.ending.as_ref().filter(|_| is_alone) {
                let report = Report::Ended(ending.clone());
                self.report(&report);
                return Ok(());
            }
            self.hear();
            self.signal();
            let kill_at = match (self.stop, self.leftovers_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let is_due = self.stop.is_some() && self.shell.is_some() && self.signalled_at.is_none();
            let mut wait = if is_due || self.is_fresh() { ROUND } else { Duration::from_secs(60) };
            if let Some(at) = kill_at {
                let left = at.saturating_duration_since(Instant::now());
                wait = wait.min(left);
                if left.is_zero() {
                    procs::signal_descendants(std::process::id() as i32, Signal::SIGKILL);
                    wait = ROUND;
                }
            }
            self.wait(wait);
        }
    }

    /// Starts a script in the workdir. What cannot be started ends as shells say it: 127.
    fn start(&mut self, step: TaskStep) {
        let script = match step {
            TaskStep::Setup => self.assignment.setup.take().unwrap_or_default(),
            TaskStep::Run => std::mem::take(&mut self.assignment.run),
        };
        match self.spawn(step, &script) {
            Ok(pid) => {
                self.shell = Some((step, pid));
                self.report(&Report::Active { step, pid: pid.as_raw() as u32 });
            }
            Err(e) => {
                // To the task's own log: this is the program's standard error.
                let _ = writeln!(std::io::stderr(), "fleet: {e}");
                self.end(Ending {
                    step,
                    code: Some(127),
                    signal: None,
                    stopped: false,
                    lost: false,
                });
            }
        }
    }

    fn spawn(&self, step: TaskStep, script: &str) -> Result<Pid> {
        let shell = find_shell();
        let mut command = Command::new(&shell);
        if script.len() <= LONGEST_ARGUMENT {
            command.arg("-c").arg(script);
        } else {
            let name = if step == TaskStep::Setup { "setup.sh" } else { "run.sh" };
            let path = self.base.root().join(name);
            write_script(&path, script).doing(|| format!("write `{}`", path.display()))?;
            command.arg(path);
        }
        command
            .current_dir(self.base.workdir())
            .envs(&self.assignment.env)
            .stdin(Stdio::null())
            .process_group(0);
        let child = command.spawn().doing(|| format!("start `{}`", shell.display()))?;
        Ok(Pid::from_raw(child.id() as i32))
    }

    /// Takes in what ended; whether no child is left.
    fn reap(&mut self) -> bool {
        // The signals themselves say nothing that the loop below does not see.
        while let Ok(Some(_)) = self.children.read_signal() {}
        loop {
            let (pid, code, signal) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, Some(code), None),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, None, Some(signal as i32)),
                Ok(WaitStatus::StillAlive) => return false,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return true,
            };
            if let Some((step, _)) = self.shell.filter(|(_, shell)| *shell == pid) {
                self.shell_ended(step, code, signal);
                if self.shell.is_some() {
                    return false;
                }
            }
        }
    }

    fn shell_ended(&mut self, step: TaskStep, code: Option<i32>, signal: Option<i32>) {
        self.shell = None;
        if step == TaskStep::Setup && code == Some(0) && self.stop.is_none() {
            return self.start(TaskStep::Run);
        }
        self.end(Ending { step, code, signal, stopped: self.stop.is_some(), lost: false });
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        procs::signal_descendants(std::process::id() as i32, Signal::SIGTERM);
        self.leftovers_at = Some(Instant::now() + LEFTOVERS);
    }

    fn hear(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.control.read(&mut buffer) {
                Ok(0) => return self.stop_within(self.assignment.grace_ms),
                Ok(length) => self.inbox.extend_from_slice(&buffer[..length]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return self.stop_within(self.assignment.grace_ms),
            }
        }
        while let Some(line) = take_line(&mut self.inbox) {
            if let Ok(Order::Stop { kill_in_ms }) = serde_json::from_slice(&line) {
                self.stop_within(kill_in_ms);
            }
        }
    }

    /// The earliest deadline wins.
    fn stop_within(&mut self, millis: u64) {
        let at = Instant::now() + Duration::from_millis(millis.min(1 << 40));
        self.stop = Some(self.stop.map_or(at, |known| known.min(at)));
        self.ordered_at.get_or_insert_with(Instant::now);
    }

    /// Sends the stop signal, once to every program.
    fn signal(&mut self) {
        let Some((_, shell)) = self.shell.filter(|_| self.stop.is_some()) else { return };
        let name = self.assignment.signal.trim_start_matches("SIG");
        let signal = Signal::from_str(&format!("SIG{name}")).unwrap_or(Signal::SIGTERM);
        if self.signalled_at.is_some() {
            return self.signal_again(signal);
        }
        if self.is_fresh() && procs::is_idle_shell(shell.as_raw()) {
            return;
        }
        self.signalled_at = Some(Instant::now());
        match &self.assignment.signal_to {
            SignalTarget::Main => {
                for pid in procs::targets(shell.as_raw(), signal) {
                    self.signalled.insert(pid, procs::program(pid));
                    // A process that is gone needs no signal.
                    let _ = kill(Pid::from_raw(pid), signal);
                }
            }
            SignalTarget::Group => {
                let _ = kill(Pid::from_raw(-shell.as_raw()), signal);
            }
            SignalTarget::Command(text) => self.stop_command(text, shell, signal),
        }
    }

    /// Whether the order or the signal is so new that a change among the processes matters.
    fn is_fresh(&self) -> bool {
        match (self.ordered_at, self.signalled_at) {
            (_, Some(at)) => at.elapsed() < FRESH && !self.signalled.is_empty(),
            (Some(at), None) => at.elapsed() < BETWEEN_COMMANDS,
            (None, None) => false,
        }
    }

    fn signal_again(&mut self, signal: Signal) {
        if !self.is_fresh() {
            return;
        }
        let below = procs::descendants(std::process::id() as i32);
        for (pid, before) in &mut self.signalled {
            let now = procs::program(*pid);
            if below.contains(pid) && now.is_some() && now != *before {
                *before = now;
                let _ = kill(Pid::from_raw(*pid), signal);
            }
        }
    }

    fn stop_command(&self, text: &str, shell: Pid, signal: Signal) {
        let main = procs::targets(shell.as_raw(), signal).first().copied();
        let outcome = Command::new(find_shell())
            .arg("-c")
            .arg(text)
            .current_dir(self.base.workdir())
            .envs(&self.assignment.env)
            .env("FLEET_MAIN_PID", main.unwrap_or(shell.as_raw()).to_string())
            .stdin(Stdio::null())
            .process_group(0)
            .spawn();
        if let Err(e) = outcome {
            let _ = writeln!(std::io::stderr(), "fleet: the stop command did not start: {e}");
        }
    }

    fn report(&mut self, report: &Report) {
        let Ok(mut line) = serde_json::to_vec(report) else { return };
        line.push(b'\n');
        // A daemon that is gone is seen where orders are heard.
        let _ = self.control.write_all(&line);
    }

    fn wait(&self, wait: Duration) {
        let mut fds = [
            PollFd::new(self.children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
        ];
        // Without the daemon the socket is always readable: look at the children alone.
        let count = if self.is_deserted() { 1 } else { 2 };
        let _ = poll(&mut fds[..count], clock::poll_timeout(wait));
    }

    fn is_deserted(&self) -> bool {
        let mut byte = [0];
        let peek = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.control);
        !matches!(nix::sys::socket::recv(fd, &mut byte, peek), Ok(1..) | Err(Errno::EAGAIN))
    }
}

fn take_line(inbox: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = inbox.iter().position(|b| *b == b'\n')?;
    let rest = inbox.split_off(end + 1);
    Some(std::mem::replace(inbox, rest))
}

fn write_script(path: &Path, script: &str) -> std::io::Result<()> {
    crate::base::absent(fs::remove_file(path))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(path)?;
    file.write_all(script.as_bytes())
}

/// `bash` where there is one, else `sh`.
fn find_shell() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let found = std::env::split_paths(&path).map(|dir| dir.join("bash")).find(|p| p.is_file());
    found.unwrap_or_else(|| {
        let usual = Path::new("/bin/bash");
        if usual.is_file() { usual.into() } else { "/bin/sh".into() }
    })
}
