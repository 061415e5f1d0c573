//! Each section by itself: spellings that mean the same, defaults, and what alternatives inherit.

use fleet_spec::{
    Alternative, Image, MountMode, MountSource, Overrides, Parsed, SignalTo, StallAction, Task,
    parse,
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

#[test]
fn mounts_of_every_kind() {
    let parsed = read(
        "envs: {B: bucket}\nfile_mounts:\n  /a: ./local\n  /b: s3://$B/x\n  /c: {name: my-name, store: gcs, mode: mount_cached, persistent: false}\n  /d: git@github.com:a/b.git\n",
    );
    let sources: Vec<MountSource> =
        parsed.tasks[0].file_mounts.iter().map(|m| m.source.clone()).collect();
    let uri = |uri: &str| MountSource::Uri { uri: uri.into(), mode: MountMode::Copy };
    assert_eq!(
        sources,
        [
            MountSource::Local("./local".into()),
            uri("s3://bucket/x"),
            MountSource::Storage {
                name: Some("my-name".into()),
                source: None,
                mode: MountMode::MountCached,
                store: Some("gcs".into()),
                persistent: false
            },
            uri("git@github.com:a/b.git"),
        ]
    );
    assert_eq!(parsed.errors.len(), 3);
    assert!(parsed.errors.iter().all(|e| e.message.ends_with("is not supported yet")));
    assert_eq!(
        error("workdir: {url: 'https://github.com/a/b', ref: main}\n"),
        "a repository as `workdir` is not supported yet: `https://github.com/a/b`"
    );
    assert_eq!(error("workdir: ''\n"), "`workdir` is empty");
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
    assert_eq!(error("checkpoint: {store: s3://bucket}\n"), "`store` is not supported yet");
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
