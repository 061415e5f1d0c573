//! The marks on things in a cloud: whose they are, which create made them, and until when they may live.
//!
//! `fleet reap` works from these marks alone, with no database. Invariant: a mark is read strictly; a
//! label or tag that is not exactly ours is no mark, so nothing of a stranger's is ever taken for ours.

use fleet_provider::LaunchRequest;
use fleet_types::{FleetId, Timestamp, Token};

/// Tag with the fleet id, 32 hex digits.
pub const FLEET: &str = "fleet-id";
/// Tag with the token of the create, 32 hex digits.
pub const TOKEN: &str = "fleet-token";
/// Tag with the job id.
pub const JOB: &str = "fleet-job";
/// Tag with the attempt's number.
pub const EPOCH: &str = "fleet-epoch";
/// Tag with the expiry, in seconds since 1970 UTC.
pub const EXPIRES: &str = "fleet-expires";
/// Tag that consoles show as the name.
pub const NAME: &str = "Name";

/// What is on a thing of ours, in the form that needs one string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub fleet: FleetId,
    pub token: Token,
    /// To the second.
    pub expires_at: Timestamp,
}

impl Mark {
    /// The mark that a create puts on what it makes.
    pub fn of(request: &LaunchRequest) -> Self {
        Self {
            fleet: request.owner.fleet.clone(),
            token: request.token.clone(),
            expires_at: request.expires_at,
        }
    }
    /// Writes `fleet/<fleet id>/<token>/<expiry in unix seconds>`, 82 characters in this century.
    pub fn label(&self) -> String {
        format!("{}{}/{}", label_prefix(&self.fleet), self.token, seconds(self.expires_at))
    }
    /// Reads such a label; `None` for everything else.
    pub fn parse(label: &str) -> Option<Self> {
        let mut parts = label.strip_prefix("fleet/")?.split('/');
        let (fleet, token, expiry) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let mark = Self {
            fleet: fleet_id(fleet)?,
            token: token_id(token)?,
            expires_at: expiry_time(expiry)?,
        };
        (mark.label() == label).then_some(mark)
    }
}

/// What every label of one fleet starts with.
pub fn label_prefix(fleet: &FleetId) -> String {
    format!("fleet/{fleet}/")
}

/// The tags of a create, the user's own labels first; ours win where a name clashes.
pub fn tags(request: &LaunchRequest) -> Vec<(String, String)> {
    let ours = [
        (NAME, format!("fleet-{}-{}", request.job, request.epoch)),
        (FLEET, request.owner.fleet.to_string()),
        (TOKEN, request.token.to_string()),
        (JOB, request.job.to_string()),
        (EPOCH, request.epoch.to_string()),
        (EXPIRES, seconds(request.expires_at).to_string()),
    ];
    let users = request.labels.iter().filter(|(name, _)| !ours.iter().any(|(n, _)| n == name));
    users
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(ours.iter().map(|(name, value)| ((*name).to_owned(), value.clone())))
        .collect()
}

/// Reads a fleet id as a tag holds it: 32 lower-case hex digits.
pub fn fleet_id(text: &str) -> Option<FleetId> {
    hex32(text).then(|| FleetId::new(text))
}

/// Reads a token as a tag holds it: 32 lower-case hex digits.
pub fn token_id(text: &str) -> Option<Token> {
    hex32(text).then(|| Token::new(text))
}

/// Reads an expiry as a tag holds it: seconds since 1970 UTC, within this millennium.
pub fn expiry_time(text: &str) -> Option<Timestamp> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = text.parse().ok()?;
    (seconds > 0 && seconds < 32_503_680_000).then(|| Timestamp::from_millis(seconds * 1000))
}

/// Rounds up: what is written never expires before what was promised.
fn seconds(at: Timestamp) -> i64 {
    at.millis().saturating_add(999).div_euclid(1000)
}

fn hex32(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET_ID: &str = "0123456789abcdef0123456789abcdef";
    const TOKEN_ID: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn labels_survive_the_round_trip() {
        let mark = Mark {
            fleet: FleetId::new(FLEET_ID),
            token: Token::new(TOKEN_ID),
            expires_at: Timestamp::from_millis(1_795_000_000_000),
        };
        let label = mark.label();
        assert_eq!(label, format!("fleet/{FLEET_ID}/{TOKEN_ID}/1795000000"));
        assert_eq!(Mark::parse(&label), Some(mark));
        assert!(label.starts_with(&label_prefix(&FleetId::new(FLEET_ID))));
    }

    #[test]
    fn expiry_is_rounded_up_to_the_second() {
        assert_eq!(seconds(Timestamp::from_millis(1_001)), 2);
        assert_eq!(seconds(Timestamp::from_millis(1_000)), 1);
    }

    #[test]
    fn labels_of_strangers_are_no_marks() {
        for foreign in [
            String::new(),
            "my training run".into(),
            "fleet/".into(),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/-5"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/+1795000000"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/01795000000"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/99999999999999999999"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/1795000000/x"),
            format!("fleet/{}/{TOKEN_ID}/1795000000", FLEET_ID.to_uppercase()),
            format!("fleet/{}/{TOKEN_ID}/1795000000", &FLEET_ID[1..]),
            format!(" fleet/{FLEET_ID}/{TOKEN_ID}/1795000000"),
            format!("fleet/{FLEET_ID}/{TOKEN_ID}/1795000000\n"),
        ] {
            assert_eq!(Mark::parse(&foreign), None, "{foreign:?}");
        }
    }
}
