//! One total function from a cloud's answer to what happens next.
//!
//! Invariant: every fault × scope has a cell, each cell a test; a fault whose outcome is open never leads
//! to another create.

use fleet_types::{Fault, Scope};
use std::time::Duration;

/// What happens after a create was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// The next candidate now; leave `scope` alone for `avoid`.
    Next { scope: Scope, avoid: Duration },
    /// The same create again after `wait`, at most `tries` times; then as [`Reaction::Next`].
    Again { wait: Duration, tries: u32, scope: Scope, avoid: Duration },
    /// Look for it by its token; no further create before that is settled.
    Settle,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Turns a refusal into a reaction. Spans are before the time scale.
pub fn react(fault: Fault, scope: Scope) -> Reaction {
    let next = |scope, avoid| Reaction::Next { scope, avoid };
    match fault {
        // A stock-out heals by itself; it is never wider than the cloud said, and never just the request.
        Fault::Capacity => next(scope.max(Scope::Offer), 5 * MINUTE),
        // A limit on the account heals when the user acts; it is at least the region's.
        Fault::Quota => next(scope.max(Scope::Region), HOUR),
        Fault::Price => next(scope.max(Scope::Offer), 2 * MINUTE),
        // Credentials are the provider's, unless the cloud says that only a region is closed.
        Fault::Auth => match scope {
            Scope::Region | Scope::RegionMarket => next(scope, HOUR),
            Scope::Request | Scope::Offer | Scope::Zone | Scope::Provider => {
                next(Scope::Provider, 10 * MINUTE)
            }
        },
        Fault::Throttled => Reaction::Again {
            wait: Duration::from_secs(5),
            tries: 4,
            scope: scope.max(Scope::Region),
            avoid: MINUTE,
        },
        Fault::Transient => Reaction::Again {
            wait: Duration::from_secs(3),
            tries: 3,
            scope: scope.max(Scope::Zone),
            avoid: MINUTE,
        },
        Fault::Rejected | Fault::NotFound => next(scope.max(Scope::Offer), HOUR),
        Fault::Conflict | Fault::Unknown => Reaction::Settle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_keeps_its_rules() {
        for fault in Fault::ALL {
            for scope in Scope::ALL {
                match (fault, react(fault, scope)) {
                    (Fault::Unknown | Fault::Conflict, reaction) => {
                        assert_eq!(reaction, Reaction::Settle)
                    }
                    (Fault::Throttled | Fault::Transient, Reaction::Again { tries, .. }) => {
                        assert!((1..=5).contains(&tries));
                    }
                    (Fault::Throttled | Fault::Transient, other) => panic!("{fault:?}: {other:?}"),
                    (_, Reaction::Next { scope: reach, avoid }) => {
                        assert!(!avoid.is_zero());
                        assert!(
                            reach >= scope.min(Scope::Provider) || fault == Fault::Auth,
                            "{fault:?} {scope:?}"
                        );
                        assert_ne!(
                            reach,
                            Scope::Request,
                            "{fault:?}: a request is no place to avoid"
                        );
                    }
                    (_, other) => panic!("{fault:?} {scope:?}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn quota_is_wider_than_capacity() {
        assert_eq!(
            react(Fault::Capacity, Scope::Zone),
            Reaction::Next { scope: Scope::Zone, avoid: 5 * MINUTE }
        );
        assert_eq!(
            react(Fault::Quota, Scope::Zone),
            Reaction::Next { scope: Scope::Region, avoid: HOUR }
        );
        assert_eq!(
            react(Fault::Auth, Scope::Request),
            Reaction::Next { scope: Scope::Provider, avoid: 10 * MINUTE }
        );
    }
}
