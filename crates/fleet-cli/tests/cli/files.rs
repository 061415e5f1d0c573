//! Task files: the examples all hold, and `validate --json` has its shape.

use crate::stage::Stage;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn examples() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("the examples")
        .map(|f| f.expect("a file").path())
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .collect();
    found.sort();
    found
}

#[test]
fn every_example_is_valid_without_a_warning() {
    let stage = Stage::new();
    let files = examples();
    assert!(files.len() >= 5, "{files:?}");
    for file in &files {
        let out = stage.run(&["validate", &file.display().to_string(), "--json"]);
        let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let row = &document["files"][0];
        assert_eq!(out.status.code(), Some(0), "{row}");
        assert_eq!(row["ok"], true, "{row}");
        assert_eq!(row["warnings"].as_array().map(Vec::len), Some(0), "{row}");
        assert!(out.stderr.is_empty());
    }
}

#[test]
fn train_asks_for_a_gpu_and_brings_its_code() {
    let train = examples().into_iter().find(|f| f.ends_with("train.yaml")).expect("train.yaml");
    let out = Stage::new().run(&["validate", &train.display().to_string(), "--json"]);
    let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let task = &document["files"][0]["tasks"][0];
    assert_eq!(task["workdir"], "./train");
    assert_eq!(task["machine_any"], true);
    assert!(task["resources"]["alternatives"][0]["accelerator"].to_string().contains("T4"));
}

#[test]
fn train_bucket_is_train_with_a_store() {
    let task = |name: &str| {
        let file = examples().into_iter().find(|f| f.ends_with(name)).expect("the example");
        let out = Stage::new().run(&["validate", &file.display().to_string(), "--json"]);
        let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        document["files"][0]["tasks"][0].clone()
    };
    let (plain, stored) = (task("train.yaml"), task("train-bucket.yaml"));
    assert_eq!(stored["checkpoint"]["store"], "s3://fleet-example/runs");
    assert_eq!(stored["checkpoint"]["away"], 43_200.0);
    assert_eq!(plain["checkpoint"]["store"], Value::Null);
    for key in ["workdir", "run", "envs", "resources", "machine_any"] {
        assert_eq!(stored[key], plain[key], "{key}");
    }
}

#[test]
fn validate_judges_every_file_it_was_given() {
    let stage = Stage::new();
    stage.file("good.yaml", "run: echo hi\n");
    stage.file("bad.yaml", "run: echo hi\nresuorces:\n  cpus: 4\nnum_nodes: 0\n");
    let out = stage.run(&["validate", "bad.yaml", "good.yaml", "missing.yaml", "--json"]);
    assert_eq!(out.status.code(), Some(2));
    let document: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let ok: Vec<_> =
        document["files"].as_array().expect("files").iter().map(|f| &f["ok"]).collect();
    assert_eq!(ok, [false, true, false]);
    let errors = document["files"][0]["errors"].as_array().expect("errors");
    assert!(errors.len() >= 2, "all at once: {errors:?}");
    for error in errors {
        for field in ["line", "column", "path", "message", "hint"] {
            assert!(error.get(field).is_some(), "{field}: {error}");
        }
    }
    assert!(!stage.home().exists(), "checking a file needs no home");
}

#[test]
fn problems_are_shown_where_they_are() {
    let stage = Stage::new();
    stage.file("bad.yaml", "run: echo hi\nresuorces:\n  cpus: 4\n");
    insta::assert_snapshot!(stage.told(&["validate", "bad.yaml"]));
}

#[test]
fn launch_shows_the_same_problems_and_starts_nothing() {
    let stage = Stage::new();
    stage.file("bad.yaml", "run: 3\nnum_nodes: -1\n");
    let out = stage.run(&["launch", "bad.yaml", "-y", "--sandbox"]);
    assert_eq!(out.status.code(), Some(2), "{}", stage.text(&out));
    assert!(String::from_utf8_lossy(&out.stderr).contains("bad.yaml:2:"));
    assert!(!stage.home().exists(), "nothing was started");
}
