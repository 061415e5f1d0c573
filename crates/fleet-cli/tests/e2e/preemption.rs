//! Losing machines: the task goes on elsewhere, from what it had saved, with the code it was sent with.

use crate::home::{Home, example};
use serde_json::Value;

/// Lines of the task's log, with the time each was heard.
fn lines(events: &[Value]) -> Vec<&str> {
    events.iter().filter(|e| e["event"] == "log").filter_map(|e| e["line"].as_str()).collect()
}

fn number_after(line: &str, words: &str) -> Option<u64> {
    let rest = &line[line.find(words)? + words.len()..];
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The last step before the restart, and the step that it went on from.
fn resumption(events: &[Value]) -> (u64, u64) {
    let all = lines(events);
    let at = all.iter().position(|l| l.contains("resumed from step "));
    let at = at.unwrap_or_else(|| panic!("nothing was resumed: {all:#?}"));
    let last = all[..at].iter().rev().find_map(|l| number_after(l, "step "));
    let back = number_after(all[at], "resumed from step ").expect("a number");
    (last.expect("a step before"), back)
}

#[track_caller]
fn in_order(events: &[Value], wanted: &[&str]) {
    let names: Vec<&str> = events.iter().filter_map(|e| e["event"].as_str()).collect();
    let mut rest = names.iter();
    for name in wanted {
        assert!(rest.any(|n| n == name), "no {name} in its place among {names:?}");
    }
}

#[test]
fn the_one_shot_sandbox_preempts_the_job_once_and_it_ends_from_its_saved_step() {
    let home = Home::new("one-shot");
    let said = home
        .fleet(&[
            "launch",
            &example("train.yaml"),
            "--use-spot",
            "--sandbox",
            "-y",
            "--json",
            "--env",
            "STEPS=40",
        ])
        .ends(0)
        .says(&["take the first spot machine away once"]);
    let events = said.objects();
    in_order(
        &events,
        &[
            "job.accepted",
            "plan.ranked",
            "attempt.launching",
            "attempt.running",
            "checkpoint.saved",
            "preemption.notice",
            "recovery.started",
            "checkpoint.restored",
            "attempt.running",
            "job.finished",
        ],
    );
    let job = &events.last().expect("a last line")["job"];
    let attempts = job["attempts"].as_array().expect("attempts");
    assert_eq!(attempts.len(), 2, "{job}");
    assert_eq!(
        (&attempts[0]["end_cause"], &attempts[1]["end_cause"]),
        (&"preempted".into(), &"done".into())
    );
    let place = |n: usize| (&attempts[n]["provider"], &attempts[n]["region"], &attempts[n]["zone"]);
    assert_ne!(place(0), place(1), "it went back to the place that took its machine");
    let (last, back) = resumption(&events);
    assert!(last - back <= 1 && back > 20, "{last} steps were done, {back} survived");
    assert!(
        lines(&events).last().is_some_and(|l| l.starts_with("done:")),
        "the work was not finished"
    );
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), 2);
    ledger.assert_books_agree(std::slice::from_ref(job));
    // The next one follows at once: it must not take the ending sandbox for its own.
    let hello = example("hello.yaml");
    home.fleet(&["launch", &hello, "--use-spot", "--sandbox", "-y", "-q"]).ends(0);
    assert!(home.json(&["sandbox", "status"])["pid"].is_null(), "the sandbox outlives its job");
    home.drained();
}

#[test]
fn a_group_of_workers_that_saves_and_exits_0_at_the_notice_has_not_succeeded_and_loses_nothing() {
    let home = Home::with_sandbox("workers", &["--seed", "5"]);
    let id = home.launch(&example("workers.yaml"), &["--infra", "aws", "--env", "BATCHES=40"]);
    home.until_log(&id, "step 8 of 40");
    home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "30s"]).ends(0);
    let job = home.succeeded(&id);
    assert_eq!(job["attempts"][0]["end_cause"], "preempted", "{job}");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(2), "{job}");
    let events = home.events(&id);
    in_order(
        &events,
        &["preemption.notice", "recovery.started", "checkpoint.restored", "job.finished"],
    );
    let (last, back) = resumption(&events);
    assert_eq!(last, back, "batches were lost");
    let all = lines(&events);
    assert!(all.iter().any(|l| l.contains("and leaving")), "the handler did not run: {all:?}");
    // Each batch counted once: the sum is right only if none was lost and none done twice.
    assert!(all.contains(&"sum 7998000, expected 7998000"), "{all:?}");
    home.drained().assert_books_agree(&[job]);
}

