//! Machines as a host and a client see them, at every level of isolation this host allows.
//!
//! This program is also the machines' own program (`__machine`) and a sandbox to be killed
//! (`__sandbox`), so it has its own `main`.

mod lab;

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fleet_sandbox::machine::{Isolation, machine_main};
use fleet_ssh::{Error, HostKeyPolicy, KeyPair};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use lab::{Lab, SOON, as_nobody, eventually, sandbox_main};

const LEVELS: [Isolation; 3] =
    [Isolation::PrivateRoot, Isolation::Namespaces, Isolation::ProcessTree];

/// Starts processes that leave their session, their parent and both; says `up`.
const STRAYS: &str = "setsid sleep 1001 </dev/null >/dev/null 2>&1 & \
    (sleep 1002 </dev/null >/dev/null 2>&1 &); \
    setsid sh -c '(setsid sleep 1003 &) ; exec sleep 1004' </dev/null >/dev/null 2>&1 & \
    echo up";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("__machine") => return machine_main(arguments[2].as_ref()),
        Some("__sandbox") => return sandbox_main(&arguments[2], &arguments[3]),
        _ => {}
    }
    let mut trials = Vec::new();
    for level in LEVELS {
        trials.extend(trials_at(level));
    }
    if geteuid().is_root() {
        trials
            .push(trial("without root a machine has namespaces or a process tree".into(), || {
                without_root()
            }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trials_at(level: Isolation) -> Vec<Trial> {
    let at = |what: &str, body: fn(Isolation) -> Result<(), Failed>| {
        trial(format!("{level}: {what}"), move || body(level))
    };
    vec![
        at("a machine starts within a second", starts_quickly),
        at("kill leaves no process", kill_leaves_nothing),
        at("kill -9 of the sandbox leaves no process", sandbox_death_leaves_nothing),
        at("kill -9 of the guard leaves no process", guard_death_leaves_nothing),
        at("user data cannot touch the host", user_data_is_harmless),
        at("home and tmp are private", home_and_tmp_are_private),
        at("commands have stdin, stdout, stderr, status and a clean environment", commands),
        at("a closed channel hangs up, and a daemon survives it", hang_up),
        at("only authorized keys log in, and the host key can be rotated", keys),
        at("bulk flows quickly, also both ways at once", bulk),
        at("orphans are reaped", orphans_are_reaped),
        at("nvidia-smi shows the GPUs", nvidia_smi),
    ]
}

fn trial(name: String, body: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    Trial::test(name, body)
}

fn starts_quickly(level: Isolation) -> Result<(), Failed> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let started = Instant::now();
        let Some(lab) = Lab::at(level) else { return Ok(()) };
        best = best.min(started.elapsed());
        let recorded = fs::read_to_string(lab.dir().join("isolation"))?;
        check(recorded == format!("{level}\n"), || format!("recorded as {recorded}"))?;
    }
    check(best < Duration::from_secs(1), || format!("the best of five took {best:?}"))
}

fn kill_leaves_nothing(level: Isolation) -> Result<(), Failed> {
    let Some(mut lab) = Lab::at(level) else { return Ok(()) };
    lab.output(STRAYS);
    eventually("the strays run", || lab.commands() >= 4);
    lab.kill();
    check(lab.processes().is_empty(), || format!("left: {:?}", lab.processes()))?;
    check(lab.machine().has_exited(), || "it does not know that it is dead".into())?;
    lab.kill();
    Ok(())
}

fn sandbox_death_leaves_nothing(level: Isolation) -> Result<(), Failed> {
    let Some(mut lab) = Lab::under_a_sandbox(level) else { return Ok(()) };
    lab.output(STRAYS);
    eventually("the strays run", || lab.commands() >= 4);
    lab.kill_sandbox();
    eventually("all processes are gone", || lab.processes().is_empty());
    Ok(())
}

fn guard_death_leaves_nothing(level: Isolation) -> Result<(), Failed> {
    let Some(mut lab) = Lab::at(level) else { return Ok(()) };
    lab.output(STRAYS);
    eventually("the strays run", || lab.commands() >= 4);
    kill(Pid::from_raw(lab.machine().pid().cast_signed()), Signal::SIGKILL)?;
    eventually("all processes are gone", || lab.processes().is_empty());
    eventually("the death is known", || lab.machine().has_exited());
    Ok(())
}

fn user_data_is_harmless(level: Isolation) -> Result<(), Failed> {
    let victim = tempfile::tempdir()?;
    let inside = victim.path().join("made-by-user-data");
    let system = format!("/etc/fleet-test-{}", std::process::id());
    // Everything here would be noticed on the host if it had an effect there, and harm nothing else.
    let mut bystander = Bystander::new()?;
    let script = format!(
        "#!/bin/sh\nmkdir -p {victim}; touch {inside} {system}\n\
         kill -9 {bystander}\n\
         echo done > \"$HOME/user-data-ran\"\n",
        victim = victim.path().display(),
        inside = inside.display(),
        bystander = bystander.0.id(),
    );
    let Some(lab) = Lab::with(level, |spec| spec.user_data = Some(script)) else { return Ok(()) };
    let ran = lab.dir().join("home/user-data-ran");
    if level == Isolation::PrivateRoot {
        eventually("the user data has run", || ran.exists());
        lab.output(&format!("test -e {system}"));
    } else {
        // Nothing that happens later would start it.
        lab.output("true");
        check(!ran.exists() && !lab.dir().join("user-data").exists(), || "user data ran".into())?;
    }
    check(bystander.0.try_wait()?.is_none(), || "a process of the host was killed".into())?;
    check(!inside.exists(), || format!("{} was made on the host", inside.display()))?;
    check(!fs::exists(&system)?, || format!("{system} was made on the host"))
}

fn home_and_tmp_are_private(level: Isolation) -> Result<(), Failed> {
    let (Some(one), Some(two)) = (Lab::at(level), Lab::at(level)) else { return Ok(()) };
    let name = format!("fleet-test-{}-{level}", std::process::id());
    let seen = one.output(&format!("touch ~/{name} \"$TMPDIR\"/{name}; pwd; echo $HOME"));
    let home = one.dir().join("home");
    check(seen == format!("{0}\n{0}\n", home.display()), || seen)?;
    check(home.join(&name).exists() && one.dir().join("tmp").join(&name).exists(), || {
        "the files are not in the machine's directory".into()
    })?;
    check(!std::env::temp_dir().join(&name).exists(), || "the host's /tmp was written".into())?;
    let other = two.output("ls -A ~ \"$TMPDIR\"");
    check(!other.contains(&name), || format!("the other machine sees {other}"))?;
    if level != Isolation::ProcessTree {
        let pids = two.output("ls -d /proc/[0-9]* | wc -l; hostname");
        let (count, name) = pids.trim().split_once('\n').unwrap_or_default();
        check(count.trim().parse::<u32>()? < 10, || format!("{count} processes are seen"))?;
        check(name == "machine-under-test", || name.to_owned())?;
        let refused = two.run("touch /tmp/../usr/fleet-test-should-not-be");
        check(!fs::exists("/usr/fleet-test-should-not-be")?, || format!("{refused:?}"))?;
    }
    Ok(())
}

fn commands(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::at(level) else { return Ok(()) };
    let ran = lab.block(lab.session().exec("cat; echo oops >&2; exit 7", &b"in"[..], SOON))?;
    check(ran.status == 7 && ran.stdout == b"in" && ran.stderr == b"oops\n", || {
        format!("{ran:?}")
    })?;
    let killed = lab.run("kill -TERM $$");
    check(killed.status == 143, || format!("{killed:?}"))?;
    let environment = lab.output("env");
    for line in ["SHELL=/bin/sh", "FLEET_TEST_GIVEN=a b"] {
        check(environment.lines().any(|l| l == line), || format!("no {line} in {environment}"))?;
    }
    let sshd = format!("FLEET_SSHD_DIR={}", lab.dir().join("ssh").display());
    check(environment.contains(&sshd), || environment.clone())?;
    check(!environment.contains("CARGO"), || format!("the host's environment: {environment}"))
}

fn hang_up(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::at(level) else { return Ok(()) };
    let home = lab.dir().join("home");
    let channel = lab.block(lab.session().open(
        "trap 'touch hung-up; exit' HUP; \
         setsid sh -c 'touch up; while [ ! -e stop ]; do sleep 0.01; done; touch stopped' \
             </dev/null >/dev/null 2>&1 & \
         while :; do sleep 0.01; done",
    ))?;
    eventually("the daemon has left the group", || home.join("up").exists());
    lab.enter(|| drop(channel));
    eventually("the command is hung up on", || home.join("hung-up").exists());
    fs::write(home.join("stop"), "")?;
    eventually("the daemon goes on", || home.join("stopped").exists());
    Ok(())
}

fn keys(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::at(level) else { return Ok(()) };
    let mut stranger = lab.target();
    stranger.login_key = KeyPair::generate("stranger").private_pem;
    let refused = lab.connect(&stranger);
    check(matches!(refused, Err(Error::AuthRefused { .. })), || format!("{refused:?}"))?;

    // As fleet does it: from inside, in one step.
    let rotated = KeyPair::generate("rotated");
    let replace = "cd \"$FLEET_SSHD_DIR\" && cat > new && mv new ssh_host_ed25519_key";
    let pem = rotated.private_pem.expose_secret().as_bytes();
    let ran = lab.block(lab.session().exec(replace, pem, SOON))?;
    check(ran.success(), || format!("{ran:?}"))?;
    let old = lab.connect(&lab.target());
    check(matches!(old, Err(Error::HostKeyMismatch { .. })), || format!("{old:?}"))?;
    let mut target = lab.target();
    target.host_key = HostKeyPolicy::Pinned(vec![rotated.public_line]);
    lab.connect(&target)?;
    Ok(())
}

fn bulk(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::at(level) else { return Ok(()) };
    let mut bytes = vec![0; 200 << 20];
    fastrand::Rng::with_seed(3).fill(&mut bytes);
    let started = Instant::now();
    lab.block(lab.session().upload(&bytes[..], "big", 0o600, SOON * 4))?;
    let up = started.elapsed();
    check(fs::read(lab.dir().join("home/big"))? == bytes, || "the copy differs".into())?;
    check(up < Duration::from_secs(10), || format!("200 MiB took {up:?}"))?;

    let echo = async {
        let (mut read, mut write) = tokio::io::split(lab.session().open("cat").await?);
        let mut back = Vec::with_capacity(bytes.len());
        let (sent, received) = tokio::join!(
            async {
                write.write_all(&bytes).await?;
                write.shutdown().await
            },
            read.read_to_end(&mut back)
        );
        sent?;
        received?;
        Ok::<_, Failed>(back)
    };
    let back = lab.block(async { tokio::time::timeout(SOON * 4, echo).await })??;
    check(back == bytes, || "the echo differs".into())
}

fn orphans_are_reaped(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::at(level) else { return Ok(()) };
    lab.output("i=0; while [ $i -lt 50 ]; do (sh -c 'sleep 0.01' >/dev/null &); i=$((i+1)); done");
    eventually("no process and no zombie is left", || lab.commands() == 0 && lab.zombies() == 0);
    Ok(())
}

fn nvidia_smi(level: Isolation) -> Result<(), Failed> {
    let Some(lab) = Lab::with(level, |spec| {
        spec.gpu = Some(("NVIDIA H100 80GB HBM3".into(), 2));
    }) else {
        return Ok(());
    };
    let query = "nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader";
    let line = "NVIDIA H100 80GB HBM3, 81559 MiB, 570.133.20\n";
    check(lab.output(query) == line.repeat(2), || lab.output(query))?;
    let bare = lab.output(&format!("{query},nounits"));
    check(bare == line.replace(" MiB", "").repeat(2), || bare)?;
    check(lab.output("nvidia-smi").matches("H100").count() == 2, || lab.output("nvidia-smi"))?;
    let odd = lab.run("nvidia-smi --query-gpu=colour --format=csv,noheader");
    check(odd.status == 2, || format!("{odd:?}"))
}

/// The levels that an ordinary user gets, seen by one.
fn without_root() -> Result<(), Failed> {
    for strongest in [Isolation::PrivateRoot, Isolation::ProcessTree] {
        let mut lab = as_nobody(strongest)?;
        let isolation = fs::read_to_string(lab.dir().join("isolation"))?;
        check(isolation != "private-root\n", || "a private root without root".into())?;
        lab.output(STRAYS);
        eventually("the strays run", || lab.commands() >= 4);
        lab.kill_sandbox();
        eventually("all processes are gone", || lab.processes().is_empty());
    }
    Ok(())
}

/// A process of the host that no machine may harm.
struct Bystander(Child);

impl Bystander {
    fn new() -> std::io::Result<Bystander> {
        Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Bystander)
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _dead = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn check(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise().into()) }
}
