//! The classes of bad input, one numbered case each: what the first line of the answer says.
//!
//! Classes 36 to 38 (links, special files and the home as `workdir`) need a file system and are tested
//! where the snapshot is taken. Classes that are about acceptance assert what was read.

use fleet_spec::{MAX_BYTES, Overrides, Parsed, parse, render, too_large};
use std::time::{Duration, Instant};

fn read(text: &str) -> Parsed {
    parse(text.as_bytes(), &Overrides::default())
}

/// `line:column message (path)` of each error.
fn errors(parsed: &Parsed) -> Vec<String> {
    parsed
        .errors
        .iter()
        .map(|d| format!("{}:{} {} ({})", d.line, d.column, d.message, d.path))
        .collect()
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(errors(&read(text)), expected, "{text:.200}");
}

/// The file with a `run`, refused for one reason.
#[track_caller]
fn bad(text: &str, expected: &str) {
    refused(&format!("run: x\n{text}"), &[expected]);
}

#[track_caller]
fn good(text: &str) -> Parsed {
    let parsed = read(text);
    assert_eq!(errors(&parsed), [""; 0], "{text:.200}");
    parsed
}

#[test]
fn classes_1_and_2_nothing_in_the_file() {
    refused("", &["1:1 no task in the file ()"]);
    refused("# only\n# comments\n", &["1:1 no task in the file ()"]);
    refused("---\n---\n", &["1:1 no task in the file ()"]);
    refused("name: x\n", &["1:1 no task: nothing to run (run)"]);
}

#[test]
fn class_3_several_documents_are_a_pipeline() {
    let parsed = good("name: night\n---\nname: a\nrun: x\n---\nname: b\nrun: y\n");
    assert_eq!((parsed.group.as_deref(), parsed.tasks.len()), (Some("night"), 2));
    assert_eq!(parsed.execution, fleet_spec::Execution::Serial);
    let parsed = good("name: g\nexecution: parallel\n---\nrun: x\n---\nrun: y\n");
    assert_eq!(parsed.execution, fleet_spec::Execution::Parallel);
    refused(
        "name: g\nexecution: sideways\n---\nrun: x\n",
        &["2:12 unknown value `sideways` (execution)"],
    );
}

#[test]
fn class_4_an_alias_bomb_is_refused_at_once() {
    let mut text = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for level in b'b'..=b'i' {
        let (this, last) = (char::from(level), char::from(level - 1));
        text += &format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 9].join(", "));
    }
    let start = Instant::now();
    let found = errors(&read(&text));
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("more than 100000 values, counting what aliases copy"), "{found:?}");
}

#[test]
fn class_4_a_bomb_of_text_is_refused_at_once() {
    let big = "x".repeat(500_000);
    let text = format!("a: &a {big}\nb: [{}]\n", ["*a"; 1000].join(", "));
    let found = errors(&read(&text));
    assert!(found[0].contains("aliases copy more than 4194304 bytes of text"), "{found:?}");
}

#[test]
fn class_5_nested_lists() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        let found = errors(&read(&text));
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("nested deeper than 64 levels"), "{found:.300?}");
    }
}

#[test]
fn class_6_a_huge_file_is_refused_by_its_size() {
    let text = vec![b'x'; 100 * 1024 * 1024];
    let start = Instant::now();
    let parsed = parse(&text, &Overrides::default());
    assert!(start.elapsed() < Duration::from_millis(100), "{:?}", start.elapsed());
    assert_eq!(parsed.errors, [too_large(text.len())]);
    assert_eq!(
        parsed.errors[0].message,
        format!("the file has 104857600 bytes; a task file has at most {MAX_BYTES}")
    );
}

#[test]
fn class_7_duplicate_keys() {
    bad("name: a\nname: b\n", "3:1 key `name` is given twice (name)");
    bad("envs: {A: 1, A: 2}\n", "2:14 key `A` is given twice (envs.A)");
}

