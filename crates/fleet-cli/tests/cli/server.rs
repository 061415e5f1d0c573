//! The server's life through the binary, and jobs that are not there.

use crate::stage::Stage;
use serde_json::Value;

fn json(stage: &Stage, args: &[&str]) -> Value {
    let out = stage.run(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", stage.text(&out));
    serde_json::from_slice(&out.stdout).expect("one JSON document")
}

#[test]
fn a_home_without_jobs_needs_no_server_to_say_so() {
    let stage = Stage::new();
    assert_eq!(json(&stage, &["status", "--json"])["jobs"], Value::Array(Vec::new()));
    let status = json(&stage, &["server", "status", "--json"]);
    assert_eq!(status["running"], false);
    assert!(status["pid"].is_null() && status["started_at"].is_null());
}

#[test]
fn a_server_starts_once_answers_and_leaves() {
    let stage = Stage::new();
    let first = json(&stage, &["server", "start", "--json"]);
    let again = json(&stage, &["server", "start", "--json"]);
    assert_eq!((&first["running"], &first["pid"]), (&Value::Bool(true), &again["pid"]));
    assert_eq!(json(&stage, &["server", "status", "--json"])["jobs_live"], 0);
    let out = stage.run(&["server", "run"]);
    assert_eq!(out.status.code(), Some(6), "one server a home: {}", stage.text(&out));
    assert_eq!(json(&stage, &["server", "stop", "--json"])["was_running"], true);
    assert_eq!(json(&stage, &["server", "status", "--json"])["running"], false);
    assert_eq!(json(&stage, &["server", "stop", "--json"])["was_running"], false);
}

#[test]
fn a_job_that_is_not_there_is_exit_7_by_every_door() {
    let stage = Stage::new();
    json(&stage, &["server", "start", "--json"]);
    for id in ["0", "18446744073709551616", "text", "j-000000000000"] {
        for door in [
            &["status", id][..],
            &["attach", id],
            &["logs", id],
            &["events", id],
            &["cancel", id],
            &["ssh", id],
            &["exec", id, "--", "true"],
            &["get", id],
        ] {
            let out = stage.run(door);
            assert_eq!(out.status.code(), Some(7), "{door:?}: {}", stage.text(&out));
            assert!(String::from_utf8_lossy(&out.stderr).contains("no job"), "{door:?}");
        }
    }
    assert_eq!(stage.run(&["cancel", "--all"]).status.code(), Some(0));
}

#[test]
fn a_killed_server_is_replaced_by_the_next_command() {
    let stage = Stage::new();
    let pid = json(&stage, &["server", "start", "--json"])["pid"].as_i64().expect("a pid");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it was there");
    assert_eq!(json(&stage, &["server", "status", "--json"])["running"], false);
    assert_eq!(stage.run(&["cancel", "--all"]).status.code(), Some(0));
    let next = json(&stage, &["server", "status", "--json"]);
    assert_eq!(next["running"], true);
    assert_ne!(next["pid"].as_i64(), Some(i64::from(pid.as_raw())));
}

#[test]
fn a_server_whose_home_vanished_leaves() {
    let stage = Stage::new();
    let pid = json(&stage, &["server", "start", "--json"])["pid"].as_u64().expect("a pid");
    std::fs::remove_dir_all(stage.home()).expect("the home goes");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::path::Path::new(&format!("/proc/{pid}/exe")).exists() {
        assert!(std::time::Instant::now() < deadline, "it is still there");
        std::thread::yield_now();
    }
}
