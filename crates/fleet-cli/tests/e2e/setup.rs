//! A task's setup: it is part of preparing, it has begun all the same, and `run` begins when `run` begins.

use crate::home::Home;
use serde_json::Value;

/// A task whose setup goes on until somebody lets it.
fn patient(home: &Home) -> String {
    home.write(
        "patient.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\n\
         setup: |\n  echo \"setting up attempt $FLEET_ATTEMPT\"\n  \
           while [ ! -e ~/go ]; do sleep 0.1; done\n\
         run: echo working\n",
    )
}

fn told<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|e| e["event"] == name).collect()
}

#[track_caller]
fn is_setting_up(home: &Home, id: &str, attempt: usize, phase: &str) {
    let job = home.job(id);
    assert_eq!((&job["phase"], &job["reason"]), (&phase.into(), &"its setup runs".into()), "{job}");
    assert!(job["attempts"][attempt - 1]["running_at"].is_null(), "{job}");
    assert!(told(&home.events(id), "attempt.running").is_empty());
}

#[test]
fn setup_is_preparing_and_is_lost_taken_and_cancelled_like_a_task_that_runs() {
    let home = Home::with_sandbox("setup", &["--seed", "51"]);
    let task = patient(&home);

    // A server that dies meanwhile finds it in its setup again.
    let id = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&id, "setting up attempt 1");
    is_setting_up(&home, &id, 1, "preparing");
    home.kill_server();
    home.fleet(&["server", "start"]).ends(0);
    is_setting_up(&home, &id, 1, "preparing");

    // Its machine is taken: the next one sets up anew, and not before the old one has let go.
    home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "10s"]).ends(0);
    home.until_log(&id, "setting up attempt 2");
    is_setting_up(&home, &id, 2, "recovering");
    home.fleet(&["exec", &id, "--", "touch ~/go"]).ends(0);
    let job = home.succeeded(&id);
    let attempts = job["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{job}");
    assert_eq!(attempts[0]["end_cause"], "preempted", "{job}");
    assert!(attempts[0]["running_at"].is_null() && !attempts[1]["running_at"].is_null(), "{job}");
    let events = home.events(&id);
    let ran: Vec<_> = told(&events, "attempt.running").iter().map(|e| &e["epoch"]).collect();
    assert_eq!(ran, [2], "{events:#?}");

    let failing = home.write(
        "failing.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\n\
         setup: echo no such package; exit 9\nrun: echo never\n",
    );
    let failed = home.launch(&failing, &["--infra", "aws"]);
    let job_failed = home.in_phase(&failed, "finished");
    assert_eq!(job_failed["outcome"], "failed", "{job_failed}");
    assert_eq!(job_failed["reason"], "setup exited with code 9", "{job_failed}");
    assert_eq!(job_failed["attempts"][0]["end_cause"], "user-error", "{job_failed}");
    assert!(told(&home.events(&failed), "attempt.running").is_empty());
    home.fleet(&["logs", &failed]).ends(0).says(&["no such package"]);

    let cancelled = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&cancelled, "setting up attempt 1");
    home.fleet(&["cancel", &cancelled]).ends(0);
    let job_cancelled = home.in_phase(&cancelled, "finished");
    assert_eq!(job_cancelled["outcome"], "cancelled", "{job_cancelled}");
    home.drained().assert_books_agree(&[job, job_failed, job_cancelled]);
}
