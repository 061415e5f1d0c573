//! The words of fleet: ids, money, time, accelerators, places, offers, instances, jobs, faults.
//!
//! Every other crate speaks in these types, so that data flows as named values and never as maps or
//! strings. Invariant: nothing here reads a clock, the environment, a file or the network, and no
//! type holds a secret in a form that prints.
//!
//! Deliberately absent: behaviour that decides (optimizer, lifecycle) and behaviour that waits (edges).

pub mod accelerator;
pub mod bucket;
pub mod checkpoint;
pub mod event;
pub mod fault;
pub mod id;
pub mod instance;
pub mod job;
pub mod machine;
pub mod market;
pub mod money;
pub mod offer;
pub mod place;
pub mod realm;
pub mod time;
pub mod tree;

pub use accelerator::{Accelerator, AcceleratorRequest};
pub use bucket::{BucketUri, StoreKind, StoredTree};
pub use checkpoint::{CheckpointId, CheckpointManifest};
pub use event::{Event, EventBody, LogLine, LogStream, RankedPlace};
pub use fault::{Fault, Refusal, Scope};
pub use id::{Epoch, FleetId, InstanceId, JobId, ProviderId, RealmId, Token};
pub use instance::{Address, DeathCause, Instance, InstanceState};
pub use job::{AttemptView, CostParts, EndCause, JobView, Outcome, PhaseName};
pub use machine::{MachineRow, RowState};
pub use market::{Fallback, Market};
pub use money::Usd;
pub use offer::{Availability, MachineClass, Offer, OfferFilter, OfferQuery, Trust};
pub use place::{Place, PlacePattern, Pool};
pub use realm::{EndMachine, Endpoint, Realm, is_loopback_url};
pub use time::{TimeScale, Timestamp, parse_duration, show_duration};
pub use tree::{Tree, TreeEntry, TreeKind};
