//! The built agent, driven as the controller drives it: `start`, then frames through `attach`.
//!
//! Every test has a home of its own and real processes; every wait has a condition and a deadline.

mod checkpoints;
mod ends;
mod folders;
mod logs;
mod rig;
mod runs;
mod store;
