//! SQLite against the suite that every body of the store must pass, and against the model in memory.

use fleet_store::SqliteStore;
use fleet_store::conformance::TRIALS;
use fleet_store::conformance::history::{Step, compare, step_both};
use fleet_store::conformance::model::ModelStore;
use proptest::prelude::*;
use std::sync::Arc;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn sqlite_passes_every_trial() {
    for (name, trial) in TRIALS {
        let home = tempfile::tempdir().unwrap();
        runtime().block_on(async {
            let store = SqliteStore::open(&home.path().join("db")).await.unwrap();
            let trial = tokio::spawn(trial(Arc::new(store)));
            trial.await.unwrap_or_else(|e| panic!("{name}: {e}"));
        });
    }
}

#[test]
fn the_model_passes_every_trial() {
    for (name, trial) in TRIALS {
        runtime().block_on(async {
            let trial = tokio::spawn(trial(Arc::new(ModelStore::default())));
            trial.await.unwrap_or_else(|e| panic!("{name}: {e}"));
        });
    }
}

/// Jobs and keys of a history.
const FEW: u8 = 5;

fn step() -> impl Strategy<Value = Step> {
    let few = 0..FEW;
    prop_oneof![
        2 => (few.clone(), prop::collection::vec(few.clone(), 0..3))
            .prop_map(|(key, jobs)| Step::Accept { key, jobs }),
        4 => (few.clone(), 0..8_u8, any::<bool>(), prop::option::of((0..3_u8, 0..12_u8)), 0..8_u8)
            .prop_map(|(job, behind, finished, row, stray)| Step::Commit {
                job,
                behind: behind / 6,
                finished,
                row,
                stray_event: stray == 0,
            }),
        3 => (few.clone(), 0..3_u8, 0..12_u8)
            .prop_map(|(job, epoch, state)| Step::PutRow { job, epoch, state }),
        2 => prop::collection::vec(few.clone(), 0..3).prop_map(|jobs| Step::Append { jobs }),
        1 => (few, any::<u8>()).prop_map(|(name, value)| Step::Fact { name, value }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_answers_as_the_model_does(
        before in prop::collection::vec(step(), 1..30),
        after in prop::collection::vec(step(), 1..15),
    ) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("db");
        let model = ModelStore::default();
        runtime().block_on(async {
            for steps in [before, after] {
                // Opened again in between: what was answered is still there.
                let store = SqliteStore::open(&path).await.unwrap();
                compare(&store, &model, FEW).await?;
                for step in &steps {
                    step_both(&store, &model, step).await?;
                }
                compare(&store, &model, FEW).await?;
            }
            Ok::<_, String>(())
        }).map_err(TestCaseError::fail)?;
    }
}
