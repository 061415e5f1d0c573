//! What `nvidia-smi` says of the GPUs.
//!
//! Runs in a thread of its own, at most every ten seconds, because the tool may hang on a sick driver.
//! Invariant: a sample is finite numbers or it is left out.

use crate::core::{Event, Wire};
use fleet_agent_api::GpuSample;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(10);

/// Samples for ever; ends at once where there is no `nvidia-smi`.
pub(crate) fn watch(wire: &Wire) {
    loop {
        let Some(samples) = sample() else { return };
        if wire.send(Event::Gpus(samples)).is_err() {
            return;
        }
        thread::sleep(EVERY);
    }
}

/// `None` where the tool is missing.
fn sample() -> Option<Vec<GpuSample>> {
    let output = Command::new("nvidia-smi")
        .args(["--query-gpu=name,utilization.gpu,memory.used,memory.total"])
        .arg("--format=csv,noheader,nounits")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) => Some(parse(&String::from_utf8_lossy(&output.stdout))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(_) => Some(Vec::new()),
    }
}

fn parse(text: &str) -> Vec<GpuSample> {
    text.lines().filter_map(parse_line).take(64).collect()
}

fn parse_line(line: &str) -> Option<GpuSample> {
    let mut fields = line.rsplitn(4, ',').map(str::trim);
    let mut number = || fields.next()?.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    let (total, used, busy) = (number()?, number()?, number()?);
    let name: String = fields.next()?.chars().filter(|c| !c.is_control()).take(80).collect();
    Some(GpuSample {
        name,
        utilisation_percent: busy,
        memory_used_mib: used,
        memory_total_mib: total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_numbers_or_nothing() {
        let text = "NVIDIA H100 80GB HBM3, 97, 70123, 81559\nTesla T4, [N/A], 1, 2\nX, nan, 1, 2\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 1, "{samples:?}");
        assert_eq!(samples[0].name, "NVIDIA H100 80GB HBM3");
        assert_eq!(samples[0].utilisation_percent, 97.0);
        assert_eq!(samples[0].memory_total_mib, 81559.0);
    }
}
