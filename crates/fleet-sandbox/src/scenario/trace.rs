//! Recorded spot availability (`fleet-spot-trace/1`), replayed for the zones that a rule matches.
//!
//! Invariant: beyond its end a trace says "not available", as the policy contract has it.

use crate::Error;
use serde::Deserialize;
use std::path::Path;

/// One zone's recorded availability.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trace {
    gap_seconds: f64,
    available: String,
}

impl Trace {
    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| Error::File {
            what: "cannot read trace",
            path: path.to_owned(),
            source,
        })?;
        let bad = |reason: String| Error::BadScenario { name: path.display().to_string(), reason };
        let trace: Self = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        let shape = trace.available.bytes().all(|b| matches!(b, b'0' | b'1'));
        if !shape || !trace.gap_seconds.is_finite() || trace.gap_seconds <= 0.0 {
            return Err(bad("`available` must be 0s and 1s, `gap_seconds` above 0".into()));
        }
        Ok(trace)
    }

    /// Whether spot was to be had `seconds` after the trace began.
    pub(crate) fn available(&self, seconds: f64) -> bool {
        let tick = (seconds / self.gap_seconds).max(0.0) as usize;
        self.available.as_bytes().get(tick) == Some(&b'1')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_tick_by_tick_and_ends_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.json");
        std::fs::write(&file, br#"{"zone":"z","gap_seconds":10,"ticks":3,"available":"101"}"#)
            .unwrap();
        let trace = Trace::read(&file).unwrap();
        let seen: Vec<bool> = [0.0, 9.9, 10.0, 25.0, 30.0].map(|s| trace.available(s)).into();
        assert_eq!(seen, [true, true, false, true, false]);
        std::fs::write(&file, br#"{"gap_seconds":10,"available":"1x"}"#).unwrap();
        assert!(Trace::read(&file).is_err());
    }
}
