//! The call policy, row by row, against a driver that answers from a script.

use super::*;
use fleet_provider::{Boot, Idempotency, NoticeSource};
use fleet_types::{Epoch, Fault, FleetId, JobId, MachineClass, Market, Scope, Timestamp, Token};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// Answers every call with the next failure of its script, and after the last with success.
#[derive(Debug)]
struct Scripted {
    idempotency: Idempotency,
    script: Mutex<VecDeque<ProviderError>>,
    tokens: Mutex<Vec<Token>>,
    calls: Mutex<u32>,
}

impl Scripted {
    fn step(&self) -> Result<()> {
        *self.calls.lock().unwrap() += 1;
        self.script.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Provider for Scripted {
    fn id(&self) -> ProviderId {
        ProviderId::Lambda
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            class: MachineClass::Vm,
            spot: true,
            on_demand: true,
            notice: NoticeSource::None,
            warning: Duration::ZERO,
            idempotency: self.idempotency,
            visibility: Duration::ZERO,
            tags: true,
            ends_itself: false,
            native_timer: false,
            expiry_note: "",
        }
    }
    async fn verify(&self) -> Result<Identity> {
        unreachable!("not scripted")
    }
    async fn offers(&self, _: &OfferQuery) -> Result<Vec<Offer>> {
        self.step().map(|()| Vec::new())
    }
    async fn launch(&self, request: &LaunchRequest) -> Result<Instance> {
        self.tokens.lock().unwrap().push(request.token.clone());
        self.step()?;
        Err(ProviderError::new(Fault::Capacity, Scope::Zone, "launch", "script-over"))
    }
    async fn describe(&self, _: &InstanceId, _: &Place) -> Result<Instance> {
        unreachable!("not scripted")
    }
    async fn list(&self, _: &OwnerTag) -> Result<Listing> {
        self.step().map(|()| Listing::default())
    }
    async fn terminate(&self, _: &InstanceId, _: &Place) -> Result<Termination> {
        self.step().map(|()| Termination::Requested)
    }
}

fn fault(fault: Fault) -> ProviderError {
    ProviderError::new(fault, Scope::Request, "scripted", fault.label())
}

fn around(idempotency: Idempotency, script: &[Fault]) -> (Arc<Scripted>, Arc<dyn Provider>) {
    let inner = Arc::new(Scripted {
        idempotency,
        script: Mutex::new(script.iter().map(|f| fault(*f)).collect()),
        tokens: Mutex::default(),
        calls: Mutex::default(),
    });
    let time_scale = TimeScale::new(0.001).expect("a factor");
    (inner.clone(), layered(inner, LayerSettings { time_scale, seed: 7 }))
}

fn request() -> LaunchRequest {
    LaunchRequest {
        token: Token::new("t"),
        owner: OwnerTag { fleet: FleetId::new("f") },
        job: JobId::new("j"),
        epoch: Epoch(1),
        node: 0,
        market: Market::Spot,
        candidates: Vec::new(),
        expires_at: Timestamp::default(),
        boot: Boot {
            login_key: String::new(),
            host_key: secrecy::SecretString::from(""),
            orphan_minutes: 15,
        },
        image: None,
        disk_gib: 10,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        admit_from: None,
    }
}

#[tokio::test]
async fn reads_and_deletes_are_tried_three_times_at_most() {
    use Fault::{Auth, Throttled, Transient, Unknown};
    for (script, calls, ok) in [
        (&[][..], 1, true),
        (&[Transient], 2, true),
        (&[Throttled, Unknown], 3, true),
        (&[Transient, Transient, Throttled], 3, false),
        (&[Auth], 1, false),
        (&[Transient, Auth], 2, false),
    ] {
        let (inner, outer) = around(Idempotency::UniqueName, script);
        let place =
            Place { provider: ProviderId::Lambda, region: String::new(), zone: String::new() };
        let result = outer.terminate(&InstanceId::new("i"), &place).await;
        assert_eq!((*inner.calls.lock().unwrap(), result.is_ok()), (calls, ok), "{script:?}");
        let (inner, outer) = around(Idempotency::Token, script);
        let result = outer.list(&OwnerTag { fleet: FleetId::new("f") }).await;
        assert_eq!((*inner.calls.lock().unwrap(), result.is_ok()), (calls, ok), "{script:?}");
    }
}

#[tokio::test]
async fn creates_are_repeated_only_by_token_and_only_while_unknown() {
    use Fault::{Auth, Capacity, Quota, Throttled, Transient, Unknown};
    use Idempotency::{Token as ByToken, UniqueName};
    for (idempotency, script, calls, end) in [
        (UniqueName, &[Unknown][..], 1, Unknown),
        (UniqueName, &[Transient], 1, Transient),
        (UniqueName, &[Throttled], 1, Throttled),
        (ByToken, &[Capacity], 1, Capacity),
        (ByToken, &[Throttled], 1, Throttled),
        (ByToken, &[Transient], 1, Transient),
        (ByToken, &[Unknown, Quota], 2, Quota),
        (ByToken, &[Unknown, Unknown, Unknown], 3, Unknown),
        // An answer that does not speak of the first try leaves it unknown, and is tried again.
        (ByToken, &[Unknown, Throttled, Auth], 3, Unknown),
        (ByToken, &[Unknown, Auth, Capacity], 3, Capacity),
    ] {
        let (inner, outer) = around(idempotency, script);
        let error = outer.launch(&request()).await.expect_err("the script never succeeds");
        assert_eq!((*inner.calls.lock().unwrap(), error.fault), (calls, end), "{script:?}");
        assert_eq!(error.maybe_applied, end == Unknown, "{script:?}");
        assert!(inner.tokens.lock().unwrap().iter().all(|t| *t == Token::new("t")));
    }
}

#[tokio::test]
async fn a_driver_without_auxiliaries_has_none_through_the_layers() {
    let (_, outer) = around(Idempotency::Token, &[]);
    assert!(outer.auxiliary().is_none());
}
