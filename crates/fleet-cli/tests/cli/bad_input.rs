//! Paths, flags and ids that are wrong: exit 2 or 7, one clear line, nothing started, no hang.

use crate::stage::Stage;
use std::os::unix::fs::PermissionsExt;

#[test]
fn paths_that_are_no_task_file_say_why() {
    let stage = Stage::new();
    std::fs::create_dir(stage.path().join("folder")).expect("a folder");
    let fifo = stage.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let huge = std::fs::File::create(stage.path().join("huge.yaml")).expect("a file");
    huge.set_len(100 << 20).expect("a sparse file");
    let text = ["missing.yaml", "folder", "fifo", "huge.yaml", "/dev/null"]
        .map(|f| stage.told(&["launch", f, "-y"]))
        .join("\n");
    insta::assert_snapshot!(text);
}

#[test]
fn an_unreadable_file_is_named() {
    let stage = Stage::new();
    let file = stage.file("secret.yaml", "run: echo hi\n");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o000)).expect("a mode");
    if std::fs::read(&file).is_ok() {
        // The superuser reads everything: there is nothing to refuse.
        return;
    }
    let told = stage.told(&["validate", "secret.yaml"]);
    assert!(told.starts_with("exit 2") && told.contains("permission denied"), "{told}");
}

#[test]
fn nobody_to_ask_is_refused_and_never_hangs() {
    let stage = Stage::new();
    stage.file("task.yaml", "run: echo hi\n");
    insta::assert_snapshot!(stage.told(&["launch", "task.yaml"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: nobody is at the terminal to say yes to the plan

    hint: add -y to launch without asking, or --dry-run to see the plan
    ");
    insta::assert_snapshot!(stage.told(&["reap"]), @r"
    exit 2
    --- stdout
    --- stderr
    error: nobody is at the terminal to say which machines may be ended

    hint: add -y to end them without asking, or --dry-run to see them
    ");
    assert!(!stage.home().exists(), "nothing was started");
}

#[test]
fn flags_are_judged_before_anything_is_started() {
    let stage = Stage::new();
    stage.file("task.yaml", "run: echo hi\n");
    for flags in [
        &["--gpus", "H100:0"][..],
        &["--infra", "awss/us-east-1"],
        &["--budget", "1,5"],
        &["--max-price", "nan"],
        &["--deadline", "36h"],
        &["--deadline", "36", "--work", "1h"],
        &["--max-duration", "-5m"],
        &["--num-nodes", "0"],
        &["--num-nodes", "2"],
        &["--fallback", "sometimes"],
        &["--env", "1X=2"],
        &["--env", "NOT_SET_ANYWHERE"],
        &["--secret", "NOT_SET_ANYWHERE"],
        &["--env-file", "missing.env"],
        &["--use-spot", "--on-demand"],
        &["--scenario", "demo"],
        &["--name", "../x"],
    ] {
        let mut args = vec!["launch", "task.yaml", "-y"];
        args.extend(flags);
        let out = stage.run(&args);
        assert_eq!(out.status.code(), Some(2), "{flags:?}: {}", stage.text(&out));
        assert!(!out.stderr.is_empty() && out.stdout.is_empty(), "{flags:?}");
    }
    assert!(!stage.home().exists(), "nothing was started");
}

#[test]
fn an_env_file_is_read_line_by_line() {
    let stage = Stage::new();
    stage.file("task.yaml", "run: echo hi\nenvs:\n  A: null\n  B: null\n");
    stage.file("vars", "# comment\nexport A='x y'\nB=\"\"\n");
    let missing = stage.told(&["launch", "task.yaml"]);
    assert!(missing.contains("envs.A") && missing.contains("envs.B"), "{missing}");
    // All that is left to complain about is that nobody can say yes.
    let given = stage.told(&["launch", "task.yaml", "--env-file", "vars"]);
    assert!(given.contains("nobody is at the terminal"), "{given}");
    stage.file("odd", "A\n");
    let odd = stage.told(&["launch", "task.yaml", "--env-file", "odd"]);
    assert!(odd.contains("line 1 is no K=V"), "{odd}");
}

#[test]
fn commands_that_need_more_say_what() {
    let stage = Stage::new();
    for args in [
        &["cancel"][..],
        &["cancel", "x", "--all"],
        &["exec", "x"],
        &["cp", "nothing", "."],
        &["cp", ":x", "."],
        &["cost", "--since", "yesterday"],
        &["check", "gcp"],
        &["check", "gogle"],
        &["reap", "-y", "--fleet", "x"],
        &["sandbox", "preempt"],
        &["sandbox", "up", "--time-scale", "0"],
        &["sandbox", "up", "--scenario", "nonesuch"],
        &["launch"],
        &["status", "a", "b"],
        &["logs", "x", "--tail", "-1"],
        &["status", "-q", "-v"],
    ] {
        let out = stage.run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stage.text(&out));
        assert!(!out.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_home_that_cannot_be_made_is_named() {
    let stage = Stage::new();
    stage.file("home", "a file where the home should be");
    let told = stage.told(&["status"]);
    assert!(told.starts_with("exit 6") && told.contains("[dir]/home"), "{told}");
}

#[test]
fn no_home_at_all_still_finds_the_user() {
    let stage = Stage::new();
    let out = stage
        .fleet(&["server", "status", "--json"])
        .env_remove("HOME")
        .output()
        .expect("fleet runs");
    assert_eq!(out.status.code(), Some(0), "{}", stage.text(&out));
}

#[test]
fn settings_of_the_environment_are_judged() {
    for (name, value) in [
        ("FLEET_SERVER", "http://x"),
        ("FLEET_SERVER", "ssh://a@b"),
        ("FLEET_DATABASE_URL", "postgres://x"),
        ("FLEET_DATABASE_URL", "nonsense"),
    ] {
        let stage = Stage::new().var(name, value);
        let told = stage.told(&["status"]);
        assert!(told.starts_with("exit 2") && told.contains(name), "{name}={value}: {told}");
    }
}
