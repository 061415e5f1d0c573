//! The trials, one for each MUST that any body can show.

use super::history::row_state;
use super::samples::{event, job, job_id, machine};
use crate::{Commit, Error, Store};
use fleet_types::{Realm, RowState, Timestamp};
use futures_util::future::{BoxFuture, FutureExt, join_all};
use serde_json::{Value, json};
use std::sync::Arc;

/// A trial: its number and name, and what it does to an empty store. It panics when the store fails.
pub type Trial = (&'static str, fn(Arc<dyn Store>) -> BoxFuture<'static, ()>);

/// Every trial.
pub const TRIALS: &[Trial] = &[
    ("STO-1 an accepted job is found", |s| accepted(s).boxed()),
    ("STO-2 one client key makes its jobs once", |s| client_key(s).boxed()),
    ("STO-3 accept is all or nothing", |s| accept_whole(s).boxed()),
    ("STO-4 a commit raises the version", |s| commits(s).boxed()),
    ("STO-5 a stale commit changes nothing", |s| stale(s).boxed()),
    ("STO-6 a commit is all or nothing", |s| commit_whole(s).boxed()),
    ("STO-7 one failure leaves its neighbours alone", |s| neighbours(s).boxed()),
    ("STO-8 a final row never changes", |s| final_rows(s).boxed()),
    ("STO-9 events keep one order", |s| event_order(s).boxed()),
    ("STO-10 realms and facts are kept", |s| small_things(s).boxed()),
];

const OK: &str = "the store answers";

fn step(n: u64, from_version: u64) -> Commit {
    Commit {
        job: job_id(n),
        from_version,
        state: json!({ "step": from_version }),
        finished: false,
        events: vec![event(n, "step")],
        rows: Vec::new(),
    }
}

