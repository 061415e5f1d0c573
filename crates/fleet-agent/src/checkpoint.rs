//! Takes a picture of the checkpoint folder.
//!
//! All files are held by hard links in `stage/<n>/` first; then the folder is listed again and must look
//! the same; then the links are hashed, each under its seal. Invariant: a picture shows one moment, never a
//! mix of two; what cannot be shown so is dropped and tried again. When to take one is `watch`'s business.

use crate::clock;
use crate::error::{Doing, Error, Result};
use crate::layout::{self, Activity, Judgement};
use crate::parcel::{self, Found, Hash, Kind, Parcel, Seal};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// File systems stamp changes with a coarse clock: a file changed less than this long ago could change again
/// under the same stamp.
const STAMP: Duration = Duration::from_millis(20);

/// What a try came to.
#[derive(Debug)]
pub(crate) enum Taken {
    New(Parcel),
    /// Nothing there, or nothing new.
    Nothing,
    /// What there is would be less than the picture before: something in that one is being written anew.
    NotYet,
    /// Too large by far; told once for each size.
    TooLarge(String),
}

/// Takes pictures of one folder.
pub(crate) struct Camera {
    folder: PathBuf,
    stage: PathBuf,
    limit: u64,
    taken: u32,
    cache: HashMap<Seal, Hash>,
    last: Option<String>,
    refused: Option<u64>,
    /// Directories that were whole in the last picture, and what was in them.
    whole: HashMap<String, u64>,
    /// The last try left something out that may be whole when it has been quiet.
    pub(crate) has_more: bool,
}

/// Whether a path is by its name not finished.
pub(crate) fn is_temporary(path: &str) -> bool {
    path.split('/').any(|name| {
        name.starts_with(".tmp")
            // A Trainer's name for a checkpoint in the making.
            || name.starts_with("tmp-checkpoint-")
            || [".tmp", ".part", ".partial", ".incomplete"].iter().any(|end| name.ends_with(end))
    })
}

/// Directories in a folder that are whole now, with nobody writing; none where it cannot be read.
pub(crate) fn whole(folder: &Path) -> HashMap<String, u64> {
    let found = parcel::scan(folder, &is_temporary).unwrap_or_default();
    layout::judge(&found, &Activity::default(), &HashMap::new()).whole
}

impl Camera {
    /// `last` is the digest of what is known to be durable already, a restored checkpoint for one; `known`
    /// are the directories that were whole in it. They must not be lost to a picture that is taken while
    /// they are written anew.
    pub(crate) fn new(
        folder: PathBuf,
        stage: PathBuf,
        limit: u64,
        last: Option<String>,
        known: &[String],
    ) -> Self {
        let mut whole = if known.is_empty() { HashMap::new() } else { whole(&folder) };
        for path in known {
            whole.entry(path.clone()).or_insert(0);
        }
        Self {
            folder,
            stage,
            limit,
            taken: 0,
            cache: HashMap::new(),
            last,
            refused: None,
            whole,
            has_more: false,
        }
    }

    /// The last picture was lost: the same content is new again.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Takes a picture without what is being written and without directories that are not whole.
    pub(crate) fn take(&mut self, activity: &Activity) -> Result<Taken> {
        let taken_at = clock::now();
        let seen = parcel::scan(&self.folder, &is_temporary)?;
        let Judgement { left_out, whole } = layout::judge(&seen, activity, &self.whole);
        let has_news = whole.iter().any(|(path, print)| self.whole.get(path) != Some(print));
        let has_less = left_out.iter().any(|path| self.whole.contains_key(path));
        self.has_more = !left_out.is_empty() && !activity.touched.is_empty();
        if !has_news && (has_less || activity.only_news) {
            return Ok(Taken::NotYet);
        }
        let leave_out = |path: &str| {
            is_temporary(path) || activity.writing.contains(path) || left_out.contains(path)
        };
        let found = if left_out.is_empty() && activity.writing.is_empty() {
            seen
        } else {
            let found = parcel::scan(&self.folder, &leave_out)?;
            // Between the two looks something may have begun.
            if !layout::judge(&found, activity, &self.whole).left_out.is_empty() {
                return Err(Error::Changed(self.folder.display().to_string()));
            }
            found
        };
        let mut taken = self.picture(found, &leave_out, taken_at)?;
        match &mut taken {
            Taken::New(parcel) => {
                parcel.whole = whole.keys().cloned().collect();
                self.whole = whole;
            }
            Taken::Nothing => self.whole = whole,
            Taken::NotYet | Taken::TooLarge(_) => {}
        }
        Ok(taken)
    }

