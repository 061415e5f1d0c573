//! What a machine's boot script asks for that the sandbox applies itself: login keys and host key.
//!
//! Invariant: nothing of the script is executed here; two things are read out of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Every OpenSSH public key line that the script mentions.
pub(crate) fn authorized_keys(script: &str) -> Vec<String> {
    script.lines().filter_map(public_key).collect()
}

/// The public key within a line (`echo 'ssh-ed25519 AAAA… me' >> file`), without what surrounds it.
pub(crate) fn public_key(line: &str) -> Option<String> {
    let at = ["ssh-ed25519 AAAA", "ssh-rsa AAAA", "ecdsa-sha2-nistp256 AAAA"]
        .iter()
        .find_map(|kind| line.find(kind))?;
    let mut words = line[at..].split_whitespace();
    let kind = words.next()?;
    let blob = words.next()?;
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    let end = blob.find(|c| !base64(c)).unwrap_or(blob.len());
    Some(format!("{kind} {}", &blob[..end]))
}

/// The host key that the machine shall show: an OpenSSH private key block, indented or not, or
/// base64 of one in `FLEET_HOST_KEY=`.
pub(crate) fn host_key(script: &str) -> Option<String> {
    block(script).or_else(|| {
        let value = script.split("FLEET_HOST_KEY=").nth(1)?;
        let value = value.trim_start_matches(['"', '\'']);
        let end = value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ';' | '|'));
        let raw = STANDARD.decode(&value[..end.unwrap_or(value.len())]).ok()?;
        block(&String::from_utf8(raw).ok()?)
    })
}

fn block(text: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    let start = text.find(BEGIN)?;
    let end = start + text[start..].find(END)? + END.len();
    Some(text[start..end].lines().map(str::trim).fold(String::new(), |all, l| all + l + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\naGVsbG8=\n-----END OPENSSH PRIVATE KEY-----\n";

    #[test]
    fn a_host_key_is_found_indented_and_encoded() {
        let yaml = format!(
            "#cloud-config\nssh_keys:\n  ed25519_private: |\n    {}",
            PEM.replace('\n', "\n    ")
        );
        assert_eq!(host_key(&yaml).as_deref(), Some(PEM));
        let line = format!("export FLEET_HOST_KEY={}; true", STANDARD.encode(PEM));
        assert_eq!(host_key(&line).as_deref(), Some(PEM));
        assert_eq!(host_key("#!/bin/sh\ntrue"), None);
    }

    #[test]
    fn login_keys_are_found_whatever_surrounds_them() {
        let script =
            "echo 'ssh-ed25519 AAAAC3Nz+/a= me@x' >> f\nssh_authorized_keys:\n  - ssh-rsa AAAAB3\n";
        assert_eq!(authorized_keys(script), ["ssh-ed25519 AAAAC3Nz+/a=", "ssh-rsa AAAAB3"]);
    }
}
