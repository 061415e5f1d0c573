//! What can go wrong, how often, and how often it did.
//!
//! Every seed switches a random part of the kinds on (a swarm), so that rare ones are not drowned by
//! frequent ones. Invariant: all chance of a run comes from here, so a seed replays to the same run; every
//! strike is counted, so a kind that never fires is seen.

use fleet_types::Timestamp;
use std::time::Duration;

macro_rules! kinds {
    ($($name:ident $rate:literal,)*) => {
        /// One kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind { $($name),* }

        impl Kind {
            pub(crate) const ALL: &[Kind] = &[$(Kind::$name),*];
            /// Chance per occasion where the kind is switched on.
            fn rate(self) -> f64 {
                match self { $(Kind::$name => $rate),* }
            }
        }
    };
}

kinds! {
    // The controller.
    CrashAnyTime 0.6, CrashBeforeCall 0.02, CrashAfterCall 0.02, CrashAfterPersist 0.02, Asleep 0.5,
    // Its machine's clocks, and the clock outside that could tell better.
    WallJumps 0.7, Rebooted 0.4, Frozen 0.5, OutsideSilent 0.4,
    // Calls to a cloud.
    AnswerLost 0.15, ErrorBefore 0.1, ErrorAfter 0.15, AnswerDelayed 0.2, EffectDelayed 0.15,
    EffectDoubled 0.3, Throttled 0.25, StockOut 0.3, Quota 0.1, TooDear 0.05,
    ListLags 0.5, ListEmpty 0.25, ListPartial 0.05, ListFails 0.2, DescribeLags 0.4, DescribeFails 0.1,
    TerminateFails 0.4, TerminateAnswerLost 0.3, TerminateNotDone 0.3, PlanFails 0.2,
    // Reports within the controller.
    ReportDoubled 0.1, ReportDelayed 0.1,
    // Machines.
    PreemptedWithNotice 0.5, PreemptedWithoutNotice 0.5, HostDies 0.15, TaskKilled 0.15, NeverBoots 0.15,
    // The way to the agent.
    ShortPartition 0.5, LongPartition 0.15, ConnectionDropped 0.02, OrderDoubled 0.3, OrderAnswerLost 0.2,
    PublishAnswerLost 0.2, PutLate 0.1,
    // The task, and the user.
    TaskFails 0.4, TaskFailsInSetup 0.15, TaskIgnoresStop 0.3, TaskExitsZeroWhenStopped 0.7,
    TaskDoneWhenStopped 0.3, Cancelled 0.5, BudgetSmall 0.6,
    DurationShort 0.6,
}

/// Where the controller meets the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    Plan,
    Launch,
    Settle,
    Watch,
    Start,
    Publish,
    Terminate,
}

impl Edge {
    pub(crate) const ALL: [Self; 7] = [
        Self::Plan,
        Self::Launch,
        Self::Settle,
        Self::Watch,
        Self::Start,
        Self::Publish,
        Self::Terminate,
    ];
}

/// When at an edge a crash can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    BeforeCall,
    AfterCall,
    AfterPersist,
}

impl Moment {
    pub(crate) const ALL: [Self; 3] = [Self::BeforeCall, Self::AfterCall, Self::AfterPersist];

    fn kind(self) -> Kind {
        match self {
            Self::BeforeCall => Kind::CrashBeforeCall,
            Self::AfterCall => Kind::CrashAfterCall,
            Self::AfterPersist => Kind::CrashAfterPersist,
        }
    }
}

/// How often what happened.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) kinds: [u64; Kind::ALL.len()],
    pub(crate) crashes: [[u64; 3]; 7],
    /// Machines taken away, by the phase that the job was in.
    pub(crate) preempted_in: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) outcomes: std::collections::BTreeMap<String, u64>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            kinds: [0; Kind::ALL.len()],
            crashes: [[0; 3]; 7],
            preempted_in: Default::default(),
            outcomes: Default::default(),
        }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (have, more) in self.kinds.iter_mut().zip(other.kinds) {
            *have += more;
        }
        for (have, more) in
            self.crashes.as_flattened_mut().iter_mut().zip(other.crashes.as_flattened())
        {
            *have += more;
        }
        for (phase, n) in &other.preempted_in {
            *self.preempted_in.entry(phase).or_default() += n;
        }
        for (outcome, n) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += n;
        }
    }
}

/// The chance of one run.
pub(crate) struct Dice {
    rng: fastrand::Rng,
    rates: [f64; Kind::ALL.len()],
    /// Nothing goes wrong from then on.
    pub(crate) until: Timestamp,
    pub(crate) counts: Counts,
}

impl Dice {
    /// A swarm: about a third of the kinds, each at its rate.
    pub(crate) fn swarm(seed: u64, until: Timestamp) -> Self {
        let mut dice = Self::calm(seed, until);
        let share = [0.12, 0.3, 0.6][dice.rng.usize(..3)];
        for (kind, rate) in Kind::ALL.iter().zip(&mut dice.rates) {
            if dice.rng.f64() < share {
                *rate = kind.rate();
            }
        }
        dice
    }
    pub(crate) fn switch_on(&mut self, kind: Kind) {
        self.rates[kind as usize] = kind.rate();
    }
    /// Nothing goes wrong by itself.
    pub(crate) fn calm(seed: u64, until: Timestamp) -> Self {
        let rates = [0.0; Kind::ALL.len()];
        Self { rng: fastrand::Rng::with_seed(seed), rates, until, counts: Counts::default() }
    }
    /// Whether a fault strikes now; counted where it does.
    pub(crate) fn strikes(&mut self, kind: Kind, now: Timestamp) -> bool {
        let rate = self.rates[kind as usize];
        let hit = rate > 0.0 && now < self.until && self.rng.f64() < rate;
        if hit {
            self.counts.kinds[kind as usize] += 1;
        }
        hit
    }
    /// Whether the controller crashes at this edge; counted where it does.
    pub(crate) fn crashes(&mut self, edge: Edge, moment: Moment, now: Timestamp) -> bool {
        let hit = self.strikes(moment.kind(), now);
        if hit {
            self.counts.crashes[edge as usize][moment as usize] += 1;
        }
        hit
    }
    /// A span between two numbers of milliseconds.
    pub(crate) fn span(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.u64(from..=to))
    }
    /// One of `n`.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        self.rng.usize(..n)
    }
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.rng.f64() < p
    }
}