    fn picture(
        &mut self,
        mut found: Vec<Found>,
        leave_out: &dyn Fn(&str) -> bool,
        taken_at: fleet_types::Timestamp,
    ) -> Result<Taken> {
        if !found.iter().any(|f| matches!(f.kind, Kind::File(_))) {
            return Ok(Taken::Nothing);
        }
        let size = parcel::size(&found);
        if size > self.limit {
            if self.refused.replace(size) == Some(size) {
                return Ok(Taken::Nothing);
            }
            return Ok(Taken::TooLarge(format!(
                "the checkpoint has {size} bytes, more than the {} that are carried over the \
                 controller's line; save less or name a bucket as `checkpoint.store`",
                self.limit
            )));
        }
        wait_for_stamps(&found);
        let stage = self.stage.join(format!("checkpoint-{}", self.taken));
        self.taken += 1;
        let outcome = self.hold(&stage, &mut found, leave_out, taken_at);
        match outcome {
            Ok(parcel) => {
                let digest = parcel.tree.digest();
                if self.last.as_ref() == Some(&digest) {
                    return Ok(Taken::Nothing);
                }
                self.last = Some(digest);
                Ok(Taken::New(parcel))
            }
            Err(e) => {
                // What was linked so far holds room on the disk and nothing else.
                let _ = fs::remove_dir_all(&stage);
                Err(e)
            }
        }
    }

    fn hold(
        &mut self,
        stage: &Path,
        found: &mut Vec<Found>,
        leave_out: &dyn Fn(&str) -> bool,
        taken_at: fleet_types::Timestamp,
    ) -> Result<Parcel> {
        fs::create_dir_all(stage).doing(|| format!("create `{}`", stage.display()))?;
        let before = found.clone();
        for (index, entry) in found.iter_mut().enumerate() {
            if let Kind::File(seal) = &mut entry.kind {
                let from = self.folder.join(&entry.path);
                *seal = link(&from, &stage.join(index.to_string()), seal)?;
            }
        }
        if parcel::scan(&self.folder, leave_out)? != before {
            return Err(Error::Changed(self.folder.display().to_string()));
        }
        let place = |index: usize, _: &str| stage.join(index.to_string());
        let found = std::mem::take(found);
        Parcel::new(found, taken_at, Some(stage.to_owned()), &place, &mut self.cache)
    }
}

/// Waits out the stamp of the newest file. Stamps of the future say nothing and are not waited for.
fn wait_for_stamps(found: &[Found]) {
    let newest = found.iter().filter_map(|f| match &f.kind {
        Kind::File(seal) => Some(seal.changed_at()),
        _ => None,
    });
    let (newest, now) = (newest.max().unwrap_or_default(), clock::now());
    let age = now.since(newest);
    if newest <= now && age < STAMP {
        thread::sleep(STAMP - age);
    }
}

