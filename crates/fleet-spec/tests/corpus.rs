//! Task files as people write them, good and bad: what each is answered with, and that the answer is
//! complete. The same files go to SkyPilot itself, see `oracle.rs`.

use fleet_spec::{Overrides, Parsed, parse};
use std::path::PathBuf;

fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), &Overrides::default())
}

/// What is said of mounts until machines mount; the heads of files say what is left then.
const NOT_YET: &str = "a bucket or repository as a file mount is not supported yet";

#[test]
fn every_file_is_answered_as_its_head_says() {
    let files = files();
    assert!(files.len() >= 30, "{}", files.len());
    for (name, text) in files {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# expect: "));
        let mut expected: Vec<&str> = lines.filter(|line| *line != "ok").collect();
        let parsed = read(&text);
        let found = parsed.errors.iter().map(|e| e.message.as_str());
        let mut found: Vec<&str> = found.filter(|message| *message != NOT_YET).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        assert_eq!(name.starts_with("bad-"), !found.is_empty(), "{name}");
    }
}

#[test]
fn an_ignored_key_gets_one_warning_that_names_it() {
    let (_, text) =
        files().into_iter().find(|(name, _)| name == "accepted-with-warnings").expect("the file");
    let messages: Vec<String> = read(&text).warnings.into_iter().map(|w| w.message).collect();
    let expected = ["network_tier", "inputs", "outputs", "config"]
        .map(|key| format!("`{key}` is accepted but does nothing"));
    assert_eq!(messages, expected);
}

#[test]
fn our_own_keys_arrive_in_the_task() {
    let (_, text) = files().into_iter().find(|(name, _)| name == "own-keys").expect("the file");
    let parsed = read(&text);
    assert_eq!(parsed.warnings, []);
    let task = serde_json::to_value(&parsed.tasks[0]).expect("a task");
    for (pointer, value) in [
        ("/workload", serde_json::json!("finetune")),
        ("/work/amount", serde_json::json!(72_000.0)),
        ("/work/speed/H100", serde_json::json!(2.2)),
        ("/max_duration", serde_json::json!(259_200.0)),
        ("/spot/fallback", serde_json::json!("wait")),
        ("/spot/deadline", serde_json::json!(129_600.0)),
        ("/spot/max_price_usd_per_hour", serde_json::json!(2.5)),
        ("/spot/filter/max_price_usd_per_hour", serde_json::json!(2.5)),
        ("/spot/budget_usd", serde_json::json!(40.0)),
        ("/spot/filter/min_reliability", serde_json::json!(0.98)),
        ("/spot/filter/verified_only", serde_json::json!(true)),
        ("/spot/filter/datacenter_only", serde_json::json!(false)),
        ("/spot/filter/min_duration_seconds", serde_json::json!(21_600.0)),
        ("/spot/filter/min_cuda", serde_json::json!(12.4)),
        ("/spot/filter/min_inet_down_mbps", serde_json::json!(1000.0)),
        ("/spot/filter/max_hazard_per_hour", serde_json::json!(0.05)),
        ("/checkpoint/keep", serde_json::json!(2)),
        ("/checkpoint/signal", serde_json::json!("USR1")),
        ("/checkpoint/signal_to", serde_json::json!("group")),
        ("/checkpoint/grace", serde_json::json!(45.0)),
        ("/watch/action", serde_json::json!("restart")),
        ("/recovery/max_restarts_on_errors", serde_json::json!(2)),
        ("/recovery/recover_on_exit_codes", serde_json::json!([137])),
        ("/machine_any", serde_json::json!(true)),
        ("/resources/alternatives/0/places/1/provider", serde_json::json!("vast")),
        ("/resources/alternatives/1/accelerator/named/name", serde_json::json!("H100")),
    ] {
        assert_eq!(task.pointer(pointer), Some(&value), "{pointer}");
    }
}

