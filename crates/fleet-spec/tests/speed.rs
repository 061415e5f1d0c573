//! Reading stays quick, also without optimisation: limits that the README's first command relies on.

use fleet_spec::{MAX_BYTES, Overrides, parse};
use std::time::{Duration, Instant};

/// The best of several runs: the others measure the machine, not the code.
fn best(text: &str, runs: usize) -> Duration {
    let run = || {
        let start = Instant::now();
        std::hint::black_box(parse(text.as_bytes(), &Overrides::default()));
        start.elapsed()
    };
    (0..runs).map(|_| run()).min().unwrap_or_default()
}

#[test]
fn two_hundred_lines_take_less_than_two_milliseconds() {
    let mut text =
        String::from("name: train\nresources:\n  accelerators: A100:8\n  use_spot: true\nrun: |\n");
    text += &"  python train.py --epochs 3\n".repeat(60);
    text += "envs:\n";
    text.extend((0..134).map(|i| format!("  VARIABLE_{i}: value of number {i}\n")));
    assert_eq!(text.lines().count(), 200);
    assert_eq!(parse(text.as_bytes(), &Overrides::default()).errors, []);
    let took = best(&text, 50);
    println!("200 lines: {took:?}");
    assert!(took < Duration::from_millis(2), "{took:?}");
}

#[test]
fn the_largest_bad_files_are_refused_quickly() {
    let fill = |part: &str| part.repeat((MAX_BYTES - 8) / part.len());
    for (name, text) in [
        ("one line", format!("run: {}", fill("x"))),
        ("unknown keys", {
            let many: String = (0..100_000).map(|i| format!("k{i}: \n")).collect();
            many[..MAX_BYTES.min(many.len())].to_owned()
        }),
        ("duplicate keys", fill("run: x\n")),
        ("items", format!("run: [{}]", fill("x,"))),
        ("mounts", {
            let many: String = (0..1000).map(|i| format!("  /a{i}: {{name: abc}}\n")).collect();
            format!("run: x\nfile_mounts:\n{}", many)
        }),
        ("items of storage", {
            let many: String = (0..50_000).map(|i| format!("a{i},")).collect();
            let many = &many[..many.len().min(MAX_BYTES - 100)];
            format!("run: x\nfile_mounts: {{/a: {{name: abc, source: [{many}]}}}}\n")
        }),
        ("brackets", fill("[")),
        ("anchors", fill("- &a x\n")),
        ("non-ASCII", format!("run: {}", fill("é"))),
    ] {
        let took = best(&text, 5);
        println!("{name}: {took:?}");
        assert!(took < Duration::from_millis(300), "{name}: {took:?}");
    }
}
