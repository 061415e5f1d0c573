//! Each known layout: being written, whole, copied, overwritten, left behind.

use super::*;
use crate::parcel::{self, Seal};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// A folder in which time passes from file to file.
struct Disk {
    root: tempfile::TempDir,
    second: u64,
    activity: Activity,
    known: HashMap<String, u64>,
}

impl Disk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self { root, second: 1, activity: Activity::default(), known: HashMap::new() }
    }
    /// Writes files, each a second after the one before.
    fn write(&mut self, paths: &[&str]) -> &mut Self {
        for path in paths {
            self.second += 1;
            let place = self.root.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(&place, format!("{path} {}", self.second)).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + self.second);
            fs::File::options().write(true).open(&place).unwrap().set_modified(at).unwrap();
        }
        self
    }
    fn remove(&self, path: &str) {
        fs::remove_file(self.root.path().join(path)).unwrap();
    }
    /// Something in a directory changed this long ago.
    fn touched(&mut self, folder: &str, millis: u64) {
        self.activity.touched.insert(folder.into(), Duration::from_millis(millis));
    }
    fn calm(&mut self) {
        self.activity = Activity::default();
    }
    fn judge(&self) -> Judgement {
        judge(&listing(self.root.path()), &self.activity, &self.known)
    }
    /// Directories left out, without their markers.
    fn out(&self) -> Vec<String> {
        let mut out: Vec<String> = self.judge().left_out.into_iter().collect();
        out.retain(|p| !p.ends_with(DONE));
        out.sort();
        out
    }
    fn whole(&self) -> Vec<String> {
        let mut whole: Vec<String> = self.judge().whole.into_keys().collect();
        whole.sort();
        whole
    }
}

fn listing(root: &Path) -> Vec<Found> {
    parcel::scan(root, &crate::checkpoint::is_temporary).unwrap()
}

#[test]
fn a_distributed_checkpoint_without_metadata_is_left_out_for_ever() {
    let mut disk = Disk::new();
    disk.write(&["a/__0_0.distcp", "a/__1_0.distcp", "a/.metadata"]);
    disk.write(&["b/__0_0.distcp", "b/__1_0.distcp", "b/.metadata.tmp"]);
    disk.touched("b", 0);
    assert_eq!((disk.out(), disk.whole()), (vec!["b".into()], vec!["a".into()]));
    // Quiet does not make it whole, nor do days, nor the task's end: that is what no activity means.
    disk.calm();
    assert_eq!(disk.out(), ["b"]);
    // Its last word makes it whole at once, though files changed a moment ago.
    disk.touched("b", 150);
    disk.write(&["b/.metadata"]);
    assert_eq!((disk.out(), disk.whole()), (vec![], vec!["a".into(), "b".into()]));
    // A directory with other files is none of this layout.
    disk.write(&["plain/model.bin"]);
    assert!(disk.out().is_empty());
}

#[test]
fn a_distributed_checkpoint_that_is_overwritten_or_copied_must_be_quiet() {
    let mut disk = Disk::new();
    disk.write(&["a/__0_0.distcp", "a/__1_0.distcp", "a/.metadata"]);
    // Shards newer than the metadata: an overwrite in place, or a copy in the order of names.
    disk.write(&["a/__0_0.distcp"]);
    disk.touched("a", 5_000);
    assert_eq!(disk.out(), ["a"]);
    disk.calm();
    assert!(disk.out().is_empty());
    // What was whole and has not changed stays whole while its neighbours are written.
    disk.known = disk.judge().whole;
    disk.touched("a", 0);
    assert!(disk.out().is_empty());
    disk.write(&["a/__1_0.distcp"]);
    assert_eq!(disk.out(), ["a"]);
}

#[test]
fn metadata_of_single_ranks_is_whole_when_quiet() {
    let mut disk = Disk::new();
    disk.write(&["a/__0_0.distcp", "a/__0.metadata", "a/__1_0.distcp"]);
    disk.touched("a", 1_000);
    assert_eq!(disk.out(), ["a"]);
    disk.calm();
    assert!(disk.out().is_empty());
}

#[test]
fn a_trainers_checkpoint_ends_with_its_state() {
    let mut disk = Disk::new();
    disk.write(&["run/checkpoint-5/model.safetensors", "run/checkpoint-5/training_args.bin"]);
    disk.write(&["run/checkpoint-5/optimizer.pt", "run/checkpoint-5/rng_state.pth"]);
    assert_eq!(disk.out(), ["run/checkpoint-5"], "its state is missing, however quiet it is");
    disk.write(&["run/checkpoint-5/trainer_state.json"]);
    disk.touched("run/checkpoint-5", 150);
    assert!(disk.out().is_empty(), "whole at once");
    // The next one, before anything tells whose it is: its siblings do.
    disk.write(&["run/checkpoint-10/model.safetensors"]);
    disk.calm();
    assert_eq!(disk.out(), ["run/checkpoint-10"]);
    assert_eq!(disk.whole(), ["run/checkpoint-5"]);
    // In another folder nothing tells: quiet decides.
    disk.write(&["other/checkpoint-10/model.safetensors"]);
    assert_eq!(disk.out(), ["run/checkpoint-10"]);
    disk.touched("other/checkpoint-10", 3_000);
    assert_eq!(disk.out(), ["other/checkpoint-10", "run/checkpoint-10"]);
}

