//! Stories of one job, told step by step: what the simulation has found, and what holds for any story.

#[path = "simulation/given.rs"]
mod given;

mod story {
    mod found;
    mod properties;
    mod setup;
    mod telling;
}
