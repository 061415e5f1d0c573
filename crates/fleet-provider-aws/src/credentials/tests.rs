//! The chain against real files: what is found, where, and what is never asked.

use super::*;
use std::path::Path;

fn config(home: &Path, more: &[(&str, &str)]) -> AwsConfig {
    let mut environment: std::collections::BTreeMap<String, String> =
        more.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    environment.insert("HOME".into(), home.display().to_string());
    AwsConfig { environment, ..AwsConfig::default() }
}

fn chain(config: &AwsConfig) -> Option<Chain> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    Chain::find(config, "us-east-1".into(), http)
}

fn home_with(name: &str, text: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join(".aws")).expect("a folder");
    std::fs::write(home.path().join(".aws").join(name), text).expect("a file");
    home
}

#[tokio::test]
async fn variables_come_first_and_do_not_print() {
    let home = home_with(
        "credentials",
        "[default]\naws_access_key_id=AKIAFILE\naws_secret_access_key=filefile\n",
    );
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIAENV"),
        ("AWS_SECRET_ACCESS_KEY", "topsecret"),
        ("AWS_SESSION_TOKEN", "tok"),
    ];
    let chain = chain(&config(home.path(), &keys)).expect("a source");
    assert!(!format!("{chain:?}").contains("topsecret"));
    assert_eq!(chain.described(), "AWS_ACCESS_KEY_ID");
    let found = chain.current().await.expect("credentials");
    assert_eq!((found.access_key_id(), found.session_token()), ("AKIAENV", Some("tok")));
}

#[tokio::test]
async fn profiles_are_read_from_the_home_that_was_handed_in() {
    let home = home_with(
        "credentials",
        "[default]\naws_access_key_id=AKIAONE\naws_secret_access_key=one\n\
         [work]\naws_access_key_id=AKIATWO\naws_secret_access_key=two\n",
    );
    let one = chain(&config(home.path(), &[])).expect("a source");
    assert_eq!(one.current().await.expect("credentials").access_key_id(), "AKIAONE");
    let two = chain(&config(home.path(), &[("AWS_PROFILE", "work")])).expect("a source");
    assert_eq!(two.described(), "profile `work`");
    assert_eq!(two.current().await.expect("credentials").access_key_id(), "AKIATWO");
}

#[tokio::test]
async fn a_process_gives_credentials_with_their_expiry_and_a_region() {
    let home = home_with(
        "config",
        "[profile sso]\nregion = eu-north-1\ncredential_process = echo '{\"Version\":1,\
         \"AccessKeyId\":\"AKIAPROC\",\"SecretAccessKey\":\"x\",\"SessionToken\":\"t\",\
         \"Expiration\":\"2099-01-01T00:00:00Z\"}'\n",
    );
    let config = config(home.path(), &[("AWS_PROFILE", "sso")]);
    let found = chain(&config).expect("a source").current().await.expect("credentials");
    assert_eq!(found.access_key_id(), "AKIAPROC");
    assert!(found.expiry().is_some());
    assert_eq!(profile_region(&config).await.as_deref(), Some("eu-north-1"));
}

#[tokio::test]
async fn a_new_login_is_seen_after_a_refusal() {
    let home =
        home_with("credentials", "[default]\naws_access_key_id=A1\naws_secret_access_key=x\n");
    let chain = chain(&config(home.path(), &[])).expect("a source");
    assert_eq!(chain.current().await.expect("credentials").access_key_id(), "A1");
    std::fs::write(
        home.path().join(".aws/credentials"),
        "[default]\naws_access_key_id=A2\naws_secret_access_key=x\n",
    )
    .expect("a file");
    chain.forget().await;
    assert_eq!(chain.current().await.expect("credentials").access_key_id(), "A2");
}

#[tokio::test]
async fn nothing_configured_is_nothing_found_and_metadata_is_never_asked() {
    let empty = tempfile::tempdir().expect("a folder");
    assert!(chain(&config(empty.path(), &[])).is_none());
    assert!(chain(&AwsConfig::default()).is_none(), "no HOME, no files of the process's own home");
    let home = home_with(
        "config",
        "[default]\nrole_arn = arn:aws:iam::1:role/x\ncredential_source = Ec2InstanceMetadata\n",
    );
    let error = chain(&config(home.path(), &[])).expect("a source").current().await.unwrap_err();
    assert!(format!("{:?}", error).contains("source_profile"), "{error:?}");
}
