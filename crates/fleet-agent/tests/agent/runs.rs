//! Starting, stopping, and who gets the signal.

use crate::rig::{Rig, task, wait_for};
use fleet_agent_api::{
    FromAgent, RunSpec, SignalTarget, StopOrder, StopReason, TaskState, TaskStep, ToAgent,
};
use std::collections::BTreeMap;
use std::path::Path;

fn stop(reason: StopReason, within_ms: Option<u64>) -> ToAgent {
    ToAgent::Stop(StopOrder { reason, within_ms })
}

fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn number(path: &Path) -> i32 {
    let read = || std::fs::read_to_string(path).ok()?.trim().parse().ok();
    wait_for("a pid was written", || read().is_some());
    read().unwrap()
}

#[test]
fn start_is_idempotent_and_a_task_runs_once_an_epoch() {
    let rig = Rig::new();
    rig.start();
    rig.start();
    let (mut link, state) = rig.hello(0);
    assert_eq!(state.task, TaskState::Idle);
    let mut spec =
        task("echo ran >> runs; echo \"$A $B $FLEET_ATTEMPT $FLEET_JOB_ID\"; pwd; exit 3");
    spec.env = BTreeMap::from([("A".into(), "$(echo no) ' \"".into())]);
    spec.secrets = BTreeMap::from([("B".into(), "swordfish".into())]);
    link.send(&ToAgent::Start { spec: Box::new(spec.clone()) });
    let end = link.ended();
    assert_eq!((end.step, end.code, end.signal), (TaskStep::Run, Some(3), None));
    assert_eq!((end.stopped, end.done), (None, false));
    assert_eq!(link.settled(), None);
    link.send(&ToAgent::Start { spec: Box::new(spec) });
    link.ended();
    let runs = std::fs::read_to_string(rig.base().join("workdir/runs")).unwrap();
    assert_eq!(runs, "ran\n");
    let workdir = rig.base().canonicalize().unwrap().join("workdir");
    link.line(workdir.to_str().unwrap());
    assert_eq!(link.logs[0].line, format!("$(echo no) ' \" *** 3 {}", rig.config.job));
    assert_eq!(rig.home().join("sky_workdir").canonicalize().unwrap(), workdir);
    let mut other = Rig::new();
    other.config.protocol = 99;
    assert!(!other.try_start().status.success());
}

#[test]
fn another_epoch_is_not_talked_over_and_a_wrong_hello_is_refused() {
    let mut rig = Rig::new();
    rig.start();
    rig.config.epoch = rig.config.epoch.next();
    let output = rig.try_start();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("epoch 3"), "{output:?}");
    rig.config.epoch = fleet_types::Epoch(3);
    let mut link = rig.link();
    link.send(&ToAgent::Hello {
        protocol: fleet_agent_api::PROTOCOL,
        job: rig.config.job.clone(),
        epoch: fleet_types::Epoch(9),
        log_from: 0,
    });
    let reason = link.expect("a refusal", |m| match m {
        FromAgent::Refused { reason } => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.contains("epoch 3") && reason.contains("epoch 9"), "{reason}");
    link.expect_hangup();
    for bytes in [&[0xFF; 64][..], &[0, 0, 0, 2, 9, 9], b"\0\0\0\x03\0{}"] {
        let (mut link, _) = rig.hello(0);
        link.send_bytes(bytes);
        link.expect_hangup();
    }
    let (mut older, _) = rig.hello(0);
    let (_newer, _) = rig.hello(0);
    older.expect_hangup();
}

#[test]
fn a_failing_setup_fails_the_task_before_run() {
    let rig = Rig::new();
    let spec = RunSpec { setup: Some("echo setting up; exit 9".into()), ..task("echo never") };
    let mut link = rig.run(spec);
    let end = link.ended();
    assert_eq!((end.step, end.code), (TaskStep::Setup, Some(9)));
    link.settled();
    assert_eq!(link.text(), ["setting up"]);
}

#[test]
fn a_long_script_and_what_setup_made_reach_run() {
    let rig = Rig::new();
    let long = format!("cat made\n# {}\necho last; touch $FLEET_DONE_FILE", "x".repeat(200_000));
    let spec = RunSpec { setup: Some("echo by setup > made".into()), ..task(&long) };
    let mut link = rig.run(spec);
    let end = link.ended();
    assert_eq!((end.code, end.done), (Some(0), true));
    link.line("last");
    assert_eq!(link.text(), ["by setup", "last"]);
}

