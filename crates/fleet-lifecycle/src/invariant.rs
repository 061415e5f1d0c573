//! Invariants of reliability.md section C that a job's state and rows can show, as plain functions.
//!
//! The model, the simulator and the controller's debug asserts call the same ones.

use crate::{JobState, Phase, SessionGoal, Want, wants};
use fleet_types::{MachineRow, RowState};

/// Every violated invariant, in words; empty where all hold.
pub fn violations(state: &JobState, rows: &[MachineRow]) -> Vec<String> {
    let mut out = Vec::new();
    let asked = wants(None, state);
    let running =
        asked.iter().filter(|w| matches!(w, Want::Session { goal: SessionGoal::Run, .. })).count();
    if running > 1 {
        out.push("16: two epochs are wanted running".into());
    }
    if state.outgoing.is_some()
        && let Phase::Running { .. } = state.phase
    {
        out.push("16: a task runs while an older one is not proven gone".into());
    }
    if let Phase::Running { in_setup, .. } = state.phase {
        let runs = state.current().is_some_and(|a| a.running_at.is_some());
        if in_setup == runs {
            out.push(format!("14: in_setup is {in_setup}, and `run` began: {runs}"));
        }
    }
    let unknown = rows.iter().filter(|r| matches!(r.state, RowState::Unknown { .. })).count();
    if unknown > 1 {
        out.push(format!("5: {unknown} creates of unknown outcome in one slot"));
    }
    for want in &asked {
        if let Want::Launch { epoch, offer, .. } = want {
            let row = rows.iter().find(|r| r.epoch == *epoch && r.offer == *offer);
            if row.is_none() {
                out.push(format!("1: a create of epoch {epoch} is wanted without its row"));
            }
            if unknown > 0 {
                out.push("5: a create is wanted while another one's outcome is open".into());
            }
        }
    }
    if let Phase::Finished { .. } = state.phase {
        for row in rows {
            if !row.state.is_final() && !matches!(row.state, RowState::Ending { .. }) {
                out.push(format!("2: row {} is {:?} after the job's end", row.token, row.state));
            }
        }
        if !asked.is_empty() {
            out.push("14: a finished job asks for work".into());
        }
    }
    out
}
