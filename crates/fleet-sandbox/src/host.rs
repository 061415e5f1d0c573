//! The sandbox's process around the world: the lock, the clock's tick, boots and kills.
//!
//! Invariants: the world's lock is never held across an await; the ledger file shows every change
//! before the answer that tells of it leaves; an ordered kill is carried out even if it meets a boot
//! half-way.

use crate::machine::MachineSpec;
use crate::runtime::{Running, Runtime};
use crate::world::{EndCause, Order, World};
use crate::{boot, clock, config, imds};
use fleet_types::Timestamp;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often time is looked at: the precision of preemptions.
const TICK: Duration = Duration::from_millis(50);

/// Hands out loopback addresses, one a machine.
///
/// The addresses are made from the SSH port, which no two sandboxes of a host share.
#[derive(Debug)]
pub(crate) struct Addresses {
    pub(crate) ssh_port: u16,
    next: u32,
    /// Keeps the port ours on 127.0.0.1 while we live.
    _held: Option<TcpListener>,
}

impl Addresses {
    /// Finds a free SSH port and holds it.
    pub(crate) fn reserve() -> io::Result<Self> {
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let ssh_port = held.local_addr()?.port();
        Ok(Self { ssh_port, next: u32::from(ssh_port) << 8, _held: Some(held) })
    }

    /// The next address on which the SSH port can be had.
    pub(crate) fn take(&mut self) -> Ipv4Addr {
        loop {
            self.next = self.next.wrapping_add(1) & 0x00ff_ffff;
            let [_, a, b, c] = self.next.to_be_bytes();
            if a == 0 || c == 0 || c == 255 {
                continue;
            }
            let address = Ipv4Addr::new(127, a, b, c);
            match TcpListener::bind((address, self.ssh_port)) {
                Err(e) if e.kind() == io::ErrorKind::AddrInUse => {}
                // Any other refusal shows at the machine's boot, with its reason.
                _ => return address,
            }
        }
    }
}

enum Slot {
    Booting,
    Up { machine: Box<dyn Running>, metadata: Option<CancellationToken> },
}

/// The running sandbox.
pub(crate) struct Host {
    world: Mutex<World>,
    slots: Mutex<HashMap<String, Slot>>,
    runtime: Arc<dyn Runtime>,
    dir: PathBuf,
    ssh_port: u16,
    /// Cancelled when the sandbox is to end.
    pub(crate) stop: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    pub(crate) fn new(world: World, runtime: Arc<dyn Runtime>, dir: PathBuf) -> Arc<Self> {
        let ssh_port = world.addresses.ssh_port;
        Arc::new(Self {
            world: Mutex::new(world),
            slots: Mutex::default(),
            runtime,
            dir,
            ssh_port,
            stop: CancellationToken::new(),
        })
    }

    pub(crate) fn ssh_port(&self) -> u16 {
        self.ssh_port
    }

    /// Asks or changes the world; its orders are carried out and its ledger written afterwards.
    pub(crate) fn with<R>(self: &Arc<Self>, f: impl FnOnce(&mut World, Timestamp) -> R) -> R {
        let now = clock::now();
        let (out, orders) = {
            let mut world = lock(&self.world);
            let out = f(&mut world, now);
            if world.take_dirty() {
                self.write_ledger(&world, now);
            }
            (out, world.take_orders())
        };
        for order in orders {
            match order {
                Order::Start(id) => self.boot(id),
                Order::Kill(id) => self.kill(id),
            }
        }
        out
    }

    fn write_ledger(&self, world: &World, now: Timestamp) {
        let path = config::ledger_path(&self.dir);
        let text = serde_json::to_vec_pretty(&world.ledger_json(now)).unwrap_or_default();
        if let Err(e) = config::write_atomically(&path, &text) {
            tracing::error!("cannot write {}: {e}", path.display());
        }
    }

