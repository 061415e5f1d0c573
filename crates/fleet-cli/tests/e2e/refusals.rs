//! What must be refused before anything is launched: mixed-up environments and bad files.
//!
//! Every refusal is exit 2 with its reason; no server starts, no job exists, no cloud is called.

use crate::home::{Home, Said, example};

const DUMMY: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIASANDBOX000000000"),
    ("AWS_SECRET_ACCESS_KEY", "sandbox/dummy/secret/of/no/account/at/all"),
];

fn set(home: &mut Home, name: &str, value: &str) {
    home.env.insert(name.to_owned(), value.to_owned());
}

#[track_caller]
fn refused(home: &Home, words: &[&str]) {
    let hello = example("hello.yaml");
    let all: [&[&str]; 4] = [
        &["launch", &hello, "--use-spot", "-d", "-y"],
        &["launch", &hello, "--use-spot", "--dry-run"],
        &["offers", "--gpus", "T4:1"],
        &["reap", "-y"],
    ];
    for args in all {
        let said = home.fleet(args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        said.says(words);
    }
    assert_eq!(home.server_pid(), None, "a server was started");
    assert_eq!(home.json(&["status"])["jobs"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_shell_that_mixes_a_sandbox_with_the_real_world_is_refused_with_the_reason() {
    // A time scale, and no endpoint at all.
    refused(&Home::new("scale-alone"), &["FLEET_TIME_SCALE=0.05", "refused"]);

    // The same with one endpoint of several on loopback.
    let mut home = Home::new("scale-and-half");
    set(&mut home, "FLEET_AWS_ENDPOINT", "http://127.0.0.1:9");
    refused(&home, &["FLEET_TIME_SCALE=0.05", "FLEET_LAMBDA_ENDPOINT"]);

    // Dummy credentials, and the real endpoints.
    let mut home = Home::new("dummy-credentials");
    home.env.remove("FLEET_TIME_SCALE");
    for (name, value) in DUMMY {
        set(&mut home, name, value);
    }
    refused(&home, &["AWS_ACCESS_KEY_ID", "sandbox"]);

    // Credentials in clear over the network.
    let mut home = Home::new("http-endpoint");
    home.env.remove("FLEET_TIME_SCALE");
    set(&mut home, "FLEET_VAST_ENDPOINT", "http://example.com");
    refused(&home, &["FLEET_VAST_ENDPOINT", "loopback"]);
}

#[test]
fn what_is_left_of_a_sandbox_in_a_shell_is_refused() {
    let mut home = Home::with_sandbox("leftover", &["--seed", "61"]);
    let id = home.launch(&example("hello.yaml"), &[]);
    home.succeeded(&id);
    home.drained();
    home.fleet(&["server", "stop"]).ends(0);
    home.fleet(&["sandbox", "down"]).ends(0);
    let said = home.fleet(&["launch", &example("hello.yaml"), "--use-spot", "-d", "-y"]).ends(2);
    said.says(&["no longer runs"]);
    home.fleet(&["reap", "-y"]).ends(2).says(&["no longer runs"]);

    // Half of it taken away: a real endpoint beside a sandbox's address and credentials.
    for gone in ["FLEET_AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"] {
        home.env.remove(gone);
    }
    let said = home.fleet(&["launch", &example("hello.yaml"), "--use-spot", "-d", "-y"]).ends(2);
    said.says(&["FLEET_AWS_ENDPOINT", "real"]);
    assert_eq!(home.server_pid(), None);
    assert_eq!(home.ledger().machines().len(), 1, "something more was launched");
}

#[test]
fn bad_files_are_refused_with_their_place_and_nothing_is_launched() {
    let home = Home::with_sandbox("bad-files", &["--seed", "62"]);
    let task = |extra: &str| format!("resources: {{accelerators: 'T4:1'}}\nrun: echo hi\n{extra}");
    let bombs: String = (0..9)
        .map(|n| match n {
            0 => "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(),
            _ => format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")),
        })
        .collect();
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("empty", String::new(), &["no task"]),
        ("comments", "# nothing\n".into(), &["no task"]),
        ("aliases", bombs, &["aliases.yaml"]),
        ("nested", "[".repeat(100_000), &["nested.yaml"]),
        ("twice", task("run: echo again\n"), &["twice.yaml:3:1", "run"]),
        (
            "unknown",
            "resuorces: {accelerators: 'T4:1'}\nrun: x\n".into(),
            &["unknown.yaml:1:1", "resources"],
        ),
        ("tab", "resources:\n\taccelerators: T4:1\nrun: x\n".into(), &["tab.yaml:2", "tab"]),
        ("nul", task("name: \"a\\0b\"\n"), &["nul.yaml:3"]),
        ("tag", task("envs: !include other.yaml\n"), &["tag.yaml:3"]),
        ("infinite", task("budget: 1e999\n"), &["infinite.yaml:3", "budget"]),
        ("nodes", task("num_nodes: 0\n"), &["nodes.yaml:3", "num_nodes"]),
        (
            "gpus",
            "resources: {accelerators: 'H100:-1'}\nrun: x\n".into(),
            &["gpus.yaml:1", "accelerators"],
        ),
        ("names", task("name: ../../etc/passwd\n"), &["names.yaml:3", "name"]),
        ("rtl", task("name: \"a\u{202e}b\"\n"), &["rtl.yaml:3"]),
        ("env-name", task("envs: {1X: a}\n"), &["env-name.yaml:3", "1X"]),
        ("mount", task("file_mounts: {/: ./here}\n"), &["mount.yaml:3"]),
        ("unfilled", task("envs: {TOKEN: null}\n"), &["TOKEN"]),
        ("later", task("service: {replicas: 1}\n"), &["not supported"]),
        (
            "legacy",
            task("").replace("'T4:1'", "'T4:1', spot_recovery: FAILOVER"),
            &["job_recovery"],
        ),
    ];
    for (name, text, words) in cases {
        let file = home.write(&format!("{name}.yaml"), &text);
        let said = home.fleet(&["launch", &file, "--use-spot", "-d", "-y"]);
        one_clear_message(name, &said);
        said.says(words);
    }
    let text = [0xFF, 0xFE, b'a', 0, b':', 0];
    let utf16 = home.write("utf16.yaml", "");
    std::fs::write(&utf16, text).expect("written");
    home.fleet(&["launch", &utf16, "-d", "-y"]).ends(2).says(&["UTF-16"]);

    let folder = home.path();
    home.fleet(&["launch", folder.to_str().expect("UTF-8"), "-d", "-y"]).ends(2);
    home.fleet(&["launch", "/no/such/file.yaml", "-d", "-y"]).ends(2);
    home.fleet(&["launch", &example("hello.yaml"), "--use-spott", "-d", "-y"])
        .ends(2)
        .says(&["--use-spot"]);
    home.fleet(&["launch", &example("hello.yaml")]).ends(2).says(&["-y"]);
    home.fleet(&["launch", &example("hello.yaml"), "--deadline", "20h", "-d", "-y"])
        .ends(2)
        .says(&["work"]);
    home.fleet(&["launch", &example("hello.yaml"), "--budget", "NaN", "-d", "-y"]).ends(2);
    for id in ["0", "-1", "18446744073709551616", "../../x"] {
        let code = home.fleet(&["status", id]).code;
        assert!([2, 7].contains(&code), "status {id}: {code}");
    }
    assert_eq!(home.json(&["status"])["jobs"].as_array().map(Vec::len), Some(0), "a job was made");
    assert!(home.ledger().machines().is_empty(), "a machine was made");
}

#[track_caller]
fn one_clear_message(name: &str, said: &Said) {
    assert_eq!(said.code, 2, "{name}: {said:?}");
    assert!(!said.stderr.contains("panicked"), "{name}: {}", said.stderr);
    assert!(said.stderr.contains("error"), "{name}: {}", said.stderr);
    assert!(said.stderr.len() < 4000, "{name}: {} bytes are no clear message", said.stderr.len());
}
