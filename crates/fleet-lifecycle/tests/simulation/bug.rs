//! Bugs planted to see the checks bite: each a way in which the controller or its store goes wrong.

use super::dice::Kind;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A create that is sent again after a restart carries another token.
    FreshTokenAfterRestart,
    /// The newer epoch's task is started while the older one's is not proven gone.
    IgnoresOutgoing,
    /// The first list without the machine counts as its absence.
    EmptyListIsAbsence,
    /// Lists from before the visibility window's end count towards absence.
    CountsEarlyLists,
    /// Not found is gone.
    NotFoundIsGone,
    /// A create that waits is sent although the job was cancelled meanwhile.
    LateCreate,
    /// Manifests of older epochs are accepted.
    NoFence,
    /// Rows that are being ended are forgotten by a crash.
    ForgetsEnding,
    /// A cancel is answered before it is committed.
    AcksEarly,
    /// The intent row is committed with the answer, not before the call.
    IntentAfterCreate,
    /// A create without an answer is sent again where the cloud knows no token.
    RepeatsUnknown,
    /// A create counts as over when its answer is sent, not when it is taken.
    ForgetsSentCreate,
    /// Reports of an older epoch are taken for the newest one's.
    NoEpochCheck,
    /// A connection lost for twenty seconds is a lost machine.
    SilenceIsDeath,
    /// An accepted terminate lets the next epoch start.
    TerminateIsProof,
    /// Parts of a list count as the whole.
    PartialListCounts,
    /// Preempted saves with exit code 0 end the job.
    StopIsSuccess,
    /// What a keeper had settled before a crash is not told to the job again.
    NoResumedReleases,
    /// A task in its setup counts as running.
    SetupIsRun,
    /// Limits go by the wall clock.
    WallClockDecides,
    /// The wall clock is believed at a start.
    WallClockAtStart,
}

impl Bug {
    pub(crate) const ALL: [Self; 21] = [
        Self::FreshTokenAfterRestart,
        Self::IgnoresOutgoing,
        Self::EmptyListIsAbsence,
        Self::CountsEarlyLists,
        Self::NotFoundIsGone,
        Self::LateCreate,
        Self::NoFence,
        Self::ForgetsEnding,
        Self::AcksEarly,
        Self::IntentAfterCreate,
        Self::RepeatsUnknown,
        Self::ForgetsSentCreate,
        Self::NoEpochCheck,
        Self::SilenceIsDeath,
        Self::TerminateIsProof,
        Self::PartialListCounts,
        Self::StopIsSuccess,
        Self::NoResumedReleases,
        Self::SetupIsRun,
        Self::WallClockDecides,
        Self::WallClockAtStart,
    ];

    /// Faults without which the bug does not matter: switched on in every seed that looks for it.
    pub(crate) fn stirred_by(self) -> &'static [Kind] {
        match self {
            Self::CountsEarlyLists => {
                &[Kind::Asleep, Kind::ListEmpty, Kind::ListLags, Kind::AnswerLost]
            }
            Self::PartialListCounts => &[Kind::ListPartial, Kind::AnswerLost],
            Self::NoFence => &[Kind::PutLate, Kind::PreemptedWithoutNotice],
            Self::ForgetsSentCreate => &[Kind::ReportDelayed, Kind::PreemptedWithNotice],
            Self::LateCreate => &[Kind::Throttled, Kind::Cancelled],
            Self::TerminateIsProof => &[Kind::LongPartition, Kind::PreemptedWithNotice],
            Self::NoResumedReleases => &[Kind::CrashAfterPersist, Kind::CrashAfterCall],
            Self::AcksEarly => &[Kind::Cancelled],
            Self::WallClockDecides => &[Kind::WallJumps],
            Self::WallClockAtStart => &[Kind::WallJumps, Kind::CrashAnyTime, Kind::Rebooted],
            Self::FreshTokenAfterRestart
            | Self::IgnoresOutgoing
            | Self::EmptyListIsAbsence
            | Self::NotFoundIsGone
            | Self::ForgetsEnding
            | Self::IntentAfterCreate
            | Self::RepeatsUnknown
            | Self::NoEpochCheck
            | Self::SilenceIsDeath
            | Self::SetupIsRun
            | Self::StopIsSuccess => &[],
        }
    }
}