const TRAINER: &str = r#"
import os, signal, subprocess, sys, time
me = os.environ["FLEET_CHECKPOINT_DIR"]
worker = r'''
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *a: (os.write(1, b"worker hit\n"), sys.exit(1)))
os.write(1, b"worker up\n")
sys.stdin.read()
'''
workers = [subprocess.Popen([sys.executable, "-c", worker], stdin=subprocess.PIPE) for _ in range(4)]
def save(*_):
    with open(me + "/model.tmp", "w") as f:
        f.write("workers alive: %d" % sum(w.poll() is None for w in workers))
    os.rename(me + "/model.tmp", me + "/model")
    print("deadline " + open(os.environ["FLEET_PREEMPTION_DEADLINE"]).read().strip(), flush=True)
    for w in workers:
        w.stdin.close()
        w.wait()
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("training", flush=True)
while True:
    signal.pause()
"#;

#[test]
fn a_notice_signals_the_main_process_and_not_its_workers() {
    for run in
        ["python3 train.py", "echo first; python3 train.py; exit $?", "python3 train.py | tee log"]
    {
        let rig = Rig::new();
        rig.start();
        std::fs::write(rig.base().join("workdir/train.py"), TRAINER).unwrap();
        let (mut link, _) = rig.hello(0);
        link.send(&ToAgent::Start { spec: Box::new(task(run)) });
        link.active();
        link.line("training");
        link.until("the workers", |l| l.text().iter().filter(|t| **t == "worker up").count() == 4);
        link.send(&stop(StopReason::Notice, Some(60_000)));
        let end = link.ended();
        assert_eq!((end.code, end.stopped), (Some(0), Some(StopReason::Notice)), "{run}");
        let last = link.ready();
        assert_eq!(link.fetch(&last)["model"], b"workers alive: 4", "{run}");
        link.published(&last.source);
        assert_eq!(link.settled(), Some(1));
        assert!(!link.text().contains(&"worker hit"), "{run}: {:?}", link.text());
        assert!(link.text().iter().any(|t| t.starts_with("deadline 20")), "{:?}", link.text());
        let (_, state) = rig.hello(0);
        assert!(state.settled && state.published_at == Some(last.taken_at));
    }
}

#[test]
fn a_shell_with_a_trap_gets_the_signal_itself() {
    let scripts = [
        "trap 'echo saved; exit 0' TERM; echo up; while :; do read -t 60 < <(sleep 60); done",
        "trap 'kill -TERM $P; wait $P; echo saved; exit 0' TERM; sleep 60 & P=$!; echo up; wait $P",
        "trap 'echo saved; exit 0' TERM; echo up; sleep 60",
    ];
    for script in scripts {
        let rig = Rig::new();
        let mut link = rig.run(task(script));
        link.line("up");
        // The shell says `up` before it waits; the signal may find it at either.
        link.send(&stop(StopReason::Cancel, None));
        let end = link.ended();
        assert_eq!((end.code, end.stopped), (Some(0), Some(StopReason::Cancel)), "{script}");
        link.line("saved");
    }
}

#[test]
fn a_group_signal_and_a_stop_command_reach_whom_they_name() {
    let rig = Rig::new();
    let spec =
        RunSpec { signal_to: SignalTarget::Group, ..task("echo up; sleep 60 & sleep 60; echo on") };
    let mut link = rig.run(spec);
    link.line("up");
    link.send(&stop(StopReason::Cancel, None));
    assert_eq!(link.ended().signal, Some(15));
    let rig = Rig::new();
    let command = SignalTarget::Command("echo asked > asked; kill -USR1 $FLEET_MAIN_PID".into());
    let spec = RunSpec { signal_to: command, ..task("echo up; exec sleep 60") };
    let mut link = rig.run(spec);
    link.line("up");
    link.send(&stop(StopReason::Cancel, None));
    assert_eq!(link.ended().signal, Some(10));
    assert!(rig.base().join("workdir/asked").exists());
}

