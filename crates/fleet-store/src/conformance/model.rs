//! The store as a few maps in memory: what histories are compared with, and a store for other crates' tests.
//!
//! Invariant: it answers as the trait says and forgets everything when it is dropped. It is the reference,
//! so it is kept simple: one lock, no cleverness.

use crate::{Commit, Error, JobRecord, NewJob, Result, SeqEvent, Store};
use async_trait::async_trait;
use fleet_types::{Event, JobId, MachineRow, Realm, RealmId, Token};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// A store in memory.
#[derive(Debug, Default)]
pub struct ModelStore {
    held: Mutex<Held>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    jobs: Vec<JobRecord>,
    keys: BTreeMap<String, Vec<JobId>>,
    rows: Vec<MachineRow>,
    events: Vec<Event>,
    realms: Vec<Realm>,
    facts: BTreeMap<String, String>,
}

impl ModelStore {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("invariant: nobody panics while holding the model")
    }
    /// Changes a copy and keeps it only if that went well.
    fn change<T>(&self, change: impl FnOnce(&mut Held) -> Result<T>) -> Result<T> {
        let mut held = self.held();
        let mut young = held.clone();
        let answer = change(&mut young)?;
        *held = young;
        Ok(answer)
    }
}

impl Held {
    fn job(&self, id: &JobId) -> Result<usize> {
        self.jobs.iter().position(|j| j.id == *id).ok_or_else(|| Error::NoSuchJob(id.clone()))
    }
    fn put_row(&mut self, row: MachineRow) -> Result<bool> {
        self.job(&row.job)?;
        let known = self.rows.iter_mut().find(|r| r.token == row.token);
        match known {
            Some(known) if known.state.is_final() => return Ok(false),
            Some(known) => *known = row,
            None => self.rows.push(row),
        }
        Ok(true)
    }
    fn append(&mut self, events: Vec<Event>) -> Result<()> {
        for event in events {
            self.job(&event.job_id)?;
            self.events.push(event);
        }
        Ok(())
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn accept(&self, client_key: &str, jobs: Vec<NewJob>) -> Result<Vec<JobRecord>> {
        self.change(|held| {
            if let Some(ids) = held.keys.get(client_key) {
                return ids.iter().map(|id| Ok(held.jobs[held.job(id)?].clone())).collect();
            }
            let mut made = Vec::new();
            for NewJob { id, created_at, realm, spec, state, events } in jobs {
                if held.job(&id).is_ok() {
                    return Err(Error::Unavailable(format!("job `{id}` exists")));
                }
                let job =
                    JobRecord { id, created_at, realm, spec, state, version: 0, finished: false };
                held.jobs.push(job.clone());
                held.append(events)?;
                made.push(job);
            }
            if !made.is_empty() {
                held.keys.insert(client_key.into(), made.iter().map(|j| j.id.clone()).collect());
            }
            Ok(made)
        })
    }
    async fn job(&self, id: &JobId) -> Result<Option<JobRecord>> {
        Ok(self.held().jobs.iter().find(|j| j.id == *id).cloned())
    }
    async fn jobs(&self, live_only: bool) -> Result<Vec<JobRecord>> {
        let mut jobs = self.held().jobs.clone();
        jobs.retain(|j| !(live_only && j.finished));
        jobs.sort_by_key(|j| j.created_at);
        Ok(jobs)
    }
    async fn commit(&self, commit: Commit) -> Result<u64> {
        self.change(|held| {
            let at = held.job(&commit.job)?;
            let found = held.jobs[at].version;
            if found != commit.from_version {
                return Err(Error::Stale { job: commit.job, expected: commit.from_version, found });
            }
            let job = &mut held.jobs[at];
            (job.version, job.state, job.finished) = (found + 1, commit.state, commit.finished);
            held.append(commit.events)?;
            for row in commit.rows {
                held.put_row(row)?;
            }
            Ok(found + 1)
        })
    }
    async fn put_row(&self, row: MachineRow) -> Result<bool> {
        self.change(|held| held.put_row(row))
    }
    async fn live_rows(&self) -> Result<Vec<MachineRow>> {
        Ok(self.held().rows.iter().filter(|r| !r.state.is_final()).cloned().collect())
    }
    async fn rows(&self, job: &JobId) -> Result<Vec<MachineRow>> {
        let mut rows: Vec<_> = self.held().rows.iter().filter(|r| r.job == *job).cloned().collect();
        rows.sort_by_key(|r| (r.epoch, r.offer, r.node));
        Ok(rows)
    }
    async fn row(&self, token: &Token) -> Result<Option<MachineRow>> {
        Ok(self.held().rows.iter().find(|r| r.token == *token).cloned())
    }
    async fn append(&self, events: Vec<Event>) -> Result<()> {
        self.change(|held| held.append(events))
    }
    async fn events(&self, job: &JobId, after: i64, limit: usize) -> Result<Vec<SeqEvent>> {
        let held = self.held();
        let numbered = (1..).zip(&held.events).map(|(seq, e)| SeqEvent { seq, event: e.clone() });
        Ok(numbered.filter(|e| e.event.job_id == *job && e.seq > after).take(limit).collect())
    }
    async fn put_realm(&self, realm: &Realm) -> Result<RealmId> {
        let mut held = self.held();
        if !held.realms.contains(realm) {
            held.realms.push(realm.clone());
        }
        Ok(realm.id())
    }
    async fn realm(&self, id: &RealmId) -> Result<Option<Realm>> {
        Ok(self.held().realms.iter().find(|r| r.id() == *id).cloned())
    }
    async fn realms(&self) -> Result<Vec<Realm>> {
        Ok(self.held().realms.clone())
    }
    async fn fact(&self, name: &str) -> Result<Option<String>> {
        Ok(self.held().facts.get(name).cloned())
    }
    async fn set_fact(&self, name: &str, value: &str) -> Result<()> {
        self.held().facts.insert(name.into(), value.into());
        Ok(())
    }
}
