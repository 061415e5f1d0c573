//! Each section by itself: spellings that mean the same, defaults, and what alternatives inherit.

use fleet_spec::{
    Alternative, BucketMount, Image, MountMode, MountSource, NamedBucket, Overrides, Parsed,
    SignalTo, StallAction, Task, Upload, parse,
};
use fleet_types::offer::Bound;

fn read(text: &str) -> Parsed {
    parse(format!("run: x\n{text}").as_bytes(), &Overrides::default())
}

#[track_caller]
fn task(text: &str) -> Task {
    let mut parsed = read(text);
    assert_eq!(parsed.errors, [], "{text}");
    parsed.tasks.remove(0)
}

#[track_caller]
fn only(text: &str) -> Alternative {
    let mut all = task(text).resources.alternatives;
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

#[track_caller]
fn error(text: &str) -> String {
    let parsed = read(text);
    assert_eq!(parsed.errors.len(), 1, "{text}: {:?}", parsed.errors);
    parsed.errors[0].message.clone()
}

fn gpus(text: &str) -> Vec<String> {
    let task = task(&format!("resources: {{accelerators: {text}}}\n"));
    let all = task.resources.alternatives.iter();
    all.map(|a| a.accelerator.as_ref().expect("a GPU").to_string()).collect()
}

#[test]
fn accelerators_in_every_spelling() {
    for (text, expected) in [
        ("A100", &["A100:1"][..]),
        ("a100:8", &["A100:8"]),
        ("A100:8.0", &["A100:8"]),
        ("RTX_4090:2", &["RTX4090:2"]),
        ("{A100: 8}", &["A100:8"]),
        ("{A100:8}", &["A100:8"]),
        ("{A100:1, H100:2}", &["A100:1", "H100:2"]),
        ("'{A100:1, H100:2}'", &["A100:1", "H100:2"]),
        ("{A100, H100: 2}", &["A100:1", "H100:2"]),
        ("[H100:1, A100:1]", &["H100:1", "A100:1"]),
        ("[A100, A100:1]", &["A100:1"]),
        ("24GB+", &["24GB+:1"]),
        ("'80GB:4'", &["80GB:4"]),
        ("{24GB+: 2}", &["24GB+:2"]),
    ] {
        assert_eq!(gpus(text), expected, "{text}");
    }
    assert!(task("resources: {accelerators: [H100, A100]}\n").resources.ordered);
    assert!(!task("resources: {accelerators: {H100, A100}}\n").resources.ordered);
    assert_eq!(
        error("resources: {accelerators: 'A100,H100'}\n"),
        "`A100,H100` is several accelerators"
    );
    assert_eq!(
        error("resources: {accelerators: {A100: [1]}}\n"),
        "expected a number of GPUs, found a list"
    );
    let parsed = read("resources: {accelerators: H10O}\n");
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.warnings[0].hint.as_deref(), Some("did you mean `H100`?"));
}

#[test]
fn cpus_and_memory() {
    let at_least = |value: f64| Some(Bound { value, at_least: true });
    let exactly = |value: f64| Some(Bound { value, at_least: false });
    assert_eq!(only("resources: {cpus: 8+}\n").cpus, at_least(8.0));
    assert_eq!(only("resources: {cpus: '8'}\n").cpus, exactly(8.0));
    assert_eq!(only("resources: {memory: 32}\n").memory_gib, exactly(32.0));
    assert_eq!(only("resources: {memory: 64GB+}\n").memory_gib, at_least(64.0));
    assert_eq!(only("resources: {memory: 512MB}\n").memory_gib, exactly(0.5));
    let known = only("resources: {cpus: 8, memory: 4x}\n");
    assert_eq!((known.memory_gib, known.memory_per_cpu), (at_least(32.0), None));
    let open = only("resources: {cpus: 8+, memory: 4x}\n");
    assert_eq!((open.memory_gib, open.memory_per_cpu), (None, Some(4.0)));
}

