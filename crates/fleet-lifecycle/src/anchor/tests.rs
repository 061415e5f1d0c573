//! Every way in which the clocks can differ, as a table.

use super::*;

const DAY: i64 = 24 * 3600;
/// When the story begins, in seconds, and how long the machine was up then.
const START: i64 = 1_764_000_000;
const UP: u64 = 5_000;

fn secs(at: i64) -> Timestamp {
    Timestamp::from_millis(at * 1000)
}

/// `passed` seconds after the start, the wall clock `off` seconds wrong.
fn reading(passed: i64, off: i64) -> Reading {
    let since_boot = Duration::from_secs(UP + passed as u64);
    Reading { wall: secs(START + passed + off), since_boot, boot: "one".into() }
}

/// The same, in a boot that began with the story.
fn rebooted(passed: i64, off: i64) -> Reading {
    let since_boot = Duration::from_secs(7);
    Reading { boot: "two".into(), since_boot, ..reading(passed, off) }
}

fn running(trust: Trust) -> Anchor {
    Anchor::new(&reading(0, 0), secs(START), trust)
}

/// Seconds by which the anchor is wrong.
fn wrong(anchor: &Anchor, reading: &Reading, passed: i64) -> i64 {
    (anchor.now(reading).millis() - (START + passed) * 1000) / 1000
}

#[test]
fn no_jump_of_the_wall_clock_moves_a_running_anchor() {
    for trust in [Trust::Waiting, Trust::Alone, Trust::Confirmed] {
        for off in [-400 * DAY, -DAY, -61, -60, 0, 60, 61, DAY, 400 * DAY] {
            let (anchor, later) = (running(trust), reading(3600, off));
            assert_eq!(wrong(&anchor, &later, 3600), 0, "{trust:?} {off}");
            let apart = (off.abs() > 60).then_some(off * 1000);
            assert_eq!(anchor.apart(&later), apart, "{trust:?} {off}");
        }
    }
}

#[test]
fn a_restart_finds_the_time_whatever_the_wall_clock_says() {
    let saved = running(Trust::Confirmed).kept(&reading(600, 0));
    let known = Some(secs(START + 550));
    for off in [-DAY, -61, 0, 61, DAY] {
        for stakes in [Stakes::Inside, Stakes::Outside] {
            // In the same boot the line of time goes on.
            let now = reading(7200, off);
            let anchor = Anchor::start(&now, Some(&saved), known, stakes);
            assert_eq!(
                (wrong(&anchor, &now, 7200), anchor.trust()),
                (0, Trust::Confirmed),
                "{off}"
            );
        }
        // In another boot it is a lower bound, until an outside clock speaks.
        let now = rebooted(7200, off);
        let mut anchor = Anchor::start(&now, Some(&saved), known, Stakes::Outside);
        assert_eq!((wrong(&anchor, &now, 7200), anchor.trust()), (-6600, Trust::Waiting), "{off}");
        assert!(anchor.asks(&now));
        let told = anchor.told(secs(START + 7200), &now, Stakes::Outside);
        assert_eq!((told, wrong(&anchor, &now, 7200)), (Told::Moved(6_600_000), 0), "{off}");
        // No outside clock there is: the wall clock, but never before what is known.
        let anchor = Anchor::start(&now, Some(&saved), known, Stakes::Inside);
        assert_eq!(wrong(&anchor, &now, 7200), off.max(-6600), "{off}");
        // Nothing hangs on it.
        let anchor = Anchor::start(&now, Some(&saved), known, Stakes::Nothing);
        assert_eq!(wrong(&anchor, &now, 7200), off, "{off}");
    }
}

#[test]
fn what_is_known_is_never_gone_back_behind() {
    let known = Some(secs(START + 900));
    let saved = running(Trust::Alone).kept(&reading(600, 0));
    for now in [reading(700, -DAY), rebooted(700, -DAY)] {
        for saved in [Some(&saved), None] {
            for stakes in [Stakes::Inside, Stakes::Outside] {
                let anchor = Anchor::start(&now, saved, known, stakes);
                assert!(anchor.now(&now) >= secs(START + 900), "{now:?} {saved:?} {stakes:?}");
            }
        }
    }
    // Another boot whose clock has counted less, and one that has no name.
    let early = Reading { since_boot: Duration::from_secs(1), ..reading(700, 0) };
    let nameless = Reading { boot: String::new(), ..reading(700, 0) };
    for now in [early, nameless] {
        let anchor = Anchor::start(&now, Some(&saved), None, Stakes::Outside);
        assert_eq!(anchor.trust(), Trust::Waiting, "{now:?}");
    }
}

