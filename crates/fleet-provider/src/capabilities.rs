//! What a driver can do, as data: the conformance suite and the plan read it, so it cannot lie unseen.

use fleet_types::MachineClass;
use std::time::Duration;

/// How a create is made once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotency {
    /// The cloud knows a token: the same request may be sent again until a definite answer.
    Token,
    /// It knows none: never repeat; search by the unique name or label.
    UniqueName,
}

/// Where a preemption notice comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeSource {
    /// EC2 instance metadata, `spot/instance-action`.
    Ec2Metadata,
    /// Compute Engine's metadata server, `instance/preempted`.
    GceMetadata,
    /// There is no notice: the machine stops without a word.
    None,
}

/// Facts about a cloud that decide how it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Capabilities {
    pub class: MachineClass,
    pub spot: bool,
    pub on_demand: bool,
    pub notice: NoticeSource,
    /// Warning that the cloud promises.
    pub warning: Duration,
    pub idempotency: Idempotency,
    /// How long a new machine may be missing from listings (V of reliability.md), before the time scale.
    pub visibility: Duration,
    /// The cloud has tags, so that job and expiry are on the thing itself in fields of their own.
    pub tags: bool,
    /// The machine can end itself from inside, and that ends its bill.
    pub ends_itself: bool,
    /// The cloud itself ends the machine at `expires_at`.
    pub native_timer: bool,
    /// What covers the expiry where there is no native timer, for the plan's text.
    pub expiry_note: &'static str,
}
