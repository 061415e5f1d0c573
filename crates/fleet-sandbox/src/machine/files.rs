//! The files of a machine: `DIR/{home,tmp,bin,ssh,…}`, all below its own directory.
//!
//! Secrets (the host key, the specification that may hold it) are readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, PrivateKey};

use super::{Boot, MachineSpec};

/// Where the host key lies; fleet replaces this file to rotate the key.
pub(super) fn host_key(dir: &Path) -> PathBuf {
    dir.join("ssh/ssh_host_ed25519_key")
}

/// Makes the directories, the host key and the fake `nvidia-smi`. An existing host key is kept.
pub(super) fn prepare(spec: &MachineSpec) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(&spec.dir)?;
    for name in ["home", "tmp", "bin", "ssh"] {
        let dir = spec.dir.join(name);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    }
    fs::set_permissions(spec.dir.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    let key = host_key(&spec.dir);
    if !key.exists() {
        let pem = match &spec.host_key_pem {
            Some(pem) => pem.clone(),
            None => fresh_key()?,
        };
        write(&key, pem.as_bytes(), 0o600)?;
    }
    let smi = spec.dir.join("bin/nvidia-smi");
    match &spec.gpu {
        Some((name, count)) => write(&smi, nvidia_smi(name, *count).as_bytes(), 0o755),
        None => Ok(()),
    }
}

/// Reads the host key as it is now.
pub(super) fn read_host_key(dir: &Path) -> io::Result<PrivateKey> {
    let pem = fs::read_to_string(host_key(dir))?;
    PrivateKey::from_openssh(pem).map_err(io::Error::other)
}

/// Writes what a process of the machine is told, and returns the file.
pub(super) fn write_boot(boot: &Boot, name: &str) -> io::Result<PathBuf> {
    let path = boot.spec.dir.join(name);
    write(&path, &serde_json::to_vec(boot)?, 0o600)?;
    Ok(path)
}

pub(super) fn read_boot(path: &Path) -> io::Result<Boot> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// The log that both processes write their complaints to.
pub(super) fn log(dir: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(dir.join("machine.log"))
}

/// The last line of the log, for an error message.
pub(super) fn last_words(dir: &Path) -> String {
    let log = fs::read_to_string(dir.join("machine.log")).unwrap_or_default();
    log.trim().lines().last().unwrap_or("it said nothing").to_owned()
}

/// Writes a file with a mode, replacing an older one in one step.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    drop(file);
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    fs::rename(new, path)
}

fn fresh_key() -> io::Result<String> {
    let mut rng = russh::keys::key::safe_rng();
    let key = PrivateKey::random(&mut rng, Algorithm::Ed25519).map_err(io::Error::other)?;
    Ok(key.to_openssh(LineEnding::LF).map_err(io::Error::other)?.to_string())
}

/// Memory of common GPUs in MiB, as the driver reports it; others show 24 GiB.
const MEMORY_MIB: [(&str, u32); 22] = [
    ("B200", 183_359),
    ("GH200", 97_871),
    ("H200", 143_771),
    ("H100", 81_559),
    ("A100-80GB", 81_920),
    ("A100", 40_960),
    ("L40S", 46_068),
    ("L40", 46_068),
    ("L4", 23_034),
    ("A40", 46_068),
    ("A4000", 16_376),
    ("A4500", 20_470),
    ("A6000", 49_140),
    ("RTX4000-Ada", 20_475),
    ("RTX6000-Ada", 49_140),
    ("A10G", 23_028),
    ("A10", 23_028),
    ("T4", 15_360),
    ("V100", 16_384),
    ("4090", 24_564),
    ("5090", 32_607),
    ("3090", 24_576),
];

const DRIVER: &str = "570.133.20";

/// A script that answers what training code and provisioning scripts ask `nvidia-smi`.
fn nvidia_smi(name: &str, count: u32) -> String {
    let memory =
        MEMORY_MIB.iter().find(|(known, _)| name.contains(known)).map_or(24_576, |(_, mib)| *mib);
    // The name stands in single quotes in the script.
    let name: String = name.chars().filter(|c| *c != '\'' && !c.is_control()).collect();
    format!(
        r#"#!/bin/sh
# The sandbox has no GPU; this answers in the words of the real tool.
name='{name}'; memory={memory}; count={count}; driver='{DRIVER}'
query=''; unit=' MiB'; header=1; list=0
for argument in "$@"; do
  case $argument in
    --query-gpu=*) query=${{argument#*=}} ;;
    --format=*) case $argument in *nounits*) unit='' ;; esac
                case $argument in *noheader*) header=0 ;; esac ;;
    -L | --list-gpus) list=1 ;;
  esac
done
uuid() {{ printf 'GPU-5a4d0b0c-0000-4000-8000-%012d' "$1"; }}
if [ -n "$query" ]; then
  if [ "$header" = 1 ]; then echo "$query" | sed 's/,/, /g'; fi
  i=0
  while [ "$i" -lt "$count" ]; do
    line=''
    for field in $(echo "$query" | tr ',' ' '); do
      case $field in
        name | gpu_name) value=$name ;;
        memory.total) value="$memory$unit" ;;
        memory.used) value="0$unit" ;;
        memory.free) value="$memory$unit" ;;
        driver_version) value=$driver ;;
        index) value=$i ;;
        count) value=$count ;;
        uuid | gpu_uuid) value=$(uuid "$i") ;;
        utilization.gpu | utilization.memory)
          if [ -n "$unit" ]; then value='0 %'; else value=0; fi ;;
        temperature.gpu) value=30 ;;
        *) echo "Field \"$field\" is not a valid field to query."; exit 2 ;;
      esac
      line="$line${{line:+, }}$value"
    done
    echo "$line"
    i=$((i + 1))
  done
elif [ "$list" = 1 ]; then
  i=0
  while [ "$i" -lt "$count" ]; do echo "GPU $i: $name (UUID: $(uuid "$i"))"; i=$((i + 1)); done
else
  echo "NVIDIA-SMI $driver    Driver Version: $driver    CUDA Version: 12.8"
  i=0
  while [ "$i" -lt "$count" ]; do
    printf '| %3d  %-30s |  0MiB / %dMiB |  0%% |\n' "$i" "$name" "$memory"; i=$((i + 1))
  done
fi
"#
    )
}
