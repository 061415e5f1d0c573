//! How long a task file of 200 lines takes to read.

use criterion::{Criterion, criterion_group, criterion_main};
use fleet_spec::{Overrides, parse};
use std::hint::black_box;

fn long_file() -> String {
    let mut text =
        String::from("name: train\nresources:\n  accelerators: A100:8\n  use_spot: true\n");
    text += "run: |\n";
    text += &"  python train.py --epochs 3\n".repeat(60);
    text += "envs:\n";
    text.extend((0..140).map(|i| format!("  VARIABLE_{i}: value of number {i}\n")));
    text
}

fn bench(c: &mut Criterion) {
    let text = long_file();
    c.bench_function("parse 200 lines", |b| {
        b.iter(|| parse(black_box(text.as_bytes()), &Overrides::default()));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
