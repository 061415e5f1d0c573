//! Help, version, what does not exist, what is not there yet, colour and pipes.

use crate::stage::Stage;
use std::io::Read;
use std::process::Stdio;

#[test]
fn help_lists_every_command() {
    insta::assert_snapshot!(Stage::new().told(&["--help"]));
}

#[test]
fn launch_says_its_flags() {
    insta::assert_snapshot!(Stage::new().told(&["launch", "--help"]));
}

#[test]
fn version_is_one_document() {
    let stage = Stage::new();
    let out = stage.run(&["version", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&out.stdout).expect("one document");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert!(stage.told(&["--version"]).contains("fleet "));
    assert!(!stage.home().exists(), "a version needs no home");
}

#[test]
fn an_unknown_flag_gets_a_suggestion() {
    insta::assert_snapshot!(Stage::new().told(&["status", "--jsn"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: unexpected argument '--jsn' found

      tip: a similar argument exists: '--json'

    Usage: fleet status --json [JOB]

    For more information, try '--help'.
    ");
}

#[test]
fn what_is_left_out_says_so() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.told(&["sweep", "run", "x.yaml", "--fast"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: `fleet sweep` is not supported yet

    hint: `fleet --help` lists the commands that are there
    ");
    for command in [&["advise", "x"][..], &["rehearse", "x", "--preemptions", "3"]] {
        let out = stage.run(command);
        assert_eq!(out.status.code(), Some(2), "{command:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("not supported yet"));
    }
}

#[test]
fn colour_is_asked_for_or_absent() {
    let stage = Stage::new();
    let escapes = |args: &[&str], stage: &Stage| stage.run(args).stderr.contains(&0x1b);
    assert!(!escapes(&["cp", "nothing", "."], &stage));
    assert!(escapes(&["cp", "nothing", ".", "--color", "always"], &stage));
    assert!(!escapes(&["cp", "nothing", ".", "--color", "never"], &stage));
    let plain = Stage::new().var("NO_COLOR", "1");
    assert!(!escapes(&["cp", "nothing", "."], &plain));
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let stage = Stage::new();
    let mut child = stage
        .fleet(&["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fleet runs");
    drop(child.stdout.take());
    let status = child.wait().expect("it ends");
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn schema_and_completions_are_for_machines() {
    let stage = Stage::new();
    let schema: serde_json::Value =
        serde_json::from_slice(&stage.run(&["schema"]).stdout).expect("the schema is JSON");
    assert!(schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")));
    assert!(schema.to_string().contains("accelerators"));
    for shell in ["bash", "zsh", "fish"] {
        let script = stage.run(&["completions", shell]).stdout;
        assert!(String::from_utf8_lossy(&script).contains("sandbox"), "{shell}");
    }
}

#[test]
fn scenarios_are_listed_and_printed() {
    let stage = Stage::new();
    insta::assert_snapshot!(stage.told(&["sandbox", "scenario"]));
    let demo = stage.run(&["sandbox", "scenario", "demo"]).stdout;
    let demo: serde_json::Value = serde_json::from_slice(&demo).expect("JSON");
    assert_eq!(demo["name"], "demo");
    assert_eq!(stage.run(&["sandbox", "scenario", "nonesuch"]).status.code(), Some(2));
}

#[test]
fn a_locale_of_c_changes_nothing() {
    let stage = Stage::new().var("LC_ALL", "C").var("LANG", "C");
    let out = stage.run(&["sandbox", "scenario"]);
    assert_eq!(out.status.code(), Some(0));
    assert!(out.stdout.is_ascii(), "plain text suits every locale");
}
