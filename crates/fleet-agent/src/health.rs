//! The machine's load, memory and disk, for the beat.
//!
//! Invariant: what cannot be read is left out, never guessed as zero.

use fleet_agent_api::{Beat, GpuSample};
use std::path::Path;

/// One beat, now.
pub(crate) fn beat(folder: &Path, gpus: &[GpuSample]) -> Beat {
    Beat {
        gpus: gpus.to_vec(),
        load: std::fs::read_to_string("/proc/loadavg").ok().and_then(|t| first_number(&t)),
        memory_used_mib: std::fs::read_to_string("/proc/meminfo").ok().and_then(|t| used_mib(&t)),
        disk_free_mib: nix::sys::statvfs::statvfs(folder)
            .ok()
            .map(|s| s.blocks_available() as f64 * s.fragment_size() as f64 / 1_048_576.0),
    }
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn used_mib(meminfo: &str) -> Option<f64> {
    let kib = |name: &str| {
        let line = meminfo.lines().find_map(|l| l.strip_prefix(name))?;
        first_number(line.trim_start_matches(':'))
    };
    Some((kib("MemTotal")? - kib("MemAvailable")?) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_total_less_available() {
        let text = "MemTotal:  4096 kB\nMemFree: 1 kB\nMemAvailable:  1024 kB\n";
        assert_eq!(used_mib(text), Some(3.0));
        assert_eq!(used_mib("MemTotal: 5 kB\n"), None);
    }
}