#[test]
fn places_in_both_spellings() {
    let places = |text: &str| {
        let alternative = only(&format!("resources: {text}\n"));
        alternative.places.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(places("{infra: aws/us-east-1/us-east-1a}"), ["aws/us-east-1/us-east-1a"]);
    assert_eq!(places("{cloud: AWS, region: us-east-1}"), ["aws/us-east-1"]);
    assert_eq!(places("{region: us-east-1}"), ["*/us-east-1"]);
    assert_eq!(places("{infra: aws/*/us-east-1a}"), ["aws/*/us-east-1a"]);
    assert_eq!(places("{infra: [aws, vast/DE]}"), ["aws", "vast/DE"]);
    assert_eq!(places("{infra: '*'}"), [""; 0]);
    assert_eq!(places("{infra: [aws, '*']}"), [""; 0]);
    assert_eq!(error("resources: {infra: aws//x}\n"), "`aws//x` is no place");
    assert_eq!(error("resources: {infra: a/b/c/d}\n"), "unknown cloud `a`");
    assert_eq!(
        error("resources: {infra: aws/us-east-1/a/d}\n"),
        "`aws/us-east-1/a/d` has too many parts"
    );
    let parsed = read("resources: {infra: aws/us-east-9}\n");
    assert_eq!((parsed.errors.len(), parsed.warnings.len()), (0, 1));
}

#[test]
fn alternatives_inherit_what_stands_beside_them() {
    let task = task(
        "resources:\n  cloud: gcp\n  region: us-central1\n  cpus: 4+\n  use_spot: true\n  any_of:\n    - {accelerators: [A100, H100]}\n    - {infra: aws, cpus: 8, use_spot: false}\n",
    );
    let shown: Vec<String> = task
        .resources
        .alternatives
        .iter()
        .map(|a| {
            let gpu = a.accelerator.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{gpu} {} {} {:?}", a.places[0], a.cpus.expect("CPUs").value, a.use_spot)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "A100:1 gcp/us-central1 4 Some(true)",
            "H100:1 gcp/us-central1 4 Some(true)",
            " aws 8 Some(false)"
        ]
    );
    assert!(!task.resources.ordered);
    assert_eq!(
        error("resources: {any_of: [{disk_size: 10}]}\n"),
        "`disk_size` cannot differ between alternatives"
    );
    assert_eq!(error("resources: {any_of: []}\n"), "the list of alternatives is empty");
    // A problem of an inherited key is told once, where it stands.
    assert_eq!(
        error("resources: {cpus: x, any_of: [{infra: aws}, {infra: gcp}]}\n"),
        "`x` is not a number"
    );
}

#[test]
fn disks_ports_and_labels() {
    let own =
        task("resources: {disk_size: 1TB, ports: [22, 8080, 9000-9002, 8080], labels: {a: 1}}\n")
            .resources;
    assert_eq!(own.disk_gib, Some(1024));
    assert_eq!(own.ports, [22, 8080, 9000, 9001, 9002]);
    assert_eq!(own.labels["a"], "1");
    assert_eq!(error("resources: {ports: 0}\n"), "`0` is no port");
    assert_eq!(error("resources: {ports: 70000}\n"), "`70000` is no port");
    assert_eq!(error("resources: {ports: 9-8}\n"), "`9-8` runs backwards");
    assert_eq!(error("resources: {labels: {'aws:x': y}}\n"), "label `aws:x` cannot be set");
}

#[test]
fn autostop_and_tiers_warn_once_each() {
    for (text, minutes) in [
        ("true", Some(5)),
        ("false", None),
        ("10", Some(10)),
        ("2h", Some(120)),
        ("{idle_minutes: 7, down: true}", Some(7)),
    ] {
        let parsed = read(&format!("resources: {{autostop: {text}, disk_tier: best}}\n"));
        assert_eq!(parsed.errors, [], "{text}");
        assert_eq!(parsed.warnings.len(), 2, "{text}");
        assert_eq!(parsed.tasks[0].resources.autostop_minutes, minutes, "{text}");
    }
}

#[test]
fn images_parse_and_are_refused() {
    let image = |text: &str| {
        let parsed = read(&format!("resources: {{image_id: {text}}}\n"));
        assert_eq!(parsed.errors[0].message, "`image_id` is not supported yet");
        parsed.tasks[0].resources.image.clone().expect("an image")
    };
    assert_eq!(image("ami-1"), Image::Id("ami-1".into()));
    assert_eq!(image("'docker:a/b:c'"), Image::Docker("a/b:c".into()));
    let by_region = [("us-east-1".to_owned(), "ami-1".to_owned())].into();
    assert_eq!(image("{us-east-1: ami-1}"), Image::ByRegion(by_region));
}

/// What is said of mounts until machines mount.
const NOT_YET: &str = "a bucket or repository as a file mount is not supported yet";

#[test]
fn mounts_wait_for_the_machines() {
    for source in ["s3://bucket", "{name: my-name}", "git@host:a/b", "{url: 'https://h/a.git'}"] {
        assert_eq!(error(&format!("file_mounts: {{/a: {source}}}\n")), NOT_YET, "{source}");
    }
}

/// The source of the only mount, under what stands beside it.
#[track_caller]
fn source(beside: &str, text: &str) -> MountSource {
    let mut parsed = read(&format!("{beside}file_mounts: {{/a: {text}}}\n"));
    parsed.errors.retain(|e| e.message != NOT_YET);
    assert_eq!((&parsed.errors, &parsed.warnings), (&vec![], &vec![]), "{text}");
    parsed.tasks[0].file_mounts.remove(0).source
}

#[track_caller]
fn bucket(beside: &str, text: &str) -> BucketMount {
    match source(beside, text) {
        MountSource::Bucket(bucket) => bucket,
        other => panic!("{text}: {other:?}"),
    }
}

/// Why a mount is refused, and what to do.
#[track_caller]
fn refused(text: &str) -> (String, String) {
    let mut parsed = read(&format!("file_mounts: {{/a: {text}}}\n"));
    parsed.errors.retain(|e| e.message != NOT_YET);
    assert_eq!(parsed.errors.len(), 1, "{text}: {:?}", parsed.errors);
    let error = parsed.errors.remove(0);
    (error.message, error.hint.unwrap_or_default())
}

#[test]
fn buckets_are_copied_from_their_urls() {
    for uri in [
        "s3://bucket/x",
        "r2://bucket",
        "gs://bucket/a/b",
        "az://container/a",
        "https://account.blob.core.windows.net/container/a",
        "file:///mnt/shared",
        "s3://bucket/x?endpoint=http://host:9000&region=eu-west-1",
    ] {
        let mount = bucket("", &format!("'{uri}'"));
        assert_eq!((mount.uri.to_string(), mount.mode), (uri.to_owned(), MountMode::Copy));
        assert_eq!(mount.named, None);
        let mount = bucket("", &format!("{{source: '{uri}'}}"));
        assert_eq!((mount.uri.to_string(), mount.mode), (uri.to_owned(), MountMode::Mount));
    }
    let filled = bucket("envs: {B: bucket}\n", "{source: 's3://$B/x', mode: copy, store: S3}");
    assert_eq!((filled.uri.to_string().as_str(), filled.mode), ("s3://bucket/x", MountMode::Copy));
    let below = bucket("", "{source: 'gs://bucket/x', _bucket_sub_path: /y/z/}");
    assert_eq!(below.uri.to_string(), "gs://bucket/x/y/z");
    assert_eq!(source("", "./local"), MountSource::Local("./local".into()));
}

#[test]
fn a_named_bucket_is_made_beside_the_machines() {
    let place = |beside: &str, text: &str| {
        let mount = bucket(beside, text);
        (mount.uri.to_string(), mount.named.expect("a named bucket").region)
    };
    let (s3, gs, az) = ("s3://my-name", "gs://my-name", "az://my-name");
    for (infra, store, uri, region) in [
        ("[]", "", s3, None),
        ("vast", "", s3, None),
        ("aws", "", s3, None),
        ("aws/eu-west-1", "", s3, Some("eu-west-1")),
        ("gcp", "", gs, None),
        ("azure", "", az, None),
        ("[vast, gcp/us-central1, aws/us-east-1]", "", gs, Some("us-central1")),
        ("[gcp, aws/us-east-1]", ", store: s3", s3, Some("us-east-1")),
        ("aws", ", store: GCS", gs, None),
        ("aws", ", store: r2", "r2://my-name", None),
    ] {
        let beside = format!("resources: {{infra: {infra}}}\n");
        let found = place(&beside, &format!("{{name: my-name{store}}}"));
        assert_eq!(found, (uri.to_owned(), region.map(str::to_owned)), "{infra} {store}");
    }
    let ordered = "resources: {ordered: [{infra: gcp}, {infra: aws}]}\n";
    assert_eq!(place(ordered, "{name: my-name, _bucket_sub_path: x}").0, "gs://my-name/x");
}

#[test]
fn a_named_bucket_takes_content_and_may_go() {
    let named = |text: &str| bucket("", text).named.expect("a named bucket");
    let plain = NamedBucket { region: None, upload: None, persistent: true };
    assert_eq!(named("{name: my-name}"), plain);
    assert_eq!(
        named("{name: my-name, persistent: false, source: ~/data, mode: mount_cached}"),
        NamedBucket {
            upload: Some(Upload::Folder("~/data".into())),
            persistent: false,
            ..plain.clone()
        }
    );
    assert_eq!(
        named("{name: my-name, source: [./a.txt, ./b/], mode: COPY}"),
        NamedBucket { upload: Some(Upload::Items(vec!["./a.txt".into(), "./b/".into()])), ..plain }
    );
}

#[test]
fn storage_that_contradicts_itself_is_refused() {
    for (text, why) in [
        ("{}", "the storage has neither name nor source"),
        ("{mode: COPY}", "the storage has neither name nor source"),
        ("{source: ./data}", "the storage has content but no name"),
        ("{source: [./a]}", "the storage has content but no name"),
        (
            "{name: my-name, source: 's3://bucket'}",
            "`name` and the bucket in `source` exclude each other",
        ),
        ("{name: my-name, mode: COPY}", "nothing to copy: the storage has no `source`"),
        ("{name: my-name, source: []}", "`source` is empty"),
        ("{name: my-name, source: ''}", "`source` is empty"),
        ("{name: my-name, source: [a, b/a]}", "two sources are called `a`"),
        ("{name: my-name, source: [.]}", "`.` has no name of its own in the bucket"),
        ("{name: my-name, source: [s3://bucket]}", "`s3://bucket` stands in a list of paths"),
        ("{name: my-name, source: git@host:a/b}", "a repository is not uploaded into a bucket"),
        ("{source: 's3://bucket', store: gcs}", "`s3://bucket` is not in Google Cloud Storage"),
        ("{name: my-name, store: ibm}", "IBM Cloud Object Storage is not supported: `store: ibm`"),
        ("{name: my-name, store: volume}", "volumes are not supported yet"),
        ("{name: my-name, store: aws}", "unknown store `aws`"),
        ("{name: 's3://my-name'}", "`s3://my-name` is no name of a bucket"),
        (
            "{name: my-name, _bucket_sub_path: a/../b}",
            "the path `a/../b` has an empty or dotted part",
        ),
        ("{source: 's3://bucket', mode: MUONT}", "unknown value `MUONT`"),
        ("{nmae: my-name, source: 's3://bucket'}", "unknown key `nmae`"),
    ] {
        let (message, _) = refused(text);
        assert_eq!(message, why, "{text}");
    }
    assert_eq!(refused("{name: my-name, store: gs}").1, "did you mean `gcs`?");
    let two = "/b: {name: my-name, persistent: false}";
    assert_eq!(
        refused(&format!("{{name: my-name}}, {two}")).0,
        "`my-name` is persistent in one mount only"
    );
    let parsed = read("file_mounts: {/a: {source: 's3://bucket', persistent: false}}\n");
    assert_eq!(
        parsed.warnings[0].message,
        "`persistent: false` does nothing to a bucket that is there"
    );
}

#[test]
fn stores_of_others_are_refused_by_name() {
    for (uri, title) in [
        ("cos://us-east/bucket", "IBM Cloud Object Storage"),
        ("oci://bucket", "Oracle Cloud's object storage"),
        ("nebius://bucket", "Nebius' object storage"),
        ("cw://bucket", "CoreWeave's object storage"),
        ("vastdata://bucket", "VAST Data"),
        ("hf://org/name", "Hugging Face"),
    ] {
        for text in [format!("'{uri}'"), format!("{{source: '{uri}', mode: MOUNT}}")] {
            let (message, hint) = refused(&text);
            assert_eq!(message, format!("{title} is not supported: `{uri}`"));
            assert!(hint.contains("S3"), "{hint}");
        }
    }
    for (url, hint) in [
        ("https://example.org/data.tar", "fetch it in `setup`, or copy it into a bucket"),
        ("https://b.s3.amazonaws.com/x", "for a bucket write s3://BUCKET/PATH"),
        ("https://storage.googleapis.com/b/x", "for a bucket write gs://BUCKET/PATH"),
        ("https://github.com/a/b", "for a repository write its URL with .git at its end"),
    ] {
        let message = format!("a file of the web as a file mount is not supported: `{url}`");
        assert_eq!(refused(&format!("'{url}'")), (message, hint.to_owned()));
    }
    assert_eq!(refused("GCS://bucket").1, "did you mean `gs://`?");
}

#[test]
fn repositories_in_every_spelling() {
    let git = |text: &str| match source("envs: {R: v1.2}\n", text) {
        MountSource::Git(git) => (git.url, git.reference.unwrap_or_default()),
        other => panic!("{text}: {other:?}"),
    };
    for (text, url, reference) in [
        ("git@github.com:a/b.git", "git@github.com:a/b.git", ""),
        ("'https://h.org/a/b.git'", "https://h.org/a/b.git", ""),
        ("'https://h.org/a/b.git#$R'", "https://h.org/a/b.git", "v1.2"),
        ("ssh://git@h.org:22/a/b", "ssh://git@h.org:22/a/b", ""),
        ("{url: 'https://h.org/a/b', ref: $R}", "https://h.org/a/b", "v1.2"),
        ("{url: 'git@h.org:a/b#main'}", "git@h.org:a/b", "main"),
    ] {
        assert_eq!(git(text), (url.to_owned(), reference.to_owned()), "{text}");
    }
    for (text, why) in [
        ("{url: ./here}", "`./here` is no URL of a repository"),
        (
            "{url: 'ssh://-oProxyCommand=x/a'}",
            "`ssh://-oProxyCommand=x/a` is no URL of a repository",
        ),
        ("{ref: main, url: }", "the repository has no `url`"),
        (
            "{url: 'https://h/a', ref: --upload-pack=x}",
            "`--upload-pack=x` is no branch, tag or commit",
        ),
        ("'https://h/a.git#'", "`` is no branch, tag or commit"),
        ("{url: 'https://h/a.git#x', ref: y}", "the reference is given twice"),
        ("'https://me:hunter2@h/a.git'", "`https://[redacted]@h/a.git` carries credentials"),
    ] {
        assert_eq!(refused(text).0, why, "{text}");
    }
    assert_eq!(
        error("workdir: {url: 'https://github.com/a/b', ref: main}\n"),
        "a repository as `workdir` is not supported yet: `https://github.com/a/b`"
    );
    assert_eq!(error("workdir: ''\n"), "`workdir` is empty");
}

#[test]
fn checkpoints_go_to_a_store() {
    let own = task("envs: {B: bucket}\ncheckpoint: {store: s3://$B/runs/, away: 36h}\n").checkpoint;
    let store = own.store.map(|store| store.to_string());
    assert_eq!((store.as_deref(), own.away.as_secs()), (Some("s3://bucket/runs"), 129_600));
    assert_eq!(task("checkpoint: {store: gs://bucket}\n").checkpoint.away.as_secs(), 43_200);
    assert_eq!(error("checkpoint: {store: s3://bucket, away: 12}\n"), "`12` has no unit of time");
    assert_eq!(
        error("checkpoint: {store: [s3://bucket]}\n"),
        "expected a single value, found a list"
    );
    let parsed = read("checkpoint: {away: 3h}\n");
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.warnings[0].message, "`away` does nothing without `store`");

    let overrides =
        Overrides { envs: [("B".to_owned(), "other".to_owned())].into(), ..Overrides::default() };
    let text = "run: x\nenvs: {B: }\ncheckpoint: {store: gs://$B/runs}\n";
    let parsed = parse(text.as_bytes(), &overrides);
    assert_eq!(parsed.errors, []);
    let store = parsed.tasks[0].checkpoint.store.as_ref().expect("a store");
    assert_eq!(store.to_string(), "gs://other/runs");
}

