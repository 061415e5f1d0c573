//! A home of its own, a clean environment, and what a run of `fleet` left behind as one text.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A home and a folder for files, both gone afterwards.
pub(crate) struct Stage {
    dir: TempDir,
    vars: Vec<(String, String)>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), vars: Vec::new() }
    }
    pub(crate) fn var(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path
    }
    /// `fleet` with nothing of this shell but PATH.
    pub(crate) fn fleet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("fleet"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("FLEET_HOME", self.home())
            .envs(self.vars.iter().map(|(k, v)| (k, v)))
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.fleet(args).output().expect("fleet runs")
    }
    /// Exit code, stdout and stderr, with this stage's own paths struck out.
    pub(crate) fn told(&self, args: &[&str]) -> String {
        self.text(&self.run(args))
    }
    pub(crate) fn text(&self, output: &Output) -> String {
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().map_or("none".to_owned(), |c| c.to_string());
        format!("exit {code}\n--- stdout\n{out}--- stderr\n{err}")
            .replace(&*self.path().to_string_lossy(), "[dir]")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whatever a test started in this home goes with it.
        for args in [["server", "stop"], ["sandbox", "down"]] {
            let _absent = self.fleet(&args).output();
        }
    }
}
