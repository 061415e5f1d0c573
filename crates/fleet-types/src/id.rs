//! Identifiers, each a type of its own so that none can stand in for another.
//!
//! Invariant: an id is data. It matches a strict pattern before it is stored, and no shell, SQL or
//! terminal ever parses it. Tokens are derived from committed facts, so a restart finds the same one.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps text that is already known to be such an id.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

string_id!(
    /// One job, `j-` and twelve characters of Crockford base 32.
    JobId
);
string_id!(
    /// The machine's id in its cloud's own spelling.
    InstanceId
);
string_id!(
    /// 128 random bits in hex: whose machines these are. Lives in `config.yaml` and outlives the database.
    FleetId
);
string_id!(
    /// 128-bit hash in hex naming one create request for ever. See [`Token::derive`].
    Token
);
string_id!(
    /// Digest of a [`crate::Realm`]: endpoints, accounts, credential sources and time scale.
    RealmId
);

impl Token {
    /// Derives the token of one create from the committed row that asks for it.
    ///
    /// The same inputs give the same token after a restart; `offer` rises with every further offer
    /// tried in the epoch, because clouds refuse one token with two bodies.
    pub fn derive(fleet: &FleetId, job: &JobId, epoch: Epoch, node: u32, offer: u32) -> Self {
        let mut hash = Sha256::new();
        for part in [fleet.as_str(), job.as_str()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(epoch.0.to_be_bytes());
        hash.update(node.to_be_bytes());
        hash.update(offer.to_be_bytes());
        Self(hex::encode(&hash.finalize()[..16]))
    }
}

impl FleetId {
    /// The first eight characters: enough to name things within one account.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }
}

impl JobId {
    /// Makes an id from 60 bits of the caller's randomness.
    pub fn from_bits(bits: u64) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let text: String =
            (0..12).rev().map(|i| char::from(ALPHABET[(bits >> (5 * i)) as usize & 31])).collect();
        Self(format!("j-{text}"))
    }
    /// Whether `text` has the form of a job id.
    pub fn is_valid(text: &str) -> bool {
        text.strip_prefix("j-")
            .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
    }
}

/// Number of a job's attempt, from 1. Raised only in a database transaction; fences every late answer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A cloud, by the name that flags, files and JSON use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderId {
    Aws,
    Azure,
    Gcp,
    Lambda,
    Runpod,
    Vast,
}

impl ProviderId {
    /// Every cloud that has a name here, whether or not this build has a driver for it.
    pub const ALL: [Self; 6] =
        [Self::Aws, Self::Azure, Self::Gcp, Self::Lambda, Self::Runpod, Self::Vast];

    /// The name as flags, files and JSON spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Azure => "azure",
            Self::Gcp => "gcp",
            Self::Lambda => "lambda",
            Self::Runpod => "runpod",
            Self::Vast => "vast",
        }
    }
    /// The name as people write it in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Aws => "AWS",
            Self::Azure => "Azure",
            Self::Gcp => "GCP",
            Self::Lambda => "Lambda",
            Self::Runpod => "RunPod",
            Self::Vast => "Vast",
        }
    }
}

impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ProviderId {
    type Err = UnknownProvider;
    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        Self::ALL
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownProvider(text.to_owned()))
    }
}

/// A name that is no cloud of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cloud that fleet knows (aws, azure, gcp, lambda, runpod, vast)")]
pub struct UnknownProvider(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_stable_and_differ_in_every_input() {
        let (f, j) = (FleetId::new("f"), JobId::new("j"));
        let base = Token::derive(&f, &j, Epoch(1), 0, 0);
        assert_eq!(base, Token::derive(&f, &j, Epoch(1), 0, 0));
        assert_eq!(base.as_str().len(), 32);
        let others = [
            Token::derive(&FleetId::new("g"), &j, Epoch(1), 0, 0),
            Token::derive(&f, &JobId::new("k"), Epoch(1), 0, 0),
            Token::derive(&f, &j, Epoch(2), 0, 0),
            Token::derive(&f, &j, Epoch(1), 1, 0),
            Token::derive(&f, &j, Epoch(1), 0, 1),
            Token::derive(&FleetId::new("fj"), &JobId::new(""), Epoch(1), 0, 0),
        ];
        assert!(others.iter().all(|t| *t != base));
    }

    #[test]
    fn job_ids_have_their_form() {
        let id = JobId::from_bits(u64::MAX);
        assert!(JobId::is_valid(id.as_str()), "{id}");
        for bad in ["0", "-1", "18446744073709551616", "j-", "j-abc", "j-../../etc/pa"] {
            assert!(!JobId::is_valid(bad), "{bad}");
        }
    }
}