#[test]
fn class_8_unknown_keys_get_a_suggestion() {
    bad("resuorces: {}\n", "2:1 unknown key `resuorces` (resuorces)");
    let parsed = read("run: x\nresuorces: {}\nresources: {gpus: A100}\naccelerators: A100\n");
    let hints: Vec<_> = parsed.errors.iter().filter_map(|d| d.hint.as_deref()).collect();
    assert_eq!(
        hints,
        [
            "did you mean `resources`?",
            "write `accelerators` under `resources`",
            "`accelerators` belongs under `resources`"
        ]
    );
}

#[test]
fn class_9_tabs() {
    bad(
        "resources:\n\tcpus: 8\n",
        "3:1 a tab is used to indent; YAML indents with spaces only (resources)",
    );
    assert_eq!(good("run: \"a\tb\"\n").tasks[0].run.as_deref(), Some("a\tb"));
}

#[test]
fn classes_10_and_11_encodings() {
    let all = |bytes: &[u8]| errors(&parse(bytes, &Overrides::default()));
    assert_eq!(all(b"run: x\nname: \xff\xfe\n"), ["2:7 byte 0xff is not UTF-8 ()"]);
    assert_eq!(all(b"\xff\xfer\0u\0n\0"), ["1:1 the file is UTF-16 (little endian), not UTF-8 ()"]);
    assert_eq!(all(b"\xfe\xff\0r\0u\0n"), ["1:1 the file is UTF-16 (big endian), not UTF-8 ()"]);
    assert_eq!(all(b"\xef\xbb\xbfrun: x\n"), [""; 0]);
}

#[test]
fn classes_12_and_29_characters_that_hide() {
    refused("run: a\0b\n", &["1:7 NUL character U+0000 in the file ()"]);
    refused("run: \"a\\0b\"\n", &["1:6 NUL character U+0000 in a value (run)"]);
    refused("run: a\u{202e}b\n", &["1:7 text direction character U+202E in the file ()"]);
    refused("run: a\u{200b}b\n", &["1:7 character of zero width U+200B in the file ()"]);
    refused("run: \"a\\u202eb\"\n", &["1:6 text direction character U+202E in a value (run)"]);
    refused("run: a\u{7}b\n", &["1:7 control character U+0007 in the file ()"]);
}

#[test]
fn class_13_cycles() {
    bad("envs: &a\n  <<: *a\n", "3:7 an alias stands inside its own anchor (envs.\"<<\")");
    bad("labels: &a [*a]\n", "2:13 an alias stands inside its own anchor (labels[0])");
    let parsed =
        good("run: x\nresources: {labels: &a {k: v}, any_of: [{cpus: 4}]}\nenvs: {<<: *a, l: w}\n");
    assert_eq!(parsed.tasks[0].envs["k"], "v");
    bad("envs: *nowhere\n", "2:7 alias `nowhere` has no anchor before it (envs)");
}

#[test]
fn class_14_tags() {
    bad("name: !include x.yaml\n", "2:16 tag `!include` is not supported (name)");
    bad(
        "name: !!python/name:os.system x\n",
        "2:31 tag `!!python/name:os.system` is not supported (name)",
    );
    assert_eq!(good("run: !!str true\n").tasks[0].run.as_deref(), Some("true"));
}

#[test]
fn classes_15_19_and_22_scalars_keep_their_text() {
    let parsed = good(
        "run: x\nenvs: {A: on, B: yes, C: no, D: 010, E: 3.10, F: 2026-01-02, G: 1e3, H: '', I: 0x1F}\n",
    );
    let values: Vec<&str> = parsed.tasks[0].envs.values().map(String::as_str).collect();
    assert_eq!(values, ["on", "yes", "no", "010", "3.10", "2026-01-02", "1e3", "", "0x1F"]);
    assert_eq!(good("name: 2026-01-02\nrun: x\n").tasks[0].name.as_deref(), Some("2026-01-02"));
    bad("num_nodes: 010\n", "2:12 `010` could be octal or decimal (num_nodes)");
}

