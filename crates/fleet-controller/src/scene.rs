//! What the edges of one job work with: the shared parts, the job's document, its mailbox.

use crate::inner::Inner;
use crate::mail::Mail;
use crate::record::JobDoc;
use fleet_lifecycle::Happening;
use fleet_types::Timestamp;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What an effect works with.
#[derive(Clone)]
pub(crate) struct Scene {
    pub inner: Arc<Inner>,
    pub doc: Arc<JobDoc>,
    pub mail: mpsc::Sender<Mail>,
}

impl Scene {
    /// Reports to the job; a job that is gone needs no report.
    pub(crate) async fn tell(&self, happening: Happening) {
        if self.mail.send(Mail::Happened(happening)).await.is_err() {
            tracing::debug!(job = %self.doc.facts.id, "a report came after the job's end");
        }
    }
    /// The time that the job goes by.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }
    /// A waiting span, scaled.
    pub(crate) fn secs(&self, seconds: f64) -> std::time::Duration {
        self.doc.facts.time_scale.secs(seconds)
    }
}
