//! From an address to a conversation: pinned connection, rotated host key, agent in place and started.
//!
//! Invariant 31: the injected host key is readable on the machine, so it is replaced at first login, and
//! nothing of the task travels before the connection is made again under the new key.

use super::Parting;
use crate::keys::JobKeys;
use crate::record::JobDoc;
use crate::scene::Scene;
use fleet_agent_api::{AgentConfig, Notifier, PROTOCOL};
use fleet_lifecycle::Attempt;
use fleet_provider::{Capabilities, NoticeSource};
use fleet_ssh::{Channel, Error as SshError, HostKeyPolicy, Session, Target};
use fleet_types::{EndMachine, Realm};
use secrecy::ExposeSecret;
use std::time::Duration;

/// A machine that answers, its agent attached.
pub(super) struct Reached {
    pub session: Session,
    pub channel: Channel,
    pub host: String,
    /// How long its cloud warns before it takes the machine.
    pub warning: Duration,
}

/// Replaces the host key by the one on standard input. In the sandbox `FLEET_SSHD_DIR` names the
/// machine's own folder; there no service is touched.
const ROTATE: &str = r#"set -eu; umask 077
d=${FLEET_SSHD_DIR:-/etc/ssh}; s=; [ -w "$d" ] || s="sudo -n"
t=$(mktemp); cat > "$t"
$s cp "$t" "$d/ssh_host_ed25519_key.new"; rm -f "$t"
$s chmod 600 "$d/ssh_host_ed25519_key.new"
$s rm -f "$d/ssh_host_ed25519_key.pub"
$s mv -f "$d/ssh_host_ed25519_key.new" "$d/ssh_host_ed25519_key"
[ -z "${FLEET_SSHD_DIR:-}" ] || exit 0
$s mkdir -p /run/fleet; $s touch /run/fleet/contact
if command -v systemctl >/dev/null 2>&1 && [ -d /run/systemd/system ]; then
  $s systemctl reload ssh 2>/dev/null || $s systemctl reload sshd
elif [ -f /run/sshd.pid ]; then $s kill -HUP "$(cat /run/sshd.pid)"
else $s pkill -HUP -o -x sshd; fi"#;

const STEP: Duration = Duration::from_secs(30);

/// Reaches the machine of an attempt, all the way to its agent.
pub(super) async fn reach(scene: &Scene, attempt: &Attempt) -> Result<Reached, Parting> {
    let lost = |e: crate::Error| Parting::Lost(e.to_string());
    let account = scene.inner.account(&scene.doc.facts.realm).await.map_err(lost)?;
    let Some(address) = &attempt.address else {
        return Err(Parting::Lost("no address yet".into()));
    };
    let keys = JobKeys::of(&scene.inner.home, &scene.doc.facts.id);
    let mut target = Target {
        host: address.host.clone(),
        port: address.port.or(account.realm.ssh_port).unwrap_or(22),
        user: attempt.user.clone(),
        login_key: keys.login().map_err(lost)?.private_pem,
        host_key: HostKeyPolicy::Pinned(keys.pins(&attempt.token).map_err(lost)?),
    };
    let mut session = connect(&target).await?;
    let rotated = keys.rotated_host(&attempt.token).map_err(lost)?;
    if !keys.is_rotated(&attempt.token) {
        if !same_key(session.host_key(), &rotated.public_line) {
            let pem = rotated.private_pem.expose_secret().as_bytes();
            let output = session.exec(ROTATE, pem, STEP).await.map_err(|e| gone(&e))?;
            if !output.success() {
                let why = String::from_utf8_lossy(&output.stderr).trim().escape_debug().to_string();
                return Err(Parting::Lost(format!("its host key cannot be rotated: {why}")));
            }
            session.close().await;
            target.host_key = HostKeyPolicy::Pinned(vec![rotated.public_line.clone()]);
            session = connect_rotated(&target).await?;
        }
        keys.set_rotated(&attempt.token).map_err(lost)?;
    }
    let caps = match scene.inner.clouds.get(&scene.doc.facts.realm, attempt.place.provider).await {
        Ok(provider) => provider.capabilities(),
        Err(e) => return Err(Parting::Lost(e.to_string())),
    };
    let agent = install(scene, &session).await?;
    start(scene, attempt, &session, &agent, &account.realm, &caps).await?;
    let job = &scene.doc.facts.id;
    let command =
        format!("exec {agent} attach {} {}", fleet_ssh::quote(job.as_str()), attempt.epoch);
    let channel = session.open(&command).await.map_err(|e| gone(&e))?;
    Ok(Reached { session, channel, host: target.host, warning: caps.warning })
}

async fn connect(target: &Target) -> Result<Session, Parting> {
    Session::connect(target, Duration::from_secs(20)).await.map_err(|e| gone(&e))
}

