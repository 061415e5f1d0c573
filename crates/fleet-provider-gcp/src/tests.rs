//! The driver through Google's own client against canned answers: every code, every body, every gap.

mod credentials;
mod errors;
mod launch;
mod machines;
mod offers;
mod replay;
