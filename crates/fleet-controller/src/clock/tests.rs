//! The clock with a home, a wall clock that jumped while nobody looked, and a server outside that knows.

use super::outside::tests::server;
use super::*;
use fleet_store::conformance::model::ModelStore;
use fleet_types::Endpoint;

const DAY: i64 = 24 * 3600 * 1000;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    (dir, home)
}

/// Stores an anchor by which it is now `off` milliseconds from the wall clock.
fn stored(home: &Home, off: i64, boot: &str, trust: &str) {
    let now = reading();
    let at = Timestamp::from_millis(now.wall.millis() + off);
    let boot = if boot.is_empty() { &now.boot } else { boot };
    let since_boot_ms = now.since_boot.as_millis() as u64;
    let text =
        serde_json::json!({"at": at, "since_boot_ms": since_boot_ms, "boot": boot, "trust": trust});
    write_private(&path(home), text.to_string().as_bytes()).unwrap();
}

/// Milliseconds from the wall clock, to the second.
fn off(now: Timestamp) -> i64 {
    ((now.millis() - wall().millis()) as f64 / 10_000.0).round() as i64 * 10_000
}

/// A server outside by which it is `off` milliseconds later than by the wall clock.
async fn outside(off: i64) -> String {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = Timestamp::from_millis(wall().millis() + off).to_string();
    let month: usize = text[5..7].parse().unwrap();
    let name = &MONTHS[month * 3 - 3..month * 3];
    let date = format!("Mon, {} {name} {} {} GMT", &text[8..10], &text[..4], &text[11..19]);
    server(format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n")).await
}

fn open(home: &Home, stakes: Stakes, source: String) -> Clock {
    Clock { source, ..Clock::open(home, stakes, None) }
}

#[tokio::test]
async fn a_wall_clock_that_jumped_while_we_were_away_is_not_followed() {
    for jump in [-DAY, DAY] {
        for stakes in [Stakes::Inside, Stakes::Outside] {
            let (_dir, home) = home();
            // The wall clock is `jump` ahead of what the last life knew.
            stored(&home, -jump, "", "confirmed");
            let clock = Clock::open(&home, stakes, None);
            clock.settle(stakes).await;
            assert_eq!(off(clock.now()), -jump, "{stakes:?}");
            // And the life after that knows it too.
            assert_eq!(off(Clock::open(&home, stakes, None).now()), -jump, "{stakes:?}");
            assert_eq!(off(Clock::open(&home, Stakes::Nothing, None).now()), 0);
        }
    }
}

#[tokio::test]
async fn after_a_boot_a_clock_outside_tells_the_time() {
    let (_dir, home) = home();
    // Two hours after the last word; the wall clock came up a day ahead.
    stored(&home, -DAY - 7_200_000, "another boot", "alone");
    let truth = outside(-DAY).await;
    let clock = open(&home, Stakes::Outside, truth);
    assert_eq!(off(clock.now()), -DAY - 7_200_000, "a lower bound until then");
    clock.settle(Stakes::Outside).await;
    assert_eq!(off(clock.now()), -DAY);
    assert_eq!(off(Clock::open(&home, Stakes::Outside, None).now()), -DAY, "stored");
}

#[tokio::test]
async fn time_that_this_machine_did_not_count_is_caught_up() {
    let (_dir, home) = home();
    stored(&home, -3_600_000, "", "confirmed");
    let clock = open(&home, Stakes::Outside, outside(0).await);
    assert_eq!(clock.tend().await, None);
    assert_eq!(off(clock.now()), 0);
    // A jump that nobody confirms is told, and asked about once a minute at most.
    stored(&home, -DAY, "", "confirmed");
    let clock = open(&home, Stakes::Outside, outside(-DAY).await);
    for _ in 0..2 {
        assert!(clock.tend().await.is_some_and(|by| (by - DAY).abs() < 10_000));
        assert_eq!(off(clock.now()), -DAY);
    }
}

#[tokio::test]
async fn the_first_job_gets_a_time_that_was_compared() {
    let (_dir, home) = home();
    let clock = open(&home, Stakes::Nothing, outside(-DAY).await);
    clock.before_jobs(&inside(), false).await;
    assert_eq!((off(clock.now()), clock.stakes()), (0, Stakes::Inside), "nobody is asked");
    clock.before_jobs(&Realm::default(), false).await;
    assert_eq!((off(clock.now()), clock.stakes()), (-DAY, Stakes::Outside));
    // A second one beside it changes nothing.
    clock.before_jobs(&inside(), true).await;
    assert_eq!((off(clock.now()), clock.stakes()), (-DAY, Stakes::Outside));
    // When all have ended, the time is taken anew.
    clock.before_jobs(&inside(), false).await;
    assert_eq!((off(clock.now()), clock.stakes()), (0, Stakes::Inside));
}

#[tokio::test]
async fn a_command_beside_no_server_goes_by_what_a_server_kept() {
    let (_dir, home) = home();
    assert_eq!(off(of_command(&home, &inside()).await), 0);
    stored(&home, -DAY, "", "alone");
    assert_eq!(off(of_command(&home, &inside()).await), -DAY);
    stored(&home, -DAY, "another boot", "alone");
    assert_eq!(off(of_command(&home, &inside()).await), 0);
}

#[tokio::test]
async fn an_empty_store_has_nothing_at_stake() {
    let found = at_stake(&ModelStore::default()).await.unwrap();
    assert_eq!(found, (Stakes::Nothing, None));
}

/// A realm whose clouds are on this machine.
fn inside() -> Realm {
    let endpoint = Endpoint { api: Some("http://127.0.0.1:1".into()), ..Endpoint::default() };
    let endpoints = fleet_providers::drivers().iter().map(|id| (*id, endpoint.clone())).collect();
    Realm { endpoints, ..Realm::default() }
}