#[test]
fn an_outside_clock_is_followed_only_where_it_must_be_right() {
    use Stakes::{Nothing, Outside};
    use Told::{Agrees, Disputed, Moved};
    use Trust::{Alone, Confirmed, Waiting};
    // Trust, the wall clock's error, the outside clock's word, stakes: what comes of it, the error after.
    for (trust, wall, outside, stakes, told, after) in [
        (Alone, 0, 0, Outside, Agrees, 0),
        (Alone, DAY, 59, Outside, Agrees, 0),
        (Waiting, DAY, -60, Outside, Agrees, 0),
        (Waiting, DAY, 45, Outside, Agrees, 45),
        // The wall clock jumped: nobody follows it.
        (Confirmed, DAY, 0, Outside, Agrees, 0),
        (Confirmed, -DAY, 0, Outside, Agrees, 0),
        // Time passed that this machine did not count.
        (Confirmed, 3600, 3600, Outside, Moved(3_600_000), 3600),
        (Confirmed, 3580, 3600, Outside, Moved(3_600_000), 3600),
        // One clock against two, or back.
        (Confirmed, 0, DAY, Outside, Disputed(DAY * 1000), 0),
        (Confirmed, 3600, DAY, Outside, Disputed(DAY * 1000), 0),
        (Confirmed, -DAY, -DAY, Outside, Disputed(-DAY * 1000), 0),
        // Jobs were accepted in this time: their spans count.
        (Alone, DAY, DAY, Outside, Disputed(DAY * 1000), 0),
        (Alone, -DAY, -DAY, Outside, Disputed(-DAY * 1000), 0),
        // A lower bound is raised, never broken.
        (Waiting, 7 * DAY, DAY, Outside, Moved(DAY * 1000), DAY),
        (Waiting, 0, -DAY, Outside, Disputed(-DAY * 1000), 0),
        // Nothing is at stake.
        (Alone, 0, DAY, Nothing, Moved(DAY * 1000), DAY),
        (Confirmed, 0, -DAY, Nothing, Moved(-DAY * 1000), -DAY),
    ] {
        let (mut anchor, now) = (running(trust), reading(3600, wall));
        let word = secs(START + 3600 + outside);
        let case = format!("{trust:?} {wall} {outside} {stakes:?}");
        assert_eq!(anchor.told(word, &now, stakes), told, "{case}");
        assert_eq!(wrong(&anchor, &now, 3600), after, "{case}");
        let trusted = if matches!(told, Disputed(_)) { trust == Confirmed } else { true };
        assert_eq!(anchor.trust() == Confirmed, trusted, "{case}");
        assert_ne!(anchor.trust(), Waiting, "{case}");
    }
}

#[test]
fn nobody_is_waited_for_for_ever() {
    for (off, after) in [(0, 0), (DAY, DAY), (-DAY, -6600)] {
        let saved = running(Trust::Confirmed).kept(&reading(600, 0));
        let now = rebooted(7200, off);
        let mut anchor = Anchor::start(&now, Some(&saved), None, Stakes::Outside);
        let soon = Reading { since_boot: now.since_boot + Duration::from_secs(59), ..now.clone() };
        assert!(!anchor.give_up(&soon));
        let late = Reading {
            since_boot: now.since_boot + Duration::from_secs(60),
            wall: now.wall.plus(Duration::from_secs(60)),
            ..now
        };
        assert!(anchor.give_up(&late));
        assert_eq!((wrong(&anchor, &late, 7260), anchor.trust()), (after, Trust::Alone), "{off}");
        assert!(!anchor.give_up(&late) && !anchor.asks(&late));
    }
}

#[test]
fn who_has_nothing_at_stake_follows_the_wall_clock() {
    for off in [-DAY, -60, 60, DAY] {
        let (mut anchor, now) = (running(Trust::Confirmed), reading(10, off));
        anchor.renew(&now);
        let followed = off.abs() > 60;
        assert_eq!(wrong(&anchor, &now, 10), if followed { off } else { 0 });
        assert_eq!(anchor.trust() == Trust::Confirmed, !followed);
    }
}

#[test]
fn it_is_stored_and_read_again() {
    let anchor = running(Trust::Waiting);
    let text = serde_json::to_string(&anchor).unwrap();
    assert_eq!(
        text,
        r#"{"at":"2025-11-24T16:00:00.000Z","since_boot_ms":5000000,"boot":"one","trust":"waiting"}"#
    );
    assert_eq!(serde_json::from_str::<Anchor>(&text).unwrap(), anchor);
}
