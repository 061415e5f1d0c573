//! The job's object store, reached from this machine.
//!
//! One face for S3 and what speaks like it, Cloudflare R2, Google Cloud Storage, Azure Blob and a folder that
//! every machine sees. Keys are relative to the place's prefix (`fleet_types::bucket::key`). Invariant: nothing
//! here waits for ever, and no text that leaves here holds a key, a token or a signed address. What fails for
//! the moment is tried again a few times; what to do after that is the caller's to decide.

mod asked;
mod azure;
mod checksum;
mod escape;
mod fault;
mod folder;
mod gcs;
mod lanes;
mod link;
pub(crate) mod names;
mod protocol;
mod s3;
mod sign;
mod wire;
mod xml;

use super::clock;
pub(crate) use asked::Asker;
pub(crate) use fault::StoreError;
pub(crate) use lanes::Lanes;

use fleet_agent_api::{StoreAccess, StoreCall, StorePlace};
use fleet_types::{StoreKind, Timestamp};
use folder::Folder;
use link::{Link, Tried, Trouble};
use protocol::{Protocol, Source};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// One object of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative to the place's prefix.
    pub(crate) key: String,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) etag: Option<String>,
}

/// A part of a listing, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// What `list` wants as `after` for the page that follows; nothing is to be read in it. `None`: this
    /// was the last page. A page may be empty and not the last.
    pub(crate) next: Option<String>,
}

/// A job's store, reached from this machine. Cheap to clone; threads share it.
#[derive(Clone)]
pub(crate) struct Bucket {
    store: Arc<Store>,
}

enum Store {
    Folder(StorePlace, Folder),
    Net(Link),
}

impl Bucket {
    /// A store with its key. `asker` signs where the key is [`fleet_agent_api::StoreKey::Asked`].
    pub(crate) fn new(access: StoreAccess, asker: Option<Arc<dyn Asker>>) -> Self {
        let store = match access.place.kind {
            StoreKind::File => {
                let folder = Folder::new(&access.place.prefix);
                Store::Folder(access.place, folder)
            }
            StoreKind::S3 | StoreKind::R2 | StoreKind::Gcs | StoreKind::Azure => {
                Store::Net(Link::new(access, asked::Stock::new(asker)))
            }
        };
        Self { store: Arc::new(store) }
    }

    /// A renewed key for the same place; requests under way go on with it.
    pub(crate) fn renew(&self, access: StoreAccess) {
        match &*self.store {
            Store::Folder(..) => {}
            Store::Net(link) => link.renew(access),
        }
    }

    pub(crate) fn place(&self) -> StorePlace {
        match &*self.store {
            Store::Folder(place, _) => place.clone(),
            Store::Net(link) => link.place.clone(),
        }
    }

    /// Has these requests signed ahead, to last for `span` at least, so that they work while nobody answers. A
    /// put of a small object or of a whole file is `PUT` of its key without a query. Does nothing where
    /// the machine holds a key.
    pub(crate) fn stock(&self, calls: &[StoreCall], span: Duration) -> Result<(), StoreError> {
        match &*self.store {
            Store::Net(link) if link.is_asked() => link.stock.fill(calls, span).map_err(|why| {
                StoreError::Passing(format!("{}: {why}", link.name(link::At::Bucket)))
            }),
            Store::Net(_) | Store::Folder(..) => Ok(()),
        }
    }

    /// Puts a small object in one request. `if_absent`: [`StoreError::Exists`] if there is one already.
    ///
    /// That is a conditional put, of which one of several at once succeeds. Where the store may know none (servers
    /// compatible with S3, signed addresses of Google Cloud Storage, folders without hard links) it is a
    /// look before, and two at once may both succeed.
    pub(crate) fn put(&self, key: &str, bytes: &[u8], if_absent: bool) -> Result<(), StoreError> {
        checked(key)?;
        match &*self.store {
            Store::Folder(_, folder) => folder.put(key, bytes, if_absent),
            Store::Net(link) => told_of_bucket(protocol(link)?.put(key, bytes, if_absent)),
        }
    }