/// sshd takes a moment to show the new key.
async fn connect_rotated(target: &Target) -> Result<Session, Parting> {
    let mut last = Parting::Lost("the rotated host key was not shown".into());
    for _ in 0..10 {
        match Session::connect(target, Duration::from_secs(20)).await {
            Ok(session) => return Ok(session),
            Err(e) => last = Parting::Lost(e.to_string()),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    Err(last)
}

fn same_key(a: &str, b: &str) -> bool {
    let body = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    body(a).is_some() && body(a) == body(b)
}

/// A connection error: a wrong host key means another machine; everything else may heal.
fn gone(error: &SshError) -> Parting {
    match error {
        SshError::HostKeyMismatch { .. } => Parting::Unfit(error.to_string()),
        _ => Parting::Lost(error.to_string()),
    }
}

/// Brings the agent, unless this very build is there; answers how to call it.
async fn install(scene: &Scene, session: &Session) -> Result<String, Parting> {
    let binary = &scene.inner.agent;
    let path = format!(".fleet/bin/fleet-agent-{}", binary.digest);
    let called = format!("\"$HOME\"/{path}");
    // The name carries the digest, and the upload renames into place only what was whole.
    let there =
        session.exec(&format!("test -x {called}"), &b""[..], STEP).await.map_err(|e| gone(&e))?;
    if !there.success() {
        let file = tokio::fs::File::open(&binary.path)
            .await
            .map_err(|e| Parting::Lost(format!("the agent `{}`: {e}", binary.path.display())))?;
        let limit = Duration::from_secs(600);
        session.upload(file, &path, 0o700, limit).await.map_err(|e| gone(&e))?;
    }
    Ok(called)
}

/// Starts the agent's daemon; one that runs for this epoch goes on.
async fn start(
    scene: &Scene,
    attempt: &Attempt,
    session: &Session,
    agent: &str,
    realm: &Realm,
    caps: &Capabilities,
) -> Result<(), Parting> {
    let facts = &scene.doc.facts;
    let life = facts.expires_at.since(scene.now());
    let config = AgentConfig {
        protocol: PROTOCOL,
        fleet: facts.fleet.clone(),
        job: facts.id.clone(),
        epoch: attempt.epoch,
        orphan_ms: facts.time_scale.secs(900.0).max(Duration::from_secs(30)).as_millis() as u64,
        expires_in_ms: life.as_millis() as u64,
        end_machine: end_machine(realm, attempt, caps),
        notifier: match caps.notice {
            NoticeSource::Ec2Metadata => Some(Notifier::Ec2),
            NoticeSource::GceMetadata => Some(Notifier::Gce),
            NoticeSource::None => None,
        },
        notice_poll_ms: facts.time_scale.secs(5.0).max(Duration::from_millis(250)).as_millis()
            as u64,
        beat_ms: 5_000,
        alone_ms: alone(&scene.doc, end_machine(realm, attempt, caps)),
    };
    let json = serde_json::to_vec(&config).map_err(|e| Parting::Lost(e.to_string()))?;
    let output = session
        .exec(&format!("exec {agent} start"), &json[..], STEP)
        .await
        .map_err(|e| gone(&e))?;
    if output.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().escape_debug().to_string();
    match output.status {
        // 126, 127: the machine cannot run it at all.
        126 | 127 => Err(Parting::Unfit(format!("the agent does not run there: {why}"))),
        _ => Err(Parting::Lost(format!("the agent did not start: {why}"))),
    }
}

/// With its outcome in the job's store, a machine that nobody is in contact with ends itself after this.
const ALONE: Duration = Duration::from_secs(120);

fn alone(doc: &JobDoc, end: EndMachine) -> Option<u64> {
    let can = doc.task.checkpoint.store.is_some() && end != EndMachine::Never;
    let span = doc.facts.time_scale.span(ALONE).max(Duration::from_secs(5));
    can.then_some(span.as_millis() as u64)
}

/// How the agent may end its machine: a call to the sandbox in a sandbox, a shutdown only in a realm
/// whose endpoints are the cloud's own.
fn end_machine(realm: &Realm, attempt: &Attempt, caps: &Capabilities) -> EndMachine {
    if let Some(control) = &realm.sandbox_control {
        let base = control.trim_end_matches('/');
        return EndMachine::Post(format!("{base}/machines/{}/end", attempt.instance));
    }
    let own = realm.endpoint(attempt.place.provider).api.is_none() && !realm.sandbox;
    if own && caps.ends_itself {
        let argv = ["sudo", "-n", "shutdown", "-h", "now"];
        return EndMachine::Command(argv.into_iter().map(str::to_owned).collect());
    }
    EndMachine::Never
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_compared_by_their_body() {
        assert!(same_key("ssh-ed25519 AAAA fleet-host", "ssh-ed25519 AAAA"));
        assert!(!same_key("ssh-ed25519 AAAA", "ssh-ed25519 BBBB"));
        assert!(!same_key("", ""));
    }
}
