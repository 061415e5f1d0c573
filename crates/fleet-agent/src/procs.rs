//! Reads the process table: who descends from whom, and who is the task's main process.
//!
//! Invariant: only descendants of the asking process are ever named, so nothing of anybody else is
//! signalled. The main process is the one that the `run` shell waits on; see [`targets`].

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;

/// Shells are looked through: what they wait on is the task.
const SHELLS: [&str; 8] = ["bash", "sh", "dash", "zsh", "ksh", "mksh", "ash", "busybox"];
/// Parts of a pipeline that end by themselves when their input does.
const FILTERS: [&str; 12] =
    ["tee", "cat", "grep", "sed", "awk", "gawk", "mawk", "ts", "tail", "head", "tr", "stdbuf"];

#[derive(Clone, Debug)]
struct Proc {
    pid: i32,
    parent: i32,
    state: char,
    started: u64,
    name: String,
}

fn parse_stat(text: &str) -> Option<Proc> {
    // The name is in brackets and may hold anything, brackets too.
    let (head, rest) = text.rsplit_once(')')?;
    let (pid, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Proc {
        pid: pid.trim().parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        started: fields.get(19)?.parse().ok()?,
        name: name.to_owned(),
    })
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

fn table() -> Vec<Proc> {
    let read = |pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    pids().into_iter().filter_map(read).collect()
}

/// Every process below `root`, dead ones left out.
pub(crate) fn descendants(root: i32) -> Vec<i32> {
    let table = table();
    let mut children: HashMap<i32, Vec<&Proc>> = HashMap::new();
    for proc in &table {
        children.entry(proc.parent).or_default().push(proc);
    }
    let (mut all, mut seen, mut next) = (Vec::new(), HashSet::new(), vec![root]);
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if seen.insert(child.pid) {
                next.push(child.pid);
                if !matches!(child.state, 'Z' | 'X') {
                    all.push(child.pid);
                }
            }
        }
    }
    all
}

/// Sends a signal to every process below `root`.
pub(crate) fn signal_descendants(root: i32, signal: Signal) {
    for pid in descendants(root) {
        // Gone meanwhile, or not ours to signal: the next round sees.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Every process that was given `entry` (`NAME=value`) in its environment.
pub(crate) fn with_environment(entry: &str) -> Vec<i32> {
    let holds = |pid: &i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|b| *b == 0).any(|e| e == entry.as_bytes())
    };
    pids().into_iter().filter(holds).collect()
}

/// The task's main process, from its shell on: the processes that a stop signal goes to.
///
/// A shell without a trap for the signal is looked through, down to its foreground command (of a pipeline:
/// every part that is no plain filter), or to its newest background command where it waits for those. A
/// shell with a trap is meant to get the signal; its foreground command gets it too, because the shell
/// runs the trap only when that has ended. Children of anything but a shell are never named: data
/// loaders belong to their parent.
pub(crate) fn targets(shell: i32, signal: Signal) -> Vec<i32> {
    let table = table();
    let mut found = Vec::new();
    collect(&table, shell, signal, &mut found);
    found
}

fn collect(table: &[Proc], pid: i32, signal: Signal, found: &mut Vec<i32>) {
    let Some(proc) = table.iter().find(|p| p.pid == pid) else { return };
    let mut children: Vec<&Proc> =
        table.iter().filter(|p| p.parent == pid && !matches!(p.state, 'Z' | 'X')).collect();
    if !is_shell(proc) || children.is_empty() {
        return found.push(pid);
    }
    children.sort_by_key(|p| (p.started, p.pid));
    let front: Vec<&Proc> = children.iter().filter(|p| !is_background(p.pid)).copied().collect();
    let has_trap = has_signal(pid, "SigCgt:", signal);
    if has_trap {
        found.push(pid);
    }
    let chosen: Vec<&Proc> = match (front.is_empty(), has_trap) {
        (true, true) => Vec::new(),
        (true, false) => children.last().copied().into_iter().collect(),
        (false, _) => {
            let workers: Vec<&Proc> =
                front.iter().filter(|p| !FILTERS.contains(&p.name.as_str())).copied().collect();
            if workers.is_empty() { vec![front[0]] } else { workers }
        }
    };
    for child in chosen {
        collect(table, child.pid, signal, found);
    }
}

/// Whether a process is a shell that waits on nothing: between two commands, or busy by itself.
pub(crate) fn is_idle_shell(pid: i32) -> bool {
    let table = table();
    table.iter().any(|p| p.pid == pid && is_shell(p)) && table.iter().all(|p| p.parent != pid)
}

/// What a process runs, as text to compare: it changes when the process becomes another program.
pub(crate) fn program(pid: i32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|words| !words.is_empty())
}

fn is_shell(proc: &Proc) -> bool {
    let program = fs::read_link(format!("/proc/{}/exe", proc.pid)).ok();
    let name = program.as_deref().and_then(|p| p.file_name()?.to_str()).unwrap_or(&proc.name);
    SHELLS.contains(&name)
}

/// Shells without job control start `command &` with interrupts ignored: that is how it is told apart.
fn is_background(pid: i32) -> bool {
    has_signal(pid, "SigIgn:", Signal::SIGINT) && has_signal(pid, "SigIgn:", Signal::SIGQUIT)
}

fn has_signal(pid: i32, set: &str, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    let mask = mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal as i32 - 1) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_table() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9876 0 0";
        let proc = parse_stat(stat).unwrap();
        assert_eq!((proc.pid, proc.parent, proc.state, proc.started), (42, 7, 'S', 9876));
        assert_eq!(proc.name, "a) b (c");
    }

    #[test]
    fn this_process_descends_from_its_parent() {
        let me = std::process::id() as i32;
        let parent = nix::unistd::getppid().as_raw();
        assert!(descendants(parent).contains(&me));
        assert!(!descendants(me).contains(&parent));
    }
}
