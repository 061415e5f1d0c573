//! What is left for people when a job has ended: logs, events, costs, files, exit codes.

use crate::home::{Home, example};
use serde_json::Value;

const QUICK: [&str; 4] = ["--env", "STEPS=6", "--env", "STEP_SECONDS=0.1"];

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["event"].as_str()).collect()
}

#[test]
fn everything_about_a_job_can_be_read_after_its_machine_is_gone() {
    let home = Home::with_sandbox("afterwards", &["--seed", "71"]);
    // Detached, then followed to its end.
    let id = home.launch(&example("train.yaml"), &QUICK);
    let followed = home.fleet(&["attach", &id, "--json"]).ends(0).objects();
    let last = followed.last().expect("a last line");
    assert_eq!(last["event"], "job.finished");
    assert_eq!(last["job"]["outcome"], "succeeded");
    home.drained();

    let again = home.fleet(&["attach", &id, "--json"]).ends(0).objects();
    assert_eq!(
        names(&again),
        names(&followed),
        "a job that has ended is told anew from its beginning"
    );
    assert_eq!(names(&home.events(&id)), names(&followed));
    let people = home.fleet(&["attach", &id]).ends(0);
    people.says(&["step 6 of 6", "succeeded"]);

    let logs = home.fleet(&["logs", &id]).ends(0).stdout;
    assert!(logs.contains("step 1 of 6") && logs.contains("done: y ="), "{logs}");
    let tail = home.fleet(&["logs", &id, "--tail", "1"]).ends(0).stdout;
    assert_eq!(tail.lines().count(), 1, "{tail}");
    assert!(tail.contains("done: y ="), "{tail}");

    let job = home.job(&id);
    for field in [
        "id",
        "name",
        "phase",
        "outcome",
        "exit_code",
        "created_at",
        "finished_at",
        "cost_usd",
        "workdir_hash",
        "attempts",
    ] {
        assert!(!job[field].is_null(), "{field} is missing: {job}");
    }
    for field in ["reason", "group"] {
        assert!(job.get(field).is_some(), "{field} is missing: {job}");
    }
    let attempt = &job["attempts"][0];
    for field in [
        "epoch",
        "provider",
        "region",
        "zone",
        "instance_type",
        "market",
        "price_usd_per_hour",
        "instance_id",
        "host",
        "launched_at",
        "running_at",
        "ended_at",
        "end_cause",
    ] {
        assert!(!attempt[field].is_null(), "{field} is missing: {attempt}");
    }
    let cost = home.json(&["cost"]);
    assert_eq!(cost["cost_usd"], job["cost_usd"], "{cost}");
    let parts: f64 = ["compute", "disk", "network", "egress_estimated"]
        .map(|p| job["cost_parts"][p].as_f64().expect("a part"))
        .iter()
        .sum();
    assert!((parts - job["cost_usd"].as_f64().expect("money")).abs() < 2e-6, "{job}");

    // By its name, too; and what nobody knows is not found.
    home.fleet(&["logs", "train"]).ends(0).says(&["step 6 of 6"]);
    for command in ["logs", "status", "attach", "events", "get"] {
        home.fleet(&[command, "j-00000000zzzz"]).ends(7);
    }
    home.fleet(&["exec", &id, "--", "true"]).says(&["machine"]);
}

#[test]
fn get_brings_the_newest_checkpoint_and_the_outputs_home() {
    let home = Home::with_sandbox("get", &["--seed", "72"]);
    let id = home.launch(&example("train.yaml"), &QUICK);
    home.succeeded(&id);
    home.drained();
    home.fleet(&["sandbox", "down"]).ends(0);
    let listed = home.fleet(&["get", &id, "--list"]).ends(0);
    listed.says(&["state.json", "model.json"]);
    let into = home.path().with_file_name("brought");
    home.fleet(&["get", &id, into.to_str().expect("UTF-8")]).ends(0);
    let mut found = Vec::new();
    find(&into, &mut found);
    let read = |name: &str| -> Value {
        let path = found.iter().find(|p| p.ends_with(name));
        let path = path.unwrap_or_else(|| panic!("{name} is not among {found:?}"));
        serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON")
    };
    assert_eq!(read("state.json")["step"], 6, "the newest checkpoint is the last");
    assert!(read("model.json")["weight"].is_number());
}

fn find(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => find(&path, found),
            path => found.push(path),
        }
    }
}

#[test]
fn a_task_that_fails_by_itself_is_not_run_again_and_its_code_is_told() {
    let home = Home::with_sandbox("failing", &["--seed", "73"]);
    let failing = example("failing.yaml");
    let said = home.fleet(&["launch", &failing, "--use-spot", "-y"]).ends(1);
    said.says(&["cannot find the data", "3"]);
    let events = home.fleet(&["launch", &failing, "--use-spot", "-y", "--json"]).ends(1).objects();
    let job = &events.last().expect("a last line")["job"];
    assert_eq!((&job["outcome"], &job["exit_code"]), (&"failed".into(), &3.into()), "{job}");
    assert_eq!(job["attempts"].as_array().map(Vec::len), Some(1), "{job}");
    assert_eq!(job["attempts"][0]["end_cause"], "user-error", "{job}");
    home.fleet(&["attach", job["id"].as_str().expect("an id")]).ends(1);
    home.drained();
}