#[test]
fn class_16_numbers_that_are_none() {
    for (value, why) in [
        ("1e999", "`1e999` is not a number"),
        (".nan", "`.nan` is not a number"),
        (".inf", "`.inf` is not a number"),
        ("-0", "`-0` is not more than 0"),
    ] {
        bad(&format!("resources: {{cpus: {value}}}\n"), &format!("2:19 {why} (resources.cpus)"));
        let budget = read(&format!("run: x\nspot: {{budget: {value}}}\n"));
        assert_eq!(budget.errors.len(), 1, "{value}");
    }
}

#[test]
fn class_17_numbers_of_nodes() {
    for (value, why) in [
        ("0", "`0` is not within 1 and 10000"),
        ("-1", "`-1` is not within 1 and 10000"),
        ("2.5", "`2.5` is not a whole number"),
        ("1000000000", "`1000000000` is not within 1 and 10000"),
        ("2", "num_nodes: 2 is not supported yet"),
    ] {
        bad(&format!("num_nodes: {value}\n"), &format!("2:12 {why} (num_nodes)"));
    }
}

#[test]
fn class_18_counts_of_accelerators() {
    for (value, why) in [
        ("H100:0", "`H100:0`: the count is not more than 0"),
        ("H100:-1", "`H100:-1`: the count is not more than 0"),
        ("H100:8:8", "`H100:8:8` has more than one count"),
        ("H100:0.5", "`H100:0.5`: a part of a GPU cannot be rented"),
        ("H100:1000", "`H100:1000`: no machine has more than 64 GPUs"),
        ("H100:x", "`H100:x`: `x` is not a number"),
        ("tpu-v3-8", "`tpu-v3-8` is a TPU; TPUs are not supported"),
    ] {
        let text = format!("resources: {{accelerators: \"{value}\"}}\n");
        bad(&text, &format!("2:27 {why} (resources.accelerators)"));
    }
}

#[test]
fn class_20_line_ends() {
    let parsed = good("name: x\r\nrun: |\r\n  a\r\n  b\r\n");
    assert_eq!(parsed.tasks[0].run.as_deref(), Some("a\nb\n"));
    refused("name: x\r\nrun: y\r\nfoo: 1\r\n", &["3:1 unknown key `foo` (foo)"]);
}

#[test]
fn class_21_keys_that_are_no_text() {
    bad("1: x\n", "2:1 the key `1` is not a string ()");
    bad("null: x\n", "2:1 the key `null` is not a string ()");
    bad("? [a, b]\n: x\n", "2:3 a list cannot be a key ()");
    bad("envs: {true: x}\n", "2:8 the key `true` is not a string (envs)");
}

#[test]
fn class_23_garbage_after_the_document() {
    refused(
        "run: x\n...\ngarbage\n",
        &["3:1 expected a mapping of keys, found a single value ([1])"],
    );
    let found = errors(&read("{run: x} garbage\n"));
    assert!(found.len() == 1 && found[0].starts_with("1:10 not YAML:"), "{found:?}");
}

#[test]
fn class_24_ten_thousand_variables() {
    let all: String = (0..10_000).map(|i| format!("  V{i}: x\n")).collect();
    bad(&format!("envs:\n{all}"), "3:3 10000 variables are more than 1000 (envs)");
}

#[test]
fn class_25_names_of_variables() {
    bad("envs: {'A=B': x}\n", "2:8 `A=B` is no name of a variable (envs.\"A=B\")");
    bad("envs: {'': x}\n", "2:8 `` is no name of a variable (envs.\"\")");
    bad("envs: {1X: x}\n", "2:8 `1X` is no name of a variable (envs.1X)");
    bad("envs: {\"A\\nB\": x}\n", "2:8 `A\\nB` is no name of a variable (envs.\"A\\nB\")");
    bad("secrets: {'A-B': x}\n", "2:11 `A-B` is no name of a variable (secrets.A-B)");
    bad(
        "envs: {FLEET_JOB_ID: x}\n",
        "2:8 `FLEET_JOB_ID` is set by fleet itself (envs.FLEET_JOB_ID)",
    );
    bad("envs: {A: }\n", "2:8 variable `A` has no value (envs.A)");
}

