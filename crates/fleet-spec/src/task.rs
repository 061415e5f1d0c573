//! A task as the rest of fleet sees it: typed, normalised, checked.
//!
//! Invariant: whatever is in a [`Task`] was asked for by the user and is acted on; what we cannot act on
//! was an error or a warning while reading. Secrets' values are not part of a task's JSON.

use fleet_types::offer::Bound;
use fleet_types::{AcceleratorRequest, BucketUri, Fallback, OfferFilter, PlacePattern, Usd};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing to run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    pub name: Option<String>,
    pub workload: Option<Workload>,
    /// Machines; 1 is all that runs today.
    pub num_nodes: u32,
    pub resources: Resources,
    /// Values are text, whatever they look like.
    pub envs: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, SecretRef>,
    /// Folder on this machine, as written (relative to the task file's folder is resolved by the caller).
    pub workdir: Option<String>,
    pub file_mounts: Vec<FileMount>,
    pub setup: Option<String>,
    pub run: Option<String>,
    pub work: Option<Work>,
    /// Hard cap on the job's life.
    #[serde(with = "seconds")]
    pub max_duration: Option<Duration>,
    pub spot: SpotSection,
    pub checkpoint: CheckpointSection,
    pub watch: Option<WatchSection>,
    pub recovery: Recovery,
    /// `machine: any`: recovery may cross between VM and container.
    pub machine_any: bool,
}

/// What kind of work it is; decides defaults and advice, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    Training,
    Finetune,
    Batch,
    Sweep,
    Preprocess,
    Serving,
    Interactive,
    Evaluation,
}

/// What machine is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// At least one. Several come from a set or list of accelerators, `any_of` or `ordered`.
    pub alternatives: Vec<Alternative>,
    /// `ordered`: the first that can be had wins, whatever it costs. Else the cheapest.
    pub ordered: bool,
    pub disk_gib: Option<u32>,
    pub disk_tier: Option<String>,
    pub image: Option<Image>,
    /// `22`, `8000-8010` expanded.
    pub ports: Vec<u16>,
    pub labels: BTreeMap<String, String>,
    pub autostop_minutes: Option<i64>,
}

/// One alternative.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alternative {
    /// `None`: a machine without GPU.
    pub accelerator: Option<AcceleratorRequest>,
    pub cpus: Option<Bound>,
    /// `4x` is turned into GiB against `cpus` where both are known, else kept as a factor.
    pub memory_gib: Option<Bound>,
    pub memory_per_cpu: Option<f64>,
    pub instance_type: Option<String>,
    /// Places allowed; empty is everywhere.
    pub places: Vec<PlacePattern>,
    /// `None`: not said in the file.
    pub use_spot: Option<bool>,
}

/// The system the task runs in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Image {
    /// A cloud's image id, everywhere.
    Id(String),
    /// A cloud's image id by region.
    ByRegion(BTreeMap<String, String>),
    /// `docker:NAME`.
    Docker(String),
}

/// A secret: where its value comes from is settled at launch; it never sits in the task's JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretRef {
    /// The file gave a value (kept apart, see [`crate::Parsed::secret_values`]).
    pub has_value: bool,
    pub allow_untrusted: bool,
}

/// Something put on the machine before `setup`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileMount {
    /// Absolute or `~/…` path on the machine.
    pub target: String,
    pub source: MountSource,
}

/// Where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// File or folder on this machine; frozen into the job's snapshot.
    Local(String),
    /// A repository; fetched on this machine and frozen likewise.
    Git(GitSource),
    /// A bucket, seen by the machine itself.
    Bucket(BucketMount),
}

/// A repository. Its URL carries no credentials: git on this machine has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    pub url: String,
    /// Branch, tag or commit; `None` is the repository's own default branch.
    pub reference: Option<String>,
}

/// A bucket, or a folder or object in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BucketMount {
    pub uri: BucketUri,
    pub mode: MountMode,
    /// Given by `name`: made on demand. `None`: it must be there, and is never removed.
    pub named: Option<NamedBucket>,
}

/// What a bucket that is given by name is made of, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBucket {
    /// Where it is made if it is missing; `None` is the account's default.
    pub region: Option<String>,
    /// Put into it before the launch.
    pub upload: Option<Upload>,
    /// It outlives the job.
    pub persistent: bool,
}

/// Content of this machine for a bucket; paths as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upload {
    /// What is in this folder.
    Folder(String),
    /// Each of these files and folders, under its own last name.
    Items(Vec<String>),
}

/// How a bucket is seen on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MountMode {
    Copy,
    Mount,
    MountCached,
}

/// How much work there is, and how fast each accelerator does it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// On the first accelerator named.
    #[serde(with = "seconds_required")]
    pub amount: Duration,
    /// Relative speeds by accelerator name.
    #[serde(default)]
    pub speed: BTreeMap<String, f64>,
}

/// The `spot:` section and its flags.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SpotSection {
    pub fallback: Fallback,
    /// Finish by this long after acceptance.
    #[serde(with = "seconds")]
    pub deadline: Option<Duration>,
    pub max_price_usd_per_hour: Option<Usd>,
    pub budget_usd: Option<Usd>,
    pub filter: OfferFilter,
}

/// The `checkpoint:` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointSection {
    /// Bucket; `None` is the relay through this machine.
    pub store: Option<BucketUri>,
    /// How long nobody may be awake: the machine's key for the store is issued so far ahead, as the
    /// cloud allows.
    #[serde(with = "seconds_required")]
    pub away: Duration,
    /// How often the task saves, as far as it says.
    #[serde(with = "seconds")]
    pub interval: Option<Duration>,
    /// How many stay; at least 1.
    pub keep: u32,
    /// `TERM`, `USR1`, …
    pub signal: String,
    pub signal_to: SignalTo,
    /// Time between the signal and SIGKILL when there is no deadline from the cloud.
    #[serde(with = "seconds_required")]
    pub grace: Duration,
    /// Quiet time after which a file counts as finished.
    #[serde(with = "seconds_required")]
    pub quiet: Duration,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self {
            store: None,
            away: Duration::from_secs(12 * 3600),
            interval: None,
            keep: 3,
            signal: "TERM".into(),
            signal_to: SignalTo::Main,
            grace: Duration::from_secs(30),
            quiet: Duration::from_secs(2),
        }
    }
}

/// Who gets the notice signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalTo {
    /// The process that the `run` shell waits on.
    #[default]
    Main,
    /// Every process of the task.
    Group,
    /// Run this instead of a signal.
    Command(String),
}

/// The `watch:` section: a task that prints and saves nothing for so long is stalled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchSection {
    #[serde(with = "seconds_required")]
    pub stalled: Duration,
    pub action: StallAction,
}

/// What to do about a stalled task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StallAction {
    Alarm,
    Restart,
    Stop,
}

/// `job_recovery` and `retry`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recovery {
    pub strategy: Option<String>,
    /// How often a task that failed by itself is run again.
    pub max_restarts_on_errors: u32,
    /// Exit codes that count as a lost machine, not as a user's error.
    pub recover_on_exit_codes: Vec<i32>,
}

mod seconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;
    pub(super) fn serialize<S: Serializer>(v: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        v.map(|d| d.as_secs_f64()).serialize(s)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Duration>, D::Error> {
        let v = Option::<f64>::deserialize(d)?;
        v.map(|s| Duration::try_from_secs_f64(s).map_err(serde::de::Error::custom)).transpose()
    }
}

mod seconds_required {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;
    pub(super) fn serialize<S: Serializer>(v: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(v.as_secs_f64())
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}
