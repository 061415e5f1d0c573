//! Ending a process tree without namespaces.
//!
//! The caller is a subreaper, so every descendant, `setsid` and double forks included, stays its
//! descendant until it dies. They are killed and rescanned until none is left.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

/// Something that cannot be killed for so long (uninterruptible I/O) never will be.
const LIMIT: Duration = Duration::from_secs(4);

/// Kills every descendant of this process, reaps those that became its children, and returns when none
/// is alive. A descendant that forks while it is being hunted is found by the next scan.
pub(super) fn end_descendants() {
    let deadline = Instant::now() + LIMIT;
    loop {
        while matches!(
            waitpid(None, Some(WaitPidFlag::WNOHANG)),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
        ) {}
        let alive = descendants(getpid());
        if alive.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in alive {
            let _already_dead = kill(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The living descendants of `root`.
fn descendants(root: Pid) -> Vec<Pid> {
    let processes = processes();
    let mut family = HashSet::from([root.as_raw()]);
    let mut found = Vec::new();
    let mut grew = true;
    while grew {
        grew = false;
        for process in &processes {
            if family.contains(&process.parent) && family.insert(process.pid) {
                grew = true;
                if process.alive {
                    found.push(Pid::from_raw(process.pid));
                }
            }
        }
    }
    found
}

struct Process {
    pid: i32,
    parent: i32,
    alive: bool,
}

fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| process(entry.file_name().to_str()?)).collect()
}

/// Reads `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where NAME may hold anything.
fn process(name: &str) -> Option<Process> {
    let pid = name.parse().ok()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, alive: !matches!(state, "Z" | "X") })
}
