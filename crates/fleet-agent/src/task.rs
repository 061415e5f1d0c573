//! The daemon's side of the task: starts the supervisor, spools its output, hears how it ended.
//!
//! Invariant: the end is told only when no process of the task is left and all its output is in the
//! spool. A supervisor that dies without a word is replaced: its orphans come to the daemon, which kills
//! them first.

use crate::base::{Base, Memory};
use crate::core::{Event, Wire};
use crate::error::{Doing, Result};
use crate::lines::{Cutter, Secrets};
use crate::procs;
use crate::session::Desk;
use crate::spool::Spool;
use crate::supervise::{Assignment, Ending, Order, Report};
use fleet_agent_api::{RunSpec, TaskState, TaskStep};
use fleet_types::LogStream;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

/// Output that somebody else still holds open is waited for this long after the task's end.
const STRAY_OUTPUT: Duration = Duration::from_secs(5);

/// A task that runs.
pub(crate) struct Running {
    control: UnixStream,
}

impl Running {
    /// Starts the supervisor with its assignment.
    pub(crate) fn start(desk: &Desk, spec: RunSpec, wire: &Wire) -> Result<Self> {
        let (control, theirs) = UnixStream::pair().doing(|| "make a socket pair".into())?;
        let mut child = Command::new("/proc/self/exe")
            .arg("supervise")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .doing(|| "start the supervisor".into())?;
        let secrets = Secrets::new(&spec.secrets);
        let (drained, is_drained) = channel();
        if let Some(pipe) = child.stdout.take() {
            spool_pipe(pipe, LogStream::Stdout, &secrets, &desk.spool, drained.clone());
        }
        if let Some(pipe) = child.stderr.take() {
            spool_pipe(pipe, LogStream::Stderr, &secrets, &desk.spool, drained.clone());
        }
        drop(drained);
        let reports = control.try_clone().doing(|| "copy a socket".into())?;
        let wire = wire.clone();
        thread::spawn(move || {
            let ending = follow(child, reports, &wire);
            // Ends when both pipes have: nothing is ever sent.
            let _ = is_drained.recv_timeout(STRAY_OUTPUT);
            let _ = wire.send(Event::Ended(ending));
        });
        let mut running = Self { control };
        running.send(&assignment(desk, spec))?;
        Ok(running)
    }
    /// Passes an order on.
    pub(crate) fn order(&mut self, order: &Order) -> Result<()> {
        self.send(order)
    }
    fn send(&mut self, message: &impl serde::Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(message).map_err(crate::error::Error::Config)?;
        line.push(b'\n');
        self.control.write_all(&line).doing(|| "write to the supervisor".into())
    }
}

fn assignment(desk: &Desk, spec: RunSpec) -> Assignment {
    let mut env = spec.env;
    env.extend(spec.secrets);
    env.extend(own_environment(desk));
    Assignment {
        job: desk.job.clone(),
        setup: spec.setup,
        run: spec.run,
        env,
        signal: spec.signal,
        signal_to: spec.signal_to,
        grace_ms: spec.grace_ms,
    }
}

fn own_environment(desk: &Desk) -> BTreeMap<String, String> {
    let base = &desk.base;
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    BTreeMap::from([
        ("FLEET_JOB_ID".into(), desk.job.to_string()),
        ("FLEET_ATTEMPT".into(), desk.epoch.to_string()),
        ("FLEET_CHECKPOINT_DIR".into(), text(base.checkpoint())),
        ("FLEET_OUTPUT_DIR".into(), text(base.output())),
        ("FLEET_DONE_FILE".into(), text(base.done())),
        ("FLEET_PREEMPTION_DEADLINE".into(), text(base.preemption())),
    ])
}

/// Hears the supervisor out; what it did not finish is finished here.
fn follow(mut child: Child, reports: UnixStream, wire: &Wire) -> Ending {
    let (mut ending, mut step) = (None, TaskStep::Run);
    for line in BufReader::new(reports).lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Report::Active { step: now, pid }) => {
                step = now;
                let _ = wire.send(Event::Active(now, pid));
            }
            Ok(Report::Ended(end)) => ending = Some(end),
            Err(e) => crate::note(&format!("the supervisor said something odd: {e}")),
        }
    }
    // It is no child of anybody else.
    let _ = child.wait();
    ending.unwrap_or_else(|| {
        crate::note("the supervisor died; killing what it left");
        kill_orphans();
        Ending {
            step,
            code: None,
            signal: Some(Signal::SIGKILL as i32),
            stopped: false,
            lost: true,
        }
    })
}

/// Kills and reaps everything below this process, until nothing is.
fn kill_orphans() {
    loop {
        let orphans = procs::descendants(std::process::id() as i32);
        if orphans.is_empty() {
            return;
        }
        for pid in orphans {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            // Errs for a grandchild, which comes to us in the next round.
            let _ = waitpid(Pid::from_raw(pid), None);
        }
    }
}

/// Reads one of the task's pipes to its end, into the spool.
fn spool_pipe(
    mut pipe: impl Read + Send + 'static,
    stream: LogStream,
    secrets: &Secrets,
    spool: &Arc<Spool>,
    drained: Sender<()>,
) {
    let (mut cutter, spool) = (Cutter::new(secrets.clone()), Arc::clone(spool));
    thread::spawn(move || {
        let (mut buffer, mut lines) = (vec![0; 64 << 10], Vec::new());
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => cutter.feed(&buffer[..length], &mut lines),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            }
            keep(&spool, stream, &mut lines);
        }
        cutter.finish(&mut lines);
        keep(&spool, stream, &mut lines);
        drop(drained);
    });
}

fn keep(spool: &Spool, stream: LogStream, lines: &mut Vec<String>) {
    if let Err(e) = spool.append(stream, lines) {
        crate::note(&format!("output was lost: {e}"));
    }
}

/// After a restart of the daemon: waits until the supervisor of a started task has gone, and ends what
/// it could not.
pub(crate) fn outlive(base: &Base, memory: &Memory, wire: &Wire) -> Result<()> {
    let lock = crate::start::open_lock(&base.task_lock())?;
    let step = match memory.task {
        TaskState::Active { step, .. } => step,
        _ => TaskStep::Run,
    };
    let entry = format!("FLEET_CHECKPOINT_DIR={}", base.checkpoint().display());
    let wire = wire.clone();
    thread::spawn(move || {
        // Errs only where locks do not work at all; then nothing held one.
        let _ = lock.lock();
        loop {
            let strays = procs::with_environment(&entry);
            if strays.is_empty() {
                break;
            }
            for pid in strays {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(20));
        }
        let signal = Some(Signal::SIGKILL as i32);
        let _ = wire.send(Event::Ended(Ending {
            step,
            code: None,
            signal,
            stopped: false,
            lost: true,
        }));
    });
    Ok(())
}
