//! Which disk the database lies on: refuses network file systems, where file locks and shared memory
//! cannot be trusted and two controllers could both believe that they are alone.
//!
//! Invariant: a file system is refused only when it is known to be remote; an unknown one is allowed.

use crate::{Error, Result};
use std::path::Path;

/// Refuses a folder on a network file system.
pub(super) fn refuse_network(folder: &Path) -> Result<()> {
    match network_kind(folder) {
        Some(kind) => {
            Err(Error::NetworkDisk { path: folder.display().to_string(), kind: kind.to_owned() })
        }
        None => Ok(()),
    }
}

#[cfg(target_os = "linux")]
fn network_kind(folder: &Path) -> Option<String> {
    let magic = nix::sys::statfs::statfs(folder).ok()?.filesystem_type().0 as u64 & 0xffff_ffff;
    if magic == FUSE {
        let device = nix::sys::stat::stat(folder).ok()?.st_dev;
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        return mount_type(&mounts, &format!("{major}:{minor}")).filter(|t| is_remote_fuse(t));
    }
    kind_of_magic(magic).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn network_kind(_folder: &Path) -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
const FUSE: u64 = 0x6573_5546;

/// The name of a remote file system by its statfs number.
#[cfg(target_os = "linux")]
fn kind_of_magic(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "nfs",
        0x517b => "smb",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb2",
        0x0102_1997 => "9p",
        0x5346_414f => "afs",
        0x7375_7245 => "coda",
        0x00c3_6400 => "ceph",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        _ => return None,
    })
}

/// The type of the mount of one device in `/proc/self/mountinfo`.
#[cfg(target_os = "linux")]
fn mount_type(mounts: &str, device: &str) -> Option<String> {
    let line = mounts.lines().find(|l| l.split(' ').nth(2) == Some(device))?;
    line.split_once(" - ")?.1.split(' ').next().map(str::to_owned)
}

/// Containers and local disks use FUSE too: those types are known, every other `fuse.*` is taken for remote.
#[cfg(target_os = "linux")]
fn is_remote_fuse(kind: &str) -> bool {
    kind.strip_prefix("fuse.").is_some_and(|name| {
        !["fuse-overlayfs", "ntfs-3g", "exfat", "gocryptfs", "encfs", "lxcfs"].contains(&name)
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn remote_kinds_are_known() {
        assert_eq!(kind_of_magic(0x6969), Some("nfs"));
        assert_eq!(kind_of_magic(0xff53_4d42), Some("cifs"));
        assert_eq!(kind_of_magic(0xef53), None, "ext4 is local");
        assert!(is_remote_fuse("fuse.sshfs") && is_remote_fuse("fuse.s3fs"));
        assert!(!is_remote_fuse("fuse.fuse-overlayfs") && !is_remote_fuse("virtiofs"));
    }

    #[test]
    fn the_mount_is_found_by_its_device() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      40 22 0:55 / /mnt/x rw,nosuid shared:3 - fuse.sshfs host:/x rw\n";
        assert_eq!(mount_type(mounts, "0:55").as_deref(), Some("fuse.sshfs"));
        assert_eq!(mount_type(mounts, "254:0").as_deref(), Some("ext4"));
        assert_eq!(mount_type(mounts, "9:9"), None);
    }

    #[test]
    fn the_disk_of_the_tests_is_local() {
        assert!(refuse_network(&std::env::temp_dir()).is_ok());
    }
}
