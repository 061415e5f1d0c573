//! Where credentials are looked for: named variables handed in, and files below a home handed in.
//!
//! Libraries never read the environment; whoever starts a driver passes the realm's account selectors and
//! the values sealed for it in one map. Invariants: a secret that was found does not print, and only an
//! ordinary file of modest size is read (a FIFO would hang, a device would never end).

use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

const FILE_MAX: u64 = 64 * 1024;

/// The variables and folders a driver may look into.
#[derive(Clone, Default)]
pub struct Credentials {
    environment: BTreeMap<String, String>,
}

/// A secret, and where it was found in words a user knows (`VAST_API_KEY`, a path).
#[derive(Clone, Debug)]
pub struct Found {
    pub secret: SecretString,
    pub source: String,
}

impl Credentials {
    /// Looks into `environment` alone, as its names stand (`HOME` and `XDG_CONFIG_HOME` too).
    pub fn new(environment: BTreeMap<String, String>) -> Self {
        Self { environment }
    }
    /// The variable's value, if it is set and not empty.
    pub fn var(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|v| !v.trim().is_empty())
    }
    /// The user's home folder.
    pub fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }
    /// `$XDG_CONFIG_HOME`, or `.config` in the home folder.
    pub fn config_home(&self) -> Option<PathBuf> {
        self.var("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
            .or_else(|| self.home().map(|h| h.join(".config")))
    }
    /// A secret held by a variable, without space around it.
    pub fn secret_var(&self, name: &str) -> Option<Found> {
        self.var(name)
            .map(|v| Found { secret: SecretString::from(v.trim()), source: name.to_owned() })
    }
    /// A secret that is the whole of a small file, without space around it; `None` if the file is
    /// absent, empty, too large, no text or no ordinary file.
    pub fn secret_file(&self, path: &Path) -> Option<Found> {
        let text = read_small(path)?;
        let text = text.trim();
        (!text.is_empty())
            .then(|| Found { secret: SecretString::from(text), source: self.shortened(path) })
    }
    /// A secret that a small file of `name = value` lines holds under one of `names`, quoted or not: the
    /// key files of several vendors' tools. Sections are not told apart.
    pub fn secret_field(&self, path: &Path, names: &[&str]) -> Option<Found> {
        let text = read_small(path)?;
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'']);
            (names.contains(&name.trim()) && !value.is_empty()).then(|| value.to_owned())
        })?;
        Some(Found { secret: SecretString::from(value), source: self.shortened(path) })
    }
    /// `~/…` for a path below the home folder.
    fn shortened(&self, path: &Path) -> String {
        match self.home().and_then(|h| path.strip_prefix(h).ok().map(Path::to_owned)) {
            Some(rest) => format!("~/{}", rest.display()),
            None => path.display().to_string(),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.environment.keys()).finish()
    }
}

fn read_small(path: &Path) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > FILE_MAX {
        return None;
    }
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn with(pairs: &[(&str, &str)]) -> Credentials {
        Credentials::new(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn secrets_are_found_and_do_not_print() {
        let home = tempfile::tempdir().expect("a folder");
        let path = home.path().join("key");
        std::fs::write(&path, "  sk-file-123456\n").expect("a file");
        let look =
            with(&[("HOME", &home.path().display().to_string()), ("KEY", " sk-var-123456 ")]);
        let (var, file) = (look.secret_var("KEY").unwrap(), look.secret_file(&path).unwrap());
        assert_eq!(var.secret.expose_secret(), "sk-var-123456");
        assert_eq!(
            (file.secret.expose_secret(), file.source.as_str()),
            ("sk-file-123456", "~/key")
        );
        assert!(!format!("{look:?}{var:?}{file:?}").contains("sk-"));
        assert!(look.secret_file(home.path()).is_none(), "a folder is no key");
        std::fs::write(&path, "[default]\nother = 1\napi_key = \"sk-field-123\"\n")
            .expect("a file");
        let field = look.secret_field(&path, &["apikey", "api_key"]).unwrap();
        assert_eq!(
            (field.secret.expose_secret(), field.source.as_str()),
            ("sk-field-123", "~/key")
        );
        assert!(look.secret_field(&path, &["key"]).is_none());
        assert!(look.secret_var("OTHER").is_none());
    }

    #[test]
    fn the_configuration_folder_follows_xdg() {
        let look = with(&[("HOME", "/home/me"), ("XDG_CONFIG_HOME", "/cfg")]);
        assert_eq!(look.config_home(), Some("/cfg".into()));
        assert_eq!(with(&[("HOME", "/home/me")]).config_home(), Some("/home/me/.config".into()));
        assert_eq!(with(&[]).config_home(), None);
    }
}
