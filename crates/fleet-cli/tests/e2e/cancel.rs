//! `fleet cancel` in every phase of a job's life: it wins, and nothing stays behind.

use crate::home::{Home, example};
use std::time::Instant;

/// A task whose `setup` waits where it is told to, and that ignores SIGTERM.
fn stubborn(home: &Home, name: &str, setup: &str) -> String {
    home.write(
        &format!("{name}.yaml"),
        &format!(
            "name: {name}\nresources: {{accelerators: 'T4:1'}}\nmachine: any\n\
             setup: |\n  {setup}\n\
             run: |\n  trap '' TERM\n  echo started\n  while true; do sleep 1; done\n"
        ),
    )
}

/// Cancels and asserts the end: outcome, the exit codes, and that no machine outlives it.
#[track_caller]
fn cancelled(home: &Home, id: &str, phase: &str) {
    let asked = Instant::now();
    home.fleet(&["cancel", id]).ends(0);
    let job = home.in_phase(id, "finished");
    eprintln!("cancelled while {phase}: finished after {:.1} s", asked.elapsed().as_secs_f64());
    assert_eq!(job["outcome"], "cancelled", "{phase}: {job}");
    for attempt in job["attempts"].as_array().expect("attempts") {
        assert!(!attempt["ended_at"].is_null(), "{phase}: an attempt goes on: {job}");
    }
    home.fleet(&["attach", id]).ends(5);
    // Again, and of a job that has ended: no error.
    home.fleet(&["cancel", id]).ends(0);
    let ledger = home.drained();
    ledger.assert_no_double_create();
}

#[test]
fn a_job_cancelled_while_its_machine_is_being_made_leaves_none() {
    let mut home = Home::new("cancel-launching");
    let slow = home.write("slow.json", r#"{"calls":[{"call":"RunInstances","latency_ms":2000}]}"#);
    home.sandbox_up(&["--scenario", &slow]);
    let id = home.launch(&example("train.yaml"), &["--infra", "aws"]);
    home.in_phase(&id, "launching");
    cancelled(&home, &id, "launching");
}

#[test]
fn a_job_cancelled_while_it_connects_prepares_runs_or_recovers_leaves_nothing() {
    let mut home = Home::with_sandbox("cancel-later", &["--seed", "41"]);
    // Nothing listens there: the machine is never reached.
    let port = home.env.insert("FLEET_SSH_PORT".into(), "1".into()).expect("a port");
    let id = home.launch(&example("train.yaml"), &["--infra", "aws"]);
    home.until(&id, 20, "has a machine", |j| !j["attempts"][0]["instance_id"].is_null());
    home.in_phase(&id, "connecting");
    cancelled(&home, &id, "connecting");
    home.env.insert("FLEET_SSH_PORT".into(), port);

    // Files that take a while to copy.
    let task = home.write(
        "prepares.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\nworkdir: ./big\nrun: sleep 300\n",
    );
    home.write_noise("big/noise", 96);
    let id = home.launch(&task, &["--infra", "aws"]);
    home.in_phase(&id, "preparing");
    cancelled(&home, &id, "preparing");

    let task = stubborn(&home, "runs", "true");
    for infra in ["aws", "vast"] {
        let id = home.launch(&task, &["--infra", infra]);
        home.until_log(&id, "started");
        home.in_phase(&id, "running");
        cancelled(&home, &id, "running");
    }

    // The old machine lives on to its deadline, and its task with it: the new one waits, ready.
    let id = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&id, "started");
    home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "90s"]).ends(0);
    home.in_phase(&id, "recovering");
    home.until_true("both machines live", || home.ledger().alive().len() == 2);
    cancelled(&home, &id, "recovering");

    home.fleet(&["cancel", "j-000000000000"]).ends(7);
    home.fleet(&["cancel"]).ends(2);
    let books = home.ledger();
    assert!(books.billing().is_empty());
    assert_eq!(books.machines().len(), 6, "one for each, two for the recovery: {}", books.0);
}

#[test]
fn cancel_all_ends_every_job_and_a_queued_one_never_gets_a_machine() {
    let home = Home::with_sandbox("cancel-all", &["--seed", "42"]);
    let task = stubborn(&home, "one", "true");
    let running = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&running, "started");
    let pipeline = home.submit(&example("pipeline.yaml"), &[]);
    home.fleet(&["cancel", "--all"]).ends(0);
    for id in std::iter::once(&running).chain(&pipeline) {
        let outcome = home.in_phase(id, "finished")["outcome"].clone();
        assert_eq!(outcome, "cancelled", "{id}");
    }
    assert_eq!(home.job(&pipeline[1])["attempts"].as_array().map(Vec::len), Some(0));
    home.drained();
    home.fleet(&["cancel", "--all"]).ends(0);
}
