//! What waits to be taken by the controller.
//!
//! One checkpoint is in transfer, at most one newer waits behind it; a newer one replaces the one that
//! waits. Numbers rise only with what is offered. Invariant: a checkpoint once asked for stays until it is
//! published or declined; then its stage goes.

use crate::parcel::Parcel;
use fleet_agent_api::{Invitation, Source};
use std::collections::BTreeMap;

#[derive(Default)]
pub(crate) struct Offers {
    /// Number of the last checkpoint offered.
    pub(crate) number: u32,
    current: Option<Parcel>,
    wanted: bool,
    waiting: Option<Parcel>,
    output: Option<Parcel>,
    pulls: BTreeMap<u32, Parcel>,
}

impl Offers {
    /// Goes on counting behind `number`.
    pub(crate) fn after(number: u32) -> Self {
        Self { number, ..Self::default() }
    }
    /// Takes a new checkpoint; the invitation to send, if its turn is now.
    pub(crate) fn checkpoint(&mut self, parcel: Parcel, in_contact: bool) -> Option<Invitation> {
        if self.current.is_none() || (!self.wanted && !in_contact) {
            self.waiting = None;
            return Some(self.promote(parcel));
        }
        self.waiting = Some(parcel);
        None
    }
    fn promote(&mut self, parcel: Parcel) -> Invitation {
        self.number += 1;
        let invitation = invite(Source::Checkpoint(self.number), &parcel);
        self.current = Some(parcel);
        self.wanted = false;
        invitation
    }
    pub(crate) fn output(&mut self, parcel: Parcel) -> Invitation {
        let invitation = invite(Source::Output, &parcel);
        self.output = Some(parcel);
        invitation
    }
    pub(crate) fn pull(&mut self, request: u32, parcel: Parcel) -> Invitation {
        let invitation = invite(Source::Pull(request), &parcel);
        self.pulls.insert(request, parcel);
        invitation
    }
    /// A new session hears again what is there; what an old one pulled is forgotten.
    pub(crate) fn again(&mut self) -> Vec<Invitation> {
        self.pulls.clear();
        if !self.wanted
            && let Some(newer) = self.waiting.take()
        {
            self.promote(newer);
        }
        let checkpoint = self.current.as_ref().map(|p| invite(Source::Checkpoint(self.number), p));
        let output = self.output.as_ref().map(|p| invite(Source::Output, p));
        checkpoint.into_iter().chain(output).collect()
    }
    /// The parcel that a `Want` names.
    pub(crate) fn want(&mut self, source: &Source) -> Option<&Parcel> {
        match source {
            Source::Checkpoint(n) if *n == self.number => {
                self.wanted = true;
                self.current.as_ref()
            }
            Source::Checkpoint(_) => None,
            Source::Output => self.output.as_ref(),
            Source::Pull(request) => self.pulls.get(request),
        }
    }
    /// Published, declined or lost: gives it back, and the next invitation.
    pub(crate) fn close(&mut self, source: &Source) -> (Option<Parcel>, Option<Invitation>) {
        match source {
            Source::Checkpoint(n) if *n == self.number => {
                let closed = self.current.take();
                let next = self.waiting.take().map(|parcel| self.promote(parcel));
                (closed, next)
            }
            Source::Checkpoint(_) => (None, None),
            Source::Output => (self.output.take(), None),
            Source::Pull(request) => (self.pulls.remove(request), None),
        }
    }
    /// Whether a checkpoint or the output is still to be taken.
    pub(crate) fn is_open(&self) -> bool {
        self.current.is_some() || self.output.is_some()
    }
}

fn invite(source: Source, parcel: &Parcel) -> Invitation {
    Invitation { source, taken_at: parcel.taken_at, tree: parcel.tree.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Timestamp, Tree};
    use std::collections::HashMap;

    fn parcel(at: i64) -> Parcel {
        let taken_at = Timestamp::from_millis(at);
        let (tree, files) = (Tree::default(), HashMap::new());
        Parcel { tree, taken_at, files, stage: None, whole: Vec::new() }
    }

    #[test]
    fn a_newer_checkpoint_replaces_the_waiting_one_and_numbers_count_offers() {
        let mut offers = Offers::default();
        assert_eq!(offers.checkpoint(parcel(1), true).unwrap().source, Source::Checkpoint(1));
        assert!(offers.checkpoint(parcel(2), true).is_none());
        assert!(offers.checkpoint(parcel(3), true).is_none());
        let (closed, next) = offers.close(&Source::Checkpoint(1));
        assert_eq!(closed.unwrap().taken_at.millis(), 1);
        let next = next.unwrap();
        assert_eq!((next.source, next.taken_at.millis()), (Source::Checkpoint(2), 3));
        assert!(offers.close(&Source::Checkpoint(1)).0.is_none(), "an old number closes nothing");
        assert!(offers.is_open());
    }

    #[test]
    fn without_contact_only_the_newest_is_kept() {
        let mut offers = Offers::default();
        offers.checkpoint(parcel(1), true);
        offers.checkpoint(parcel(2), false);
        assert_eq!(offers.again()[0].taken_at.millis(), 2);
        assert!(offers.want(&Source::Checkpoint(2)).is_some());
        assert!(offers.checkpoint(parcel(3), false).is_none(), "2 is in transfer");
        assert_eq!(offers.again()[0].taken_at.millis(), 2);
    }
}
