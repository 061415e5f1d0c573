//! The guards, each with the environment that it exists for.

use super::*;
use fleet_sandbox::DUMMY_CREDENTIALS;

const AWS: &str = "http://127.0.0.1:4101";
const VAST: &str = "http://127.0.0.1:4102/";
const LAMBDA: &str = "http://127.0.0.1:4103";

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn sandbox() -> Vars {
    vars(&[
        ("FLEET_AWS_ENDPOINT", AWS),
        ("FLEET_VAST_ENDPOINT", VAST),
        ("FLEET_LAMBDA_ENDPOINT", LAMBDA),
        ("AWS_ENDPOINT_URL", AWS),
        ("AWS_ACCESS_KEY_ID", DUMMY_CREDENTIALS[0]),
        ("AWS_SECRET_ACCESS_KEY", DUMMY_CREDENTIALS[1]),
        ("VAST_API_KEY", DUMMY_CREDENTIALS[2]),
        ("AWS_REGION", "us-east-1"),
        ("FLEET_SSH_PORT", "2222"),
        ("FLEET_TIME_SCALE", "0.05"),
        (CONTROL, "http://127.0.0.1:4100"),
        ("HOME", "/home/u"),
        ("AWS_PROFILE", "production"),
    ])
}

fn alive(_: &str) -> Lives {
    Lives::Yes { one_shot: false }
}

fn refused(vars: &Vars) -> String {
    let error = account(vars, alive).expect_err("refused");
    assert_eq!(error.exit_code(), 2);
    assert!(error.next_command().is_some() || error.to_string().contains("refused"), "{error}");
    error.to_string()
}

#[test]
fn an_ordinary_shell_is_an_ordinary_realm() {
    let shell =
        vars(&[("HOME", "/h"), ("AWS_PROFILE", "p"), ("VAST_API_KEY", "k"), ("PATH", "/bin")]);
    let a = account(&shell, |_| Lives::No).unwrap();
    assert!(!a.realm.sandbox && a.realm.endpoints.is_empty());
    assert_eq!(a.realm.sealed, ["VAST_API_KEY"]);
    assert_eq!(a.realm.accounts["AWS_PROFILE"], "p");
    assert!(!a.realm.accounts.contains_key("VAST_API_KEY"));
    assert_eq!(a.environment["VAST_API_KEY"], "k");
    assert!(!a.environment.contains_key("PATH"));
}

#[test]
fn a_sandbox_shell_gives_nothing_but_the_sandbox() {
    let a = account(&sandbox(), alive).unwrap();
    assert!(a.realm.sandbox && !a.realm.one_shot);
    assert_eq!(a.realm.endpoint(ProviderId::Vast).api.as_deref(), Some("http://127.0.0.1:4102"));
    assert_eq!(a.realm.accounts.keys().collect::<Vec<_>>(), ["AWS_REGION"]);
    assert!(!a.environment.contains_key("HOME") && !a.environment.contains_key("AWS_PROFILE"));
    assert_eq!((a.realm.ssh_port, a.realm.time_scale.factor()), (Some(2222), 0.05));
}

#[test]
fn a_sandbox_that_has_gone_is_named() {
    let error = account(&sandbox(), |_| Lives::No).unwrap_err();
    assert!(error.to_string().contains("no longer runs"), "{error}");
    assert!(error.next_command().unwrap().contains("fleet sandbox up"));
}

#[test]
fn a_time_scale_never_meets_a_real_endpoint() {
    let mut shell = vars(&[("HOME", "/h"), ("FLEET_TIME_SCALE", "0.05")]);
    assert!(refused(&shell).contains("FLEET_AWS_ENDPOINT is not set"));
    shell.insert("AWS_ENDPOINT_URL".into(), AWS.into());
    assert!(refused(&shell).contains("FLEET_LAMBDA_ENDPOINT is not set"));
    shell.insert("FLEET_LAMBDA_ENDPOINT".into(), LAMBDA.into());
    assert!(refused(&shell).contains("FLEET_VAST_ENDPOINT is not set"));
    shell.insert("FLEET_VAST_ENDPOINT".into(), VAST.into());
    assert!(account(&shell, alive).is_ok());
    shell.insert("FLEET_AWS_STS_ENDPOINT".into(), "https://sts.example.com".into());
    assert!(refused(&shell).contains("FLEET_AWS_STS_ENDPOINT is https://sts.example.com"));
    shell.insert("FLEET_TIME_SCALE".into(), "1".into());
    assert!(account(&shell, alive).is_ok());
}

#[test]
fn dummies_never_meet_a_real_endpoint() {
    for (name, value) in
        [("AWS_ACCESS_KEY_ID", DUMMY_CREDENTIALS[0]), ("VAST_API_KEY", DUMMY_CREDENTIALS[2])]
    {
        assert!(refused(&vars(&[(name, value)])).contains(name));
    }
}

#[test]
fn half_a_sandbox_is_refused() {
    for (name, value) in [
        ("FLEET_VAST_ENDPOINT", "https://console.vast.ai"),
        ("FLEET_VAST_ENDPOINT", ""),
        ("VAST_API_KEY", "a-real-key"),
        (CONTROL, "http://10.0.0.1:1"),
    ] {
        let mut shell = sandbox();
        shell.insert(name.into(), value.into());
        assert!(refused(&shell).contains("mixes"), "{name}={value}");
    }
}

#[test]
fn endpoints_that_are_no_place_for_a_credential_are_refused() {
    for bad in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "127.0.0.1:80",
        "http://10.0.0.1/",
        "https://u:p@host/",
        "https:///x",
    ] {
        assert!(
            refused(&vars(&[("FLEET_AWS_ENDPOINT", bad)])).contains("FLEET_AWS_ENDPOINT"),
            "{bad}"
        );
    }
}

#[test]
fn numbers_that_are_none_are_refused() {
    for (name, value) in [
        ("FLEET_TIME_SCALE", "0"),
        ("FLEET_TIME_SCALE", "-1"),
        ("FLEET_TIME_SCALE", "fast"),
        ("FLEET_TIME_SCALE", "inf"),
        ("FLEET_SSH_PORT", "0"),
        ("FLEET_SSH_PORT", "70000"),
    ] {
        let error = account(&vars(&[(name, value)]), alive).unwrap_err();
        assert!(error.to_string().contains(name) && error.exit_code() == 2);
    }
}
