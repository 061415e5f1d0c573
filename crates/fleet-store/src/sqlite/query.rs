//! The statements that only read.
//!
//! Invariant: one unreadable document spoils only its own job. Asked for by name it is
//! [`Error::Document`]; in a list a job keeps its place with `null` where the text was, and a row or
//! event is left out and reported to the log, so that everybody else's work goes on.

use super::fault::Halt;
use crate::{Error, JobRecord, SeqEvent};
use fleet_types::{JobId, MachineRow, Realm, RealmId, Timestamp, Token};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use serde::de::DeserializeOwned;
use serde_json::Value;

type Answer<T> = Result<T, Halt>;

const JOB: &str = "SELECT id, created_at, realm, version, finished, spec, state FROM jobs";

pub(super) fn job(conn: &Connection, id: &JobId) -> Answer<Option<JobRecord>> {
    let found = conn
        .prepare_cached(&format!("{JOB} WHERE id = ?1"))?
        .query_row([id.as_str()], job_texts)
        .optional()?;
    let Some((mut job, spec, state)) = found else { return Ok(None) };
    job.spec = parse(&format!("the spec of job `{id}`"), &spec)?;
    job.state = parse(&format!("the state of job `{id}`"), &state)?;
    Ok(Some(job))
}

pub(super) fn jobs(conn: &Connection, live_only: bool) -> Answer<Vec<JobRecord>> {
    let filter = if live_only { "WHERE finished = 0" } else { "" };
    job_list(conn, &format!("{JOB} {filter} ORDER BY created_at, rowid"), [])
}

/// The jobs that a client key made, in their order.
pub(super) fn accepted(conn: &Connection, client_key: &str) -> Answer<Vec<JobRecord>> {
    job_list(conn, &format!("{JOB} WHERE client_key = ?1 ORDER BY place"), [client_key])
}

fn job_list(conn: &Connection, sql: &str, params: impl Params) -> Answer<Vec<JobRecord>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut jobs = Vec::new();
    for found in statement.query_map(params, job_texts)? {
        let (mut job, spec, state) = found?;
        job.spec =
            parse_or_log(&format!("the spec of job `{}`", job.id), &spec).unwrap_or_default();
        job.state =
            parse_or_log(&format!("the state of job `{}`", job.id), &state).unwrap_or_default();
        jobs.push(job);
    }
    Ok(jobs)
}

fn job_texts(row: &Row<'_>) -> rusqlite::Result<(JobRecord, String, String)> {
    let job = JobRecord {
        id: JobId::new(row.get::<_, String>(0)?),
        created_at: Timestamp::from_millis(row.get(1)?),
        realm: RealmId::new(row.get::<_, String>(2)?),
        version: row.get::<_, i64>(3)? as u64,
        finished: row.get(4)?,
        spec: Value::Null,
        state: Value::Null,
    };
    Ok((job, row.get(5)?, row.get(6)?))
}

pub(super) fn live_rows(conn: &Connection) -> Answer<Vec<MachineRow>> {
    documents(conn, "SELECT document FROM machines WHERE final = 0 ORDER BY rowid", [])
}

pub(super) fn rows(conn: &Connection, job: &JobId) -> Answer<Vec<MachineRow>> {
    let sql = "SELECT document FROM machines WHERE job = ?1 ORDER BY epoch, offer, node";
    documents(conn, sql, [job.as_str()])
}

pub(super) fn row(conn: &Connection, token: &Token) -> Answer<Option<MachineRow>> {
    let sql = "SELECT document FROM machines WHERE token = ?1";
    one(conn, sql, token.as_str(), &format!("the machine row `{token}`"))
}

pub(super) fn events(
    conn: &Connection,
    job: &JobId,
    after: i64,
    limit: usize,
) -> Answer<Vec<SeqEvent>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(
        "SELECT seq, document FROM events WHERE job = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let found = statement.query_map(params![job.as_str(), after, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut events = Vec::new();
    for line in found {
        let (seq, text) = line?;
        if let Some(event) = parse_or_log(&format!("event {seq} of job `{job}`"), &text) {
            events.push(SeqEvent { seq, event });
        }
    }
    Ok(events)
}

pub(super) fn realm(conn: &Connection, id: &RealmId) -> Answer<Option<Realm>> {
    let sql = "SELECT document FROM realms WHERE id = ?1";
    one(conn, sql, id.as_str(), &format!("the realm `{id}`"))
}

pub(super) fn realms(conn: &Connection) -> Answer<Vec<Realm>> {
    documents(conn, "SELECT document FROM realms ORDER BY rowid", [])
}

pub(super) fn fact(conn: &Connection, name: &str) -> Answer<Option<String>> {
    Ok(conn
        .prepare_cached("SELECT value FROM facts WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

fn one<T: DeserializeOwned>(
    conn: &Connection,
    sql: &str,
    key: &str,
    what: &str,
) -> Answer<Option<T>> {
    let text: Option<String> =
        conn.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
    Ok(text.map(|t| parse(what, &t)).transpose()?)
}

fn documents<T: DeserializeOwned>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
) -> Answer<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut found = Vec::new();
    for text in statement.query_map(params, |row| row.get::<_, String>(0))? {
        found.extend(parse_or_log(sql, &text?));
    }
    Ok(found)
}

fn parse<T: DeserializeOwned>(what: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::Document(format!("{what}: {e}")))
}

fn parse_or_log<T: DeserializeOwned>(what: &str, text: &str) -> Option<T> {
    match parse(what, text) {
        Ok(thing) => Some(thing),
        Err(error) => {
            tracing::error!(%error, "left out of a list");
            None
        }
    }
}
