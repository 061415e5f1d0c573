//! One machine in a directory of its own, with an SSH session to it and eyes on its processes.

use std::ffi::OsStr;
use std::fs;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fleet_sandbox::machine::{Isolation, Machine, MachineSpec};
use fleet_ssh::{Error, HostKeyPolicy, KeyPair, Output, Session, Target};
use libtest_mimic::Failed;
use secrecy::ExposeSecret;
use tokio::runtime::Runtime;

/// How long anything that ought to happen may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The user and group `nobody` of Debian.
const NOBODY: u32 = 65_534;

pub(crate) struct Lab {
    // Dropped in this order: the session before the machine, the directory last.
    session: Option<Session>,
    machine: Option<Machine>,
    sandbox: Option<Child>,
    runtime: Runtime,
    spec: MachineSpec,
    login: KeyPair,
    host: KeyPair,
    /// Stands in the environment of every command of this machine and nowhere else.
    mark: String,
    _dir: tempfile::TempDir,
}

impl Lab {
    /// A machine at exactly this level, or `None`, said loudly, if this host does not allow it.
    pub(crate) fn at(level: Isolation) -> Option<Lab> {
        Lab::with(level, |_| {})
    }

    pub(crate) fn with(level: Isolation, change: impl FnOnce(&mut MachineSpec)) -> Option<Lab> {
        let mut lab = Lab::prepare();
        change(&mut lab.spec);
        let program = std::env::current_exe().expect("this program");
        let machine = lab
            .block(Machine::start_at_most(&program, lab.spec.clone(), level))
            .expect("a machine starts");
        let reached = machine.isolation();
        lab.machine = Some(machine);
        if reached != level {
            let words = format!("\n*** SKIPPED: this host allows {reached}, not {level} ***\n");
            let _unheard = std::io::stderr().write_all(words.as_bytes());
            return None;
        }
        lab.session = Some(lab.connect(&lab.target()).expect("an SSH session"));
        Some(lab)
    }

    /// The same, held by a process that can be killed.
    pub(crate) fn under_a_sandbox(level: Isolation) -> Option<Lab> {
        Lab::at(level)?;
        let mut lab = Lab::prepare();
        let program = std::env::current_exe().expect("this program");
        lab.start_sandbox(Command::new(program), level).expect("a sandbox");
        Some(lab)
    }

    fn prepare() -> Lab {
        let dir = tempfile::Builder::new().prefix("fleet-machine-").tempdir().expect("a directory");
        let (login, host) = (KeyPair::generate("login"), KeyPair::generate("host"));
        let address = Ipv4Addr::new(127, 0, 0, fastrand::u8(2..250));
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let mark = format!("FLEET_TEST_MARK={:032x}", fastrand::u128(..));
        let (name, value) = mark.split_once('=').expect("a mark");
        let spec = MachineSpec {
            id: "i-test".into(),
            dir: dir.path().join("machine"),
            address,
            ssh_port: listener.local_addr().expect("its port").port(),
            authorized_keys: vec!["not a key".into(), login.public_line.clone()],
            host_key_pem: Some(host.private_pem.expose_secret().to_owned()),
            env: vec![(name.into(), value.into()), ("FLEET_TEST_GIVEN".into(), "a b".into())],
            hostname: "machine-under-test".into(),
            gpu: None,
            user_data: None,
        };
        Lab {
            session: None,
            machine: None,
            sandbox: None,
            runtime: Runtime::new().expect("a runtime"),
            spec,
            login,
            host,
            mark,
            _dir: dir,
        }
    }

    fn start_sandbox(&mut self, mut program: Command, level: Isolation) -> Result<(), Failed> {
        let file = self._dir.path().join("spec.json");
        fs::write(&file, serde_json::to_vec(&self.spec)?)?;
        let mut child = program
            .arg("__sandbox")
            .arg(&file)
            .arg(level.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        self.sandbox = Some(child);
        if line != "up\n" {
            return Err(format!("the sandbox said `{line}`").into());
        }
        self.session = Some(self.connect(&self.target())?);
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.spec.dir
    }

    pub(crate) fn machine(&mut self) -> &mut Machine {
        self.machine.as_mut().expect("a machine of our own")
    }

    pub(crate) fn session(&self) -> &Session {
        self.session.as_ref().expect("a session")
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            host: self.spec.address.to_string(),
            port: self.spec.ssh_port,
            user: "anybody".into(),
            login_key: self.login.private_pem.clone(),
            host_key: HostKeyPolicy::Pinned(vec![self.host.public_line.clone()]),
        }
    }

