//! Small pieces of Compute Engine's wire: names, labels, the last part of a URL, pages of an aggregated list.
//!
//! Invariants: what is in a label is written and read through the kit's marks alone, so that nothing of a
//! stranger's is taken for ours; text from outside goes into a path only if it is a name.

use fleet_provider::{LaunchRequest, OwnerTag, ProviderError, Result};
use fleet_provider_kit::mark;
use fleet_types::{Fault, FleetId, InstanceId, Place, ProviderId, Scope, Timestamp, Token};
use google_cloud_compute_v1::model::Operation;
use std::time::{SystemTime, UNIX_EPOCH};

/// The last part of a URL, or of a partial one (`zones/us-central1-a`).
pub(crate) fn last(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// The place of a zone: its region is the zone without its letter.
pub(crate) fn place(zone: &str) -> Place {
    let region = zone.rsplit_once('-').map_or(zone, |(region, _)| region);
    Place { provider: ProviderId::Gcp, region: region.to_owned(), zone: zone.to_owned() }
}

/// What a machine is called: unique in its project, because it follows from the token.
pub(crate) fn machine_name(token: &Token) -> String {
    format!("fleet-{token}")
}

/// What all that a fleet shares is called, and the network tag of its machines.
pub(crate) fn fleet_name(fleet: &FleetId) -> String {
    format!("fleet-{fleet}")
}

/// The token as the UUID that `requestId` must be. Version and variant bits are set, because some parsers
/// look at them.
pub(crate) fn request_id(token: &Token) -> String {
    let hex = token.as_str();
    if hex.len() != 32 || !hex.is_ascii() {
        return hex.to_owned();
    }
    let variant = match u8::from_str_radix(&hex[16..17], 16).unwrap_or(0) & 3 {
        0 => '8',
        1 => '9',
        2 => 'a',
        _ => 'b',
    };
    format!(
        "{}-{}-4{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// A name of Compute Engine: `[a-z]([-a-z0-9]{0,61}[a-z0-9])?`.
pub(crate) fn is_name(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    text.len() <= 63
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && !text.ends_with('-')
        && text.bytes().all(inner)
}

/// The name and zone of a machine, fit for a path.
pub(crate) fn checked<'a>(
    id: &'a InstanceId,
    place: &'a Place,
    operation: &'static str,
) -> Result<(&'a str, &'a str)> {
    let refuse = |text: &str, what: &str| {
        Err(ProviderError::new(Fault::Rejected, Scope::Request, operation, "bad-id")
            .message(format!("`{text}` is no {what} of Compute Engine's")))
    };
    if !is_name(id.as_str()) {
        return refuse(id.as_str(), "machine name");
    }
    if !is_name(&place.zone) {
        return refuse(&place.zone, "zone");
    }
    Ok((id.as_str(), &place.zone))
}

/// Every label of a create: lower case, what else is not allowed replaced by a dash, cut to 63 characters.
pub(crate) fn labels(request: &LaunchRequest) -> Vec<(String, String)> {
    let named =
        mark::tags(request).into_iter().map(|(key, value)| (encoded(&key), encoded(&value)));
    // A label's key begins with a letter.
    named.filter(|(key, _)| key.bytes().next().is_some_and(|b| b.is_ascii_lowercase())).collect()
}

fn encoded(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|c| if allowed(c) { c } else { '-' }).take(63).collect()
}

/// The filter that finds everything of one fleet.
pub(crate) fn owned(owner: &OwnerTag) -> String {
    format!("labels.{}=\"{}\"", mark::FLEET, owner.fleet)
}

/// A time of Google's, RFC 3339 with an offset.
pub(crate) fn time(text: Option<&String>) -> Option<Timestamp> {
    text.and_then(|t| Timestamp::parse(t))
}

/// Now, in milliseconds since 1970.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Whether an operation has run its course, well or not.
pub(crate) fn is_done(operation: &Operation) -> bool {
    operation.status.as_ref().and_then(|s| s.name()) == Some("DONE")
}

/// Pages of one aggregated list: far above what a project fills.
pub(crate) const PAGES_MAX: usize = 200;

/// Reads every page of an aggregated list, and hands each scope (`zones/us-central1-a`) to `$take`, which
/// gets the scope's name and its rows. What could not be reached goes into `$gaps`. An answer of another
/// kind is unreadable, never empty.
macro_rules! every_scope {
    ($clients:expr, $operation:literal, $call:expr, $kind:expr, $gaps:expr, $take:expr) => {{
        let (clients, mut take, gaps) = ($clients, $take, $gaps);
        let mut next: Option<String> = None;
        let mut pages = 0;
        loop {
            let page = match $call.set_or_clear_page_token(next.take()).send().await {
                Ok(page) => page,
                Err(e) => return Err(clients.failed($operation, Effect::Read, e).await),
            };
            if page.kind.as_deref() != Some($kind) {
                return Err(Effect::Read.unreadable($operation, "the answer is of another kind"));
            }
            gaps.extend(page.unreachables.iter().map(|scope| format!("{scope} was not reached")));
            for (scope, rows) in page.items {
                let code =
                    rows.warning.as_ref().and_then(|w| w.code.as_ref()).and_then(|c| c.name());
                if let Some(code) = code.filter(|c| *c != "NO_RESULTS_ON_PAGE") {
                    gaps.push(format!("{scope}: {code}"));
                }
                take(&scope, rows);
            }
            next = page.next_page_token.filter(|t| !t.is_empty());
            pages += 1;
            if next.is_none() {
                break;
            }
            if pages >= $crate::wire::PAGES_MAX {
                gaps.push(format!("more than {pages} pages"));
                break;
            }
        }
    }};
}
pub(crate) use every_scope;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_becomes_a_uuid_and_a_name() {
        let token = Token::new("fedcba9876543210fedcba9876543210");
        assert_eq!(request_id(&token), "fedcba98-7654-4210-bedc-ba9876543210");
        assert_eq!(machine_name(&token), "fleet-fedcba9876543210fedcba9876543210");
        assert!(is_name(&machine_name(&token)));
        assert_eq!(request_id(&Token::new("0".repeat(32))), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn only_names_go_into_paths() {
        for good in ["a", "fleet-0", "us-central1-a"] {
            assert!(is_name(good), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "1234567", "i-0; reboot", "../x", "a-", "A", "a_b", "\u{202e}7", &long] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn labels_hold_what_labels_may() {
        assert_eq!(encoded("Team A/ü"), "team-a--");
        assert_eq!(encoded(&"x".repeat(70)).len(), 63);
    }

    #[test]
    fn times_have_an_offset() {
        let at = time(Some(&"2026-01-01T01:00:00.000-07:00".to_owned()));
        assert_eq!(at, Timestamp::parse("2026-01-01T08:00:00Z"));
    }
}
