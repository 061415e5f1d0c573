//! Compute Engine's notice: the metadata server holds the question until the answer changes.
//!
//! It says no time: half a minute is what Google promises, as best effort. Invariant: a change between two
//! questions is not missed, because each names the state that the last answer was about; a server that does
//! not hold questions is asked no faster than the poll.

use super::client;
use crate::clock;
use fleet_agent_api::Notice;
use std::thread;
use std::time::{Duration, Instant};

const HOST: &str = "GCE_METADATA_HOST";
const LINK_LOCAL: &str = "169.254.169.254";
const PATH: &str = "/computeMetadata/v1/instance/preempted";
const WARNING: Duration = Duration::from_secs(30);
/// How long the server is asked to hold a question.
const HELD: Duration = Duration::from_secs(60);

/// Asks until the machine will be taken.
pub(super) fn wait(every: Duration) -> Notice {
    let host = std::env::var(HOST).unwrap_or_else(|_| LINK_LOCAL.into());
    let url = format!("http://{}{PATH}", host.trim_end_matches('/'));
    let agent = client(HELD + Duration::from_secs(15));
    let mut seen = None;
    loop {
        let (first, asked) = (seen.is_none(), Instant::now());
        match ask(&agent, &url, &mut seen) {
            Ok(true) => {
                let now = clock::now();
                let source = "GCE instance/preempted".into();
                return Notice { source, deadline: now.plus(WARNING), seen_at: now };
            }
            // The state is known now, or it held the question for as long as it was asked to.
            Ok(false) if first && seen.is_some() || asked.elapsed() > every => continue,
            Ok(false) => {}
            // No such endpoint, or slow: the next question may do better.
            Err(_) => seen = None,
        }
        thread::sleep(every);
    }
}

/// Whether the machine will be taken. `seen` is the state of the last answer; without one the server is asked
/// for the state as it is.
fn ask(agent: &ureq::Agent, url: &str, seen: &mut Option<String>) -> Result<bool, ureq::Error> {
    let mut call = agent.get(url).header("Metadata-Flavor", "Google");
    if let Some(state) = seen.as_deref() {
        let held = HELD.as_secs().to_string();
        call = call.query("wait_for_change", "true").query("timeout_sec", held);
        if !state.is_empty() {
            call = call.query("last_etag", state);
        }
    }
    let mut answer = call.call()?;
    if !answer.status().is_success() {
        *seen = None;
        return Ok(false);
    }
    let state = answer.headers().get("etag").and_then(|v| v.to_str().ok());
    *seen = Some(state.unwrap_or_default().to_owned());
    let text = answer.body_mut().with_config().limit(4096).read_to_string()?;
    Ok(text.trim().eq_ignore_ascii_case("TRUE"))
}
