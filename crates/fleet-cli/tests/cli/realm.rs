//! The guards of the realm, through the binary: what would reach a real cloud by mistake is refused.

use crate::stage::Stage;

const DUMMY: &str = "vast-sandbox-dummy-key-00000000000000000000000000000000000000000";

/// Every command that takes an account.
const DOORS: [&[&str]; 4] =
    [&["launch", "task.yaml", "-y"], &["offers"], &["check"], &["reap", "-y"]];

fn refused(stage: &Stage) -> Vec<String> {
    stage.file("task.yaml", "run: echo hi\n");
    DOORS
        .iter()
        .map(|args| {
            let told = stage.told(args);
            assert!(told.starts_with("exit 2\n--- stdout\n--- stderr\n"), "{args:?}: {told}");
            assert!(!stage.home().join("fleet.db").exists(), "{args:?} started something");
            told
        })
        .collect()
}

#[test]
fn a_time_scale_is_refused_against_real_clouds() {
    let told = refused(&Stage::new().var("FLEET_TIME_SCALE", "0.05"));
    insta::assert_snapshot!(told[0]);
}

#[test]
fn dummy_credentials_are_refused_against_real_clouds() {
    let told = refused(&Stage::new().var("VAST_API_KEY", DUMMY));
    insta::assert_snapshot!(told[0]);
}

#[test]
fn a_sandbox_that_has_gone_is_refused_with_the_way_back() {
    // Port 9 of loopback: nobody listens there.
    let gone = "http://127.0.0.1:9";
    let stage = Stage::new()
        .var("FLEET_AWS_ENDPOINT", gone)
        .var("FLEET_VAST_ENDPOINT", gone)
        .var("FLEET_LAMBDA_ENDPOINT", gone)
        .var("VAST_API_KEY", DUMMY)
        .var("FLEET_SANDBOX_CONTROL", gone);
    let told = refused(&stage);
    insta::assert_snapshot!(told[0]);
}

#[test]
fn endpoints_of_a_wrong_kind_are_refused() {
    for (name, url) in [
        ("FLEET_AWS_ENDPOINT", "file:///etc/passwd"),
        ("FLEET_VAST_ENDPOINT", "ftp://127.0.0.1/"),
        ("AWS_ENDPOINT_URL", "http://10.0.0.1/"),
        ("AWS_ENDPOINT_URL_EC2", "https://user:password@example.com"),
    ] {
        for told in refused(&Stage::new().var(name, url)) {
            assert!(told.contains(name), "{told}");
        }
    }
}

#[test]
fn what_asks_no_cloud_does_not_mind() {
    let stage = Stage::new().var("FLEET_TIME_SCALE", "0.05").var("VAST_API_KEY", DUMMY);
    for args in [&["status"][..], &["server", "status"], &["sandbox", "status"], &["cost"]] {
        assert_eq!(stage.run(args).status.code(), Some(0), "{args:?}");
    }
}
