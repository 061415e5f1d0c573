//! The driver through the real SDK against canned answers: every code, every body, every gap.

mod admission;
mod errors;
mod launch;
mod machines;
mod offers;
mod replay;
