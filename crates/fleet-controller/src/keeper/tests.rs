//! When a machine that is being ended stopped billing: what the books say, whatever the cloud answers.

use super::*;
use crate::clock::Clock;
use crate::clouds::Clouds;
use crate::home::Home;
use crate::inner::AgentBinary;
use crate::vault::Vault;
use async_trait::async_trait;
use fleet_lifecycle::Stakes;
use fleet_provider::{
    Capabilities, Idempotency, Identity, LaunchRequest, Listing, NoticeSource, Result as Answer,
};
use fleet_storage::{LocalCheckpoints, SnapshotStore};
use fleet_store::conformance::model::ModelStore;
use fleet_store::{NewJob, Store};
use fleet_types::{
    Epoch, JobId, MachineClass, Market, Offer, OfferQuery, Place, ProviderId, RealmId, Scope,
    Token, Usd,
};
use std::collections::VecDeque;
use std::sync::Mutex;

/// Long before any test runs.
const LAUNCHED: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const ENDED: Timestamp = Timestamp::from_millis(1_700_000_600_000);

/// A cloud that answers what it was given, one by one.
#[derive(Debug, Default)]
struct Cloud {
    looks: Mutex<VecDeque<Answer<Instance>>>,
    ends: Mutex<VecDeque<Answer<Termination>>>,
}

#[async_trait]
impl Provider for Cloud {
    fn id(&self) -> ProviderId {
        ProviderId::Aws
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: true,
            on_demand: true,
            notice: NoticeSource::None,
            warning: Duration::ZERO,
            idempotency: Idempotency::Token,
            visibility: Duration::ZERO,
            tags: true,
            ends_itself: false,
            native_timer: false,
            expiry_note: "",
        }
    }
    async fn verify(&self) -> Answer<Identity> {
        Err(failed())
    }
    async fn offers(&self, _: &OfferQuery) -> Answer<Vec<Offer>> {
        Err(failed())
    }
    async fn launch(&self, _: &LaunchRequest) -> Answer<Instance> {
        Err(failed())
    }
    async fn describe(&self, _: &InstanceId, _: &Place) -> Answer<Instance> {
        self.looks.lock().unwrap().pop_front().unwrap_or_else(|| Err(failed()))
    }
    async fn list(&self, _: &OwnerTag) -> Answer<Listing> {
        Ok(Listing { complete: true, ..Listing::default() })
    }
    async fn terminate(&self, _: &InstanceId, _: &Place) -> Answer<Termination> {
        self.ends.lock().unwrap().pop_front().unwrap_or_else(|| Err(failed()))
    }
}

fn failed() -> ProviderError {
    ProviderError::new(Fault::Transient, Scope::Request, "test", "down")
}

fn place() -> Place {
    Place { provider: ProviderId::Aws, region: "r1".into(), zone: "r1a".into() }
}

fn seen(state: InstanceState, ended_at: Option<Timestamp>) -> Answer<Instance> {
    Ok(Instance {
        id: InstanceId::new("i-1"),
        place: place(),
        instance_type: "g1".into(),
        market: Market::Spot,
        state,
        address: None,
        user: "root".into(),
        token: None,
        fleet: None,
        job: None,
        expires_at: None,
        price_usd_per_hour: None,
        launched_at: Some(LAUNCHED),
        ended_at,
    })
}

async fn keeper(dir: &std::path::Path) -> Keeper {
    let home = Home::open(dir).unwrap();
    let (store, vault) = (Arc::new(ModelStore::default()), Vault::open(&home).unwrap());
    let clouds = Clouds::new(store.clone(), vault.clone(), 1);
    let snapshots = Arc::new(SnapshotStore::open(&home.snapshots_dir()).unwrap());
    let checkpoints = Arc::new(LocalCheckpoints::open(&home.checkpoints_dir()).unwrap());
    let agent = AgentBinary { path: dir.to_owned(), digest: String::new() };
    let clock = Clock::open(&home, Stakes::Nothing, None);
    let version = "0".to_owned();
    let job = NewJob {
        id: JobId::from_bits(1),
        created_at: LAUNCHED,
        realm: RealmId::new("r"),
        spec: serde_json::Value::Null,
        state: serde_json::Value::Null,
        events: Vec::new(),
    };
    store.accept("key", vec![job]).await.unwrap();
    let inner =
        Inner::new(home, clock, store, vault, clouds, snapshots, checkpoints, agent, version);
    let row = MachineRow {
        token: Token::new("t"),
        job: JobId::from_bits(1),
        epoch: Epoch(1),
        node: 0,
        offer: 0,
        realm: RealmId::new("r"),
        place: place(),
        instance_type: "g1".into(),
        market: Market::Spot,
        price_usd_per_hour: Usd::ZERO,
        disk_gib: 0,
        disk_usd_per_gib_hour: None,
        expires_at: ENDED,
        created_at: LAUNCHED,
        instance: Some(InstanceId::new("i-1")),
        launched_at: Some(LAUNCHED),
        ended_at: None,
        state: RowState::Ending { since: ENDED, accepted_at: None },
    };
    Keeper { inner: Arc::new(inner), row }
}

