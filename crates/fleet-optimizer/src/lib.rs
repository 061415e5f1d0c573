//! Choosing where to run: filter, price by the useful hour, rank, explain.
//!
//! Pure: offers and limits in, one ordered list out, the same for the same input. Invariant: every
//! offer that comes in goes out once, as a candidate or as a rejection with its reason; an unknown
//! price is never ranked and an unknown hazard is never zero.

mod avoid;
mod effective;
mod rank;

pub mod policy;
pub mod simulate;
pub mod transfer;

pub use avoid::{Avoid, AvoidList};
pub use effective::{Overheads, effective_price, hazard_of};
pub use rank::{Ask, Ranked, Ranking, Rejected, rank};
