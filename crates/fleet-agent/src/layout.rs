//! Which directories of a checkpoint folder are whole, by what the frameworks write last.
//!
//! Known by what they leave behind: torch.distributed.checkpoint (`.metadata` after the shards), the Hugging
//! Face Trainer (`trainer_state.json` after all else), PyTorch Lightning's `*.ckpt` files and directories,
//! and a `.done` marker inside a directory or beside it. Directories that are named like a step (`step-200`,
//! `best`) are taken as a whole too. Invariant: a directory whose last word is missing is never whole,
//! however long it has been quiet; one that is whole stays so until something in it changes. It looks at a
//! listing; when to look is `watch`'s business.

use crate::parcel::{Found, Kind};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// After a change: time for the next one of the same save.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);

const METADATA: &str = ".metadata";
const TRAINER_STATE: &str = "trainer_state.json";
const LIGHTNING_META: &str = "meta.pt";
const DONE: &str = ".done";
/// What a Trainer writes before its state, so that a directory with these is one of its own.
const TRAINERS: [&str; 5] =
    ["training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth"];
/// Names of step directories: what is left of them without digits and marks.
const STEPS: [&str; 8] =
    ["checkpoint", "ckpt", "step", "globalstep", "epoch", "epochstep", "iter", "iteration"];
const STEPS_WITHOUT_NUMBER: [&str; 4] = ["latest", "last", "best", "final"];

/// What the watcher knows of writers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Activity {
    /// Files that are being written: left out.
    pub(crate) writing: HashSet<String>,
    /// Directories in which something changed lately, renames into them aside, and how long ago.
    pub(crate) touched: HashMap<String, Duration>,
    /// A picture is worth it only if a directory has become whole.
    pub(crate) only_news: bool,
}

/// What a listing says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Directories that are not whole, the outermost of each, and the markers beside them.
    pub(crate) left_out: HashSet<String>,
    /// Directories that are, each with a print of what is in it.
    pub(crate) whole: HashMap<String, u64>,
}

/// Seconds and nanoseconds of a file's last change.
type Stamp = (i64, i64);

/// What a known layout says of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The last word was written last.
    Now,
    /// The last word is there, but something was written after it: a copy, or an overwrite in place.
    WhenQuiet,
    /// The last word is missing.
    Never,
}

/// What is in a directory.
#[derive(Default)]
struct Facts<'a> {
    /// Files directly in it whose names tell something.
    telling: Vec<(&'a str, Stamp)>,
    /// Of every file in it, at any depth.
    newest: Stamp,
    print: u64,
}

impl Facts<'_> {
    fn stamp(&self, name: &str) -> Option<Stamp> {
        self.telling.iter().find(|(n, _)| *n == name).map(|(_, stamp)| *stamp)
    }
}

/// Whether the closing of this file may be a save's end.
pub(crate) fn is_last_word(path: &str) -> bool {
    let name = name_of(path);
    [METADATA, TRAINER_STATE, LIGHTNING_META].contains(&name)
        || name.ends_with(DONE)
        || ends_when_closed(path)
}

/// Whether a file is whole when it is closed, and not before.
pub(crate) fn ends_when_closed(path: &str) -> bool {
    name_of(path).ends_with(".ckpt")
}

