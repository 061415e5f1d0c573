//! Ends the machine when nobody is left who wants it.
//!
//! When to: never given a task and nobody in contact for `orphan_ms`, or the machine's life is over.
//! Invariant: it goes only the way of the start configuration, succeeds at most once, and does nothing at
//! all where that says `never`; a sandbox's machine therefore cannot shut its host down.

use crate::notice;
use fleet_types::EndMachine;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Ends the machine from a thread of its own, trying until it worked.
pub(crate) fn end_machine(way: EndMachine, why: &str) {
    crate::note(&format!("ending this machine: {why}"));
    thread::spawn(move || {
        let mut pause = FIRST_PAUSE;
        while let Err(reason) = attempt(&way) {
            crate::note(&format!("the machine could not be ended, trying again: {reason}"));
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    });
}

fn attempt(way: &EndMachine) -> Result<(), String> {
    match way {
        EndMachine::Never => {
            crate::note("this machine cannot end itself; the controller will");
            Ok(())
        }
        EndMachine::Command(words) => {
            let (program, rest) = words.split_first().ok_or("the command is empty")?;
            let status = Command::new(program)
                .args(rest)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status()
                .map_err(|e| format!("`{program}` did not start: {e}"))?;
            if status.success() { Ok(()) } else { Err(format!("`{program}` ended with {status}")) }
        }
        EndMachine::Post(url) => {
            let client = notice::client(Duration::from_secs(10));
            let answer = client.post(url).send_empty().map_err(|e| e.to_string())?;
            let status = answer.status();
            if status.is_success() { Ok(()) } else { Err(format!("the answer was {status}")) }
        }
    }
}
