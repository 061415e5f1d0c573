//! How many transfers of one job's store may be under way at once, and their buffers.
//!
//! Invariant: there are never more buffers than lanes, and nobody who holds a lane waits for another. So
//! the memory is bounded, whatever is sent, and nothing waits for ever.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Google's uploads go on in multiples of this; a smaller buffer would be slow anywhere.
const LEAST_PART: usize = 256 << 10;

/// Lanes with a buffer each, made when first needed and used again.
pub(crate) struct Lanes {
    count: usize,
    part: usize,
    free: Mutex<Free>,
    freed: Condvar,
}

struct Free {
    /// Lanes that nobody holds.
    lanes: usize,
    buffers: Vec<Vec<u8>>,
}

impl Default for Lanes {
    /// Four lanes of 8 MiB: they fill a line of several gigabits, and the agent stays small.
    fn default() -> Self {
        Self::new(4, 8 << 20)
    }
}

impl Lanes {
    /// `count` lanes, each with a buffer of `part` bytes: that is how long the parts of a large file are,
    /// and up to where a file goes in one piece. S3 wants parts of at least 5 MiB.
    pub(crate) fn new(count: usize, part: usize) -> Self {
        let count = count.max(1);
        Self {
            count,
            part: part.max(LEAST_PART),
            free: Mutex::new(Free { lanes: count, buffers: Vec::new() }),
            freed: Condvar::new(),
        }
    }

    /// Bytes of a buffer.
    pub(super) fn part(&self) -> u64 {
        self.part as u64
    }

    /// Waits for a lane.
    pub(super) fn take(&self) -> Lane<'_> {
        let free = self.locked();
        let mut free =
            self.freed.wait_while(free, |f| f.lanes == 0).unwrap_or_else(PoisonError::into_inner);
        free.lanes -= 1;
        let buffer = free.buffers.pop();
        drop(free);
        Lane { lanes: self, buffer: buffer.unwrap_or_else(|| vec![0; self.part]) }
    }

    /// Does `work` for every number below `count`, on as many threads as there are lanes. The first failure
    /// ends it: what is under way is waited for, nothing new is begun.
    pub(super) fn each<E: Send>(
        &self,
        count: u64,
        work: &(dyn Fn(u64, &mut Lane<'_>) -> Result<(), E> + Sync),
    ) -> Result<(), E> {
        let next = AtomicU64::new(0);
        let failed: Mutex<Option<E>> = Mutex::new(None);
        let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                let mut lane = self.take();
                if failure().is_some() {
                    return;
                }
                if let Err(error) = work(number, &mut lane) {
                    failure().get_or_insert(error);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..count.min(self.count as u64) {
                // Where no thread can be had, fewer do it.
                if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                    break;
                }
            }
            run();
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn locked(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one transfer, and its buffer.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    buffer: Vec<u8>,
}

impl Deref for Lane<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl DerefMut for Lane<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        let mut free = self.lanes.locked();
        free.lanes += 1;
        free.buffers.push(std::mem::take(&mut self.buffer));
        drop(free);
        self.lanes.freed.notify_one();
    }
}

/// How long the parts of a file are: the buffer's length, or more where there would be over `most` parts.
pub(super) fn part_size(size: u64, buffer: u64, most: u64) -> u64 {
    let needed = size.div_ceil(most);
    if needed <= buffer { buffer.max(1) } else { needed.next_multiple_of(1 << 20) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn never_more_at_once_than_lanes() {
        let lanes = Lanes::new(3, 16);
        let (now, most, sum) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicU64::new(0));
        let work = |number: u64, lane: &mut Lane<'_>| -> Result<(), ()> {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            assert_eq!(lane.len(), LEAST_PART);
            thread::yield_now();
            sum.fetch_add(number, Ordering::SeqCst);
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| lanes.each(100, &work).unwrap());
            }
        });
        assert_eq!(sum.load(Ordering::SeqCst), 4 * 4950);
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)), "{most:?}");
        let free = lanes.locked();
        assert_eq!(free.lanes, 3);
        assert!(free.buffers.len() <= 3);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let lanes = Lanes::new(2, 1);
        let done = AtomicU64::new(0);
        let outcome = lanes.each(1_000_000, &|number, _| {
            done.fetch_add(1, Ordering::SeqCst);
            if number == 5 { Err("five") } else { Ok(()) }
        });
        assert_eq!(outcome, Err("five"));
        assert!(done.load(Ordering::SeqCst) < 1_000_000);
    }

    #[test]
    fn parts_grow_only_where_there_would_be_too_many() {
        let (mib, part) = (1_u64 << 20, 8 << 20);
        assert_eq!(part_size(100 * mib, part, 10_000), part);
        assert_eq!(part_size(80_000 * mib, part, 10_000), part);
        assert_eq!(part_size(80_001 * mib, part, 10_000), 9 * mib);
        let most = 5 * 1024 * 1024 * mib;
        assert!(most.div_ceil(part_size(most, part, 10_000)) <= 10_000);
    }
}
