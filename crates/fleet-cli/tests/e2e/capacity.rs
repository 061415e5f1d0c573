//! Clouds that have nothing, or answer badly: what the fallbacks do, and that no fault makes a second machine.

use crate::home::{Home, example};
use serde_json::Value;

const QUICK: [&str; 4] = ["--env", "STEPS=5", "--env", "STEP_SECONDS=0.1"];

#[test]
fn spot_sold_out_everywhere_is_answered_as_the_fallback_says() {
    let mut home = Home::new("sold-out");
    let nothing = home.write(
        "sold-out.json",
        r#"{"name":"nothing-left","places":[{"match":{"market":"spot"},"stock":0}]}"#,
    );
    home.sandbox_up(&["--scenario", &nothing]);
    let train = example("train.yaml");

    let all =
        [&["launch", &train, "--use-spot", "-y", "--json", "--fallback", "on-demand"][..], &QUICK];
    let events = home.fleet(&all.concat()).ends(0).objects();
    let job = &events.last().expect("a last line")["job"];
    assert_eq!(job["attempts"][0]["market"], "on-demand", "{job}");
    let why = events.iter().find(|e| e["event"] == "plan.fallback").unwrap_or_else(|| {
        panic!("no event says why: {:?}", events.iter().map(|e| &e["event"]).collect::<Vec<_>>())
    });
    let reason = why["reason"].as_str().unwrap_or("");
    assert!(reason.contains("InsufficientInstanceCapacity") && reason.contains("places"), "{why}");

    let said = home
        .fleet(
            &[&["launch", &train, "--use-spot", "-y", "--fallback", "none"][..], &QUICK].concat(),
        )
        .ends(3);
    let talk = format!("{}{}", said.stdout, said.stderr);
    for place in
        ["aws/us-east-1/us-east-1a", "aws/us-west-2/us-west-2b", "aws/eu-north-1/eu-north-1c"]
    {
        assert!(talk.contains(place), "{place} is not named in {talk}");
    }
    let end = said.stderr.rfind("no capacity: ").map_or("", |at| &said.stderr[at..]);
    assert!(end.contains("InsufficientInstanceCapacity"), "the end gives no reason: {end}");

    // However many spot places say no, on-demand is still tried.
    let many = home.write(
        "many.yaml",
        "resources: {accelerators: {'T4:1', 'L4:1', 'A10G:1', 'V100:1', 'RTX4090:1'}}\nmachine: any\n\
         run: echo here\n",
    );
    let job = home.succeeded(&home.launch(&many, &[]));
    assert_eq!(job["attempts"][0]["market"], "on-demand", "{job}");

    let waiting = home.launch(&train, &[&["--fallback", "wait"][..], &QUICK].concat());
    let job = home.until(&waiting, 20, "waits", |j| !j["reason"].is_null());
    assert_eq!(job["phase"], "planning", "{job}");
    assert!(job["reason"].as_str().is_some_and(|r| r.contains("capacity")), "{job}");
    home.fleet(&["cancel", &waiting]).ends(0);
    assert_eq!(home.in_phase(&waiting, "finished")["outcome"], "cancelled");
    home.fleet(&["attach", &waiting]).ends(5);

    let ledger = home.drained();
    let markets: Vec<_> = ledger.machines().iter().map(|m| &m["market"]).collect();
    assert_eq!(markets, ["on-demand", "on-demand"], "only two jobs bought, and no spot");
}

#[test]
fn a_job_that_waits_for_capacity_runs_when_there_is_some() {
    let mut home = Home::new("capacity-returns");
    let later = home.write(
        "later.json",
        r#"{"places":[{"match":{"market":"spot"},"stock":0,"until_seconds":6}]}"#,
    );
    home.sandbox_up(&["--scenario", &later]);
    let id = home.launch(&example("train.yaml"), &[&["--fallback", "wait"][..], &QUICK].concat());
    home.until(&id, 5, "waits", |j| j["phase"] == "planning" && !j["reason"].is_null());
    let job = home.succeeded(&id);
    assert_eq!(job["attempts"][0]["market"], "spot", "{job}");
    home.drained();
}

/// A job goes through a fault of the clouds: one machine an attempt, none left, the books agree.
fn survives(scenario: &'static str, infra: &[&str], steps: &[&str]) -> Vec<Value> {
    let home = Home::with_sandbox(scenario, &["--scenario", scenario, "--seed", "31"]);
    let mut jobs = Vec::new();
    for place in infra {
        let id = home.launch(&example("train.yaml"), &[&["--infra", place][..], steps].concat());
        jobs.push(home.succeeded(&id));
    }
    let ledger = home.drained();
    let attempts: usize = jobs.iter().map(|j| j["attempts"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(ledger.machines().len(), attempts, "{jobs:?}\n{}", ledger.0);
    ledger.assert_books_agree(&jobs);
    let mutations = ledger.0["mutations"].as_array().expect("mutations").clone();
    let faulty = |m: &Value| m["result"].as_str().is_none_or(|r| !r.starts_with("ok"));
    let faults: Vec<Value> = mutations.into_iter().filter(faulty).collect();
    eprintln!("{scenario}: {attempts} attempts, faults {faults:?}");
    jobs
}

#[test]
fn throttling_slows_a_job_and_nothing_more() {
    survives("throttle", &["aws", "vast"], &QUICK);
}

#[test]
fn lost_answers_make_no_second_machine() {
    survives("lost-answer", &["aws", "vast"], &QUICK);
}

#[test]
fn answers_of_500_after_the_effect_make_no_second_machine() {
    survives("effect-5xx", &["aws", "vast"], &QUICK);
}

#[test]
fn machines_that_show_up_late_are_waited_for() {
    survives("lag", &["aws", "vast"], &QUICK);
}

#[test]
fn a_quota_of_nothing_on_one_cloud_sends_the_job_to_the_other() {
    let jobs = survives("quota", &["*"], &QUICK);
    assert_eq!(jobs[0]["attempts"][0]["provider"], "vast", "{jobs:?}");
    assert_eq!(jobs[0]["attempts"][0]["market"], "spot", "{jobs:?}");
}

#[test]
fn a_price_spike_above_the_bid_moves_the_job_and_it_goes_on() {
    let mut home = Home::new("price-spike");
    let spike = home.write(
        "spike.json",
        r#"{"places":[{"match":{"provider":"vast","market":"spot"},"price_factor":6.0,"from_seconds":6}]}"#,
    );
    home.sandbox_up(&["--scenario", &spike]);
    let steps = ["--env", "STEPS=60", "--env", "STEP_SECONDS=0.2", "--infra", "vast"];
    let id = home.launch(&example("train.yaml"), &steps);
    let job = home.succeeded(&id);
    assert!(job["attempts"].as_array().is_some_and(|a| a.len() >= 2), "it was never outbid: {job}");
    assert_eq!(job["attempts"][0]["end_cause"], "preempted", "{job}");
    let log = home.fleet(&["logs", &id]).ends(0).stdout;
    assert!(log.contains("resumed from step"), "{log}");
    home.drained().assert_books_agree(&[job]);
}