#[test]
fn class_26_values_of_variables() {
    let big = "x".repeat(129 * 1024);
    bad(
        &format!("envs:\n  A: {big}\n"),
        "3:6 the value of `A` has more than 131072 bytes (envs.A)",
    );
    let parsed = good("run: x\nenvs:\n  A: $(rm -rf /)`id`\n  B: \"a'b\\\"c\\nd\"\n");
    assert_eq!(parsed.tasks[0].envs["A"], "$(rm -rf /)`id`");
    assert_eq!(parsed.tasks[0].envs["B"], "a'b\"c\nd");
}

#[test]
fn class_27_names() {
    let long = "x".repeat(300);
    for (name, shown) in [
        ("a/b", "a/b"),
        ("..", ".."),
        ("-a", "-a"),
        ("a b", "a b"),
        ("😀", "😀"),
        ("a;b", "a;b"),
        ("a\\u0007", "a\\u{7}"),
        (&long, &format!("{}…", "x".repeat(60))),
    ] {
        bad(&format!("name: \"{name}\"\n"), &format!("2:7 `{shown}` is no name (name)"));
    }
    for name in ["a", "9.x_y-z", &"x".repeat(63)] {
        assert_eq!(good(&format!("name: {name}\nrun: x\n")).tasks[0].name.as_deref(), Some(name));
    }
}

#[test]
fn class_28_names_that_clash() {
    refused(
        "name: Train\nrun: x\n---\nname: train\nrun: x\n",
        &["4:7 name `train` clashes with `Train` ([1].name)"],
    );
    bad(
        "file_mounts: {~/\u{e9}: ./a, ~/e\u{301}: ./b}\n",
        "2:25 target `~/e\u{301}` is given twice (file_mounts.\"~/e\u{301}\")",
    );
}

#[test]
fn class_30_regions_of_others() {
    let region = |infra: &str| {
        let parsed = read(&format!("run: x\nresources: {{infra: {infra}}}\n"));
        let first = parsed.errors.first().cloned().expect("an error");
        (first.message, first.hint.unwrap_or_default())
    };
    let (message, hint) = region("aws/us-central1");
    assert_eq!(message, "region `us-central1` is GCP's, not AWS's");
    assert!(hint.starts_with("regions of AWS are af-south-1,"), "{hint}");
    assert_eq!(region("vast/us-east-1").1, "write a region such as US, the code of a country");
    assert_eq!(region("aws/us-esat-1").1, "did you mean `us-east-1`?");
    assert_eq!(region("us-east-1").1, "write aws/us-east-1");
    assert_eq!(region("asw").1, "did you mean `aws`?");
    assert_eq!(region("k8s").0, "cloud `k8s` is not supported");
    assert_eq!(
        region("aws/us-east-1/us-west-2a").0,
        "zone `us-west-2a` is not in region `us-east-1`"
    );
}

#[test]
fn class_31_deadlines() {
    let work = "work: 1h\n";
    for (value, why) in [
        ("-2h", "`-2h` lies in the past"),
        ("0s", "`0s` is not more than 0"),
        ("36", "`36` has no unit of time"),
        ("99999999999w", "`99999999999w` is no duration"),
        ("2020-01-01", "`2020-01-01` is no duration"),
    ] {
        let text = format!("{work}spot: {{deadline: {value}}}\n");
        bad(&text, &format!("3:18 {why} (spot.deadline)"));
    }
    bad("spot: {deadline: 36h}\n", "2:18 `deadline` needs `work` (spot.deadline)");
}

