//! How fast a job is replayed: one job-week over one zone and over nine, per baseline.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fleet_optimizer::policy::named;
use fleet_optimizer::simulate::{Case, Trace, World, simulate};
use std::hint::black_box;

const GAP_S: f64 = 600.0;
const WEEK_TICKS: usize = 1008;

/// Spells of a few hours from a small generator, so that the bench needs no file.
fn world(zones: u64) -> World {
    let traces = (0..zones).map(|z| {
        let mut state = z * 7919 + 1;
        let mut up = z % 2 == 0;
        let available = (0..2 * WEEK_TICKS).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            up ^= (state >> 33) % 16 == 0;
            up
        });
        let prices = (3.0, 1.0 + z as f64 / 10.0);
        Trace::made(&format!("zone-{z}"), GAP_S, prices, available.collect())
    });
    World::new(traces.collect()).expect("traces of one shape")
}

fn replay(c: &mut Criterion) {
    let case = Case {
        start_tick: 0,
        duration_hours: 120.0,
        deadline_hours: 168.0,
        restart_overhead_hours: 0.2,
        migration_cost: 0.0,
        checkpoints: None,
        blind: false,
    };
    for zones in [1, 9] {
        let world = world(zones);
        let mut group = c.benchmark_group(format!("job-week/{zones}-zones"));
        group.throughput(Throughput::Elements(1));
        for name in ["on-demand", "greedy", "uniform-progress", "time-sliced:8", "default"] {
            let Ok(_known) = named(name) else { continue };
            group.bench_function(name, |b| {
                b.iter(|| {
                    let policy = named(name).expect("a known policy");
                    simulate(black_box(&world), &case, policy)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
