//! Watches the cloud's metadata endpoint for the notice that the machine will be taken.
//!
//! EC2 is looked at here: a session token first, then `spot/instance-action` every poll. Compute Engine answers
//! by itself (`gce`). Invariant: a notice is told once; a wall clock that is off never turns a warning of two
//! minutes into none or into an hour. The endpoint is the only thing that this thread talks to, never through
//! a proxy.

mod gce;

use crate::clock;
use crate::core::{Event, Wire};
use fleet_agent_api::{Notice, Notifier};
use fleet_types::Timestamp;
use serde::Deserialize;
use std::thread;
use std::time::Duration;

const LINK_LOCAL: &str = "http://169.254.169.254";
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const TOKEN_LIFE: &str = "21600";
/// EC2 warns two minutes ahead. More, or less than nothing, is a clock that is off.
const LONGEST_WARNING: Duration = Duration::from_secs(150);
const USUAL_WARNING: Duration = Duration::from_secs(110);

#[derive(Deserialize)]
struct InstanceAction {
    action: String,
    time: String,
}

/// Looks until there is a notice, then ends.
pub(crate) fn watch(notifier: Notifier, every: Duration, wire: &Wire) {
    let notice = match notifier {
        Notifier::Ec2 => ec2(every),
        Notifier::Gce => gce::wait(every),
    };
    let left = notice.deadline.since(notice.seen_at);
    let _ = wire.send(Event::Noticed(notice, left));
}

/// Looks at EC2's endpoint until it says that the machine will be taken.
fn ec2(every: Duration) -> Notice {
    let endpoint = std::env::var(ENDPOINT).unwrap_or_else(|_| LINK_LOCAL.into());
    let endpoint = endpoint.trim_end_matches('/').to_owned();
    let agent = client(Duration::from_secs(2));
    let mut token = None;
    loop {
        match look(&agent, &endpoint, &mut token) {
            Ok(Some(notice)) => return notice,
            Ok(None) => {}
            // No such endpoint, or slow: the next look may do better.
            Err(_) => token = None,
        }
        thread::sleep(every);
    }
}

/// A client that follows nothing, uses no proxy and reads statuses as answers.
pub(crate) fn client(timeout: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent()
}

fn look(
    agent: &ureq::Agent,
    endpoint: &str,
    token: &mut Option<String>,
) -> Result<Option<Notice>, ureq::Error> {
    if token.is_none() {
        let mut answer = agent
            .put(format!("{endpoint}/latest/api/token"))
            .header("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE)
            .send_empty()?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        *token = Some(answer.body_mut().with_config().limit(4096).read_to_string()?);
    }
    let mut answer = agent
        .get(format!("{endpoint}/latest/meta-data/spot/instance-action"))
        .header("X-aws-ec2-metadata-token", token.as_deref().unwrap_or_default())
        .call()?;
    if answer.status().as_u16() == 401 {
        *token = None;
    }
    if !answer.status().is_success() {
        return Ok(None);
    }
    let text = answer.body_mut().with_config().limit(4096).read_to_string()?;
    Ok(read(&text, clock::now()))
}

/// Reads the document. One that cannot be read still means that the machine will be taken.
fn read(text: &str, now: Timestamp) -> Option<Notice> {
    let said: InstanceAction = match serde_json::from_str(text) {
        Ok(said) => said,
        Err(_) => InstanceAction { action: "unreadable".into(), time: String::new() },
    };
    if said.action == "none" {
        return None;
    }
    let deadline = Timestamp::parse(&said.time)
        .filter(|at| *at > now && at.since(now) <= LONGEST_WARNING)
        .unwrap_or_else(|| now.plus(USUAL_WARNING));
    Some(Notice { source: "EC2 spot/instance-action".into(), deadline, seen_at: now })
}

/// How much of the time left is kept back for killing, publishing and the way to the controller.
pub(crate) fn margin(left: Duration) -> Duration {
    (left / 5).min(Duration::from_secs(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_does_not_move_the_warning() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let read = |time: &str| {
            let text = format!(r#"{{"action":"terminate","time":"{time}"}}"#);
            read(&text, now).unwrap().deadline.since(now).as_secs()
        };
        assert_eq!(read("2026-01-01T00:02:00Z"), 120);
        assert_eq!(read("2036-01-01T00:00:00Z"), 110);
        assert_eq!(read("2016-01-01T00:00:00Z"), 110);
        assert_eq!(read("soon"), 110);
        assert!(super::read(r#"{"action":"none","time":""}"#, now).is_none());
    }

    #[test]
    fn the_margin_is_a_fifth_and_at_most_ten_seconds() {
        assert_eq!(margin(Duration::from_secs(120)), Duration::from_secs(10));
        assert_eq!(margin(Duration::from_secs(5)), Duration::from_secs(1));
    }
}
