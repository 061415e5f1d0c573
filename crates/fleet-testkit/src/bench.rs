//! One trial's world: a sandbox in this process on free ports, and the driver that is tried in it.
//!
//! Every trial has a sandbox of its own, so that faults of one never reach another. Invariant: it ends with
//! the bench, machines included. The sandbox's machines are this very program, re-executed.

use anyhow::{Context as _, Result, bail, ensure};
use fleet_provider::{Boot, Candidate, LaunchRequest, OwnerTag, Provider, ProviderError};
use fleet_sandbox::{Config, Scenario, State};
use fleet_types::{
    Accelerator, AcceleratorRequest, Availability, Endpoint, Epoch, FleetId, Instance,
    InstanceState, JobId, Market, Offer, OfferQuery, ProviderId, Realm, TimeScale, Timestamp,
    Token,
};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Scale of visibility windows and rate gates in trials.
const SCALE: f64 = 0.02;
/// A GPU that every cloud of the sandbox offers, one in a machine.
pub(crate) const GPU: &str = "H100";
/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(30);
/// Made for these trials, used nowhere else.
const HOST_KEY: &str = include_str!("bench/hostkey");
const LOGIN_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICtLvDBzxdoCSvClA6HP5QDjCSANUg4cZt6uVez3PRBj trial";

/// How a cloud's wire names the calls that scenarios fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    pub(crate) create: &'static str,
    pub(crate) delete: &'static str,
    pub(crate) list: &'static str,
    pub(crate) describe: &'static str,
}

/// A sandbox and a driver in it.
#[derive(Debug)]
pub struct Bench {
    pub id: ProviderId,
    /// Without layers: what the driver itself does.
    pub driver: Arc<dyn Provider>,
    pub realm: Realm,
    pub state: State,
    pub environment: BTreeMap<String, String>,
    server: tokio::task::JoinHandle<Result<(), fleet_sandbox::Error>>,
    dir: tempfile::TempDir,
}

/// The names of a cloud's calls.
pub(crate) fn calls(id: ProviderId) -> Calls {
    match id {
        ProviderId::Aws => Calls {
            create: "RunInstances",
            delete: "TerminateInstances",
            list: "DescribeInstances",
            describe: "DescribeInstances",
        },
        ProviderId::Lambda => Calls {
            create: "POST /api/v1/instance-operations/launch",
            delete: "POST /api/v1/instance-operations/terminate",
            list: "GET /api/v1/instances",
            describe: "GET /api/v1/instances/{id}",
        },
        _ => Calls {
            create: "PUT /api/v0/asks/{id}/",
            delete: "DELETE /api/v0/instances/{id}/",
            list: "GET /api/v1/instances/",
            describe: "GET /api/v0/instances/{id}/",
        },
    }
}

impl Bench {
    /// Starts a sandbox with `scenario` (JSON; `{}` is a calm day) and connects the driver to it.
    pub async fn up(id: ProviderId, scenario: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("no folder for the sandbox")?;
        let time_scale = TimeScale::new(SCALE).context("invariant: a factor")?;
        let config = Config {
            dir: dir.path().to_owned(),
            seed: 11,
            scenario: Scenario::from_json("trial", scenario.as_bytes())?,
            time_scale,
            program: std::env::current_exe().context("who am I")?,
            one_shot: false,
        };
        let server = tokio::spawn(fleet_sandbox::run(config));
        let state = until("the sandbox is up", async || {
            ensure!(!server.is_finished(), "the sandbox ended at its start");
            Ok(fleet_sandbox::state(dir.path()))
        })
        .await?;
        let environment: BTreeMap<_, _> = fleet_sandbox::env(&state).into_iter().collect();
        let endpoint = |id: &ProviderId| {
            let name = format!("FLEET_{}_ENDPOINT", id.as_str().to_uppercase());
            (*id, Endpoint { api: environment.get(&name).cloned(), ..Endpoint::default() })
        };
        let realm = Realm {
            sandbox: true,
            endpoints: fleet_providers::drivers().iter().map(endpoint).collect(),
            time_scale,
            ..Realm::default()
        };
        let driver = fleet_providers::bare(id, &realm, &environment).await?;
        Ok(Self { id, driver, realm, state, environment, server, dir })
    }

    /// The same driver with the layers around it.
    pub async fn layered(&self) -> Result<Arc<dyn Provider>> {
        Ok(fleet_providers::connect(self.id, &self.realm, &self.environment, 3).await?)
    }

    /// The sandbox's own books.
    pub async fn ledger(&self) -> Result<Value> {
        Ok(fleet_sandbox::ledger(self.dir.path()).await?)
    }

    /// The machines in the books: what was really made.
    pub async fn machines(&self) -> Result<Vec<Value>> {
        Ok(self.ledger().await?["instances"].as_array().cloned().unwrap_or_default())
    }

