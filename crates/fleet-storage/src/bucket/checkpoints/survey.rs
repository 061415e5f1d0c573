//! One look at a job's folder: which epochs there are, their fences, and the numbers that were used.
//!
//! Invariant: folders are listed, never their many files; a fence that cannot be read is an error, because
//! without it a ghost would count.

use super::BucketCheckpoints;
use crate::checkpoint::place::check_job;
use crate::error::{Error, Result};
use fleet_types::bucket::{self, Fence};
use fleet_types::{CheckpointId, Epoch, JobId};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Requests at once.
const AT_ONCE: usize = 8;

/// What a job's folder holds.
#[derive(Debug, Default)]
pub(super) struct Survey {
    fences: Vec<Fence>,
    /// Numbers that were used, published or not.
    used: Vec<CheckpointId>,
    /// Epochs with an output, lowest first.
    pub(super) outputs: Vec<Epoch>,
}

/// One epoch's part.
struct Seen {
    epoch: Epoch,
    fence: Option<Fence>,
    numbers: Vec<u32>,
    has_output: bool,
}

impl Survey {
    /// The fence of an epoch.
    pub(super) fn fence(&self, epoch: Epoch) -> Option<&Fence> {
        self.fences.iter().find(|f| f.epoch == epoch)
    }

    /// Refuses an epoch below one that has begun.
    pub(super) fn refuse_old(&self, job: &JobId, epoch: Epoch) -> Result<()> {
        match self.fences.iter().map(|f| f.epoch).max().filter(|by| *by > epoch) {
            Some(by) => Err(Error::OldEpoch { job: job.clone(), epoch, by }),
            None => Ok(()),
        }
    }

    /// The numbers that would count if they were published, newest first (BKT-2).
    pub(super) fn counting(&self) -> impl Iterator<Item = CheckpointId> + use<> {
        let bases: Vec<_> = self.fences.iter().map(|f| (f.epoch, f.base)).collect();
        let mut ids: Vec<_> =
            self.used.iter().copied().filter(|id| bucket::counts(*id, &bases)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.into_iter()
    }
}

impl BucketCheckpoints {
    pub(super) async fn survey(&self, job: &JobId) -> Result<Survey> {
        check_job(job)?;
        let folders = self.bucket.listed(job.as_str()).await?.folders;
        let mut epochs: Vec<Epoch> = folders.iter().filter_map(|f| number(f)).map(Epoch).collect();
        epochs.sort_unstable();
        let looks = epochs.into_iter().map(|epoch| self.look(job, epoch));
        let seen: Vec<Seen> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let mut survey = Survey::default();
        for Seen { epoch, fence, numbers, has_output } in seen {
            survey.fences.extend(fence);
            survey.used.extend(numbers.into_iter().map(|number| CheckpointId { epoch, number }));
            survey.outputs.extend(has_output.then_some(epoch));
        }
        Ok(survey)
    }

    async fn look(&self, job: &JobId, epoch: Epoch) -> Result<Seen> {
        let listed = self.bucket.listed(&format!("{job}/{:06}", epoch.0)).await?;
        let is_open = listed.objects.iter().any(|name| name == "open.json");
        let fence = if is_open { self.read_fence(job, epoch).await? } else { None };
        let numbers = listed.folders.iter().filter_map(|f| number(f)).collect();
        let has_output = listed.folders.iter().any(|f| f == "output");
        Ok(Seen { epoch, fence, numbers, has_output })
    }
}

/// The number that a folder is named by, in the one spelling that counts.
fn number(name: &str) -> Option<u32> {
    let number = name.parse().ok()?;
    (format!("{number:06}") == name).then_some(number)
}