#[test]
fn checkpoints_lie_apart_from_mounts() {
    let said = |mount: &str| {
        let mut parsed = read(&format!(
            "file_mounts: {{/a: {mount}}}\ncheckpoint: {{store: s3://bucket/runs}}\n"
        ));
        parsed.errors.retain(|e| e.message != NOT_YET);
        let all = parsed.errors.into_iter().chain(parsed.warnings);
        all.map(|d| d.message).collect::<Vec<_>>()
    };
    let within = ["the checkpoints lie within the mount `/a`"];
    assert_eq!(said("{source: 's3://bucket'}"), within);
    assert_eq!(said("{source: 's3://bucket/runs', mode: MOUNT_CACHED}"), within);
    assert_eq!(said("{source: 's3://bucket/runs/old'}"), within);
    assert_eq!(said("{name: bucket}"), within);
    for apart in ["{source: 's3://bucket/run'}", "s3://bucket", "{source: 'gs://bucket'}"] {
        assert_eq!(said(apart), [""; 0], "{apart}");
    }
    assert_eq!(
        said("{name: bucket, persistent: false, _bucket_sub_path: x}"),
        ["the checkpoints go away with the bucket `bucket`"]
    );
}

#[test]
fn recovery_in_every_spelling() {
    let times = |text: &str| task(text).recovery.max_restarts_on_errors;
    assert_eq!(times("retry: 3\n"), 3);
    assert_eq!(times("retry: {max_restarts_on_errors: 2}\n"), 2);
    assert_eq!(times("resources: {job_recovery: {max_restarts_on_errors: 4}}\n"), 4);
    let codes = task("retry: {recover_on_exit_codes: 33}\n").recovery.recover_on_exit_codes;
    assert_eq!(codes, [33]);
    assert_eq!(error("retry: {recover_on_exit_codes: [256]}\n"), "`256` is not within 0 and 255");
    assert_eq!(
        error("retry: 1\nresources: {job_recovery: {max_restarts_on_errors: 4}}\n"),
        "`retry` and `job_recovery` say the same thing"
    );
}

