//! What machines get to use a bucket: a key of their own for a time, or single signed requests.
//!
//! Invariant: a machine that is not trusted gets no key; no machine gets ours; every signed request was
//! checked against its scope and is good for an hour at most. The table is in docs/specs/storage.md, "Keys".

use super::refused::Refused;
use super::s3::asked;
use super::scope::Scope;
use super::{Bucket, Door};
use crate::clock::now;
use crate::error::Result;
use fleet_agent_api::{SignedCall, StoreAccess, StoreCall, StoreKey, StorePlace};
use fleet_types::{Epoch, JobId, StoreKind, Timestamp, Trust, show_duration};
use object_store::ObjectStoreExt;
use std::time::Duration;

/// The life of a signed request.
const SIGNED: Duration = Duration::from_secs(3600);
/// Requests signed in one answer.
const MOST: usize = 4096;
/// A key that ends this much early ends as asked, for people.
const CLOSE: Duration = Duration::from_secs(300);

/// What a machine gets.
#[derive(Clone, Debug)]
pub struct Grant {
    pub access: StoreAccess,
    /// When its key ends; `None`: it has none, or one without an end.
    pub expires_at: Option<Timestamp>,
    /// What the user should know before the launch.
    pub note: Option<String>,
}

/// A store's answer: the key, its end, and what people should know.
pub(super) struct Key {
    pub(super) key: StoreKey,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) note: Option<String>,
}

impl Bucket {
    /// What a machine may do that runs an epoch of a job.
    pub fn job_scope(&self, job: &JobId, epoch: Epoch) -> Scope {
        Scope::job(&self.inner.uri.prefix, job, epoch)
    }

    /// What a machine may do that mounts this place: a folder, or one object.
    ///
    /// # Errors
    /// [`crate::Error::Bucket`].
    pub async fn mount_scope(&self, writes: bool) -> Result<Scope> {
        let prefix = &self.inner.uri.prefix;
        let parted = prefix.rsplit_once('/');
        let (folder, name) = parted.unwrap_or(("", prefix));
        let is_object = match &self.inner.door {
            _ if name.is_empty() => false,
            Door::Folder(path) => path.is_file(),
            Door::S3(_) | Door::Gcs(_) | Door::Azure(_) => {
                let head = self.inner.objects.head(&self.path("")?).await;
                match head {
                    Ok(_) => true,
                    Err(object_store::Error::NotFound { .. }) => false,
                    Err(e) => return Err(self.failed("looking for the object", &e)),
                }
            }
        };
        Ok(match is_object {
            true => Scope::folder(folder, Some(name), writes),
            false => Scope::folder(prefix, None, writes),
        })
    }

    /// What the machine `name` gets for `scope`, living for `away` or as long as the store allows.
    ///
    /// # Errors
    /// [`Refused::NoGrant`] where nothing that opens the scope can be given to such a machine.
    pub async fn grant(
        &self,
        scope: &Scope,
        name: &str,
        trust: Trust,
        away: Duration,
    ) -> Result<Grant> {
        let key = match (trust, &self.inner.door) {
            (_, Door::Folder(_)) => Key { key: StoreKey::Folder, expires_at: None, note: None },
            (Trust::Trusted, Door::S3(s3)) => s3.grant(scope, name, away).await?,
            (Trust::Trusted, Door::Gcs(gcs)) => gcs.grant(scope).await?,
            (Trust::Trusted, Door::Azure(azure)) => azure.grant(scope, away).await?,
            (Trust::Semi | Trust::Untrusted, door) => {
                match door {
                    Door::Gcs(gcs) => gcs.can_sign()?,
                    Door::Azure(azure) => azure.can_sign()?,
                    Door::S3(_) | Door::Folder(_) => {}
                }
                asked("its owner is not trusted with one")
            }
        };
        let life = key.expires_at.map(|end| end.since(now()));
        let short = life.filter(|life| *life + CLOSE < away).map(|life| {
            let life = show_duration(life);
            format!("the machine's key for its bucket ends after {life}; it is renewed while the server is awake")
        });
        let notes: Vec<String> = key.note.into_iter().chain(short).collect();
        let access = StoreAccess {
            place: self.place(scope),
            key: key.key,
            expires_in_ms: life.map(|l| l.as_millis() as u64),
        };
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(Grant { access, expires_at: key.expires_at, note })
    }

    /// Signs requests of a machine that holds no key, all or none.
    ///
    /// # Errors
    /// [`Refused::Call`] for a request that its scope does not cover, [`Refused::NoGrant`] where this store
    /// cannot sign with what it was opened with.
    pub async fn sign(&self, scope: &Scope, calls: &[StoreCall]) -> Result<Vec<SignedCall>> {
        if calls.len() > MOST {
            return Err(Refused::Call(format!("{} at once are too many", calls.len())).into());
        }
        let kind = self.inner.uri.kind;
        let keys: Vec<String> = calls
            .iter()
            .map(|call| scope.check(kind, call))
            .collect::<std::result::Result<_, _>>()?;
        let mut signed = Vec::with_capacity(calls.len());
        for (call, key) in calls.iter().zip(keys) {
            let (url, life) = match &self.inner.door {
                Door::S3(s3) => s3.sign(call, &key, SIGNED).await?,
                Door::Gcs(gcs) => gcs.sign(call, &key, SIGNED)?,
                Door::Azure(azure) => azure.sign(call, &key, SIGNED).await?,
                Door::Folder(_) => {
                    return Err(Refused::Call("a folder needs no signature".into()).into());
                }
            };
            let expires_in_ms = life.as_millis() as u64;
            signed.push(SignedCall { call: call.clone(), url, expires_in_ms });
        }
        Ok(signed)
    }

    fn place(&self, scope: &Scope) -> StorePlace {
        let prefix = scope.prefix().to_owned();
        match &self.inner.door {
            Door::S3(s3) => s3.place(prefix),
            Door::Gcs(gcs) => gcs.place(prefix),
            Door::Azure(azure) => azure.place(prefix),
            Door::Folder(_) => StorePlace {
                kind: StoreKind::File,
                endpoint: String::new(),
                path_style: true,
                region: String::new(),
                bucket: String::new(),
                prefix,
            },
        }
    }
}
