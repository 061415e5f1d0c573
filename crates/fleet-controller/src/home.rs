//! A fleet home: where everything of one fleet lies on this machine, and the fleet's identity.
//!
//! Invariant: the fleet id is written once, before anything else, and outlives the database; the folder is
//! 0700 and every key in it 0600. Two homes are two fleets.

use crate::error::{Error, Result};
use fleet_types::{FleetId, JobId};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A home that exists.
#[derive(Clone, Debug)]
pub struct Home {
    dir: PathBuf,
    fleet_id: FleetId,
}

impl Home {
    /// Opens the home, making it with a fresh identity where there is none.
    pub fn open(dir: &Path) -> Result<Self> {
        let fail = |detail: String| Error::Home { path: dir.display().to_string(), detail };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| fail(format!("it cannot be made: {e}")))?;
        let dir = dir.canonicalize().map_err(|e| fail(e.to_string()))?;
        let config = dir.join("config.yaml");
        let fleet_id = match std::fs::read_to_string(&config) {
            Ok(text) => identity(&text).ok_or_else(|| {
                fail("config.yaml has no valid `fleet_id`; it names this fleet's machines, so it is not replaced by a new one".into())
            })?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(&dir, &config).map_err(|e| fail(e.to_string()))?,
            Err(e) => return Err(fail(format!("config.yaml cannot be read: {e}"))),
        };
        Ok(Self { dir, fleet_id })
    }
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
    /// Whose machines these are.
    pub fn fleet_id(&self) -> &FleetId {
        &self.fleet_id
    }
    /// The controller's socket. Unix limits its length, so a long home gets one in the temp folder.
    pub fn socket_path(&self) -> PathBuf {
        let path = self.dir.join("server.sock");
        if path.as_os_str().len() < 100 {
            return path;
        }
        std::env::temp_dir().join(format!("fleet-{}.sock", self.fleet_id.short()))
    }
    /// The database.
    pub fn db_path(&self) -> PathBuf {
        self.dir.join("fleet.db")
    }
    /// Held by the one server of this home.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join("server.lock")
    }
    /// Frozen workdirs.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.dir.join("snapshots")
    }
    /// Checkpoints and outputs.
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }
    /// The sandbox.
    pub fn sandbox_dir(&self) -> PathBuf {
        self.dir.join("sandbox")
    }
    /// What the background server says.
    pub fn server_log_path(&self) -> PathBuf {
        self.dir.join("server.log")
    }
    /// What belongs to one job: keys, stream.
    pub fn job_dir(&self, job: &JobId) -> PathBuf {
        self.dir.join("jobs").join(job.as_str())
    }
    /// Offers asked for lately.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }
}

fn identity(text: &str) -> Option<FleetId> {
    let id = text.lines().find_map(|l| l.strip_prefix("fleet_id:"))?.trim();
    (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then(|| FleetId::new(id))
}

fn create(dir: &Path, config: &Path) -> std::io::Result<FleetId> {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let text = format!(
        "# Identity of this fleet: written on every machine it makes. Keep it: `fleet reap --fleet ID` needs it.\nfleet_id: {id}\n"
    );
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    // Two first commands at once: the first identity stays.
    match file.persist_noclobber(config) {
        Ok(_) => Ok(FleetId::new(id)),
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => {
            identity(&std::fs::read_to_string(config)?)
                .ok_or_else(|| std::io::Error::other("config.yaml has no fleet_id"))
        }
        Err(e) => Err(e.error),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let mut file = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The name too must survive a power loss.
    std::fs::File::open(parent)?.sync_all()
}

/// Opens a file for appending, made 0600.
pub(crate) fn append_private(path: &Path) -> std::io::Result<std::fs::File> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).read(true).mode(0o600).open(path)
}