#[test]
fn class_32_budgets() {
    for (value, why) in [
        ("-5", "`-5` is not more than 0"),
        (".nan", "`.nan` is no amount of dollars"),
        ("'1,5'", "`1,5` is no amount of dollars"),
        ("0", "`0` is not more than 0"),
    ] {
        bad(&format!("spot: {{budget: {value}}}\n"), &format!("2:16 {why} (spot.budget)"));
    }
}

#[test]
fn class_33_disks() {
    for (value, why) in
        [("0", "`0` is not more than 0"), ("10000000", "`10000000` is more than any disk has")]
    {
        let text = format!("resources: {{disk_size: {value}}}\n");
        bad(&text, &format!("2:24 {why} (resources.disk_size)"));
    }
}

#[test]
fn class_34_spot_and_on_demand_only() {
    bad(
        "resources: {use_spot: false}\nspot: {fallback: wait}\n",
        "3:18 `fallback` is for spot machines, but `use_spot: false` wants none (spot.fallback)",
    );
    bad(
        "resources: {use_spot: true, on_demand: true}\n",
        "2:29 unknown key `on_demand` (resources.on_demand)",
    );
    let overrides = Overrides { use_spot: Some(false), ..Overrides::default() };
    let parsed =
        parse(b"run: x\nresources: {use_spot: true}\nspot: {fallback: wait}\n", &overrides);
    assert_eq!(errors(&parsed), [""; 0]);
    assert_eq!(parsed.tasks[0].resources.alternatives[0].use_spot, Some(false));
}

#[test]
fn class_35_targets_of_mounts() {
    for (target, why) in [
        ("/", "target `/` is a folder of the system"),
        ("/etc/x", "target `/etc/x` is a folder of the system"),
        ("/usr//bin/", "target `/usr//bin/` is a folder of the system"),
        ("~", "target `~` is a folder of the system"),
        ("~/.ssh", "target `~/.ssh` is a folder of the system"),
        ("/data/../etc", "target `/data/../etc` has `..` in it"),
        ("data", "target `data` is not an absolute path"),
    ] {
        let found = errors(&read(&format!("run: x\nfile_mounts:\n  {target:?}: ./a\n")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("3:3 {why} (")), "{found:?}");
    }
    bad(
        "file_mounts: {/data: ./a, /data/: ./b}\n",
        "2:27 target `/data` is given twice (file_mounts./data/)",
    );
    bad(
        "file_mounts: {/data: ./a, /data/x: ./b}\n",
        "2:27 targets `/data` and `/data/x` overlap (file_mounts./data/x)",
    );
    let parsed =
        good("run: x\nfile_mounts: {/data/./a//b/: ./a, ~/c: ~/d, /usr/local/share/x: ./e}\n");
    let targets: Vec<&str> =
        parsed.tasks[0].file_mounts.iter().map(|m| m.target.as_str()).collect();
    assert_eq!(targets, ["/data/a/b", "~/c", "/usr/local/share/x"]);
}

#[test]
fn class_24_ten_thousand_mounts() {
    let all: String = (0..10_000).map(|i| format!("  /d{i}: ./a\n")).collect();
    bad(&format!("file_mounts:\n{all}"), "3:3 10000 mounts are more than 1000 (file_mounts)");
}