#[test]
fn what_ignores_the_signal_is_killed_at_the_end_of_its_grace() {
    let rig = Rig::new();
    let spec = RunSpec {
        grace_ms: 300,
        ..task(
            "trap '' TERM; (setsid sleep 600 & echo $! > pid); echo up; while :; do sleep 600; done",
        )
    };
    let mut link = rig.run(spec);
    link.line("up");
    let stray = number(&rig.base().join("workdir/pid"));
    link.send(&stop(StopReason::Limit, None));
    link.send(&stop(StopReason::Limit, None));
    let end = link.ended();
    assert_eq!((end.signal, end.stopped), (Some(9), Some(StopReason::Limit)));
    assert!(!is_alive(stray), "gone means gone");
}

#[test]
fn daemons_that_a_task_leaves_behind_are_gone_before_the_end_is_told() {
    let rig = Rig::new();
    let script = r#"
python3 - <<'EOF'
import os, signal, time
r, w = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        open("stray", "w").write(str(os.getpid()))
        os.write(w, b"x")
        while True:
            time.sleep(600)
    os._exit(0)
os.read(r, 1)
EOF
(setsid nohup sleep 600 > /dev/null 2>&1 & echo $! > nohup)
echo over
"#;
    let mut link = rig.run(task(script));
    let end = link.ended();
    assert_eq!((end.code, end.stopped), (Some(0), None));
    for name in ["stray", "nohup"] {
        assert!(!is_alive(number(&rig.base().join("workdir").join(name))), "{name} lives");
    }
    link.line("over");
}

#[test]
fn after_a_stop_nothing_is_started_and_that_is_settled() {
    let rig = Rig::new();
    rig.start();
    let (mut link, _) = rig.hello(0);
    link.send(&stop(StopReason::Cancel, None));
    assert_eq!(link.settled(), None);
    link.send(&ToAgent::Start { spec: Box::new(task("echo never")) });
    link.expect("a refusal", |m| matches!(m, FromAgent::Refused { .. }).then_some(()));
}

#[test]
fn a_killed_daemon_takes_its_task_along_and_the_next_one_says_so() {
    let rig = Rig::new();
    let spec = RunSpec { grace_ms: 200, ..task("echo $$ > pid; echo up; sleep 600") };
    let mut link = rig.run(spec);
    link.line("up");
    let (shell, daemon) = (number(&rig.base().join("workdir/pid")), rig.daemon_pid());
    let offset = link.logs.last().unwrap().offset;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(daemon as i32), nix::sys::signal::SIGKILL)
        .unwrap();
    link.expect_hangup();
    rig.start();
    let (mut link, state) = rig.hello(offset);
    let end = match state.task {
        TaskState::Ended(end) => end,
        _ => link.ended(),
    };
    assert_eq!(end.signal, Some(9));
    assert!(!is_alive(shell));
    link.settled();
    link.send(&ToAgent::Start { spec: Box::new(task("echo again")) });
    link.ended();
    assert!(link.logs.is_empty(), "it is not run again: {:?}", link.logs);
}

#[test]
fn a_killed_supervisor_leaves_no_process_behind() {
    let rig = Rig::new();
    let mut link = rig.run(task("setsid sleep 600 & echo $! > pid; echo up; sleep 600"));
    let shell = link.active() as i32;
    link.line("up");
    let stray = number(&rig.base().join("workdir/pid"));
    let stat = std::fs::read_to_string(format!("/proc/{shell}/stat")).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap();
    let parent = nix::unistd::Pid::from_raw(parent.parse().unwrap());
    nix::sys::signal::kill(parent, nix::sys::signal::SIGKILL).unwrap();
    assert_eq!(link.ended().signal, Some(9));
    assert!(!is_alive(shell) && !is_alive(stray));
    link.settled();
}

#[test]
fn release_leaves_nothing_running_and_no_socket() {
    let rig = Rig::new();
    let mut link = rig.run(task("echo $$ > pid; echo up; trap '' TERM; sleep 600; sleep 600"));
    link.line("up");
    let (shell, daemon) = (number(&rig.base().join("workdir/pid")), rig.daemon_pid() as i32);
    link.send(&ToAgent::Release);
    wait_for("the daemon left", || !is_alive(daemon));
    assert!(!rig.base().join("agent.sock").exists());
    assert!(!is_alive(shell));
}