#[test]
fn a_trainer_of_several_processes_must_be_quiet_too() {
    let mut disk = Disk::new();
    disk.write(&["checkpoint-5/rng_state_0.pth", "checkpoint-5/trainer_state.json"]);
    disk.touched("checkpoint-5", 2_000);
    assert_eq!(disk.out(), ["checkpoint-5"]);
    disk.write(&["checkpoint-5/rng_state_1.pth"]);
    disk.calm();
    assert!(disk.out().is_empty());
}

#[test]
fn what_is_unfinished_deep_in_a_checkpoint_leaves_all_of_it_out() {
    let mut disk = Disk::new();
    disk.write(&["checkpoint-5/fsdp_0/__0_0.distcp", "checkpoint-5/trainer_state.json"]);
    disk.write(&["step-7/optim/__0_0.distcp", "step-7/model/w", "log/__0_0.distcp"]);
    assert_eq!(disk.out(), ["checkpoint-5", "log", "step-7"]);
    disk.write(&["checkpoint-5/fsdp_0/.metadata"]);
    assert_eq!(disk.out(), ["log", "step-7"]);
}

#[test]
fn lightning_files_end_when_closed_and_its_directories_with_their_meta() {
    assert!(ends_when_closed("logs/version_0/checkpoints/epoch=1-step=9.ckpt"));
    assert!(ends_when_closed("last.ckpt") && is_last_word("last.ckpt"));
    assert!(!ends_when_closed("last.ckpt.tmp") && !is_last_word("model.pt"));
    let mut disk = Disk::new();
    disk.write(&["epoch=1.ckpt/__0_0.distcp", "epoch=1.ckpt/.metadata"]);
    disk.touched("epoch=1.ckpt", 200);
    assert_eq!(disk.out(), ["epoch=1.ckpt"]);
    disk.write(&["epoch=1.ckpt/meta.pt"]);
    assert!(disk.out().is_empty());
    // A file that is open for writing is left out by its path, and with it the directory of a step.
    disk.activity.writing.insert("step-3/last.ckpt".into());
    disk.write(&["step-3/last.ckpt", "step-3/hparams.yaml"]);
    assert_eq!(disk.out(), ["step-3"]);
}

#[test]
fn a_done_marker_inside_or_beside_makes_whole_and_its_lack_among_siblings_does_not() {
    let mut disk = Disk::new();
    disk.write(&["save-1/w", "save-1/.done", "other/w"]);
    disk.touched("save-1", 150);
    assert!(disk.out().is_empty(), "whole at once");
    disk.write(&["save-2/w"]);
    disk.calm();
    assert_eq!(disk.out(), ["save-2"], "its siblings have a marker");
    disk.write(&["save-2.done"]);
    assert_eq!((disk.out(), disk.whole()), (vec![], vec!["save-1".into(), "save-2".into()]));
    // Written to after its marker: whole when quiet; the marker beside goes with its directory.
    disk.write(&["save-2/more"]);
    disk.touched("save-2", 400);
    assert_eq!(disk.out(), ["save-2"]);
    assert!(disk.judge().left_out.contains("save-2.done"));
    // A marker does not stand for what a framework says is missing.
    disk.write(&["save-3/__0_0.distcp", "save-3/.done"]);
    disk.calm();
    assert_eq!(disk.out(), ["save-3"]);
    disk.remove("save-3/__0_0.distcp");
    assert!(disk.out().is_empty());
}

#[test]
fn a_step_directory_is_whole_when_quiet_and_a_plain_one_is_not_judged() {
    let mut disk = Disk::new();
    disk.write(&["step_100/a", "step_200/a", "best/a", "tb/events", "version_0/metrics"]);
    for folder in ["step_200", "best", "tb", "version_0"] {
        disk.touched(folder, 50);
    }
    assert_eq!(disk.out(), ["best", "step_200"]);
    assert_eq!(disk.whole(), ["step_100"]);
    disk.calm();
    assert_eq!(disk.whole(), ["best", "step_100", "step_200"]);
    for name in ["global_step500", "ckpt-3", "iter_0001", "epoch=3-step=7", "Checkpoint_5"] {
        assert!(is_step(name), "{name}");
    }
    for name in ["step", "logs", "version_1", "model-00001-of-00002", "2024-01-01"] {
        assert!(!is_step(name), "{name}");
    }
}

#[test]
fn a_stamp_tells_nanoseconds_apart() {
    let disk = Disk::new();
    let path = disk.root.path().join("f");
    fs::write(&path, "x").unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::new(5, 7);
    fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    assert_eq!(Seal::of(&fs::metadata(&path).unwrap()).stamp(), (5, 7));
}