/// Holds a file by a second name; by a copy where the folder lies on another disk or the file is not ours.
fn link(from: &Path, to: &Path, seal: &Seal) -> Result<Seal> {
    let linked = fs::hard_link(from, to);
    if let Err(e) = linked {
        if e.kind() == std::io::ErrorKind::NotFound {
            return Err(Error::Changed(from.display().to_string()));
        }
        let mut source = parcel::open_sealed(from, seal)?;
        let mut copy = fs::File::create(to).doing(|| format!("create `{}`", to.display()))?;
        std::io::copy(&mut source, &mut copy).doing(|| format!("copy `{}`", from.display()))?;
        parcel::check_seal(&source, from, seal)?;
        let meta = copy.metadata().doing(|| format!("look at `{}`", to.display()))?;
        return Ok(Seal::of(&meta));
    }
    let meta = to.symlink_metadata().doing(|| format!("look at `{}`", to.display()))?;
    if !meta.is_file() || Seal::of(&meta) != *seal {
        return Err(Error::Changed(from.display().to_string()));
    }
    Ok(*seal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn camera(dir: &Path) -> Camera {
        let folder = dir.join("checkpoint");
        fs::create_dir_all(&folder).unwrap();
        Camera::new(folder, dir.join("stage"), 1 << 20, None, &[])
    }

    #[test]
    fn a_picture_is_new_once_and_leaves_the_unfinished_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut camera = camera(dir.path());
        let folder = dir.path().join("checkpoint");
        assert!(matches!(camera.take(&Activity::default()).unwrap(), Taken::Nothing));
        fs::create_dir(folder.join("step-1")).unwrap();
        fs::write(folder.join("step-1/model"), "weights").unwrap();
        fs::write(folder.join("half.tmp"), "x").unwrap();
        fs::write(folder.join("open"), "x").unwrap();
        std::os::unix::fs::symlink(folder.join("step-1"), folder.join("latest")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("outside")).unwrap();
        let unfinished =
            Activity { writing: HashSet::from(["open".to_owned()]), ..Activity::default() };
        let Taken::New(parcel) = camera.take(&unfinished).unwrap() else { panic!("no picture") };
        let paths: Vec<_> = parcel.tree.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["latest", "step-1/model"]);
        assert!(matches!(camera.take(&unfinished).unwrap(), Taken::Nothing), "unchanged");
        // The picture holds its bytes though the folder goes on.
        fs::remove_dir_all(folder.join("step-1")).unwrap();
        let (path, seal) = parcel.files.values().next().unwrap();
        let mut buffer = [0; 64];
        let hash = hash_file_text(path, seal, &mut buffer);
        assert!(parcel.files.contains_key(&hash));
        let stage = parcel.stage.clone().unwrap();
        drop(parcel);
        assert!(!stage.exists(), "the stage goes with its parcel");
    }

    fn hash_file_text(path: &Path, seal: &Seal, buffer: &mut [u8]) -> Hash {
        parcel::hash_file(path, seal, buffer).unwrap()
    }

    #[test]
    fn a_whole_directory_is_not_lost_while_it_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut camera = camera(dir.path());
        let folder = dir.path().join("checkpoint");
        let write = |path: &str| {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), path).unwrap();
        };
        write("dcp/__0_0.distcp");
        write("dcp/.metadata");
        write("log");
        let quiet = Activity::default();
        let Taken::New(first) = camera.take(&quiet).unwrap() else { panic!("no picture") };
        // The same directory again: its last word is gone until it is whole, and the log goes on.
        fs::remove_file(folder.join("dcp/.metadata")).unwrap();
        write("log2");
        assert!(matches!(camera.take(&quiet).unwrap(), Taken::NotYet));
        // A restarted agent knows it from its memory.
        let stage = dir.path().join("stage2");
        let last = Some(first.tree.digest());
        assert_eq!(first.whole, ["dcp"]);
        let mut restarted = Camera::new(folder.clone(), stage, 1 << 20, last, &first.whole);
        assert!(matches!(restarted.take(&quiet).unwrap(), Taken::NotYet));
        // Another one is whole: that is worth a picture without the first.
        write("dcp-2/__0_0.distcp");
        write("dcp-2/.metadata");
        let Taken::New(second) = camera.take(&quiet).unwrap() else { panic!("no picture") };
        let paths: Vec<_> = second.tree.entries.iter().map(|e| e.path.as_str()).collect();
        assert_eq!(paths, ["dcp-2/.metadata", "dcp-2/__0_0.distcp", "log", "log2"]);
        // Nothing has become whole: not worth a picture where that was the question.
        write("log3");
        let only_news = Activity { only_news: true, ..Activity::default() };
        assert!(matches!(camera.take(&only_news).unwrap(), Taken::NotYet));
        write("dcp/.metadata");
        assert!(matches!(camera.take(&only_news).unwrap(), Taken::New(_)));
    }

    #[test]
    fn a_checkpoint_above_the_limit_is_refused_once_for_each_size() {
        let dir = tempfile::tempdir().unwrap();
        let mut camera = camera(dir.path());
        let file = dir.path().join("checkpoint/model");
        fs::File::create(&file).unwrap().set_len(2 << 20).unwrap();
        let Taken::TooLarge(reason) = camera.take(&Activity::default()).unwrap() else { panic!() };
        assert!(reason.contains("2097152") && reason.contains("1048576"), "{reason}");
        assert!(matches!(camera.take(&Activity::default()).unwrap(), Taken::Nothing));
        fs::File::create(&file).unwrap().set_len(3 << 20).unwrap();
        assert!(matches!(camera.take(&Activity::default()).unwrap(), Taken::TooLarge(_)));
    }

    #[test]
    fn bytes_that_changed_are_never_hashed_as_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let seal = Seal::of(&fs::metadata(&path).unwrap());
        fs::write(&path, "three").unwrap();
        let error = parcel::hash_file(&path, &seal, &mut [0; 64]).unwrap_err();
        assert!(error.is_passing(), "{error}");
    }
}
