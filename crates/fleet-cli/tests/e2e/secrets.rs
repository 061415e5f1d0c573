//! A secret reaches its task and no file, log, process list or answer of ours.

use crate::home::Home;
use crate::process;
use std::path::{Path, PathBuf};

/// Spelled so that it occurs nowhere by chance, and so that each of its spellings differs.
const SECRET: &str = "hunter2/+canary==5f1c9a7e~x";

/// The value and the spellings in which a careless writer would leave it.
fn spellings() -> Vec<Vec<u8>> {
    let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
    // Three alignments of base64: what stands inside a longer encoded text.
    let base64 = [
        "aHVudGVyMi8rY2FuYXJ5PT01ZjFjOWE3ZX54",
        "h1bnRlcjIvK2NhbmFyeT09NWYxYzlhN2V",
        "odW50ZXIyLytjYW5hcnk9PTVmMWM5YTdlf",
    ];
    let url = "hunter2%2F%2Bcanary%3D%3D5f1c9a7e";
    let mut all = vec![SECRET.as_bytes().to_vec(), hex.into_bytes(), url.into()];
    all.extend(base64.map(Vec::from));
    all
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|w| w == needle)
}

/// Files below `dir` that hold the secret in any spelling.
fn holding(dir: &Path, found: &mut Vec<PathBuf>, read: &mut usize) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if kind.is_dir() {
            holding(&path, found, read);
        } else if kind.is_file() {
            let text = std::fs::read(&path).unwrap_or_default();
            *read += 1;
            if spellings().iter().any(|s| contains(&text, s)) {
                found.push(path);
            }
        }
    }
}

#[track_caller]
fn nowhere(home: &Home, when: &str) {
    let (mut found, mut read) = (Vec::new(), 0);
    holding(&home.path(), &mut found, &mut read);
    assert!(read > 5, "only {read} files were looked at");
    assert!(found.is_empty(), "{when}: the secret lies in {found:?}");
    for pid in home.processes() {
        let line = process::command_line(pid);
        assert!(!line.contains(SECRET), "{when}: in a process list: {line}");
    }
}

#[test]
fn a_secret_is_nowhere_in_clear_while_the_job_runs_and_after_it() {
    let home = Home::with_sandbox("secrets", &["--seed", "81"]);
    let task = home.write(
        "secret.yaml",
        "name: keeper\nresources: {accelerators: 'T4:1'}\nmachine: any\nsecrets: {TOKEN: null}\n\
         run: |\n  echo \"the token has ${#TOKEN} characters\"\n  echo \"by mistake: $TOKEN\"\n  \
           while [ ! -e ~/go ]; do sleep 0.1; done\n",
    );
    home.fleet(&["launch", &task, "--use-spot", "-d", "-y"]).ends(2).says(&["TOKEN"]);
    let given = format!("TOKEN={SECRET}");
    let id = home.launch(&task, &["--infra", "aws", "--secret", &given]);
    home.until_log(&id, &format!("the token has {} characters", SECRET.len()));
    home.until_log(&id, "by mistake: ");
    nowhere(&home, "while it runs");

    // A new attempt gets it as well, from what was kept sealed.
    home.kill_server();
    home.fleet(&["server", "start"]).ends(0);
    home.fleet(&["sandbox", "preempt", "--job", &id, "--warning", "0s"]).ends(0);
    let wanted = format!("the token has {} characters", SECRET.len());
    home.until(&id, 60, "runs again", |j| !j["attempts"][1]["running_at"].is_null());
    home.until_true("the second attempt has it", || {
        home.fleet(&["logs", &id]).stdout.matches(&wanted).count() == 2
    });
    nowhere(&home, "in the second attempt");
    home.fleet(&["exec", &id, "--", "touch ~/go"]).ends(0);
    home.succeeded(&id);
    for args in [&["status", "--json"][..], &["events", &id, "--json"], &["logs", &id]] {
        let said = home.fleet(args).ends(0);
        assert!(!said.stdout.contains(SECRET), "{args:?} shows it");
    }
    home.drained();
    nowhere(&home, "after its end");
}