#[test]
fn checkpoints_and_watch() {
    assert_eq!(task("checkpoint: {}\n").checkpoint, fleet_spec::CheckpointSection::default());
    let own = task("checkpoint: {signal: sigusr2, signal_to: {command: ./save}}\n").checkpoint;
    assert_eq!((own.signal.as_str(), own.signal_to), ("USR2", SignalTo::Command("./save".into())));
    assert_eq!(error("checkpoint: {signal: KILL}\n"), "`KILL` is no signal that a task can handle");
    assert_eq!(error("checkpoint: {keep: 0}\n"), "`0` is not within 1 and 1000");
    assert_eq!(
        error("checkpoint: {signal_to: command}\n"),
        "`signal_to: command` names no command"
    );
    assert_eq!(error("checkpoint: {signal_to: {}}\n"), "`signal_to` names no command");
    let watch = task("watch: {stalled: 5m}\n").watch.expect("a watch");
    assert_eq!((watch.stalled.as_secs(), watch.action), (300, StallAction::Alarm));
    assert_eq!(task("").watch, None);
}

#[test]
fn secrets_in_every_spelling() {
    let parsed = read("secrets: {A: one, B: {value: two, allow_untrusted: true}}\n");
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.secret_values[0]["A"], "one");
    assert_eq!(parsed.secret_values[0]["B"], "two");
    let secrets = &parsed.tasks[0].secrets;
    assert!(!secrets["A"].allow_untrusted && secrets["B"].allow_untrusted);
    assert_eq!(error("envs: {A: x}\nsecrets: {A: y}\n"), "`A` is both a variable and a secret");
    assert_eq!(error("secrets: {B: {allow_untrusted: true}}\n"), "secret `B` has no value");
}

#[test]
fn empty_sections_are_absent_ones() {
    let task =
        task("resources:\nenvs:\nsecrets:\nfile_mounts:\nspot:\ncheckpoint:\nwatch:\nname:\n");
    let plain = self::task("");
    assert_eq!(task, plain);
    assert_eq!((task.num_nodes, task.resources.alternatives.len()), (1, 1));
}

#[test]
fn a_price_has_two_names() {
    let price = |text: &str| task(text).spot.max_price_usd_per_hour.map(|p| p.dollars());
    assert_eq!(price("resources: {max_hourly_cost: 3}\n"), Some(3.0));
    assert_eq!(price("resources: {max_hourly_cost: 3}\nspot: {max_price: 2}\n"), Some(2.0));
    assert_eq!(error("spot: true\n"), "`spot` is a section, not a switch");
}