/// Judges a listing that is sorted by path and has everything in it but temporary names. `known`: what was
/// whole when the last picture was taken.
pub(crate) fn judge(
    found: &[Found],
    activity: &Activity,
    known: &HashMap<String, u64>,
) -> Judgement {
    let folder = Folder::of(found);
    let mut judgement = Judgement::default();
    let units: Vec<(&str, &Facts<'_>, Option<Verdict>)> = folder
        .facts
        .iter()
        .filter(|(path, _)| !path.is_empty())
        .map(|(path, facts)| (*path, facts, folder.verdict(path, facts)))
        .filter(|(path, _, verdict)| verdict.is_some() || is_step(name_of(path)))
        .collect();
    let names: HashSet<&str> = units.iter().map(|(path, ..)| *path).collect();
    for (path, facts, verdict) in &units {
        let is_known = known.get(*path) == Some(&facts.print);
        if is_out(path, *verdict, is_known, activity) {
            let outermost = ancestors(path).filter(|a| names.contains(a)).last().unwrap_or(path);
            judgement.left_out.insert(outermost.to_owned());
            judgement.left_out.insert(format!("{outermost}{DONE}"));
        }
    }
    for (path, facts, _) in units {
        let is_left_out = |p: &str| judgement.left_out.contains(p);
        if !is_left_out(path) && !ancestors(path).any(is_left_out) {
            judgement.whole.insert(path.to_owned(), facts.print);
        }
    }
    judgement
}

fn is_out(path: &str, verdict: Option<Verdict>, is_known: bool, activity: &Activity) -> bool {
    let is_written = activity.writing.iter().any(|file| is_below(file, path));
    let touched = activity
        .touched
        .iter()
        .filter(|(folder, _)| folder.as_str() == path || is_below(folder, path));
    let calm = touched.map(|(_, age)| *age).min();
    match verdict {
        Some(Verdict::Never) => true,
        _ if is_written => true,
        _ if is_known => false,
        Some(Verdict::Now) => calm.is_some_and(|age| age < SETTLE),
        Some(Verdict::WhenQuiet) | None => calm.is_some(),
    }
}

/// A listing, by directory.
struct Folder<'a> {
    facts: BTreeMap<&'a str, Facts<'a>>,
    /// Parents and stems of directories that have a `.done` marker.
    marked: HashSet<(&'a str, String)>,
    /// Parents of directories that a Trainer has finished.
    trained: HashSet<&'a str>,
}

impl<'a> Folder<'a> {
    fn of(found: &'a [Found]) -> Self {
        let mut facts: BTreeMap<&str, Facts<'_>> = BTreeMap::new();
        for entry in found {
            take_in(&mut facts, entry);
        }
        let mut folder = Self { facts, marked: HashSet::new(), trained: HashSet::new() };
        for (path, facts) in folder.facts.iter().filter(|(path, _)| !path.is_empty()) {
            let (parent, name) = split(path);
            if folder.done(path, facts).is_some()
                && let Some(stem) = stem(name)
            {
                folder.marked.insert((parent, stem));
            }
            if is_trainers(name) && facts.stamp(TRAINER_STATE).is_some() {
                folder.trained.insert(parent);
            }
        }
        folder
    }

    /// What the known layouts say together. An explicit end outweighs a doubtful one, not a missing one.
    fn verdict(&self, path: &str, facts: &Facts<'_>) -> Option<Verdict> {
        let said = [self.marker(path, facts), distributed(path, facts), self.trainer(path, facts)];
        let said = said.into_iter().flatten();
        if said.clone().any(|v| v == Verdict::Never) { Some(Verdict::Never) } else { said.min() }
    }

    /// When the marker of a directory was made.
    fn done(&self, path: &str, facts: &Facts<'_>) -> Option<Stamp> {
        let (parent, name) = split(path);
        let beside = self.facts.get(parent).and_then(|f| f.stamp(&format!("{name}{DONE}")));
        facts.stamp(DONE).max(beside)
    }

    /// A marker, or none where directories of the same kind have one.
    fn marker(&self, path: &str, facts: &Facts<'_>) -> Option<Verdict> {
        if let Some(at) = self.done(path, facts) {
            return Some(last_word(at, facts.newest));
        }
        let (parent, name) = split(path);
        let is_customary = stem(name).is_some_and(|stem| self.marked.contains(&(parent, stem)));
        is_customary.then_some(Verdict::Never)
    }

    /// Hugging Face Trainer: its state is written when all else of this process is. Other processes write
    /// their random state by themselves: then everything must be quiet.
    fn trainer(&self, path: &str, facts: &Facts<'_>) -> Option<Verdict> {
        let (parent, name) = split(path);
        if !is_trainers(name) {
            return None;
        }
        let is_rank = |n: &str| n.starts_with("rng_state_") && n.ends_with(".pth");
        let has_ranks = facts.telling.iter().any(|(n, _)| is_rank(n));
        match facts.stamp(TRAINER_STATE) {
            Some(_) if has_ranks => Some(Verdict::WhenQuiet),
            Some(at) => Some(last_word(at, facts.newest)),
            None => {
                let is_one = has_ranks
                    || facts.telling.iter().any(|(n, _)| TRAINERS.contains(n))
                    || self.trained.contains(parent);
                is_one.then_some(Verdict::Never)
            }
        }
    }
}

/// torch.distributed.checkpoint: `.metadata` is written when every shard is. Where each rank writes its own
/// (`__0.metadata`), how many there will be is not known.
fn distributed(path: &str, facts: &Facts<'_>) -> Option<Verdict> {
    let shards = facts.telling.iter().filter(|(n, _)| n.ends_with(".distcp"));
    let newest = shards.map(|(_, stamp)| *stamp).max()?;
    let has_ranks =
        facts.telling.iter().any(|(n, _)| n.len() > METADATA.len() && n.ends_with(METADATA));
    Some(match facts.stamp(METADATA) {
        // Lightning adds a file of its own after that.
        Some(_) if ends_when_closed(path) && facts.stamp(LIGHTNING_META).is_none() => {
            Verdict::WhenQuiet
        }
        Some(at) => last_word(at, newest),
        None if has_ranks => Verdict::WhenQuiet,
        None => Verdict::Never,
    })
}

fn last_word(at: Stamp, newest: Stamp) -> Verdict {
    if at >= newest { Verdict::Now } else { Verdict::WhenQuiet }
}

/// Counts an entry in for every directory above it.
fn take_in<'a>(facts: &mut BTreeMap<&'a str, Facts<'a>>, entry: &'a Found) {
    let stamp = match &entry.kind {
        Kind::File(seal) => Some(seal.stamp()),
        Kind::Link(_) => None,
        Kind::Dir => {
            facts.entry(&entry.path).or_default();
            None
        }
    };
    let mut print = DefaultHasher::new();
    (&entry.path, &entry.kind).hash(&mut print);
    let print = print.finish();
    let (mut path, mut is_direct) = (entry.path.as_str(), true);
    while !path.is_empty() {
        let (parent, name) = split(path);
        let above = facts.entry(parent).or_default();
        above.print = above.print.wrapping_add(print);
        if let Some(stamp) = stamp {
            above.newest = above.newest.max(stamp);
            if is_direct && is_telling(name) {
                above.telling.push((name, stamp));
            }
        }
        (path, is_direct) = (parent, false);
    }
}

