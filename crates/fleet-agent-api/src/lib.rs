//! The messages between controller and agent, and their frames.
//!
//! One duplex byte stream (an SSH channel bridged to the agent's unix socket) carries frames both ways.
//! Invariant: every message is bounded before it is allocated, versioned, and carries data, never shell
//! text that somebody pastes. The agent opens nothing and listens on no port; it answers.
//! `docs/specs/agent.md` tells the conversation in order.

mod frame;
mod message;
mod store;

pub use frame::{Blob, Decoder, Frame, FrameError, MAX_FRAME, encode_blob, encode_message};
pub use message::{
    AgentConfig, AgentState, Beat, FromAgent, GpuSample, Invitation, LogRecord, Notice, Notifier,
    RunSpec, SignalTarget, SignedCall, Slot, Source, StopOrder, StopReason, TaskEnd, TaskState,
    TaskStep, ToAgent, Want,
};
pub use store::{
    MountForm, MountOrder, OutcomeRecord, Saved, StoreAccess, StoreCall, StoreKey, StorePlace, Tool,
};

/// Version of the conversation. A peer with another version is refused with both numbers in the text.
pub const PROTOCOL: u32 = 2;