    fn boot(self: &Arc<Self>, id: String) {
        lock(&self.slots).insert(id.clone(), Slot::Booting);
        let host = self.clone();
        tokio::spawn(async move {
            let metadata = CancellationToken::new();
            match host.start(&id, &metadata).await {
                Ok(machine) => {
                    let slot = Slot::Up { machine, metadata: Some(metadata) };
                    lock(&host.slots).insert(id.clone(), slot);
                    if !host.with(|w, now| w.booted(&id, now)) {
                        host.kill(id);
                    }
                }
                Err(e) => {
                    tracing::warn!("machine {id} does not boot: {e}");
                    metadata.cancel();
                    lock(&host.slots).remove(&id);
                    host.with(|w, now| {
                        w.end(&id, EndCause::BootFailed, now);
                        w.gone(&id, now);
                    });
                }
            }
        });
    }

    async fn start(
        self: &Arc<Self>,
        id: &str,
        metadata: &CancellationToken,
    ) -> io::Result<Box<dyn Running>> {
        let unit = self.with(|w, _| w.units.get(id).cloned());
        let unit = unit.ok_or_else(|| io::Error::other("the world does not know it"))?;
        let mut env = unit.boot.env.clone();
        env.push(("FLEET_SANDBOX_MACHINE".into(), id.to_owned()));
        if unit.boot.metadata {
            let base = imds::serve(self.clone(), id, unit.address, metadata.clone()).await?;
            env.push(("AWS_EC2_METADATA_SERVICE_ENDPOINT".into(), base));
        }
        let script = unit.boot.user_data.as_deref().unwrap_or("");
        let mut keys = unit.boot.authorized_keys.clone();
        keys.extend(boot::authorized_keys(script));
        let spec = MachineSpec {
            id: id.to_owned(),
            dir: self.machine_dir(id),
            address: unit.address,
            ssh_port: self.ssh_port,
            authorized_keys: keys,
            host_key_pem: boot::host_key(script),
            env,
            hostname: id.to_owned(),
            gpu: (unit.gpus > 0).then(|| (unit.gpu.clone(), unit.gpus)),
            user_data: unit.boot.user_data.clone(),
        };
        tokio::fs::create_dir_all(&spec.dir).await?;
        self.runtime.start(spec).await
    }

    fn machine_dir(&self, id: &str) -> PathBuf {
        self.dir.join("machines").join(id)
    }

    /// A machine that still boots is killed by its boot, when it sees that nobody wants it.
    fn kill(self: &Arc<Self>, id: String) {
        let slot = {
            let mut slots = lock(&self.slots);
            if matches!(slots.get(&id), Some(Slot::Booting)) {
                return;
            }
            slots.remove(&id)
        };
        let host = self.clone();
        tokio::spawn(async move {
            if let Some(Slot::Up { machine, metadata }) = slot {
                machine.kill().await;
                metadata.inspect(CancellationToken::cancel);
            }
            let _ = tokio::fs::remove_dir_all(host.machine_dir(&id)).await;
            host.with(|w, now| w.gone(&id, now));
        });
    }

    /// Lets time pass until the sandbox is stopped.
    pub(crate) async fn live(self: &Arc<Self>) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn tick(self: &Arc<Self>) {
        let exited: Vec<String> = lock(&self.slots)
            .iter_mut()
            .filter_map(|(id, slot)| match slot {
                Slot::Up { machine, .. } => machine.has_exited().then(|| id.clone()),
                Slot::Booting => None,
            })
            .collect();
        self.with(|w, now| {
            for id in exited {
                w.end(&id, EndCause::InstanceShutdown, now);
            }
            w.tick(now);
        });
    }

    /// Ends everything: returns when no machine is left, or after `patience`.
    pub(crate) async fn shut_down(self: &Arc<Self>, patience: Duration) {
        self.stop.cancel();
        self.with(|w, now| w.end_all(now));
        let none_left = async {
            while !lock(&self.slots).is_empty()
                || self.with(|w, _| w.units.values().any(|u| u.gone_at.is_none()))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(patience, none_left).await.is_err() {
            tracing::error!("machines did not end within {patience:?}");
        }
    }
}
