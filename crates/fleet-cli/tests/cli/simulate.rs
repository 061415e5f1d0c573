//! `simulate`: one case, a file of cases, and input that cannot be replayed.

use crate::stage::Stage;
use serde_json::{Value, json};

/// Ten hours by the half hour: spot is up but for ticks 4 to 7.
fn trace() -> String {
    json!({
        "format": "fleet-spot-trace/1", "zone": "a", "region": "r", "cloud": "aws",
        "accelerator": "V100:1", "nodes": 1, "kind": "availability",
        "start_time": "2023-01-01T00:00:00", "gap_seconds": 1800, "ticks": 20,
        "on_demand_price": 3.0, "spot_prices": [[0, 1.0]], "available": "11110000111111111111",
    })
    .to_string()
}

const JOB: [&str; 6] =
    ["--duration-hours", "4", "--deadline-hours", "8", "--restart-overhead-hours", "0.5"];

#[test]
fn one_case_is_one_object_and_the_arithmetic_is_plain() {
    let stage = Stage::new();
    stage.file("a.json", trace());
    let mut args = vec!["simulate", "--trace", "a.json", "--policy", "greedy", "--json"];
    args.extend(JOB);
    let out = stage.run(&args);
    assert_eq!(out.status.code(), Some(0), "{}", stage.text(&out));
    let got: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    // 2 h of spot with half an hour of overhead, 2 h away, then 0.5 h of overhead and 2.5 h of work.
    assert_eq!(got["cost"], 5.0);
    assert_eq!(got["spot_hours"], 5.0);
    assert_eq!(got["overhead_hours"], 1.0);
    assert_eq!(got["finished_at_hours"], 7.0);
    assert_eq!(got["deadline_met"], true);
    assert_eq!([&got["preemptions"], &got["launches"]], [&json!(1), &json!(2)]);
}

#[test]
fn a_file_of_cases_is_a_line_each_in_its_order() {
    let stage = Stage::new();
    stage.file("a.json", trace());
    let case = |id: u32| {
        json!({"id": id, "traces": ["a.json"], "start_tick": 0, "duration_hours": 4.0,
            "deadline_hours": 8.0, "restart_overhead_hours": 0.5, "migration_cost": 0.0})
    };
    stage.file("cases.json", json!([case(7), case(3)]).to_string());
    for policy in ["default", "optimum"] {
        let args = ["simulate", "--cases", "cases.json", "--policy", policy, "--json"];
        let out = stage.run(&args);
        let text = String::from_utf8(out.stdout).expect("text");
        let rows: Vec<Value> =
            text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!([&rows[0]["id"], &rows[1]["id"]], [&json!(7), &json!(3)]);
        assert!(rows.iter().all(|r| r["deadline_met"] == true), "{text}");
    }
}

#[test]
fn what_cannot_be_replayed_says_why() {
    let stage = Stage::new();
    stage.file("a.json", trace());
    stage.file("b.json", trace().replace("11110000", "1111"));
    let tell = |more: &[&str]| {
        let mut args = vec!["simulate"];
        args.extend(JOB);
        args.extend(more);
        let out = stage.run(&args);
        assert_eq!(out.status.code(), Some(2), "{more:?}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    assert!(tell(&[]).contains("no trace to replay"));
    assert!(tell(&["--trace", "b.json"]).contains("has 16 characters for 20 ticks"));
    assert!(tell(&["--trace", "a.json", "--policy", "lucky"]).contains("no policy is called"));
    assert!(tell(&["--trace", "none.json"]).contains("cannot read"));
    assert!(tell(&["--trace", "a.json", "--spot-price", "0"]).contains("above 0"));
}
