//! The file system of a machine, arranged by its init in its own mount namespace.
//!
//! With a private root an overlay takes all writes into `DIR/overlay`; the machine sees small `/dev` and
//! `/run` of its own, and `/sys` and `/proc/sys` read-only, so that even root's usual levers on the host
//! are out of reach. Without one the host's own mounts are made read-only in place. At both levels `/tmp`
//! is `DIR/tmp`, and `DIR` is writable under its own path.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use super::{Explain, Failure, MachineSpec};

/// The devices a machine has.
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "fuse"];

/// Builds the private root and moves into it.
pub(super) fn private_root(spec: &MachineSpec) -> Result<(), Failure> {
    detach()?;
    let dir = spec.dir.as_path();
    let root = dir.join("root");
    fs::create_dir_all(&root).or_broken("cannot make the root")?;
    let others = host_mounts(dir);
    let resolver = resolver();
    overlay(dir, &root).or_refused("overlays are not allowed")?;
    for other in &others {
        let _kept_out = bind(&other.path, &below(&root, &other.path), true, other.flags);
    }
    devices(&root.join("dev")).or_refused("cannot make /dev")?;
    let tmpfs =
        |target: &Path, mode: &str| fs_mount("tmpfs", target, MsFlags::MS_NOSUID, Some(mode));
    tmpfs(&root.join("run"), "mode=755").or_refused("cannot make /run")?;
    bind(Path::new("/sys"), &root.join("sys"), true, MsFlags::MS_NOSUID)
        .or_refused("cannot make /sys")?;
    let proc = root.join("proc");
    fs_mount("proc", &proc, MsFlags::MS_NOSUID, None).or_refused("cannot make /proc")?;
    for lever in ["sys", "sysrq-trigger"] {
        let lever = proc.join(lever);
        if lever.exists() {
            bind(&lever, &lever, true, MsFlags::MS_NOSUID).or_refused("cannot protect /proc")?;
        }
    }
    bind(&dir.join("tmp"), &root.join("tmp"), false, MsFlags::empty())
        .or_refused("cannot make /tmp")?;
    let seen = below(&root, dir);
    fs::create_dir_all(&seen).or_broken("cannot make the machine's directory")?;
    bind(dir, &seen, false, MsFlags::empty()).or_refused("cannot bind the machine's directory")?;
    names(spec, &root, resolver).or_broken("cannot write /etc")?;
    chdir(&root).or_broken("cannot enter the root")?;
    pivot_root(".", ".").or_refused("cannot change the root")?;
    umount2(".", MntFlags::MNT_DETACH).or_refused("cannot leave the host's root")?;
    chdir("/").or_broken("cannot enter the root")
}

/// Keeps the host's root, read-only, with the machine's own `/tmp`, `/dev/shm` and `/proc`.
pub(super) fn in_place(spec: &MachineSpec) -> Result<(), Failure> {
    detach()?;
    let dir = spec.dir.as_path();
    // The directory may itself lie below the `/tmp` that is about to be covered.
    let open = File::open(dir).or_broken("cannot open the machine's directory")?;
    let source = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let others = host_mounts(dir);
    bind(&dir.join("tmp"), Path::new("/tmp"), false, MsFlags::empty())
        .or_refused("cannot make /tmp")?;
    fs::create_dir_all(dir).or_broken("cannot make the machine's directory")?;
    bind(&source, dir, false, MsFlags::empty())
        .or_refused("cannot bind the machine's directory")?;
    // What cannot be made read-only (mounts the host has locked) stays as it is for this user.
    let _kept = read_only(Path::new("/"), MsFlags::empty());
    for other in &others {
        let _kept = read_only(&other.path, other.flags);
    }
    let _kept = fs_mount("tmpfs", Path::new("/dev/shm"), MsFlags::MS_NOSUID, Some("mode=1777"));
    fs_mount("proc", Path::new("/proc"), MsFlags::MS_NOSUID, None).or_refused("cannot make /proc")
}

/// From here on, mounts made here are not seen by the host, nor by the guard.
fn detach() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS).or_refused("mount namespaces are not allowed")?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .or_refused("cannot detach the mounts")
}