#[test]
fn the_jobs_of_a_pipeline_run_in_their_order_and_none_after_a_failure() {
    let home = Home::with_sandbox("pipeline", &["--seed", "74"]);
    let ids = home.submit(&example("pipeline.yaml"), &[]);
    assert_eq!(ids.len(), 2);
    let jobs: Vec<Value> = ids.iter().map(|id| home.succeeded(id)).collect();
    assert_eq!(jobs[0]["name"], "prepare");
    assert_eq!(jobs[0]["group"], "pipeline", "{}", jobs[0]);
    assert_eq!(jobs[1]["group"], "pipeline");
    let text = |v: &Value| v.as_str().expect("a time").to_owned();
    let (first_end, second_start) =
        (text(&jobs[0]["finished_at"]), text(&jobs[1]["attempts"][0]["running_at"]));
    assert!(first_end <= second_start, "{first_end} is after {second_start}");

    let broken = home.write(
        "broken.yaml",
        "name: broken\n---\nname: one\nresources: {accelerators: 'T4:1'}\nmachine: any\nrun: exit 4\n\
         ---\nname: two\nresources: {accelerators: 'T4:1'}\nmachine: any\nrun: echo never\n",
    );
    let ids = home.submit(&broken, &[]);
    for id in &ids {
        home.fleet(&["attach", id, "-q"]);
    }
    let (one, two) = (home.job(&ids[0]), home.job(&ids[1]));
    assert_eq!((&one["outcome"], &one["exit_code"]), (&"failed".into(), &4.into()));
    assert_ne!(two["outcome"], "succeeded", "{two}");
    assert_eq!(two["attempts"].as_array().map(Vec::len), Some(0), "{two}");
    home.drained();
}

#[test]
fn exec_runs_where_the_task_runs_and_brings_all_that_it_says() {
    let home = Home::with_sandbox("exec", &["--seed", "76"]);
    let task = home.write(
        "serve.yaml",
        "name: serve\nresources: {accelerators: 'T4:1'}\nmachine: any\nenvs: {MINE: of-the-file}\n\
         run: |\n  echo \"stands in $PWD with $HIDDEN\"\n  env | grep -E '^(FLEET|SKYPILOT)_'\n\
         \x20 echo ready\n  while [ ! -e go ]; do sleep 0.1; done\n",
    );
    let id = home.launch(&task, &["--infra", "aws", "--secret", "HIDDEN=not-for-command-lines"]);
    home.until_log(&id, "ready");
    let log = home.fleet(&["logs", &id]).ends(0).stdout;
    let variables = "env | grep -E '^(FLEET|SKYPILOT)_'";
    let told = home.fleet(&["exec", &id, "--", variables]).ends(0).stdout;
    for name in ["FLEET_JOB_ID", "FLEET_ATTEMPT", "FLEET_OUTPUT_DIR", "SKYPILOT_TASK_ID"] {
        assert!(told.lines().any(|l| l.starts_with(&format!("{name}="))), "{name}: {told}");
    }
    for line in told.lines() {
        assert!(log.contains(line), "`{line}` is not what the task has:\n{log}");
    }
    let of_task = log.lines().filter(|l| l.contains("FLEET_") || l.contains("SKYPILOT_")).count();
    assert_eq!(told.lines().count(), of_task, "the task has others:\n{log}\nexec:\n{told}");
    let place = home.fleet(&["exec", &id, "--", "pwd"]).ends(0).stdout;
    assert!(log.contains(&format!("stands in {} with ", place.trim())), "{place} is not in {log}");
    let all = home.fleet(&["exec", &id, "--", "env"]).ends(0).stdout;
    assert!(!all.contains("HIDDEN") && !all.contains("not-for-command-lines"), "{all}");

    let loud = "head -c 200000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 5";
    let said = home.fleet(&["exec", &id, "--", loud]).ends(5);
    assert_eq!(said.stderr.len(), 200_000 + "end\n".len(), "stderr is not whole");
    home.fleet(&["exec", &id, "--", "touch", "go"]).ends(0);
    home.succeeded(&id);
    home.drained();
}

#[test]
fn exec_and_cp_reach_a_running_job_and_stop_names_what_runs_on() {
    let home = Home::with_sandbox("live", &["--seed", "75"]);
    let task = home.write(
        "serve.yaml",
        "resources: {accelerators: 'T4:1'}\nmachine: any\n\
         run: |\n  echo made here > ~/made.txt\n  echo ready\n  while [ ! -e ~/go ]; do sleep 0.1; done\n",
    );
    let id = home.launch(&task, &[]);
    home.until_log(&id, "ready");
    let said = home.fleet(&["exec", &id, "--", "echo", "a b", "$HOME", "'"]).ends(0);
    assert_eq!(said.stdout, "a b $HOME '\n", "words pass a shell unchanged");
    home.fleet(&["exec", &id, "--", "exit 9"]).ends(9);
    let into = home.path().with_file_name("copied");
    home.fleet(&["cp", &format!("{id}:~/made.txt"), into.to_str().expect("UTF-8")]).ends(0);
    assert_eq!(std::fs::read_to_string(into.join("made.txt")).expect("copied"), "made here\n");

    let left = home.fleet(&["server", "stop"]).ends(0);
    left.says(&[&id, "run on", "an hour"]);
    assert_eq!(home.ledger().alive().len(), 1, "stopping the server ended a machine");
    home.fleet(&["server", "start"]).ends(0);
    home.fleet(&["exec", &id, "--", "touch ~/go"]).ends(0);
    assert_eq!(home.succeeded(&id)["attempts"].as_array().map(Vec::len), Some(1));
    home.drained();
}