    /// How many times the books hold a call that changes something, whatever its result.
    pub async fn mutations(&self, call: &str) -> Result<usize> {
        let ledger = self.ledger().await?;
        let all = ledger["mutations"].as_array().cloned().unwrap_or_default();
        // Paths stand in the books with their ids.
        let wanted = call.split("{id}").next().unwrap_or(call);
        Ok(all.iter().filter(|m| m["call"].as_str().is_some_and(|c| c.starts_with(wanted))).count())
    }

    /// The markets that the cloud has, spot first.
    pub fn markets(&self) -> Vec<Market> {
        let can = self.driver.capabilities();
        let all = [(can.spot, Market::Spot), (can.on_demand, Market::OnDemand)];
        all.into_iter().filter(|(has, _)| *has).map(|(_, market)| market).collect()
    }

    /// The market of trials that do not care: spot, where there is one.
    pub fn market(&self) -> Market {
        self.markets().first().copied().unwrap_or(Market::OnDemand)
    }

    /// Offers of the GPU in a market.
    pub async fn offers(&self, market: Market) -> Result<Vec<Offer>> {
        Ok(self.driver.offers(&query(market)).await?)
    }

    /// A request for the cheapest offer that can be had, at half as much again as its price.
    pub async fn request(&self, market: Market) -> Result<LaunchRequest> {
        let offers = self.offers(market).await?;
        let priced = offers.into_iter().filter(|o| o.available != Availability::SoldOut);
        let cheapest = priced
            .filter(|o| o.price_usd_per_hour.is_some())
            .min_by_key(|o| o.price_usd_per_hour)
            .context("no offer has a price")?;
        let limit = cheapest.price_usd_per_hour.unwrap_or_default().scale(1.5);
        Ok(LaunchRequest {
            token: Token::new(random_hex()),
            owner: OwnerTag { fleet: FleetId::new(random_hex()) },
            job: JobId::from_bits(fastrand::u64(..)),
            epoch: Epoch(1),
            node: 0,
            market,
            candidates: vec![Candidate { offer: cheapest, limit_usd_per_hour: limit }],
            expires_at: in_an_hour(),
            boot: Boot {
                login_key: LOGIN_KEY.to_owned(),
                host_key: SecretString::from(HOST_KEY),
                orphan_minutes: 15,
            },
            image: None,
            disk_gib: 20,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            admit_from: Some("127.0.0.0/8".to_owned()),
        })
    }

    /// Asks for a machine again and again until `wanted` says yes of it.
    pub async fn described(
        &self,
        made: &Instance,
        what: &str,
        wanted: impl Fn(&Instance) -> bool,
    ) -> Result<Instance> {
        until(what, async || match self.driver.describe(&made.id, &made.place).await {
            Ok(now) => Ok(wanted(&now).then_some(now)),
            // A new machine may not be visible yet.
            Err(e) if e.fault == fleet_types::Fault::NotFound => Ok(None),
            Err(e) => Err(e.into()),
        })
        .await
    }

    /// Makes a machine and waits until it runs.
    pub async fn running(&self, market: Market) -> Result<(LaunchRequest, Instance)> {
        let request = self.request(market).await?;
        let made = self.driver.launch(&request).await?;
        let running = |i: &Instance| i.state == InstanceState::Running && i.address.is_some();
        let now = self.described(&made, "the machine runs", running).await?;
        Ok((request, now))
    }

    /// Ends the sandbox and everything in it.
    pub async fn down(self) -> Result<()> {
        // It may be gone before its answer to this is; what counts is that it ends.
        let asked = fleet_sandbox::down(self.dir.path()).await;
        let ended = tokio::time::timeout(PATIENCE, self.server).await;
        ended.with_context(|| format!("the sandbox did not end ({asked:?})"))??.map_err(Into::into)
    }
}

/// A driver that is pointed at loopback, where nothing listens.
pub(crate) async fn unreachable(id: ProviderId) -> Result<Arc<dyn Provider>> {
    let nowhere = Endpoint { api: Some("http://127.0.0.1:9".to_owned()), ..Endpoint::default() };
    let endpoints = BTreeMap::from([(id, nowhere)]);
    let realm = Realm { sandbox: true, endpoints, ..Realm::default() };
    let dummies = fleet_sandbox::DUMMY_ENVIRONMENT.into_iter();
    let environment = dummies.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Ok(fleet_providers::bare(id, &realm, &environment).await?)
}

/// A query for one GPU in one market.
pub(crate) fn query(market: Market) -> OfferQuery {
    OfferQuery {
        accelerators: vec![AcceleratorRequest::Named(Accelerator::new(GPU, 1))],
        markets: vec![market],
        disk_gib: 20,
        ..OfferQuery::default()
    }
}

/// Waits until `probe` has an answer; fails at the deadline, or at once where the probe fails.
pub(crate) async fn until<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The failure of a call that must fail.
pub(crate) fn failure<T: std::fmt::Debug>(
    what: &str,
    result: Result<T, ProviderError>,
) -> Result<ProviderError> {
    match result {
        Ok(value) => bail!("{what} succeeded: {value:?}"),
        Err(error) => Ok(error),
    }
}

fn random_hex() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn in_an_hour() -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis((now.as_secs() as i64 + 3600) * 1000)
}