/// The row after one push against these answers.
async fn pushed(
    looks: impl IntoIterator<Item = Answer<Instance>>,
    ends: impl IntoIterator<Item = Answer<Termination>>,
) -> MachineRow {
    let dir = tempfile::tempdir().unwrap();
    let mut keeper = keeper(dir.path()).await;
    let cloud = Cloud {
        looks: Mutex::new(looks.into_iter().collect()),
        ends: Mutex::new(ends.into_iter().collect()),
    };
    let (id, mut absence) = (InstanceId::new("i-1"), Absence::new(LAUNCHED));
    let scale = TimeScale::default();
    let done = keeper.push(&cloud, &id, &mut absence, scale).await;
    assert!(cloud.looks.lock().unwrap().is_empty() && cloud.ends.lock().unwrap().is_empty());
    assert_eq!(done.is_err(), keeper.row.ended_at.is_none(), "{done:?}");
    let stored = keeper.inner.store.row(&keeper.row.token).await.unwrap();
    assert!(stored.is_none_or(|s| s == keeper.row), "what is booked is stored");
    keeper.row
}

#[tokio::test]
async fn the_books_end_when_the_cloud_says() {
    use InstanceState::{Stopped, Stopping, Terminated};
    use Termination::{Gone, Requested};
    let cause = DeathCause::Preempted;
    let ends = Some(ENDED);
    // A terminate whose answer was lost, a machine outbid, one that somebody else ended, one that was faster
    // than our terminate, and one of which only the first of two looks says when.
    for (looks, answers) in [
        (vec![seen(Stopping, ends)], vec![Ok(Requested)]),
        (vec![seen(Stopped { cause }, ends)], vec![Ok(Requested)]),
        (vec![seen(Terminated { cause }, ends)], vec![]),
        (vec![Err(failed()), seen(Terminated { cause }, ends)], vec![Ok(Gone)]),
        (vec![seen(Stopping, ends), Err(failed())], vec![Ok(Gone)]),
    ] {
        let shown = format!("{looks:?} {answers:?}");
        assert_eq!(pushed(looks, answers).await.ended_at, ends, "{shown}");
    }
}

#[tokio::test]
async fn where_the_cloud_does_not_say_they_end_when_it_accepted() {
    use InstanceState::{Running, Stopping, Terminated};
    use Termination::{Gone, Requested};
    let cause = DeathCause::ByUser;
    for (looks, answers) in [
        (vec![seen(Running, None)], vec![Ok(Requested)]),
        // A time of its own that is not the end's.
        (vec![seen(Running, Some(ENDED))], vec![Ok(Requested)]),
        (vec![seen(Stopping, None)], vec![Ok(Requested)]),
        (vec![Err(failed())], vec![Ok(Requested)]),
        (vec![seen(Terminated { cause }, None)], vec![]),
        (vec![Err(failed()), Err(failed())], vec![Ok(Gone)]),
    ] {
        let (shown, before) = (format!("{looks:?} {answers:?}"), crate::clock::wall());
        let ended = pushed(looks, answers).await.ended_at.expect("booked");
        let around = before.minus(Duration::from_secs(60));
        assert!(ended > around && ended < before.plus(Duration::from_secs(60)), "{shown} {ended}");
    }
}

#[tokio::test]
async fn a_terminate_that_nobody_answered_ends_no_books() {
    let row = pushed([seen(InstanceState::Running, None)], [Err(failed())]).await;
    assert_eq!(row.state, RowState::Ending { since: ENDED, accepted_at: None });
}
