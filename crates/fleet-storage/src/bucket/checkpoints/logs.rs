//! What a task printed, from the pieces that its machine put into the bucket.
//!
//! Invariant: records come in order and each once, whatever pieces overlap; a piece is unpacked to 64 MiB at
//! most, so that a small object cannot fill the memory.

use super::BucketCheckpoints;
use crate::bucket::Bucket;
use crate::checkpoint::place::{check_job, on_disk};
use crate::error::Result;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use fleet_agent_api::LogRecord;
use fleet_types::bucket::key::{self, Named};
use fleet_types::{Epoch, JobId};
use futures_util::stream::{self, BoxStream, StreamExt};
use std::collections::VecDeque;
use std::io::Read;

/// The longest piece, as it lies there.
const PACKED: u64 = 64 << 20;
/// The same, unpacked.
const UNPACKED: u64 = 64 << 20;

/// Records on their way.
pub type LogRecords = BoxStream<'static, Result<LogRecord>>;

struct Reading {
    bucket: Bucket,
    pieces: VecDeque<String>,
    records: VecDeque<LogRecord>,
    /// Records up to this offset were handed out, or were not wanted.
    behind: u64,
}

impl BucketCheckpoints {
    /// The records of an epoch that end behind the spool offset `from`.
    ///
    /// # Errors
    /// [`Error::Bucket`], now and in the stream.
    pub async fn logs(&self, job: &JobId, epoch: Epoch, from: u64) -> Result<LogRecords> {
        check_job(job)?;
        let held = self.bucket.list(&format!("{job}/{:06}/logs", epoch.0)).await?;
        let begin = |key: &str| match key::named(key.strip_prefix(&format!("{job}/"))?) {
            Named::Log(_, begin) => Some(begin),
            _ => None,
        };
        let mut pieces: Vec<(u64, String)> =
            held.into_iter().filter_map(|h| Some((begin(&h.key)?, h.key))).collect();
        pieces.sort_unstable();
        // The piece before the first that begins too late may hold what is wanted.
        let first = pieces.partition_point(|(begin, _)| *begin <= from).saturating_sub(1);
        let reading = Reading {
            bucket: self.bucket.clone(),
            pieces: pieces.drain(first..).map(|(_, key)| key).collect(),
            records: VecDeque::new(),
            behind: from,
        };
        Ok(stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|record| (record, reading)))
        })
        .boxed())
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<LogRecord>> {
        loop {
            while let Some(record) = self.records.pop_front() {
                if record.offset > self.behind {
                    self.behind = record.offset;
                    return Ok(Some(record));
                }
            }
            let Some(key) = self.pieces.pop_front() else { return Ok(None) };
            // Gone meanwhile: the job is being forgotten.
            let Some(packed) = self.bucket.get(&key, PACKED).await? else { continue };
            let (bucket, of) = (self.bucket.clone(), key.clone());
            self.records =
                on_disk(move || unpack(&packed).map_err(|why| bucket.damaged(&of, &why))).await?;
        }
    }
}

fn unpack(packed: &Bytes) -> std::result::Result<VecDeque<LogRecord>, String> {
    let mut text = Vec::new();
    let mut reader = MultiGzDecoder::new(&packed[..]).take(UNPACKED + 1);
    reader.read_to_end(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > UNPACKED {
        return Err(format!("it holds more than {} MiB", UNPACKED >> 20));
    }
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|e| e.to_string())).collect()
}
