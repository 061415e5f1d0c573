//! The statements that change something; each runs inside the writer's transaction.
//!
//! Invariant: a commit compares the job's version and changes nothing when it is stale; a row that is
//! final is never written again, by whatever way; an accept with a known client key changes nothing.

use super::fault::Halt;
use super::query;
use crate::{Commit, Error, JobRecord, NewJob};
use fleet_types::{Event, JobId, MachineRow, Realm, RealmId, RowState};
use rusqlite::{Connection, OptionalExtension, params};

type Changed<T> = Result<T, Halt>;

pub(super) fn accept(
    conn: &Connection,
    client_key: &str,
    jobs: &[NewJob],
) -> Changed<Vec<JobRecord>> {
    let known = query::accepted(conn, client_key)?;
    if !known.is_empty() {
        return Ok(known);
    }
    let mut accepted = Vec::with_capacity(jobs.len());
    for (job, place) in jobs.iter().zip(0_i64..) {
        conn.prepare_cached(
            "INSERT INTO jobs (id, client_key, place, created_at, realm, spec, state, version, finished)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0)",
        )?
        .execute(params![
            job.id.as_str(),
            client_key,
            place,
            job.created_at.millis(),
            job.realm.as_str(),
            job.spec.to_string(),
            job.state.to_string(),
        ])?;
        append(conn, &job.events)?;
        accepted.push(JobRecord {
            id: job.id.clone(),
            created_at: job.created_at,
            realm: job.realm.clone(),
            spec: job.spec.clone(),
            state: job.state.clone(),
            version: 0,
            finished: false,
        });
    }
    Ok(accepted)
}

pub(super) fn commit(conn: &Connection, commit: &Commit) -> Changed<u64> {
    let found: i64 = conn
        .prepare_cached("SELECT version FROM jobs WHERE id = ?1")?
        .query_row([commit.job.as_str()], |row| row.get(0))
        .optional()?
        .ok_or_else(|| Error::NoSuchJob(commit.job.clone()))?;
    let found = found as u64;
    if found != commit.from_version {
        let expected = commit.from_version;
        return Err(Error::Stale { job: commit.job.clone(), expected, found }.into());
    }
    let next = found + 1;
    conn.prepare_cached("UPDATE jobs SET state = ?2, version = ?3, finished = ?4 WHERE id = ?1")?
        .execute(params![
        commit.job.as_str(),
        commit.state.to_string(),
        next as i64,
        commit.finished
    ])?;
    append(conn, &commit.events)?;
    for row in &commit.rows {
        put_row(conn, row)?;
    }
    Ok(next)
}

pub(super) fn put_row(conn: &Connection, row: &MachineRow) -> Changed<bool> {
    let document = document(row)?;
    let changed = conn
        .prepare_cached(
            "INSERT INTO machines
                 (token, job, epoch, node, offer, provider, realm, state, final, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (token) DO UPDATE SET
                 job = excluded.job, epoch = excluded.epoch, node = excluded.node,
                 offer = excluded.offer, provider = excluded.provider, realm = excluded.realm,
                 state = excluded.state, final = excluded.final, document = excluded.document
             WHERE final = 0",
        )?
        .execute(params![
            row.token.as_str(),
            row.job.as_str(),
            row.epoch.0,
            row.node,
            row.offer,
            row.provider().as_str(),
            row.realm.as_str(),
            word(&row.state),
            row.state.is_final(),
            document,
        ])
        .map_err(|e| unknown_job(e, &row.job))?;
    Ok(changed == 1)
}

pub(super) fn append(conn: &Connection, events: &[Event]) -> Changed<()> {
    let mut insert =
        conn.prepare_cached("INSERT INTO events (job, at, document) VALUES (?1, ?2, ?3)")?;
    for event in events {
        insert
            .execute(params![event.job_id.as_str(), event.at.millis(), document(event)?])
            .map_err(|e| unknown_job(e, &event.job_id))?;
    }
    Ok(())
}

pub(super) fn put_realm(conn: &Connection, realm: &Realm) -> Changed<RealmId> {
    let id = realm.id();
    conn.prepare_cached(
        "INSERT INTO realms (id, document) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING",
    )?
    .execute(params![id.as_str(), document(realm)?])?;
    Ok(id)
}

pub(super) fn set_fact(conn: &Connection, name: &str, value: &str) -> Changed<()> {
    conn.prepare_cached(
        "INSERT INTO facts (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?
    .execute([name, value])?;
    Ok(())
}

/// A broken reference means that the database does not know the job.
fn unknown_job(error: rusqlite::Error, job: &JobId) -> Halt {
    let broken = error
        .sqlite_error()
        .is_some_and(|e| e.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
    if broken { Error::NoSuchJob(job.clone()).into() } else { error.into() }
}

fn document<T: serde::Serialize>(thing: &T) -> Result<String, Error> {
    serde_json::to_string(thing).map_err(|e| Error::Document(e.to_string()))
}

/// The state as the column shows it to people with a database browser.
fn word(state: &RowState) -> &'static str {
    match state {
        RowState::Intent => "intent",
        RowState::Unknown { .. } => "unknown",
        RowState::Live => "live",
        RowState::Ending { .. } => "ending",
        RowState::Gone { .. } => "gone",
        RowState::Refused => "refused",
    }
}
