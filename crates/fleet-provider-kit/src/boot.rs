//! What a machine runs at its first boot: a cloud-config document for VMs, a `sh` script for containers.
//!
//! Both put the given host key in place before any login, so that the first connection can pin it, and
//! admit one login key. Invariants: no credential of any cloud is in either; a VM nobody contacts shuts
//! itself down after [`Boot::orphan_minutes`]; the texts fit where the clouds put them (16 KB, 4 KB).
//! Containers have no timer: none of them can end its own bill. The host key given here is rotated at
//! first login, because user data can be read from the machine's metadata.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleet_provider::Boot;
use secrecy::ExposeSecret;

/// Largest user data that every VM cloud takes, in bytes before base64.
pub const CLOUD_CONFIG_MAX: usize = 16 * 1024;
/// Largest start script that the container clouds take, in bytes.
pub const ONSTART_MAX: usize = 4 * 1024;
/// The agent or its installer makes this file at first contact; the orphan timer looks for it.
pub const CONTACT_FILE: &str = "/run/fleet/contact";

/// Writes the `#cloud-config` document for a VM whose login name is `user`.
pub fn cloud_config(boot: &Boot, user: &str) -> String {
    let pem = boot.host_key.expose_secret().trim();
    let indented = pem.lines().fold(String::new(), |text, line| text + "    " + line.trim() + "\n");
    let public = public_line(pem)
        .map(|line| format!("  ed25519_public: {}\n", quoted(&line)))
        .unwrap_or_default();
    let seconds = u64::from(boot.orphan_minutes) * 60;
    let timer = format!(
        "(sleep {seconds}; [ -e {CONTACT_FILE} ] || shutdown -h now) </dev/null >/dev/null 2>&1 &"
    );
    format!(
        "#cloud-config\n\
         user:\n  name: {user}\n\
         ssh_deletekeys: true\n\
         ssh_genkeytypes: []\n\
         ssh_keys:\n  ed25519_private: |\n{indented}{public}\
         ssh_authorized_keys:\n  - {key}\n\
         bootcmd:\n  - [sh, -c, {timer}]\n",
        user = quoted(user),
        key = quoted(&one_line(&boot.login_key)),
        timer = quoted(&timer),
    )
}

/// Writes the start script for a container whose login is root.
pub fn container_onstart(boot: &Boot) -> String {
    let pem = format!("{}\n", boot.host_key.expose_secret().trim());
    format!(
        r#"#!/bin/sh
FLEET_HOST_KEY={host_key}
FLEET_LOGIN_KEY={login_key}
umask 077
mkdir -p "${{HOME:-/root}}/.ssh" /etc/ssh
mkdir -p -m 755 /run/sshd
rm -f /etc/ssh/ssh_host_*
printf '%s' "$FLEET_HOST_KEY" | base64 -d >/etc/ssh/ssh_host_ed25519_key
ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key >/etc/ssh/ssh_host_ed25519_key.pub
auth="${{HOME:-/root}}/.ssh/authorized_keys"
grep -qxF -e "$FLEET_LOGIN_KEY" "$auth" 2>/dev/null || printf '\n%s\n' "$FLEET_LOGIN_KEY" >>"$auth"
unset FLEET_HOST_KEY
service ssh restart 2>/dev/null || {{
  [ -s /run/sshd.pid ] && kill "$(cat /run/sshd.pid)" 2>/dev/null
  "$(command -v sshd || echo /usr/sbin/sshd)"
}}
"#,
        host_key = STANDARD.encode(pem),
        login_key = shell_quoted(&one_line(&boot.login_key)),
    )
}

/// The same as the one command of a container, for clouds that take a command in place of a start script:
/// it runs the script and then keeps the container alive. In base64, so that no quoting can go wrong.
pub fn container_command(boot: &Boot) -> String {
    let script = STANDARD.encode(container_onstart(boot));
    format!("bash -c 'echo {script} | base64 -d | sh; exec sleep infinity'")
}

/// The public line (`ssh-ed25519 AAAA…`) of an unencrypted OpenSSH private key; `None` if it is no such key.
pub fn public_line(pem: &str) -> Option<String> {
    let body: String = pem.lines().map(str::trim).filter(|l| !l.starts_with("-----")).collect();
    let raw = STANDARD.decode(body).ok()?;
    let mut rest = raw.strip_prefix(b"openssh-key-v1\0")?;
    // Cipher, its key derivation and the derivation's options; then the number of keys.
    for _ in 0..3 {
        field(&mut rest)?;
    }
    rest = rest.strip_prefix(&1_u32.to_be_bytes())?;
    let blob = field(&mut rest)?;
    let kind = std::str::from_utf8(field(&mut &blob[..])?).ok()?;
    Some(format!("{kind} {}", STANDARD.encode(blob)))
}

/// Takes one length-prefixed field of the SSH wire form off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (value, after) = after.split_at_checked(length)?;
    *rest = after;
    Some(value)
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// A JSON string is a YAML double-quoted scalar too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
