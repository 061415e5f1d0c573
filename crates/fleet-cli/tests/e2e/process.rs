//! Processes as the kernel shows them: whose environment holds what, and signals to them.
//!
//! Used to prove that nothing is left behind. Reads `/proc`; where there is none it finds nothing.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Live processes whose environment holds `entry` (`NAME=value`) whole.
pub(crate) fn with_env(entry: &str) -> Vec<i32> {
    scan(|environ| environ.split(|b| *b == 0).any(|e| e == entry.as_bytes()))
}

fn scan(wanted: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id().to_string();
    entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| *name != own)
        .filter_map(|name| {
            let pid = name.parse().ok()?;
            // A zombie has no environment: reading gives nothing.
            let environ = std::fs::read(format!("/proc/{name}/environ")).ok()?;
            wanted(&environ).then_some(pid)
        })
        .collect()
}

/// What a process was started as, for messages.
pub(crate) fn command_line(pid: i32) -> String {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ")
}

/// Sends a signal; false if there is no such process.
pub(crate) fn signal(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}
