//! Golden texts: a change of what machines run at first boot must be seen.

use super::*;
use secrecy::SecretString;

/// Made for this test, used nowhere.
const HOST_KEY: &str = include_str!("testkey");
const HOST_KEY_PUBLIC: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICtLvDBzxdoCSvClA6HP5QDjCSANUg4cZt6uVez3PRBj";

fn boot() -> Boot {
    Boot {
        login_key: "ssh-ed25519 AAAALOGIN fleet's key".into(),
        host_key: SecretString::from(HOST_KEY),
        orphan_minutes: 15,
    }
}

#[test]
fn the_public_line_is_read_from_the_private_key() {
    assert_eq!(public_line(HOST_KEY).as_deref(), Some(HOST_KEY_PUBLIC));
    for bad in ["", "-----BEGIN-----\nAAAA\n-----END-----", "!!", &HOST_KEY[..120]] {
        assert_eq!(public_line(bad), None, "{bad}");
    }
}

#[test]
fn a_vm_gets_this_document() {
    let text = cloud_config(&boot(), "ubuntu");
    assert_eq!(text, include_str!("golden.cloud-config"));
    assert!(text.len() <= CLOUD_CONFIG_MAX);
}

#[test]
fn a_container_gets_this_script() {
    let text = container_onstart(&boot());
    assert_eq!(text, include_str!("golden.onstart"));
    assert!(text.len() <= ONSTART_MAX);
}

#[test]
fn a_container_without_a_start_script_gets_it_as_its_command() {
    let command = container_command(&boot());
    let inner = command.strip_prefix("bash -c 'echo ").expect("a shell");
    let (script, rest) = inner.split_once(' ').expect("a word");
    assert_eq!(rest, "| base64 -d | sh; exec sleep infinity'");
    assert_eq!(STANDARD.decode(script).expect("base64"), container_onstart(&boot()).as_bytes());
}

#[test]
fn a_login_key_stays_one_line_of_data() {
    let mut boot = boot();
    boot.login_key = "ssh-ed25519 AAAA x\nssh-ed25519 EVIL'; reboot; '".into();
    let script = container_onstart(&boot);
    assert!(
        script.contains(r"FLEET_LOGIN_KEY='ssh-ed25519 AAAA xssh-ed25519 EVIL'\''; reboot; '\'''")
    );
    assert_eq!(cloud_config(&boot, "ubuntu").matches("\n  - \"ssh-ed25519").count(), 1);
}