#[test]
fn a_marketplace_takes_a_machine_without_a_word_and_the_checkpoint_survives() {
    let home = Home::with_sandbox("outbid", &["--seed", "6"]);
    let steps = ["--env", "STEPS=30", "--env", "STEP_SECONDS=0.2"];
    let id = home.launch(&example("train.yaml"), &[&["--infra", "vast"][..], &steps].concat());
    home.until_log(&id, "step 12 of 30");
    home.until_true("a checkpoint is durable", || {
        home.events(&id).iter().any(|e| e["event"] == "checkpoint.saved")
    });
    home.fleet(&["sandbox", "preempt", "--job", &id]).ends(0);
    let job = home.succeeded(&id);
    let first = &job["attempts"][0];
    assert!(
        ["preempted", "host-lost"].contains(&first["end_cause"].as_str().unwrap_or("")),
        "{job}"
    );
    assert_eq!(job["attempts"][1]["provider"], "vast", "{job}");
    let events = home.events(&id);
    let (last, back) = resumption(&events);
    assert!(back > 0 && back <= last, "{last} {back}");
    home.drained().assert_books_agree(&[job]);
}

#[test]
fn a_workdir_edited_after_launch_does_not_reach_the_next_attempt() {
    let home = Home::with_sandbox("frozen-workdir", &["--seed", "7"]);
    let code = home.write("code/version.txt", "as accepted\n");
    let task = home.write(
        "task.yaml",
        "name: frozen\n\
         resources: {accelerators: 'T4:1'}\n\
         machine: any\n\
         workdir: ./code\n\
         run: |\n  \
           echo \"attempt $FLEET_ATTEMPT runs: $(cat version.txt) with $(ls | wc -l) files\"\n  \
           [ \"$FLEET_ATTEMPT\" = 1 ] || exit 0\n  \
           trap 'exit 0' TERM; sleep 60 & wait\n",
    );
    let id = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&id, "attempt 1 runs: as accepted with 1 files");
    std::fs::write(&code, "edited later\n").expect("written");
    home.write("code/more.txt", "new");
    home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "20s"]).ends(0);
    let job = home.succeeded(&id);
    home.until_log(&id, "attempt 2 runs: as accepted with 1 files");
    assert!(job["workdir_hash"].as_str().is_some_and(|h| !h.is_empty()), "{job}");
    // A job accepted now gets what lies there now.
    let next = home.launch(&task, &["--infra", "aws"]);
    home.until_log(&next, "runs: edited later with 2 files");
    assert_ne!(home.job(&next)["workdir_hash"], job["workdir_hash"]);
    home.fleet(&["cancel", &next]).ends(0);
    home.drained();
}

#[test]
fn machines_that_are_lost_again_and_again_at_every_stage_cost_no_finished_step() {
    let home = Home::with_sandbox("again", &["--seed", "8"]);
    let args = ["--infra", "aws", "--env", "STEPS=40", "--env", "STEP_SECONDS=0.2"];
    let id = home.launch(&example("train.yaml"), &args);
    for (round, warning) in ["10s", "0s"].into_iter().enumerate() {
        let attempt = round + 1;
        home.until(&id, 40, "runs", |j| !j["attempts"][round]["running_at"].is_null());
        home.until_true(format!("attempt {attempt} has saved"), || {
            home.events(&id)
                .iter()
                .any(|e| e["event"] == "checkpoint.saved" && e["epoch"] == attempt)
        });
        home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", warning]).ends(0);
        if round == 1 {
            // The one that is made ready after it is lost as well, whatever it is doing.
            home.until(&id, 40, "has its third machine", |j| {
                j["attempts"][2]["instance_id"].as_str().is_some_and(|i| !i.is_empty())
            });
            let third = home.job(&id)["attempts"][2]["instance_id"].clone();
            let third = third.as_str().expect("an id");
            home.fleet(&["sandbox", "preempt", "--instance", third, "--warning", "0s"]).ends(0);
            home.until(&id, 40, "has its fourth machine", |j| {
                j["attempts"].as_array().is_some_and(|a| a.len() >= 4)
            });
        }
    }
    let job = home.succeeded(&id);
    let attempts = job["attempts"].as_array().expect("attempts");
    assert!(attempts.len() >= 4, "{job}");
    assert_eq!(attempts.last().expect("a last one")["end_cause"], "done", "{job}");
    let events = home.events(&id);
    let all = lines(&events);
    let mut done = 0;
    for line in &all {
        if let Some(back) = number_after(line, "resumed from step ") {
            assert!(back > 0 && back <= done, "resumed from {back} after {done}: {all:?}");
            // 2 s of work at five steps a second is what a death without a word may cost.
            assert!(done - back <= 15, "{} steps were lost: {all:?}", done - back);
        } else if let Some(step) = number_after(line, "step ") {
            done = step;
        }
    }
    assert_eq!(done, 40, "{all:?}");
    let ledger = home.drained();
    assert_eq!(ledger.machines().len(), attempts.len());
    ledger.assert_books_agree(&[job]);
}