#[test]
fn class_39_buckets_and_credentials() {
    bad(
        "file_mounts: {/d: 's3://My_Bucket/x'}\n",
        "2:19 `My_Bucket` is no name of a bucket (file_mounts./d)",
    );
    bad(
        "file_mounts: {/d: 'https://me:hunter2@host/x'}\n",
        "2:19 `https://[redacted]@host/x` carries credentials (file_mounts./d)",
    );
    bad(
        "workdir: https://ghp_0123456789abcdef@github.com/a/b\n",
        "2:10 `https://[redacted]@github.com/a/b` carries credentials (workdir)",
    );
    for (store, why) in [
        ("s3://ab", "`ab` is no name of a bucket"),
        ("gs://My-Bucket/x", "`My-Bucket` is no name of a bucket"),
        ("az://-x-", "`-x-` is no name of a bucket"),
        ("s3://", "`` is no name of a bucket"),
        ("s3://bucket/a/../b", "the path `a/../b` has an empty or dotted part"),
        ("s3://bucket/a?x=1", "`x` is no option of a bucket's URL"),
        ("s3://bucket/a?endpoint=host:9000", "the endpoint `host:9000` is no http or https URL"),
        ("file://runs", "`file://runs` names no bucket"),
        ("./runs", "`./runs` names no bucket"),
        ("gcs://bucket", "`gcs://bucket` names no bucket"),
        (
            "cos://us-east/bucket",
            "IBM Cloud Object Storage is not supported: `cos://us-east/bucket`",
        ),
        ("s3://key:hunter2@bucket/x", "`s3://[redacted]@bucket/x` carries credentials"),
        (
            "s3://bucket/x?endpoint=http://key:hunter2@host",
            "`s3://bucket/x?endpoint=http://[redacted]@host` carries credentials",
        ),
        (
            "https://acc.blob.core.windows.net/c/p?sig=hunter2",
            "`https://acc.blob.core.windows.net/c/p?sig=[redacted]` carries credentials",
        ),
    ] {
        let text = format!("run: x\ncheckpoint: {{store: '{store}'}}\n");
        refused(&text, &[&format!("2:21 {why} (checkpoint.store)")]);
        let parsed = read(&text);
        let shown = format!("{:?}", parsed.errors) + &render(&parsed.errors, "t", &text, false);
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(parsed.errors[0].hint.is_some(), "{store}");
    }
    bad(
        "file_mounts: {/d: {name: My_Bucket}}\n",
        "2:26 `My_Bucket` is no name of a bucket (file_mounts./d.name)",
    );
}

#[test]
fn class_40_search_spaces() {
    bad("sweep: {lr: {low: 1, high: 0}}\n", "2:1 `sweep` is not supported yet (sweep)");
    bad("sweep: {}\n", "2:1 `sweep` is not supported yet (sweep)");
}

#[test]
fn class_41_secrets_without_value() {
    bad("secrets: {TOKEN: }\n", "2:11 secret `TOKEN` has no value (secrets.TOKEN)");
    bad("secrets: [TOKEN]\n", "2:11 secret `TOKEN` has no value (secrets.TOKEN)");
    let given = Overrides {
        secrets: [("TOKEN".to_owned(), "v".to_owned())].into(),
        ..Overrides::default()
    };
    for text in ["run: x\nsecrets: {TOKEN: }\n", "run: x\nsecrets: [TOKEN]\n", "run: x\n"] {
        let parsed = parse(text.as_bytes(), &given);
        assert_eq!(errors(&parsed), [""; 0]);
        assert_eq!(parsed.secret_values[0]["TOKEN"], "v");
        assert!(parsed.tasks[0].secrets["TOKEN"].has_value);
        assert!(!serde_json::to_string(&parsed.tasks[0]).expect("a task").contains("\"v\""));
    }
}

#[test]
fn class_42_keys_among_the_variables() {
    for key in [
        "sk-proj-0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "hf_0123456789ab",
        "-----BEGIN RSA PRIVATE KEY-----",
    ] {
        let text = format!("run: x\nenvs:\n  TOKEN: '{key}'\n");
        let parsed = good(&text);
        let messages: Vec<&str> = parsed.warnings.iter().map(|w| w.message.as_str()).collect();
        assert_eq!(messages, ["the value of `TOKEN` looks like a key"]);
        let shown = format!("{:?}", parsed.warnings) + &render(&parsed.warnings, "t", &text, false);
        assert!(!shown.contains(key), "{shown}");
    }
}