    /// Connects once: a machine that has started listens.
    pub(crate) fn connect(&self, target: &Target) -> Result<Session, Error> {
        self.block(Session::connect(target, SOON))
    }

    pub(crate) fn block<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// Does something that needs a runtime around it.
    pub(crate) fn enter(&self, act: impl FnOnce()) {
        let _entered = self.runtime.enter();
        act();
    }

    pub(crate) fn run(&self, command: &str) -> Output {
        self.block(self.session().exec(command, &b""[..], SOON)).expect("a command runs")
    }

    /// The stdout of a command that must succeed.
    pub(crate) fn output(&self, command: &str) -> String {
        let ran = self.run(command);
        assert!(ran.success(), "`{command}`: {ran:?}");
        String::from_utf8(ran.stdout).expect("text")
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut machine) = self.machine.take() {
            self.runtime.block_on(machine.kill());
            self.machine = Some(machine);
        }
    }

    pub(crate) fn kill_sandbox(&mut self) {
        if let Some(mut sandbox) = self.sandbox.take() {
            let _dead = sandbox.kill();
            let _reaped = sandbox.wait();
        }
    }

    /// Living processes of the machine, its guard and init included.
    pub(crate) fn processes(&self) -> Vec<String> {
        let dir = format!("__machine\0{}", self.spec.dir.display());
        living(|process| {
            read(process, "environ").contains(&self.mark) || read(process, "cmdline").contains(&dir)
        })
    }

    /// How many commands run on the machine.
    pub(crate) fn commands(&self) -> usize {
        living(|process| read(process, "environ").contains(&self.mark)).len()
    }

    /// Zombies among the children of this machine's processes.
    pub(crate) fn zombies(&self) -> usize {
        let dir = format!("__machine\0{}", self.spec.dir.display());
        let parents: Vec<String> = every_process()
            .filter(|process| read(process, "cmdline").contains(&dir))
            .filter_map(|process| Some(process.file_name()?.to_str()?.to_owned()))
            .collect();
        every_process()
            .filter(|process| {
                let status = read(process, "status");
                let field = |name: &str| {
                    status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
                };
                field("State:").is_some_and(|state| state.starts_with('Z'))
                    && field("PPid:").is_some_and(|parent| parents.contains(&parent))
            })
            .count()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
        self.kill_sandbox();
        let deadline = Instant::now() + SOON;
        // The directory cannot be removed under a machine that is still dying.
        while !self.processes().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A machine of the user `nobody`, held by a sandbox of that user.
pub(crate) fn as_nobody(strongest: Isolation) -> Result<Lab, Failed> {
    let mut lab = Lab::prepare();
    // The program may lie where only its owner can go.
    let program = lab._dir.path().join("program");
    fs::copy(std::env::current_exe()?, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    chown(lab._dir.path(), Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new(program);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    lab.start_sandbox(command, strongest)?;
    Ok(lab)
}

/// Holds one machine until it is killed.
pub(crate) fn sandbox_main(spec: &OsStr, level: &OsStr) -> ExitCode {
    let spec: MachineSpec =
        serde_json::from_slice(&fs::read(spec).expect("a specification")).expect("a specification");
    let strongest = [Isolation::PrivateRoot, Isolation::Namespaces, Isolation::ProcessTree]
        .into_iter()
        .find(|known| *level == *known.to_string())
        .expect("a level");
    let program = std::env::current_exe().expect("this program");
    Runtime::new().expect("a runtime").block_on(async {
        let _machine =
            Machine::start_at_most(&program, spec, strongest).await.expect("a machine starts");
        let mut said = std::io::stdout();
        said.write_all(b"up\n").and_then(|()| said.flush()).expect("somebody listens");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// Waits for a condition; panics if it does not come true soon.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn living(mine: impl Fn(&Path) -> bool) -> Vec<String> {
    every_process()
        .filter(|process| mine(process))
        .map(|process| format!("{} {}", process.display(), read(&process, "cmdline")))
        .collect()
}

fn every_process() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path()).filter(|path| {
        path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.parse::<u32>().is_ok())
    })
}

fn read(process: &Path, file: &str) -> String {
    String::from_utf8_lossy(&fs::read(process.join(file)).unwrap_or_default()).into_owned()
}
