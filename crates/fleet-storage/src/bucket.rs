//! Buckets of the clouds, as the controller uses them.

mod refused;

pub use refused::Refused;
