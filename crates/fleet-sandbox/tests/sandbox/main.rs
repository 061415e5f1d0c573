//! A whole sandbox as a process of its own, with real machines: how it starts and how it ends.
//!
//! This program is also the sandbox (`__sandbox DIR`) and its machines (`__machine`), so it has its own
//! `main`. What is shown: a rented machine answers SSH within moments, and neither `down` nor SIGTERM
//! nor `kill -9` leaves a process behind.

use fleet_sandbox::{Config, DUMMY_CREDENTIALS, Scenario, State, machine::machine_main};
use fleet_types::TimeScale;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// How long anything that ought to happen may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("__machine") => return machine_main(arguments[2].as_ref()),
        Some("__sandbox") => return sandbox_main(Path::new(&arguments[2])),
        _ => {}
    }
    let trials = vec![
        Trial::test("down ends every machine and leaves the ledger", || end_by(down)),
        Trial::test("SIGTERM ends every machine and leaves the ledger", || {
            end_by(|lab| signal(lab, Signal::SIGTERM))
        }),
        Trial::test("kill -9 ends every machine, and the ledger is closed", || {
            end_by(|lab| signal(lab, Signal::SIGKILL))
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

fn sandbox_main(dir: &Path) -> ExitCode {
    let config = Config {
        dir: dir.to_owned(),
        seed: 5,
        scenario: Scenario::default(),
        time_scale: TimeScale::new(0.05).expect("a scale"),
        program: std::env::current_exe().expect("this program"),
        one_shot: false,
    };
    match runtime().block_on(fleet_sandbox::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

struct Lab {
    dir: tempfile::TempDir,
    process: Child,
    state: State,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

fn eventually<T>(what: &str, mut test: impl FnMut() -> Option<T>) -> Result<T, Failed> {
    let end = Instant::now() + SOON;
    while Instant::now() < end {
        if let Some(found) = test() {
            return Ok(found);
        }
        std::thread::yield_now();
    }
    Err(format!("{what}: not within {SOON:?}").into())
}

fn start() -> Result<Lab, Failed> {
    let dir = tempfile::Builder::new().prefix("fleet-sandbox-").tempdir()?;
    let process = Command::new(std::env::current_exe()?)
        .arg("__sandbox")
        .arg(dir.path())
        .stdin(Stdio::null())
        .spawn()?;
    let state = eventually("state.json", || fleet_sandbox::state(dir.path()))?;
    Ok(Lab { dir, process, state })
}

impl Lab {
    /// An EC2 call; the answer's body.
    fn ec2(&self, form: &str) -> Result<String, Failed> {
        let at = self.state.endpoints.aws.trim_start_matches("http://");
        let mut stream = TcpStream::connect(at)?;
        write!(
            stream,
            "POST / HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\nauthorization: AWS4-HMAC-SHA256 \
             Credential={}/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, \
             Signature={:064}\r\ncontent-length: {}\r\n\r\n{form}",
            DUMMY_CREDENTIALS[0],
            0,
            form.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Rents a machine; gives its id and address once EC2 says that it runs.
    fn rent(&self, token: &str) -> Result<(String, String), Failed> {
        let made = self.ec2(&format!(
            "Action=RunInstances&ImageId=ami-0123456789abcdef0&InstanceType=g4dn.xlarge&MinCount=1\
             &MaxCount=1&ClientToken={token}&InstanceMarketOptions.MarketType=spot"
        ))?;
        let id = text_of(&made, "instanceId");
        eventually("the machine runs", || {
            let shown = self.ec2(&format!("Action=DescribeInstances&InstanceId.1={id}")).ok()?;
            shown
                .contains("<name>running</name>")
                .then(|| (id.clone(), text_of(&shown, "ipAddress")))
        })
    }

    /// Processes, the sandbox aside, whose command line names this sandbox's folder.
    fn processes(&self) -> Vec<u32> {
        let folder = self.dir.path().display().to_string();
        let ids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        ids.filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != self.process.id())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains(&folder)
            })
            .collect()
    }
}

fn text_of(xml: &str, name: &str) -> String {
    let rest = xml.split(&format!("<{name}>")).nth(1).unwrap_or("");
    rest.split('<').next().unwrap_or("").to_owned()
}

fn down(lab: &mut Lab) -> Result<(), Failed> {
    runtime().block_on(fleet_sandbox::down(lab.dir.path()))?;
    Ok(())
}

fn signal(lab: &mut Lab, signal: Signal) -> Result<(), Failed> {
    kill(Pid::from_raw(i32::try_from(lab.process.id())?), signal)?;
    lab.process.wait()?;
    Ok(())
}

fn end_by(end: impl FnOnce(&mut Lab) -> Result<(), Failed>) -> Result<(), Failed> {
    let mut lab = start()?;
    let machines = [lab.rent("a")?, lab.rent("b")?];
    for (id, address) in &machines {
        let mut stream = TcpStream::connect((address.as_str(), lab.state.ssh_port))?;
        let mut banner = [0_u8; 7];
        stream.read_exact(&mut banner)?;
        if banner != *b"SSH-2.0" {
            return Err(format!("{id} does not speak SSH").into());
        }
    }
    if lab.processes().len() < machines.len() {
        return Err(format!("{:?}: fewer processes than machines", lab.processes()).into());
    }
    end(&mut lab)?;
    eventually("no process is left", || lab.processes().is_empty().then_some(()))?;
    if fleet_sandbox::state(lab.dir.path()).is_some() {
        return Err("it still says that it runs".into());
    }
    let ledger: Value = runtime().block_on(fleet_sandbox::ledger(lab.dir.path()))?;
    let rows = ledger["instances"].as_array().cloned().unwrap_or_default();
    let ended = rows.iter().filter(|r| r["ended_at"].is_string()).count();
    if (rows.len(), ended) != (2, 2) {
        return Err(format!("the ledger: {ledger}").into());
    }
    Ok(())
}
