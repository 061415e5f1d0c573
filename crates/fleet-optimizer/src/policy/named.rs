//! Policies by the names that the command line and the task file use.

use super::{Greedy, OnDemand, Policy, Survival, TimeSliced, UniformProgress};

/// No policy has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no policy is called `{name}`; there are default, on-demand, greedy, spot-only, uniform-progress, \
     uniform-progress-plain, time-sliced:N"
)]
pub struct UnknownPolicy {
    pub name: String,
}

/// A fresh policy that has seen nothing yet.
pub fn named(name: &str) -> Result<Box<dyn Policy>, UnknownPolicy> {
    let unknown = || UnknownPolicy { name: name.to_owned() };
    Ok(match name {
        "default" => Box::new(Survival::default()),
        "on-demand" => Box::new(OnDemand),
        "greedy" => Box::new(Greedy { guarded: true }),
        "spot-only" => Box::new(Greedy { guarded: false }),
        "uniform-progress" => Box::new(UniformProgress { hysteresis: true }),
        "uniform-progress-plain" => Box::new(UniformProgress { hysteresis: false }),
        other => {
            let slices = other.strip_prefix("time-sliced:").ok_or_else(unknown)?;
            let slices = slices.parse().ok().filter(|n| *n > 0).ok_or_else(unknown)?;
            Box::new(TimeSliced::new(slices))
        }
    })
}
