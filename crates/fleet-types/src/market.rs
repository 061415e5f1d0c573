//! The two ways to buy a machine, and what to do when the cheap one runs dry.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How a machine is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// Cheap, and may be taken away.
    Spot,
    /// Dear, and stays.
    OnDemand,
}

impl fmt::Display for Market {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        })
    }
}

/// What happens when no spot machine can be had within the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Buy on demand, within `max_price` and `budget`.
    #[default]
    OnDemand,
    /// Wait for spot, saying what is waited for.
    Wait,
    /// End the job: nothing to be had.
    None,
}
