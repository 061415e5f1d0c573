//! From a seed to a run, and from many seeds to one answer.

use super::bug::Bug;
use super::dice::{Counts, Dice, Kind};
use super::given::{START, facts, offer};
use super::machine::TaskSpec;
use super::sim::{Cloud, Event, PlannedCrash, Setting, Sim, Sudden, Trigger};
use fleet_types::{Epoch, Fallback, Market, ProviderId, Usd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// In milliseconds.
const DAY: i64 = 24 * 3600 * 1000;

/// The cloud that knows tokens and gives notice.
pub(crate) fn token_cloud(dice: &mut Dice, on_demand: bool) -> Cloud {
    let mut offers = Vec::new();
    for region in 0..2 {
        for zone in 0..2 {
            let spot = 30 + dice.pick(60) as u64;
            offers.push(offer(ProviderId::Aws, region, zone, Market::Spot, spot));
            if on_demand {
                offers.push(offer(ProviderId::Aws, region, zone, Market::OnDemand, 200));
            }
        }
    }
    let visibility = Duration::from_secs(180);
    Cloud {
        token: true,
        notice: true,
        ends_itself: true,
        visibility,
        offers,
        page_lost_until: START,
        lies: 0,
        lied_at: START,
    }
}

/// The marketplace that knows neither.
pub(crate) fn tokenless_cloud(dice: &mut Dice) -> Cloud {
    let spot = |region| (region, 20 + dice.pick(60) as u64);
    let prices: Vec<_> = (0..5).map(spot).collect();
    let offers = prices
        .into_iter()
        .map(|(region, cents)| offer(ProviderId::Vast, region, 0, Market::Spot, cents))
        .collect();
    let visibility = Duration::from_secs(300);
    Cloud {
        token: false,
        notice: false,
        ends_itself: false,
        visibility,
        offers,
        page_lost_until: START,
        lies: 0,
        lied_at: START,
    }
}

pub(crate) fn task() -> TaskSpec {
    TaskSpec {
        setup: Duration::from_secs(20),
        work: 12 * MINUTE,
        every: Some(MINUTE),
        save: Duration::from_secs(5),
        code_when_stopped: 0,
        ignores_stop: false,
        done_when_stopped: false,
        fails: None,
        fails_in_setup: false,
        fail_times: 0,
    }
}

fn any_task(dice: &mut Dice) -> TaskSpec {
    let strikes = |dice: &mut Dice, kind| {
        let hit = dice.strikes(kind, START);
        // Counted when it shows.
        dice.counts.kinds[kind as usize] = 0;
        hit
    };
    let fails_in_setup = strikes(dice, Kind::TaskFailsInSetup);
    let fails = fails_in_setup || strikes(dice, Kind::TaskFails);
    let has_setup = fails_in_setup || dice.chance(0.5);
    let code = [1, 75][dice.pick(2)];
    let at = dice.span(30_000, 900_000);
    TaskSpec {
        setup: if has_setup { dice.span(1_000, 300_000) } else { Duration::ZERO },
        work: dice.span(120_000, 2_400_000),
        every: dice.chance(0.8).then(|| dice.span(20_000, 300_000)),
        save: dice.span(1_000, 20_000),
        code_when_stopped: if strikes(dice, Kind::TaskExitsZeroWhenStopped) { 0 } else { 143 },
        ignores_stop: strikes(dice, Kind::TaskIgnoresStop),
        done_when_stopped: strikes(dice, Kind::TaskDoneWhenStopped),
        fails: fails.then_some((at, code)),
        fails_in_setup,
        fail_times: 1 + dice.pick(2) as u32,
    }
}

/// Blows that fall just when the job enters a phase.
fn triggers(dice: &mut Dice, cancels: bool, crashes: bool) -> Vec<Trigger> {
    let phases =
        ["planning", "launching", "connecting", "preparing", "setup", "running", "stopping"];
    let mut out = Vec::new();
    for _ in 0..dice.pick(4) {
        let what = match dice.pick(4) {
            0 if cancels => Sudden::Cancel,
            1 if crashes => Sudden::Crash,
            2 if dice.strikes(Kind::PreemptedWithNotice, START) => Sudden::Preempt,
            3 if dice.strikes(Kind::HostDies, START) => Sudden::HostDies,
            _ => continue,
        };
        let phase = phases[dice.pick(phases.len())];
        let outgoing = dice.chance(0.5);
        out.push(Trigger { phase, outgoing, after: dice.span(1, 12_000), what });
    }
    out
}

/// The swarm's run of a seed.
pub(crate) fn swarm(seed: u64, bug: Option<Bug>, trace: bool) -> Sim {
    let mut dice = Dice::calm(seed, START);
    let until = START.plus(dice.span(20 * 60_000, 150 * 60_000));
    let mut dice = Dice::swarm(seed, until);
    bug.map_or(&[][..], Bug::stirred_by).iter().for_each(|kind| dice.switch_on(*kind));
    let on_demand = dice.chance(0.3);
    let mut clouds = Vec::new();
    let both = dice.pick(3);
    if both != 1 {
        clouds.push(token_cloud(&mut dice, on_demand));
    }
    if both != 0 {
        clouds.push(tokenless_cloud(&mut dice));
    }
    let mut facts = facts();
    facts.fallback = match (on_demand, dice.pick(8)) {
        (true, _) => Fallback::OnDemand,
        (false, 0) => Fallback::None,
        (false, _) => Fallback::Wait,
    };
    facts.any_class = dice.chance(0.7);
    facts.max_restarts = dice.pick(3) as u32;
    facts.recover_codes = if dice.chance(0.3) { vec![75] } else { Vec::new() };
    facts.grace_ms = dice.span(5_000, 60_000).as_millis() as u64;
    if dice.strikes(Kind::BudgetSmall, START) {
        facts.budget = Usd::from_dollars(0.5 + dice.pick(100) as f64 / 60.0);
    }
    if dice.strikes(Kind::DurationShort, START) {
        facts.expires_at = START.plus(dice.span(10 * 60_000, 60 * 60_000));
    }
    let task = any_task(&mut dice);
    let cancels = dice.strikes(Kind::Cancelled, START);
    let crashes = if dice.strikes(Kind::CrashAnyTime, START) { 1 + dice.pick(4) } else { 0 };
    let triggers = triggers(&mut dice, cancels, crashes > 0);
    let early = dice.chance(0.5);
    let jumps = if dice.strikes(Kind::WallJumps, START) { 1 + dice.pick(4) } else { 0 };
    let span = until.since(START).as_millis() as u64;
    let jumps: Vec<_> = (0..jumps).map(|_| (dice.span(0, span), dice.pick(5))).collect();
    let mut times: Vec<_> = (0..crashes).map(|_| dice.span(0, span)).collect();
    let cancel = cancels.then(|| dice.span(0, if early { 180_000 } else { span }));
    let mut sim = Sim::new(Setting { dice, facts, task, clouds, trace });
    sim.bug = bug;
    sim.triggers = triggers;
    for (at, which) in jumps {
        sim.after(at, Event::WallJumps([-DAY, DAY, 0, -90_000, 400 * DAY][which]));
    }
    for at in times.drain(..) {
        sim.after(at, Event::Crash);
    }
    if let Some(at) = cancel {
        sim.after(at, Event::Cancel);
    }
    sim.run();
    sim
}

/// A calm run with planned crashes: one create is lost, one machine is preempted where asked for.
pub(crate) fn planned(
    token: bool,
    crashes: &[PlannedCrash],
    lose: Option<Epoch>,
    preempt: bool,
) -> Sim {
    let mut dice = Dice::calm(7, START.plus(40 * MINUTE));
    let cloud = if token { token_cloud(&mut dice, false) } else { tokenless_cloud(&mut dice) };
    let clouds = vec![cloud];
    let mut sim = Sim::new(Setting { dice, facts: facts(), task: task(), clouds, trace: true });
    sim.planned = crashes.to_vec();
    sim.lose_create_of = lose;
    sim.preempt_first = preempt.then_some(5 * MINUTE);
    sim.run();
    sim
}

/// What many runs came to.
#[derive(Default)]
pub(crate) struct Total {
    pub(crate) counts: Counts,
    /// Seeds that violated something, with the first thing they violated.
    pub(crate) failed: std::collections::BTreeMap<u64, String>,
    pub(crate) runs: u64,
}

/// Plays seeds on all cores until `enough` have failed.
pub(crate) fn play(seeds: std::ops::Range<u64>, bug: Option<Bug>, enough: usize) -> Total {
    let total = Mutex::new(Total::default());
    let next = AtomicU64::new(seeds.start);
    let cores = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let sim = swarm(seed, bug, false);
                    let mut total = total.lock().expect("a thread panicked");
                    total.runs += 1;
                    total.counts.add(&sim.dice.counts);
                    if let Some(violated) = sim.violations.into_iter().next() {
                        total.failed.insert(seed, violated);
                    }
                    if total.failed.len() >= enough {
                        next.fetch_max(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    total.into_inner().expect("a thread panicked")
}
