//! Sudden ends: of the server at any moment, of its time, and of the sandbox itself.

use crate::home::{Home, example, pause};
use crate::process;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const SHORT: [&str; 4] = ["--env", "STEPS=15", "--env", "STEP_SECONDS=0.2"];

/// Kills the server at `rounds` moments of a job's life, each a job of its own.
fn killed_at_moments(home: &Home, infra: &str, rounds: u32, seed: u64) {
    let args = [&["--infra", infra][..], &SHORT].concat();
    let began = Instant::now();
    let mut jobs = vec![home.succeeded(&home.launch(&example("train.yaml"), &args))];
    let life = began.elapsed();
    let mut random = fastrand(seed);
    for round in 0..rounds {
        let moment = life.mul_f64(random());
        let id = home.launch(&example("train.yaml"), &args);
        let accepted = Instant::now();
        while accepted.elapsed() < moment {
            pause();
        }
        home.kill_server();
        home.fleet(&["server", "start"]).ends(0);
        let job = home.succeeded(&id);
        let attempts = job["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(1), "round {round}, killed after {moment:?}: moved: {job}");
        jobs.push(job);
    }
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), jobs.len(), "one machine a job: {}", ledger.0);
    ledger.assert_books_agree(&jobs);
}

/// Numbers in 0..1, the same for a seed.
fn fastrand(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn a_server_killed_at_random_moments_loses_no_job_and_no_machine_of_a_cloud() {
    let home = Home::with_sandbox("kill-9-aws", &["--seed", "21"]);
    killed_at_moments(&home, "aws", 4, 21);
}

#[test]
fn a_server_killed_at_random_moments_loses_no_job_and_no_machine_of_a_marketplace() {
    let home = Home::with_sandbox("kill-9-vast", &["--seed", "22"]);
    killed_at_moments(&home, "vast", 4, 22);
}

#[test]
fn a_server_killed_right_after_it_gave_out_an_id_knows_the_job() {
    let home = Home::with_sandbox("kill-9-acked", &["--seed", "23"]);
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let id = home.launch(&example("hello.yaml"), &[]);
        home.kill_server();
        jobs.push(id);
    }
    home.fleet(&["server", "start"]).ends(0);
    let ended: Vec<_> = jobs.iter().map(|id| home.succeeded(id)).collect();
    assert_eq!(home.drained().machines().len(), ended.len());
}

/// Says which attempt it is and when, ten times a second; told to go, it stays. The second attempt ends
/// by itself.
const TICKING: &str = "resources: {accelerators: 'T4:1'}\nmachine: any\n\
     run: |\n  trap '' TERM\n  n=0\n  \
       while [ $FLEET_ATTEMPT = 1 ] || [ $n -lt 10 ]; do\n    \
         n=$((n+1)); echo \"tick $FLEET_ATTEMPT $(date +%s%3N)\"; sleep 0.1\n  done\n";

/// When an attempt's task was first and last alive, in milliseconds, as it says itself.
fn alive(log: &str, attempt: u32) -> (u64, u64) {
    let said = format!("tick {attempt} ");
    let times = log.lines().filter_map(|l| l.split_once(&said)?.1.trim().parse::<u64>().ok());
    let times: Vec<u64> = times.collect();
    let first = times.iter().min().unwrap_or_else(|| panic!("attempt {attempt} is not in {log}"));
    (*first, *times.iter().max().expect("some"))
}

#[test]
fn a_server_killed_in_the_middle_of_a_recovery_never_lets_two_attempts_run_at_once() {
    let home = Home::with_sandbox("kill-9-recovery", &["--seed", "26"]);
    let task = home.write("ticking.yaml", TICKING);
    let mut random = fastrand(26);
    let mut jobs = Vec::new();
    for round in 0..3 {
        let id = home.launch(&task, &["--infra", "aws"]);
        home.until_log(&id, "tick 1 ");
        home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "4s"]).ends(0);
        let moment = Duration::from_secs(5).mul_f64(random());
        let told = Instant::now();
        while told.elapsed() < moment {
            pause();
        }
        home.kill_server();
        home.fleet(&["server", "start"]).ends(0);
        let job = home.succeeded(&id);
        let attempts = job["attempts"].as_array().map(Vec::len);
        assert_eq!(attempts, Some(2), "round {round}, killed after {moment:?}: {job}");
        assert_eq!(job["attempts"][0]["end_cause"], "preempted", "round {round}: {job}");
        let log = home.fleet(&["logs", &id]).ends(0).stdout;
        let ((_, last), (first, _)) = (alive(&log, 1), alive(&log, 2));
        assert!(
            last < first,
            "round {round}: attempt 1 still ran {} ms into attempt 2",
            last - first
        );
        jobs.push(job);
    }
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), 6, "two machines a job: {}", ledger.0);
    ledger.assert_books_agree(&jobs);
}

#[test]
fn a_server_that_slept_longer_than_the_silence_bound_recovers_nothing() {
    let home = Home::with_sandbox("asleep", &["--seed", "24"]);
    let task = home.write(
        "long.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\n\
         run: |\n  echo awake; while [ ! -e ~/go ]; do sleep 0.1; done; echo end\n",
    );
    let id = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&id, "awake");
    let pid = home.server_pid().expect("a server runs");
    assert!(process::signal(pid, Signal::SIGSTOP));
    // 15 minutes of silence, scaled, are 45 s: what passes here is more.
    let asleep = Instant::now();
    while asleep.elapsed() < Duration::from_secs(50) {
        pause();
    }
    assert_eq!(home.ledger().alive().len(), 1, "the machine did not live on by itself");
    assert!(process::signal(pid, Signal::SIGCONT));
    home.fleet(&["exec", &id, "--", "touch ~/go"]).ends(0);
    let job = home.succeeded(&id);
    let attempts = job["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 1, "a healthy job was moved: {job}");
    assert_eq!(attempts[0]["end_cause"], "done", "{job}");
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), 1);
    ledger.assert_books_agree(&[job]);
}

#[test]
fn a_crash_of_the_sandbox_leaves_no_process() {
    let home = Home::with_sandbox("sandbox-crash", &["--seed", "25"]);
    let task = home.write(
        "stubborn.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\n\
         run: |\n  trap '' TERM HUP INT\n  (setsid sleep 300 &)\n  echo started\n  sleep 300\n",
    );
    let ids: Vec<String> =
        ["aws", "vast"].iter().map(|infra| home.launch(&task, &["--infra", infra])).collect();
    for id in &ids {
        home.until_log(id, "started");
    }
    let machines = home.ledger().alive();
    assert_eq!(machines.len(), 2);
    let of_machines = || -> Vec<i32> {
        machines
            .iter()
            .flat_map(|m| process::with_env(&format!("FLEET_SANDBOX_MACHINE={m}")))
            .collect()
    };
    assert!(of_machines().len() >= 4, "the search sees no machine, so it would prove nothing");
    let pid = home.json(&["sandbox", "status"])["pid"].as_i64().expect("a pid");
    assert!(process::signal(i32::try_from(pid).expect("a pid"), Signal::SIGKILL));
    home.until_true("no process of a machine is left", || of_machines().is_empty());
    let server = home.server_pid();
    home.until_true("nothing of the home but the server is left", || {
        home.processes().iter().all(|p| Some(*p) == server)
    });
}
