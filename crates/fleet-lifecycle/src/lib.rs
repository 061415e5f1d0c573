//! The life of a job as a pure function: `step(facts, state, happening, now) -> turn`.
//!
//! One file per phase under `phase/`; `react` turns a cloud's refusal into what happens next; `wants`
//! derives the work that a state asks for. Invariant: the work outstanding is a function of the state and
//! is stored nowhere else, so that a restart at any line asks for the same work again; answers of an old
//! epoch change nothing; cancel wins in every phase; epoch e+1 starts its task only when e's is gone.
//!
//! `anchor` decides what time it is, from readings of clocks that may jump.
//!
//! Deliberately absent: clocks themselves, I/O, randomness, log calls.

mod anchor;
mod facts;
mod happening;
pub mod invariant;
pub mod phase;
mod react;
mod resume;
mod state;
mod step;
mod turn;
mod view;
mod want;

pub use anchor::{Anchor, NEAR, Reading, Stakes, Told, Trust};
pub use facts::{JobFacts, Timing};
pub use happening::{Exit, Happening, Restored, Saved};
pub use react::{Reaction, react};
pub use resume::resumed;
pub use state::{
    Attempt, Goal, InFlight, JobState, Outgoing, Phase, PlannedPlace, RefusedPlace, Waiting,
};
pub use step::step;
pub use turn::{RowChange, Turn};
pub use view::view;
pub use want::{SessionGoal, StopKind, Want, wants};
