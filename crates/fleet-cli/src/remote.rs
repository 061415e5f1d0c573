//! The way to where a job's task runs: its machine, its folder, its variables.
//!
//! Invariant: what is put into a command line there is quoted data; neither secrets nor the task file's
//! own variables are, since every user of the machine can read command lines.

use crate::error::{Error, Result};
use fleet_controller::api::MachineAccess;
use fleet_ssh::{HostKeyPolicy, Target, quote};

/// Shell text that goes to the task's folder and sets its variables; fails where the folder is not there.
pub(crate) fn enter(access: &MachineAccess) -> String {
    let folders = &access.folders;
    let paths = folders.paths.iter().map(|(n, path)| format!("{n}=\"$PWD\"/{}", quote(path)));
    let texts = access.environment.iter().map(|(n, value)| format!("{n}={}", quote(value)));
    let variables: Vec<_> = paths.chain(texts).collect();
    format!(
        "cd && cd -P {} && export {} && cd {}",
        quote(&folders.base),
        variables.join(" "),
        quote(&folders.workdir)
    )
}

/// Shell text that tells whether the task's folder is there yet.
pub(crate) fn is_there(access: &MachineAccess) -> String {
    let path = format!("{}/{}", access.folders.base, access.folders.workdir);
    format!("cd && test -d {}", quote(&path))
}

/// The machine with its pinned key.
pub(crate) fn target(access: &MachineAccess) -> Result<Target> {
    let login_key = std::fs::read_to_string(&access.key_path)
        .map_err(|e| Error::internal(format!("{}: {e}", access.key_path.display())))?;
    Ok(Target {
        host: access.host.clone(),
        port: access.port,
        user: access.user.clone(),
        login_key: login_key.into(),
        host_key: HostKeyPolicy::Pinned(vec![access.host_key.clone()]),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::process::Command;

    pub(crate) fn access() -> MachineAccess {
        serde_json::from_value(serde_json::json!({
            "job": "j-000000000001", "epoch": 2, "host": "192.0.2.1", "port": 2222,
            "user": "ubuntu", "key_path": "/k/login", "known_hosts_path": "/k/known", "host_key": "x",
            "folders": {"base": ".fleet/j-000000000001", "workdir": "workdir",
                        "paths": {"FLEET_OUTPUT_DIR": "output"}},
            "environment": {"FLEET_ATTEMPT": "2", "SKYPILOT_TASK_ID": "fleet-it's $HOME"},
        }))
        .expect("an access")
    }

    #[test]
    fn a_shell_that_enters_stands_in_the_tasks_folder_with_its_variables() {
        let home = tempfile::tempdir().expect("a folder");
        let text = format!(
            "{} && pwd && echo \"$FLEET_OUTPUT_DIR $FLEET_ATTEMPT $SKYPILOT_TASK_ID\"",
            enter(&access())
        );
        let run = |text: &str| {
            let ran = Command::new("sh").args(["-c", text]).env("HOME", home.path()).output();
            let ran = ran.expect("a shell");
            (ran.status.success(), String::from_utf8_lossy(&ran.stdout).into_owned())
        };
        assert!(!run(&is_there(&access())).0 && !run(&text).0, "nothing is there yet");
        let base = home.path().canonicalize().expect("a path").join(".fleet/j-000000000001");
        std::fs::create_dir_all(base.join("workdir")).expect("folders");
        assert!(run(&is_there(&access())).0);
        let base = base.display();
        let told = format!("{base}/workdir\n{base}/output 2 fleet-it's $HOME\n");
        assert_eq!(run(&text), (true, told));
    }
}
