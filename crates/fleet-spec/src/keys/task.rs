//! Keys of a task and of its sections, but for `resources`.

use super::{Form, RECOVERY, RESOURCES, Table, ignored, key, never, not_yet};

const TEXT: Form = Form::Text;
const ENV_VALUE: Form = Form::OneOf(&[Form::Text, Form::Null]);

/// A task: one document of a file.
pub(crate) static TASK: Table = Table {
    own: &[
        key("name", TEXT, "Name of the job: letters, digits, `.`, `_`, `-`, at most 63."),
        key(
            "workload",
            Form::Choice(WORKLOADS),
            "What kind of work it is; decides defaults and advice, nothing else.",
        ),
        key("num_nodes", Form::Whole { min: 1, max: 10_000 }, "Machines; only 1 runs today."),
        key("resources", Form::Table(&RESOURCES), "What machine is asked for, and where."),
        key("envs", Form::MapOf(&ENV_VALUE), "Variables of the task; null must be given by --env."),
        key(
            "secrets",
            Form::OneOf(&[
                Form::MapOf(&Form::OneOf(&[Form::Text, Form::Null, Form::Table(&SECRET)])),
                Form::ListOf(&Form::Text),
            ]),
            "Variables that are kept sealed; null must be given by --secret.",
        ),
        key("workdir", TEXT, "Folder on this machine that becomes the task's working folder."),
        key(
            "file_mounts",
            Form::MapOf(&Form::OneOf(&[
                Form::Text,
                Form::Table(&STORAGE),
                Form::Table(&REPOSITORY),
            ])),
            "Path on the machine: path on this machine, bucket, repository or storage object.",
        ),
        key("setup", TEXT, "Script that prepares the machine; runs before `run`."),
        key("run", TEXT, "Script that does the work."),
        key("work", Form::Span, "How long the work takes on the first accelerator named."),
        key(
            "speed",
            Form::MapOf(&Form::Number),
            "How fast each accelerator is, relative to the others; used with `work`.",
        ),
        key("max_duration", Form::Span, "The job ends after this long, whatever it does."),
        key("spot", Form::Table(&SPOT), "Limits and wishes for spot machines."),
        key("checkpoint", Form::Table(&CHECKPOINT), "How the task saves its progress."),
        key("watch", Form::Table(&WATCH), "What to do about a task that does nothing."),
        key(
            "retry",
            Form::OneOf(&[Form::Whole { min: 0, max: 1000 }, Form::Table(&RECOVERY)]),
            "How often a task that failed by itself is run again.",
        ),
        key(
            "machine",
            Form::Choice(&["same", "any"]),
            "`any`: recovery may cross between virtual machine and container.",
        ),
        ignored("config", Form::Free, "settings of SkyPilot itself do not apply to fleet"),
        ignored("experimental", Form::Free, "settings of SkyPilot itself do not apply to fleet"),
        ignored("event_callback", TEXT, "follow a job with `fleet events JOB --json` instead"),
        ignored("inputs", Form::Free, "fleet does not plan by the size of inputs"),
        ignored("outputs", Form::Free, "fleet does not plan by the size of outputs"),
        ignored("time_estimate", Form::Free, "write `work: 20h` to plan by the amount of work"),
        ignored("api_server_access", Form::Free, "a fleet task never talks to the controller"),
        ignored("_metadata", Form::Free, "it is SkyPilot's own"),
        not_yet("volumes", "copy what is needed with `workdir` or `file_mounts`"),
        not_yet("volume_mounts", "copy what is needed with `workdir` or `file_mounts`"),
        not_yet("sweep", "launch the trials one by one, with `--env` for their parameters"),
        not_yet("batch", "launch the parts one by one, with `--env` for their parameters"),
        never(
            "service",
            "run the server as a task with `workload: serving` and `use_spot: false` under `resources`",
        ),
        never("pool", "launch one job for each piece of work; fleet picks a machine for each"),
        never("managed_secrets", "name them under `secrets` and give them with `--secret NAME`"),
        never("file_mounts_mapping", "write `file_mounts`"),
        never("env_file", "give the file with `--env-file FILE`"),
    ],
    base: None,
};

/// Words for `workload`, in the order of [`crate::Workload`].
pub(crate) const WORKLOADS: &[&str] = &[
    "training",
    "finetune",
    "batch",
    "sweep",
    "preprocess",
    "serving",
    "interactive",
    "evaluation",
];

