//! Keys of `resources` and of its alternatives.

use super::{Act, Form, Key, Table, ignored, key, never, not_yet};

const TEXT: Form = Form::Text;
const PORT: Form = Form::OneOf(&[Form::Text, Form::Whole { min: 1, max: 65_535 }]);

/// `resources:`.
pub(crate) static RESOURCES: Table = Table {
    own: &[
        key(
            "any_of",
            Form::ListOf(&Form::Table(&ALTERNATIVE)),
            "Alternatives; the cheapest wins. Each inherits the keys beside it.",
        ),
        key(
            "ordered",
            Form::ListOf(&Form::Table(&ALTERNATIVE)),
            "Alternatives; the first that can be had wins. Each inherits the keys beside it.",
        ),
    ],
    base: Some(&ALTERNATIVE),
};

/// One of `any_of` or `ordered`.
pub(crate) static ALTERNATIVE: Table = Table {
    own: &[
        key(
            "accelerators",
            Form::OneOf(&[
                TEXT,
                Form::MapOf(&Form::OneOf(&[Form::Number, Form::Null])),
                Form::ListOf(&TEXT),
            ]),
            "`A100:8`, `24GB+`, a set of them (cheapest wins) or a list (first wins).",
        ),
        key("cpus", Form::Bound, "Virtual CPUs: `8`, or `8+` for at least."),
        key("memory", Form::Memory, "GiB: `32`, `32+`, `64GB+`, or `4x` for each CPU."),
        key("instance_type", TEXT, "A cloud's own name of a machine type."),
        key(
            "infra",
            Form::OneOf(&[TEXT, Form::ListOf(&TEXT)]),
            "`cloud[/region[/zone]]`, `*` for any; a list allows several.",
        ),
        key("cloud", TEXT, "Older spelling of the first part of `infra`."),
        key("region", TEXT, "Older spelling of the second part of `infra`."),
        key("zone", TEXT, "Older spelling of the third part of `infra`."),
        key("use_spot", Form::Flag, "Whether spot machines are wanted."),
        key("disk_size", Form::Size, "GiB of disk: `256`, `1TB`."),
        Key {
            name: "ephemeral_storage",
            act: Act::Renamed("disk_size"),
            form: Form::Size,
            about: "Old name of `disk_size`.",
        },
        key(
            "ports",
            Form::OneOf(&[PORT, Form::ListOf(&PORT)]),
            "Ports to open: `8080`, `9000-9010`.",
        ),
        key("labels", Form::MapOf(&TEXT), "Tags on the machine."),
        key(
            "job_recovery",
            Form::OneOf(&[TEXT, Form::Table(&RECOVERY)]),
            "How a task that failed by itself is run again.",
        ),
        key("max_hourly_cost", Form::Money, "Same as `spot.max_price`."),
        ignored("disk_tier", TEXT, "every disk is of the cloud's default kind"),
        ignored("network_tier", TEXT, "every machine has its cloud's default network"),
        ignored("local_disk", TEXT, "machines are not picked by their local disks"),
        ignored(
            "autostop",
            Form::OneOf(&[
                Form::Flag,
                Form::Whole { min: -1, max: 10_000_000 },
                TEXT,
                Form::Table(&AUTOSTOP),
            ]),
            "a machine ends as soon as its task has",
        ),
        ignored("priority", Form::Free, "jobs have no priority"),
        ignored("priority_class", TEXT, "jobs have no priority"),
        ignored("_no_missing_accel_warnings", Form::Flag, "it is SkyPilot's own"),
        ignored("_requires_fuse", Form::Flag, "it is SkyPilot's own"),
        ignored("_cluster_config_overrides", Form::Free, "it is SkyPilot's own"),
        ignored("_is_image_managed", Form::Flag, "it is SkyPilot's own"),
        not_yet("image_id", "leave it out and install what is needed in `setup`"),
        not_yet("volumes", "copy what is needed with `workdir` or `file_mounts`"),
        never(
            "accelerator_args",
            "TPUs are not supported: ask for a GPU, such as `accelerators: A100:8`",
        ),
        never("tpu", "TPUs are not supported: ask for a GPU, such as `accelerators: A100:8`"),
        never("tpu_name", "TPUs are not supported: ask for a GPU, such as `accelerators: A100:8`"),
        never("tpu_vm", "TPUs are not supported: ask for a GPU, such as `accelerators: A100:8`"),
        never(
            "runtime_version",
            "TPUs are not supported: ask for a GPU, such as `accelerators: A100:8`",
        ),
        never("_docker_login_config", "leave it out and install what is needed in `setup`"),
        never("hooks", "do the same at the end of `run`"),
        Key {
            name: "spot_recovery",
            act: Act::Renamed("job_recovery"),
            form: TEXT,
            about: "Old name of `job_recovery`.",
        },
    ],
    base: None,
};

/// `job_recovery:` as a mapping, and `retry:`.
pub(crate) static RECOVERY: Table = Table {
    own: &[
        ignored("strategy", TEXT, "recovery always goes to the best place that can be had"),
        key(
            "max_restarts_on_errors",
            Form::Whole { min: 0, max: 1000 },
            "How often a task that failed by itself is run again.",
        ),
        key(
            "recover_on_exit_codes",
            Form::OneOf(&[EXIT_CODE, Form::ListOf(&EXIT_CODE)]),
            "Exit codes that count as a lost machine.",
        ),
    ],
    base: None,
};

const EXIT_CODE: Form = Form::Whole { min: 0, max: 255 };

/// `autostop:` as a mapping.
pub(crate) static AUTOSTOP: Table = Table {
    own: &[
        key("idle_minutes", Form::Whole { min: 0, max: 10_000_000 }, "Minutes."),
        key("down", Form::Flag, "Whether the machine ends, not stops."),
        key("wait_for", TEXT, "What counts as idle."),
        key("hook", TEXT, "Script before the stop."),
        key("hook_timeout", Form::Whole { min: 1, max: 10_000_000 }, "Seconds."),
    ],
    base: None,
};
