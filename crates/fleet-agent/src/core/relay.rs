//! What the core does with pictures and pulls: over the controller's line, or into the store.
//!
//! Invariant: what was offered is withdrawn or closed; it is never forgotten while somebody may ask for it.

use super::Core;
use crate::checkpoint::Taken;
use crate::error::{Error, Result};
use crate::outbox::BlobOrder;
use crate::parcel::Parcel;
use crate::put::hash_of;
use fleet_agent_api::{FromAgent, Invitation, Source, Want};

impl Core {
    pub(super) fn checkpoint(&mut self, parcel: Parcel) {
        if self.memory.limits.to_store {
            return self.save_checkpoint(parcel, false);
        }
        let invitation = self.offers.checkpoint(parcel, self.session.is_some());
        self.invite(invitation);
    }

    pub(super) fn invite(&mut self, invitation: Option<Invitation>) {
        self.save();
        if let Some(invitation) = invitation {
            self.say(&FromAgent::Ready(invitation));
        }
    }

    pub(super) fn no_checkpoint(&mut self, reason: String) {
        let source = Source::Checkpoint(self.offers.number + 1);
        self.say(&FromAgent::NotReady { source, reason });
    }

    pub(super) fn last_checkpoint(&mut self, taken: Result<Taken>) {
        self.pictures = self.pictures.saturating_sub(1);
        match taken {
            Ok(Taken::New(parcel)) if self.memory.limits.to_store => {
                self.save_checkpoint(parcel, true);
            }
            Ok(Taken::New(parcel)) => self.checkpoint(parcel),
            Ok(Taken::Nothing | Taken::NotYet) => {}
            Ok(Taken::TooLarge(reason)) => self.no_checkpoint(reason),
            Err(e) => self.no_checkpoint(e.to_string()),
        }
        self.settle();
    }

    pub(super) fn output(&mut self, parcel: Result<Parcel>) {
        self.pictures = self.pictures.saturating_sub(1);
        match parcel {
            Ok(parcel) if parcel.files.is_empty() => {}
            Ok(parcel) if self.memory.limits.to_store => self.save_output(parcel),
            Ok(parcel) => {
                let invitation = self.offers.output(parcel);
                self.invite(Some(invitation));
            }
            Err(e) => {
                let reason = e.to_string();
                self.say(&FromAgent::NotReady { source: Source::Output, reason });
            }
        }
        self.settle();
    }

    pub(super) fn pulled(&mut self, number: u64, request: u32, parcel: Result<Parcel>) {
        if !self.is_current(number) {
            return;
        }
        match parcel {
            Ok(parcel) => {
                let invitation = self.offers.pull(request, parcel);
                self.say(&FromAgent::Ready(invitation));
            }
            Err(e) => {
                let (source, reason) = (Source::Pull(request), e.to_string());
                self.say(&FromAgent::NotReady { source, reason });
            }
        }
    }

    pub(super) fn want(&mut self, source: Source, blobs: &[Want]) {
        let Some(parcel) = self.offers.want(&source) else {
            let reason = "it is not here any more".into();
            return self.say(&FromAgent::NotReady { source, reason });
        };
        match orders(&source, parcel, blobs) {
            Ok(orders) => {
                if let Some(session) = &self.session {
                    session.send_blobs(&source, orders);
                }
            }
            Err(e) => self.say(&FromAgent::Refused { reason: e.to_string() }),
        }
    }

    pub(super) fn close(&mut self, source: &Source, published: bool) {
        let (parcel, next) = self.offers.close(source);
        let Some(parcel) = parcel else { return };
        if let Source::Checkpoint(number) = source {
            self.memory.kept = Some(parcel.tree.digest());
            self.memory.whole = parcel.whole.clone();
            if published {
                self.memory.published = Some(*number);
                self.memory.published_at = Some(parcel.taken_at);
            }
        }
        self.invite(next);
        self.settle();
    }

    pub(super) fn lost(&mut self, source: Source, reason: String) {
        let (parcel, next) = self.offers.close(&source);
        if parcel.is_none() {
            return;
        }
        self.say(&FromAgent::NotReady { source: source.clone(), reason });
        if let (Source::Checkpoint(_), Some(watch)) = (&source, &mut self.watch) {
            watch.retake();
        }
        self.invite(next);
        self.settle();
    }
}

/// The blobs that a `Want` names, with where their bytes are.
fn orders(source: &Source, parcel: &Parcel, blobs: &[Want]) -> Result<Vec<BlobOrder>> {
    let find = |want: &Want| {
        let hash = hash_of(&want.sha256);
        let found = hash.and_then(|hash| Some((hash, parcel.files.get(&hash)?)));
        let (hash, (path, seal)) = found.ok_or_else(|| {
            Error::Refused(format!("{source:?} has no `{}`", want.sha256.escape_debug()))
        })?;
        let (source, from) = (source.clone(), want.from.min(seal.size));
        Ok(BlobOrder { source, hash, path: path.clone(), seal: *seal, from })
    };
    blobs.iter().map(find).collect()
}