async fn accepted(s: Arc<dyn Store>) {
    let made = s.accept("k", vec![job(1), job(2)]).await.expect(OK);
    assert_eq!(made.iter().map(|j| j.version).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(s.job(&job_id(1)).await.expect(OK).as_ref(), made.first());
    assert_eq!(s.jobs(true).await.expect(OK), made);
    assert_eq!(s.job(&job_id(9)).await.expect(OK), None);
    assert_eq!(s.events(&job_id(1), 0, 10).await.expect(OK)[0].event, event(1, "accepted"));
}

async fn client_key(s: Arc<dyn Store>) {
    let many = (0..32).map(|n| {
        let s = Arc::clone(&s);
        // Each try brings ids of its own, as a client that starts over does.
        async move { s.accept("same", vec![job(100 + n), job(200 + n)]).await.expect(OK) }
    });
    let answers = join_all(many).await;
    assert!(answers.iter().all(|a| *a == answers[0]), "{answers:?}");
    assert_eq!(s.jobs(false).await.expect(OK), answers[0]);
    let id = answers[0][0].id.clone();
    s.commit(Commit { job: id.clone(), events: vec![], ..step(0, 0) }).await.expect(OK);
    let again = s.accept("same", vec![job(900)]).await.expect(OK);
    assert_eq!((again[0].id.clone(), again[0].version), (id, 1), "the job as it is now");
    assert_eq!(s.accept("other", vec![job(901)]).await.expect(OK)[0].id, job_id(901));
}

async fn accept_whole(s: Arc<dyn Store>) {
    s.accept("a", vec![job(1)]).await.expect(OK);
    s.accept("b", vec![job(2), job(1)]).await.expect_err("a taken id");
    assert_eq!(s.job(&job_id(2)).await.expect(OK), None);
    assert!(s.events(&job_id(2), 0, 9).await.expect(OK).is_empty());
    assert_eq!(s.accept("b", vec![job(3)]).await.expect(OK)[0].id, job_id(3), "the key is free");
}

async fn commits(s: Arc<dyn Store>) {
    s.accept("k", vec![job(2), job(1)]).await.expect(OK);
    let row = machine(1, 1, 0, RowState::Intent);
    let commit = Commit { rows: vec![row.clone()], finished: true, ..step(1, 0) };
    assert_eq!(s.commit(commit).await.expect(OK), 1);
    let found = s.job(&job_id(1)).await.expect(OK).expect("the job");
    assert_eq!((found.version, found.finished, found.state), (1, true, json!({ "step": 0 })));
    assert_eq!(found.spec, job(1).spec, "what was accepted stays");
    assert_eq!(s.row(&row.token).await.expect(OK), Some(row.clone()));
    assert_eq!(s.live_rows().await.expect(OK), [row], "a finished job's row lives on");
    let ids = |jobs: Vec<crate::JobRecord>| jobs.into_iter().map(|j| j.id).collect::<Vec<_>>();
    assert_eq!(ids(s.jobs(true).await.expect(OK)), [job_id(2)]);
    assert_eq!(ids(s.jobs(false).await.expect(OK)), [job_id(1), job_id(2)], "oldest first");
}

async fn stale(s: Arc<dyn Store>) {
    s.accept("k", vec![job(1)]).await.expect(OK);
    let racers = (0..16).map(|_| s.commit(step(1, 0)));
    let answers = join_all(racers).await;
    assert_eq!(answers.iter().filter(|a| a.is_ok()).count(), 1, "{answers:?}");
    let late =
        s.commit(Commit { rows: vec![machine(1, 1, 0, RowState::Live)], ..step(1, 0) }).await;
    assert!(matches!(late, Err(Error::Stale { expected: 0, found: 1, .. })), "{late:?}");
    assert!(matches!(s.commit(step(1, 2)).await, Err(Error::Stale { expected: 2, found: 1, .. })));
    assert!(matches!(s.commit(step(7, 0)).await, Err(Error::NoSuchJob(_))));
    assert_eq!(s.events(&job_id(1), 0, 99).await.expect(OK).len(), 2);
    assert!(s.live_rows().await.expect(OK).is_empty());
}

async fn commit_whole(s: Arc<dyn Store>) {
    s.accept("k", vec![job(1)]).await.expect(OK);
    let stray = machine(5, 1, 0, RowState::Intent);
    let rows = vec![machine(1, 1, 0, RowState::Intent), stray.clone()];
    let answer = s.commit(Commit { rows, ..step(1, 0) }).await;
    assert!(matches!(answer, Err(Error::NoSuchJob(_))), "{answer:?}");
    let found = s.job(&job_id(1)).await.expect(OK).expect("the job");
    assert_eq!((found.version, found.state), (0, job(1).state));
    assert!(s.live_rows().await.expect(OK).is_empty());
    assert_eq!(s.events(&job_id(1), 0, 9).await.expect(OK).len(), 1);
    assert!(matches!(s.put_row(stray).await, Err(Error::NoSuchJob(_))));
    assert!(matches!(s.append(vec![event(1, "a"), event(5, "b")]).await, Err(Error::NoSuchJob(_))));
    assert_eq!(s.events(&job_id(1), 0, 9).await.expect(OK).len(), 1);
}

async fn neighbours(s: Arc<dyn Store>) {
    s.accept("k", (1..=64).map(job).collect()).await.expect(OK);
    // Every third commit fails: half of those by staleness, half on their last row.
    let all = (1..=64_u64).map(|n| {
        let commit = match n % 6 {
            0 => step(n, 3),
            3 => Commit { rows: vec![machine(999, 1, 0, RowState::Live)], ..step(n, 0) },
            _ => Commit { rows: vec![machine(n, 1, 0, RowState::Live)], ..step(n, 0) },
        };
        s.commit(commit)
    });
    for (answer, n) in join_all(all).await.into_iter().zip(1_u64..) {
        assert_eq!(answer.is_ok(), n % 3 != 0, "{n}: {answer:?}");
        let found = s.job(&job_id(n)).await.expect(OK).expect("the job");
        assert_eq!(found.version, u64::from(n % 3 != 0));
        assert_eq!(s.rows(&job_id(n)).await.expect(OK).len(), usize::from(n % 3 != 0));
    }
}

async fn final_rows(s: Arc<dyn Store>) {
    s.accept("k", vec![job(1)]).await.expect(OK);
    for (epoch, last) in [(1, row_state(4)), (2, row_state(5))] {
        let row = |state| machine(1, epoch, 0, state);
        for state in [row_state(0), row_state(1), row_state(2), row_state(3), last.clone()] {
            assert!(s.put_row(row(state)).await.expect(OK));
        }
        assert!(!s.put_row(row(RowState::Live)).await.expect(OK));
        let version = s.job(&job_id(1)).await.expect(OK).expect("the job").version;
        let commit = Commit { rows: vec![row(RowState::Live)], ..step(1, version) };
        assert_eq!(s.commit(commit).await.expect(OK), version + 1);
        let kept = s.row(&row(RowState::Live).token).await.expect(OK).expect("the row");
        assert_eq!(kept.state, last);
    }
    assert!(s.live_rows().await.expect(OK).is_empty());
    for (epoch, offer) in [(4, 0), (3, 1), (3, 0)] {
        s.put_row(machine(1, epoch, offer, RowState::Intent)).await.expect(OK);
    }
    let places: Vec<_> =
        s.rows(&job_id(1)).await.expect(OK).iter().map(|r| (r.epoch.0, r.offer)).collect();
    assert_eq!(places, [(1, 0), (2, 0), (3, 0), (3, 1), (4, 0)], "by epoch and offer");
    assert_eq!(s.live_rows().await.expect(OK).len(), 3);
}

async fn event_order(s: Arc<dyn Store>) {
    s.accept("k", vec![job(1), job(2)]).await.expect(OK);
    for n in 0..20 {
        s.append(vec![event(1, &format!("a{n}")), event(2, "other"), event(1, &format!("b{n}"))])
            .await
            .expect(OK);
    }
    let all = s.events(&job_id(1), 0, 1000).await.expect(OK);
    let expected: Vec<_> = std::iter::once(event(1, "accepted"))
        .chain((0..20).flat_map(|n| [event(1, &format!("a{n}")), event(1, &format!("b{n}"))]))
        .collect();
    assert_eq!(all.iter().map(|e| e.event.clone()).collect::<Vec<_>>(), expected);
    assert!(all.windows(2).all(|w| w[0].seq < w[1].seq));
    let (mut paged, mut after) = (Vec::new(), 0);
    loop {
        let page = s.events(&job_id(1), after, 7).await.expect(OK);
        assert!(page.len() <= 7);
        let Some(last) = page.last() else { break };
        after = last.seq;
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages meet without gap or double");
    assert!(s.events(&job_id(9), 0, 9).await.expect(OK).is_empty());
}

async fn small_things(s: Arc<dyn Store>) {
    let realm = Realm { ssh_port: Some(2200), ..Realm::default() };
    let id = s.put_realm(&realm).await.expect(OK);
    assert_eq!(s.put_realm(&realm).await.expect(OK), id);
    assert_eq!(s.realm(&id).await.expect(OK), Some(realm.clone()));
    assert_eq!(s.realm(&Realm::default().id()).await.expect(OK), None);
    s.put_realm(&Realm::default()).await.expect(OK);
    assert_eq!(s.realms().await.expect(OK), [realm, Realm::default()]);
    assert_eq!(s.fact("admit-address").await.expect(OK), None);
    for value in ["203.0.113.7", "203.0.113.8", "'; DROP TABLE jobs; --"] {
        s.set_fact("admit-address", value).await.expect(OK);
        assert_eq!(s.fact("admit-address").await.expect(OK).as_deref(), Some(value));
    }
    let odd = crate::NewJob {
        spec: Value::String("\u{0}\"'\\\u{202e}".into()),
        created_at: Timestamp::from_millis(i64::MIN),
        ..job(1)
    };
    let made = s.accept("'; --", vec![odd]).await.expect(OK);
    assert_eq!(s.job(&job_id(1)).await.expect(OK).as_ref(), made.first(), "values are data");
}