fn is_telling(name: &str) -> bool {
    is_last_word(name)
        || name.ends_with(METADATA)
        || (name.starts_with("__") && name.ends_with(".distcp"))
        || TRAINERS.contains(&name)
        || name.starts_with("rng_state_")
}

fn is_trainers(name: &str) -> bool {
    name.strip_prefix("checkpoint-")
        .is_some_and(|step| !step.is_empty() && step.bytes().all(|b| b.is_ascii_digit()))
}

fn is_step(name: &str) -> bool {
    let word: String =
        name.chars().filter(|c| c.is_alphabetic()).map(|c| c.to_ascii_lowercase()).collect();
    let has_number = name.bytes().any(|b| b.is_ascii_digit());
    ends_when_closed(name)
        || (has_number && STEPS.contains(&word.as_str()))
        || STEPS_WITHOUT_NUMBER.contains(&name)
}

/// A name without its numbers, where it has any: what directories of one kind have in common.
fn stem(name: &str) -> Option<String> {
    let stem: String = name.chars().filter(|c| !c.is_ascii_digit()).collect();
    (stem.len() < name.len()).then_some(stem)
}

fn name_of(path: &str) -> &str {
    split(path).1
}

/// Parent and name; the parent of what lies on top is empty.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// From the nearest to the outermost.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(path.rsplit_once('/'), |(up, _)| up.rsplit_once('/')).map(|(up, _)| up)
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
