//! Machines that misbehave without their cloud's doing: frozen hosts, killed agents, tasks that die.

use crate::home::{Home, example, pause};
use crate::process;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Starts the training on one machine and waits until it has saved; the job and its machine's processes.
fn training(home: &Home, steps: &str) -> (String, Vec<i32>) {
    let args = ["--infra", "aws", "--env", "STEP_SECONDS=0.2", "--env", steps];
    let id = home.launch(&example("train.yaml"), &args);
    home.until_true("it has saved", || {
        home.events(&id).iter().any(|e| e["event"] == "checkpoint.saved")
    });
    let machine = home.ledger().alive().remove(0);
    let processes = process::with_env(&format!("FLEET_SANDBOX_MACHINE={machine}"));
    assert!(processes.len() >= 3, "agent and task are not among {processes:?}");
    (id, processes)
}

fn named<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["event"] == name).collect()
}

#[test]
fn a_machine_that_is_frozen_for_a_while_is_left_alone() {
    let home = Home::with_sandbox("frozen", &["--seed", "101"]);
    let (id, processes) = training(&home, "STEPS=40");
    for pid in &processes {
        process::signal(*pid, Signal::SIGSTOP);
    }
    // Scaled, the bound is 45 s; the watch over the line says sooner that nothing answers.
    let frozen = Instant::now();
    while frozen.elapsed() < Duration::from_secs(8) {
        pause();
    }
    for pid in &processes {
        process::signal(*pid, Signal::SIGCONT);
    }
    let job = home.succeeded(&id);
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "it was moved: {job}");
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), 1);
    ledger.assert_books_agree(&[job]);
}

#[test]
fn a_machine_that_stays_silent_is_given_up_after_the_bound_and_not_before() {
    let home = Home::with_sandbox("silent", &["--seed", "102"]);
    let (id, processes) = training(&home, "STEPS=40");
    let silent = Instant::now();
    for pid in &processes {
        process::signal(*pid, Signal::SIGSTOP);
    }
    home.until(&id, 110, "is given up", |j| j["attempts"].as_array().is_some_and(|a| a.len() == 2));
    let gave_up = silent.elapsed();
    eprintln!("given up after {:.1} s of silence", gave_up.as_secs_f64());
    assert!(gave_up >= Duration::from_secs(45), "given up after {gave_up:?} already");
    let job = home.succeeded(&id);
    assert_eq!(job["attempts"][0]["end_cause"], "host-lost", "{job}");
    let events = home.events(&id);
    assert!(!named(&events, "attempt.unreachable").is_empty(), "nobody was told of the silence");
    let log = home.fleet(&["logs", &id]).ends(0).stdout;
    assert!(log.contains("resumed from step"), "{log}");
    home.drained().assert_books_agree(&[job]);
}

#[test]
fn an_agent_that_is_killed_is_a_lost_machine_and_no_failed_task() {
    let home = Home::with_sandbox("agent-killed", &["--seed", "103"]);
    for part in ["attach", "daemon", "supervise"] {
        let (id, processes) = training(&home, "STEPS=30");
        let of_part: Vec<i32> = processes
            .into_iter()
            .filter(|p| process::command_line(*p).split(' ').any(|w| w == part))
            .collect();
        assert!(!of_part.is_empty(), "no process of the agent is called {part}");
        for pid in &of_part {
            process::signal(*pid, Signal::SIGKILL);
        }
        let job = home.succeeded(&id);
        let attempts = job["attempts"].as_array().expect("attempts");
        let wanted = if part == "attach" { 1 } else { 2 };
        assert_eq!(attempts.len(), wanted, "{part}: {job}");
        let log = home.fleet(&["logs", &id]).ends(0).stdout;
        assert_eq!(log.contains("resumed from step"), wanted == 2, "{part}: {log}");
        assert_eq!(log.matches("step 30 of 30").count(), 1, "{part}: {log}");
    }
    home.drained();
}

#[test]
fn a_task_killed_by_a_signal_has_failed_with_that_code() {
    let home = Home::with_sandbox("task-killed", &["--seed", "104"]);
    let (id, processes) = training(&home, "STEPS=400");
    let task = processes.iter().find(|p| process::command_line(**p).contains("train.py"));
    assert!(process::signal(*task.expect("the task runs"), Signal::SIGKILL));
    home.fleet(&["attach", &id, "-q"]).ends(1);
    let job = home.job(&id);
    assert_eq!((&job["outcome"], &job["exit_code"]), (&"failed".into(), &137.into()), "{job}");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    home.drained();
}