    /// Puts a file of `size` bytes, in parallel parts where it is longer than a lane's buffer. `read` fills a buffer
    /// from an offset and fails when the file is not what it was. Replaces what is there.
    ///
    /// A file in one piece is compared with `sha256` first.
    pub(crate) fn put_file(
        &self,
        key: &str,
        size: u64,
        sha256: Option<&[u8; 32]>,
        read: &(dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync),
        lanes: &Lanes,
    ) -> Result<(), StoreError> {
        checked(key)?;
        let source = Source { key, size, sha256, read };
        match &*self.store {
            Store::Folder(_, folder) => folder.put_file(&source, lanes),
            Store::Net(link) => told_of_bucket(protocol(link)?.put_file(&source, lanes)),
        }
    }

    /// A whole small object; one longer than `limit` bytes is refused.
    pub(crate) fn get(&self, key: &str, limit: usize) -> Result<Vec<u8>, StoreError> {
        checked(key)?;
        match &*self.store {
            Store::Folder(_, folder) => folder.get(key, limit),
            Store::Net(link) => told(protocol::get(&*protocol(link)?, key, limit)),
        }
    }

    /// Hands out a stretch of an object in order; how many bytes there were, fewer than `length` where it
    /// ends sooner.
    pub(crate) fn get_range(
        &self,
        key: &str,
        from: u64,
        length: u64,
        out: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<u64, StoreError> {
        checked(key)?;
        match &*self.store {
            Store::Folder(_, folder) => folder.get_range(key, from, length, out),
            Store::Net(link) => {
                told(protocol::get_range(&*protocol(link)?, key, from, length, out))
            }
        }
    }

    /// Removes an object. One that is not there counts as removed.
    pub(crate) fn delete(&self, key: &str) -> Result<(), StoreError> {
        checked(key)?;
        let outcome = match &*self.store {
            Store::Folder(_, folder) => folder.delete(key),
            Store::Net(link) => told(protocol(link)?.delete(key)),
        };
        match outcome {
            Err(StoreError::Missing) => Ok(()),
            outcome => outcome,
        }
    }

    /// Objects whose keys begin with `below`, a page at a time.
    pub(crate) fn list(&self, below: &str, after: Option<&str>) -> Result<Page, StoreError> {
        match &*self.store {
            Store::Folder(_, folder) => folder.list(below, after),
            Store::Net(link) => told_of_bucket(protocol(link)?.list(below, after)),
        }
    }
}

/// How a store on the network is spoken to.
fn protocol(link: &Link) -> Result<Box<dyn Protocol + '_>, StoreError> {
    Ok(match link.place.kind {
        StoreKind::Azure => Box::new(azure::Azure { link }),
        // A signed address is one of the XML interface.
        StoreKind::Gcs if !link.is_asked() => Box::new(gcs::Gcs { link }),
        StoreKind::Gcs | StoreKind::S3 | StoreKind::R2 => Box::new(s3::S3 { link }),
        StoreKind::File => return Err(StoreError::Odd("a folder is not on the network".into())),
    })
}

fn told<T>(outcome: Tried<T>) -> Result<T, StoreError> {
    outcome.map_err(|Trouble { error, .. }| error)
}

/// In answer to a put or a listing, what is missing is the bucket.
fn told_of_bucket<T>(outcome: Tried<T>) -> Result<T, StoreError> {
    told(outcome).map_err(|error| match error {
        StoreError::Missing => StoreError::NoBucket,
        error => error,
    })
}

/// A key is a relative path: servers and folders read the same in it.
fn checked(key: &str) -> Result<(), StoreError> {
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if key.split('/').any(odd) || key.contains('\0') {
        let shown: String = key.escape_debug().take(80).collect();
        return Err(StoreError::Odd(format!(
            "`{shown}` is no key: it has an empty or dotted part"
        )));
    }
    Ok(())
}
