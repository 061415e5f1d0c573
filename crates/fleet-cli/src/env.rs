//! The only reader of the environment: settings of CLI.md as typed values.
//!
//! Invariant: the environment is read once, at start; everything below gets values. What a request
//! needs of it (endpoints, accounts, credentials, time scale) becomes an `Account` in `account`.

pub(crate) mod account;

use crate::error::{Error, Result};
use fleet_types::TimeScale;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The environment, the program's own path and the folder it was started in.
#[derive(Clone, Debug)]
pub(crate) struct Env {
    vars: BTreeMap<String, String>,
    cwd: PathBuf,
    program: PathBuf,
}

impl Env {
    /// Reads it. Variables that are no UTF-8 are none of ours and are passed over.
    pub(crate) fn read() -> Result<Self> {
        let vars = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        let cwd = std::env::current_dir()
            .map_err(|e| Error::usage(format!("the current folder cannot be found: {e}")))?;
        let program = std::env::current_exe()
            .map_err(|e| Error::internal(format!("fleet cannot find its own program file: {e}")))?;
        Ok(Self { vars, cwd, program })
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }
    /// All variables.
    pub(crate) fn vars(&self) -> &BTreeMap<String, String> {
        &self.vars
    }
    /// This program's file.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }
    /// `path` seen from the folder that the command was started in.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }
    /// The user's home folder: `HOME`, else what the system's user list says.
    pub(crate) fn user_home(&self) -> Option<PathBuf> {
        let listed = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        self.var("HOME").map(PathBuf::from).or_else(|| listed().map(|u| u.dir))
    }
    /// Where fleet keeps its state.
    pub(crate) fn fleet_home(&self) -> Result<PathBuf> {
        if let Some(set) = self.var("FLEET_HOME") {
            return Ok(self.absolute(Path::new(set)));
        }
        let home = self.user_home().filter(|h| h.is_absolute()).ok_or_else(|| {
            Error::usage("there is no place for fleet's state: HOME is not set")
                .hint("set FLEET_HOME to a folder")
        })?;
        Ok(home.join(".fleet"))
    }
    /// Where the server's socket is, if FLEET_SERVER says so.
    pub(crate) fn server_socket(&self) -> Result<Option<PathBuf>> {
        let Some(set) = self.var("FLEET_SERVER") else { return Ok(None) };
        if let Some(path) = set.strip_prefix("unix:") {
            return Ok(Some(self.absolute(Path::new(path))));
        }
        if set.starts_with("ssh://") {
            return Err(Error::not_supported("FLEET_SERVER=ssh://…")
                .hint("use the server on this machine: unset FLEET_SERVER"));
        }
        Err(Error::usage(format!("FLEET_SERVER=`{set}` is no address"))
            .hint("write unix:PATH, or leave it unset"))
    }
    /// Refuses a database that this build cannot use, before anything is written to another one.
    pub(crate) fn check_database(&self, own: &Path) -> Result<()> {
        let Some(url) = self.var("FLEET_DATABASE_URL") else { return Ok(()) };
        if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            return Err(Error::not_supported("FLEET_DATABASE_URL=postgres:…")
                .hint("leave it unset: the database is SQLite in the home"));
        }
        let path = url.strip_prefix("sqlite:").map(|p| p.strip_prefix("//").unwrap_or(p));
        match path.map(|p| self.absolute(Path::new(p))) {
            Some(path) if path == own => Ok(()),
            Some(_) => Err(Error::not_supported("a SQLite database outside the home")
                .hint(format!("unset FLEET_DATABASE_URL, or write sqlite:{}", own.display()))),
            None => Err(Error::usage("FLEET_DATABASE_URL is no `sqlite:` or `postgres:` URL")),
        }
    }
    /// `FLEET_SEED`.
    pub(crate) fn seed(&self) -> Result<Option<u64>> {
        let read = |v: &str| {
            v.trim().parse().map_err(|_| Error::usage(format!("FLEET_SEED=`{v}` is no number")))
        };
        self.var("FLEET_SEED").map(read).transpose()
    }
    /// `FLEET_TIME_SCALE`, 1 if unset.
    pub(crate) fn time_scale(&self) -> Result<TimeScale> {
        account::time_scale(&self.vars)
    }
    /// Whether output should stay plain: NO_COLOR, or a terminal that knows no colours.
    pub(crate) fn plain(&self) -> bool {
        self.var("NO_COLOR").is_some() || self.var("TERM") == Some("dumb")
    }
    /// What a background process of ours may inherit: nothing that says who pays.
    pub(crate) fn inherited(&self) -> impl Iterator<Item = (&String, &String)> {
        const KEPT: [&str; 18] = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "TMPDIR",
            "FLEET_SEED",
            "FLEET_LOG",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "HTTPS_PROXY",
            "https_proxy",
            "NO_PROXY",
            "no_proxy",
            "RUST_BACKTRACE",
        ];
        self.vars.iter().filter(|(k, _)| KEPT.contains(&k.as_str()))
    }

    /// An environment of a test's own making.
    #[cfg(test)]
    pub(crate) fn of(vars: &[(&str, &str)]) -> Self {
        let vars = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self { vars, cwd: "/work".into(), program: "/bin/fleet".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_home_is_where_the_environment_says() {
        let home = |vars: &[(&str, &str)]| Env::of(vars).fleet_home().unwrap();
        assert_eq!(home(&[("FLEET_HOME", "/x")]), Path::new("/x"));
        assert_eq!(home(&[("FLEET_HOME", "rel")]), Path::new("/work/rel"));
        assert_eq!(home(&[("HOME", "/h"), ("FLEET_HOME", "")]), Path::new("/h/.fleet"));
    }

    #[test]
    fn what_is_not_supported_says_so() {
        let env =
            Env::of(&[("FLEET_SERVER", "ssh://a@b"), ("FLEET_DATABASE_URL", "postgres://x/y")]);
        let own = Path::new("/h/fleet.db");
        for error in [env.server_socket().unwrap_err(), env.check_database(own).unwrap_err()] {
            assert!(error.to_string().contains("not supported yet"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        let sqlite = Env::of(&[("FLEET_DATABASE_URL", "sqlite:///h/fleet.db")]);
        assert!(sqlite.check_database(own).is_ok());
        let odd = Env::of(&[("FLEET_SERVER", "http://x")]);
        assert_eq!(odd.server_socket().unwrap_err().exit_code(), 2);
    }

    #[test]
    fn background_processes_inherit_no_account() {
        let env =
            Env::of(&[("PATH", "/bin"), ("AWS_SECRET_ACCESS_KEY", "x"), ("AWS_PROFILE", "p")]);
        let kept: Vec<_> = env.inherited().map(|(k, _)| k.as_str()).collect();
        assert_eq!(kept, ["PATH"]);
    }
}