/// A secret written as a mapping.
pub(crate) static SECRET: Table = Table {
    own: &[
        key("value", ENV_VALUE, "The value; better given by --secret."),
        key("allow_untrusted", Form::Flag, "Whether a stranger's machine may have it."),
    ],
    base: None,
};

/// A storage object under `file_mounts`.
pub(crate) static STORAGE: Table = Table {
    own: &[
        key("name", TEXT, "Name of a bucket that is made if it is missing."),
        key(
            "source",
            Form::OneOf(&[Form::Text, Form::ListOf(&Form::Text)]),
            "A bucket that is there, or a folder or a list of paths to put into the named one.",
        ),
        key("store", Form::Choice(STORES), "Which cloud's store the named bucket is in."),
        key("mode", Form::Choice(&["COPY", "MOUNT", "MOUNT_CACHED"]), "How it is seen."),
        key("persistent", Form::Flag, "Whether the named bucket outlives the job."),
        key("_bucket_sub_path", TEXT, "Folder inside the bucket."),
        ignored("_is_sky_managed", Form::Flag, "it is SkyPilot's own"),
        ignored("_force_delete", Form::Flag, "it is SkyPilot's own"),
        ignored("type", TEXT, "it is SkyPilot's own"),
        ignored("config", Form::Free, "tuning of SkyPilot's mounts does not apply to fleet"),
    ],
    base: None,
};

/// Words for `store`, in the order of [`fleet_types::StoreKind`].
pub(crate) const STORES: &[&str] = &["s3", "r2", "gcs", "azure"];

/// A repository under `file_mounts`.
pub(crate) static REPOSITORY: Table = Table {
    own: &[
        key("url", TEXT, "URL of the repository."),
        key("ref", TEXT, "Branch, tag or commit; else its default branch."),
    ],
    base: None,
};

/// `spot:`.
pub(crate) static SPOT: Table = Table {
    own: &[
        key(
            "fallback",
            Form::Choice(&["on-demand", "wait", "none"]),
            "What happens when no spot machine can be had.",
        ),
        key("deadline", Form::Span, "Finish this long after acceptance; needs `work`."),
        key("max_price", Form::Money, "Dollars an hour, at most."),
        key("budget", Form::Money, "Dollars for the whole job, at most."),
        key("reliability", Form::Share, "Least reliability of a marketplace's host."),
        key("verified", Form::Flag, "Verified hosts only."),
        key("datacenter", Form::Flag, "Hosts in data centres only."),
        key("min_duration", Form::Span, "The offer must last at least so long."),
        key("min_cuda", Form::Number, "Least CUDA version."),
        key("min_network", Form::Bandwidth, "Least download bandwidth, in Mbit/s."),
        key("max_interruption", Form::Share, "Interruptions an hour, at most."),
    ],
    base: None,
};

/// `checkpoint:`.
pub(crate) static CHECKPOINT: Table = Table {
    own: &[
        key("store", Form::Bucket, "Bucket and folder that the machine itself saves into."),
        key("away", Form::Span, "With `store`: how long nobody may be awake; 12h unless said."),
        key("interval", Form::Span, "How often the task saves."),
        key("keep", Form::Whole { min: 1, max: 1000 }, "How many checkpoints stay."),
        key("signal", TEXT, "Signal at a preemption notice: TERM, INT, HUP, QUIT, USR1, USR2."),
        key(
            "signal_to",
            Form::OneOf(&[Form::Choice(&["main", "group"]), Form::Table(&SIGNAL_TO)]),
            "Who gets the signal.",
        ),
        key("grace", Form::Span, "Time between the signal and the kill."),
        key("quiet", Form::Span, "A file unchanged for so long counts as finished."),
    ],
    base: None,
};

/// `checkpoint.signal_to` as a mapping.
pub(crate) static SIGNAL_TO: Table =
    Table { own: &[key("command", TEXT, "Run this instead of a signal.")], base: None };

/// `watch:`.
pub(crate) static WATCH: Table = Table {
    own: &[
        key("stalled", Form::Span, "No output and no checkpoint for so long is a stall."),
        key("action", Form::Choice(&["alarm", "restart", "stop"]), "What a stall leads to."),
    ],
    base: None,
};

/// The first document of a pipeline or job group.
pub(crate) static HEADER: Table = Table {
    own: &[
        key("name", TEXT, "Name of the group."),
        key("execution", Form::Choice(&["serial", "parallel"]), "How its tasks run."),
        not_yet("primary_tasks", "leave it out: a group ends when all of its tasks have"),
        not_yet("termination_delay", "leave it out: a group ends when all of its tasks have"),
    ],
    base: None,
};