#[test]
fn storage_arrives_in_the_task() {
    let of = |name: &str| {
        let (_, text) = files().into_iter().find(|(file, _)| file == name).expect("the file");
        serde_json::to_value(&read(&text).tasks[0]).expect("a task")
    };
    let own = of("own-storage");
    for (pointer, value) in [
        ("/checkpoint/store", serde_json::json!("s3://fleet-example/runs")),
        ("/checkpoint/away", serde_json::json!(129_600.0)),
        ("/file_mounts/0/source/bucket/uri", serde_json::json!("az://my-container/data")),
        ("/file_mounts/0/source/bucket/mode", serde_json::json!("COPY")),
        ("/file_mounts/0/source/bucket/named", serde_json::json!(null)),
        ("/file_mounts/1/source/git/url", serde_json::json!("https://github.com/a/b.git")),
        ("/file_mounts/1/source/git/reference", serde_json::json!("v1.2")),
        ("/file_mounts/2/source/git/reference", serde_json::json!(null)),
        ("/file_mounts/3/source/local", serde_json::json!("./here")),
    ] {
        assert_eq!(own.pointer(pointer), Some(&value), "{pointer}");
    }
    assert_eq!(
        of("storage-named")["file_mounts"][0]["source"],
        serde_json::json!({"bucket": {
            "uri": "s3://my-outputs",
            "mode": "MOUNT",
            "named": {"region": null, "upload": null, "persistent": true},
        }})
    );
}

#[test]
fn a_task_survives_its_json() {
    for (name, text) in files() {
        for task in read(&text).tasks {
            let json = serde_json::to_string(&task).expect("JSON");
            assert_eq!(serde_json::from_str::<fleet_spec::Task>(&json).expect(&name), task);
        }
    }
}

#[test]
fn flags_win_over_the_file_in_every_spelling() {
    let text = "run: x\nresources:\n  cloud: gcp\n  region: us-central1\n  any_of:\n    - {accelerators: A100:1, infra: aws}\n    - {cpus: 8+, use_spot: false}\n";
    let overrides = Overrides {
        envs: [("A".to_owned(), "1".to_owned())].into(),
        name: Some("flagged".into()),
        accelerator: Some("L4:2".into()),
        places: vec!["aws/us-east-1".into(), "vast".into()],
        num_nodes: Some(1),
        use_spot: Some(true),
        work: Some("2h".into()),
        max_duration: Some("5h".into()),
        deadline: Some("4h".into()),
        budget: Some("10".into()),
        max_price: Some("1.5".into()),
        fallback: Some("none".into()),
        ..Overrides::default()
    };
    let parsed = parse(text.as_bytes(), &overrides);
    assert_eq!(parsed.errors, []);
    let task = &parsed.tasks[0];
    assert_eq!(task.name.as_deref(), Some("flagged"));
    assert_eq!(task.envs["A"], "1");
    assert_eq!(task.resources.alternatives.len(), 2);
    for alternative in &task.resources.alternatives {
        assert_eq!(alternative.accelerator.as_ref().expect("a GPU").to_string(), "L4:2");
        let places: Vec<String> = alternative.places.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["aws/us-east-1", "vast"]);
        assert_eq!(alternative.use_spot, Some(true));
    }
    assert_eq!(task.spot.fallback, fleet_types::Fallback::None);
    let seconds = |span: Option<std::time::Duration>| span.map(|s| s.as_secs());
    assert_eq!(
        (seconds(task.spot.deadline), seconds(task.max_duration)),
        (Some(14_400), Some(18_000))
    );
}

#[test]
fn a_wrong_flag_is_named_and_has_no_line() {
    let wrong = |overrides: Overrides| {
        let parsed = parse(b"run: x\n", &overrides);
        let all: Vec<_> = parsed.errors.into_iter().map(|d| (d.line, d.path, d.message)).collect();
        all
    };
    let one = |path: &str, message: &str| vec![(0, path.to_owned(), message.to_owned())];
    let base = Overrides::default;
    assert_eq!(
        wrong(Overrides { num_nodes: Some(2), ..base() }),
        one("--num-nodes", "num_nodes: 2 is not supported yet")
    );
    assert_eq!(
        wrong(Overrides { accelerator: Some("A100:0".into()), ..base() }),
        one("--gpus", "`A100:0`: the count is not more than 0")
    );
    assert_eq!(
        wrong(Overrides { deadline: Some("4h".into()), ..base() }),
        one("--deadline", "`deadline` needs `work`")
    );
    assert_eq!(
        wrong(Overrides { envs: [("1X".to_owned(), "v".to_owned())].into(), ..base() }),
        one("--env", "`1X` is no name of a variable")
    );
    assert_eq!(
        wrong(Overrides { places: vec!["aws/us-central1".into()], ..base() }),
        one("--infra", "region `us-central1` is GCP's, not AWS's")
    );
}
