//! Each cloud as the only one: the example runs, what can be taken is recovered, the books agree.

use crate::home::{Home, example};
use serde_json::Value;

const STEPS: [&str; 4] = ["--env", "STEPS=12", "--env", "STEP_SECONDS=0.1"];

/// The attempts of a job.
fn attempts(job: &Value) -> &Vec<Value> {
    job["attempts"].as_array().expect("attempts")
}

#[test]
fn lambda_sells_no_spot_and_runs_the_example_on_demand() {
    let home = Home::with_sandbox("lambda", &["--seed", "31"]);
    let offers = home.json(&["offers", "--gpus", "A10:1", "--infra", "lambda", "--on-demand"]);
    let offers = offers["offers"].as_array().expect("offers").clone();
    let regions: std::collections::BTreeSet<String> =
        offers.iter().map(|o| o["region"].to_string()).collect();
    assert!(regions.len() >= 3, "{offers:?}");
    home.fleet(&["offers", "--gpus", "A10:1", "--infra", "lambda", "--spot"]).ends(3);
    // Spot was wished for; there is none, and the default is to go on on-demand.
    let id = home.launch(&example("train.yaml"), &[&["--infra", "lambda"][..], &STEPS].concat());
    let job = home.succeeded(&id);
    let all = attempts(&job);
    assert_eq!(
        (all.len(), &all[0]["provider"], &all[0]["market"]),
        (1, &"lambda".into(), &"on-demand".into())
    );
    home.drained().assert_books_agree(&[job]);
    home.fleet(&["check", "lambda"]).ends(0).says(&["Lambda: usable", "LAMBDA_API_KEY"]);
    // The key that opens nothing is all that is left, and it goes too.
    let said = home.fleet(&["reap", "-y"]).ends(0);
    assert!(said.stdout.contains("ssh-key"), "{said:?}");
    let again = home.fleet(&["reap", "-y"]).ends(0);
    assert!(!again.stdout.contains("ssh-key"), "{again:?}");
}

#[test]
fn a_lambda_machine_that_is_taken_is_recovered_in_another_region() {
    let home = Home::with_sandbox("lambda-taken", &["--seed", "32"]);
    let steps = ["--env", "STEPS=30", "--env", "STEP_SECONDS=0.2", "--on-demand"];
    let id = home
        .submit_as(&example("train.yaml"), &[&["--infra", "lambda"][..], &steps].concat())
        .remove(0);
    home.until_log(&id, "step 8 of 30");
    home.until_true("a checkpoint is durable", || {
        home.events(&id).iter().any(|e| e["event"] == "checkpoint.saved")
    });
    home.fleet(&["sandbox", "preempt", "--job", &id]).ends(0);
    let job = home.succeeded(&id);
    let all = attempts(&job);
    assert_eq!(all.len(), 2, "{job}");
    assert_ne!(all[0]["region"], all[1]["region"], "{job}");
    assert!(home.events(&id).iter().any(|e| e["event"] == "checkpoint.restored"), "{job}");
    home.drained().assert_books_agree(&[job]);
}