/// Mounts `/` with all writes in `DIR/overlay`, or in memory where that file system cannot hold them.
fn overlay(dir: &Path, root: &Path) -> nix::Result<()> {
    let store = dir.join("overlay");
    let attempt = || -> nix::Result<()> {
        for name in ["upper", "work"] {
            fs::create_dir_all(store.join(name)).map_err(|_| nix::Error::EROFS)?;
        }
        // The option string has no way to hold these characters.
        let text = store.to_str().filter(|text| !text.contains([',', ':', '\\']));
        let store = text.ok_or(nix::Error::EINVAL)?;
        let options = format!("lowerdir=/,upperdir={store}/upper,workdir={store}/work");
        mount(Some("overlay"), root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
    };
    attempt().or_else(|_| {
        fs_mount("tmpfs", &store, MsFlags::MS_NOSUID, Some("mode=700"))?;
        attempt()
    })
}

fn devices(dev: &Path) -> io::Result<()> {
    fs_mount("tmpfs", dev, MsFlags::MS_NOSUID, Some("mode=755"))?;
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        if host.exists() {
            let own = dev.join(name);
            File::create(&own)?;
            mount(Some(&host), &own, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    fs::create_dir(dev.join("shm"))?;
    fs_mount("tmpfs", &dev.join("shm"), MsFlags::MS_NOSUID, Some("mode=1777"))?;
    fs::create_dir(dev.join("pts"))?;
    fs_mount(
        "devpts",
        &dev.join("pts"),
        MsFlags::MS_NOSUID,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )?;
    Ok(())
}

/// The machine's own name, and the host's name servers where `/run` hid them.
fn names(spec: &MachineSpec, root: &Path, resolver: Option<(PathBuf, Vec<u8>)>) -> io::Result<()> {
    let MachineSpec { hostname, address, .. } = spec;
    fs::write(root.join("etc/hostname"), format!("{hostname}\n"))?;
    let hosts = root.join("etc/hosts");
    let mut text =
        fs::read_to_string(&hosts).unwrap_or_else(|_| "127.0.0.1 localhost\n".to_owned());
    text.push_str(&format!("\n{address} {hostname}\n"));
    fs::write(hosts, text)?;
    if let Some((path, bytes)) = resolver {
        let path = below(root, &path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

/// The resolver configuration, if it really lies below `/run`.
fn resolver() -> Option<(PathBuf, Vec<u8>)> {
    let path = fs::canonicalize("/etc/resolv.conf").ok()?;
    let bytes = fs::read(&path).ok()?;
    path.starts_with("/run").then_some((path, bytes))
}

struct HostMount {
    path: PathBuf,
    flags: MsFlags,
}

/// The host's mounts besides the root and those that the machine has of its own.
fn host_mounts(dir: &Path) -> Vec<HostMount> {
    const OWN: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/run"];
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts = Vec::new();
    for line in table.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, _, _, _, path, options, ..] = fields.as_slice() else { continue };
        let path = PathBuf::from(unescape(path));
        let own = path == Path::new("/")
            || path.starts_with(dir)
            || OWN.iter().any(|own| path.starts_with(own));
        if !own {
            mounts.push(HostMount { path, flags: flags(options) });
        }
    }
    mounts
}

/// Flags that must be kept when a mount is made read-only.
fn flags(options: &str) -> MsFlags {
    options.split(',').fold(MsFlags::empty(), |flags, option| {
        flags
            | match option {
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                "noatime" => MsFlags::MS_NOATIME,
                "nodiratime" => MsFlags::MS_NODIRATIME,
                "relatime" => MsFlags::MS_RELATIME,
                _ => MsFlags::empty(),
            }
    })
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> String {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}

fn bind(source: &Path, target: &Path, protect: bool, flags: MsFlags) -> nix::Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    if protect { read_only(target, flags) } else { Ok(()) }
}

fn read_only(target: &Path, flags: MsFlags) -> nix::Result<()> {
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
}

fn fs_mount(kind: &str, target: &Path, flags: MsFlags, options: Option<&str>) -> nix::Result<()> {
    mount(Some(kind), target, Some(kind), flags, options)
}

/// `path` of the host as it lies below `root`.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_its_escapes_and_flags() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(flags("rw,nosuid,relatime"), MsFlags::MS_NOSUID | MsFlags::MS_RELATIME);
        assert!(host_mounts(Path::new("/nowhere")).iter().all(|m| !m.path.starts_with("/proc")));
    }
}
