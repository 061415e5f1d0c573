//! SkyPilot itself, from PyPI, reads the same files: what it makes of them is what fleet makes of them.
//!
//! Its environment is built once under the target folder. Where it cannot be built (no Python, no
//! network) the comparison is left out, loudly. Heads of corpus files say what is expected:
//! `# oracle: same`, `refuses`, or `skip` with the reason. The same run checks our JSON Schema against
//! every file, with the validator that SkyPilot brings along.

use fleet_spec::{
    Alternative, BucketMount, MountSource, Overrides, Task, Upload, json_schema, parse,
};
use fleet_types::{Accelerator, AcceleratorRequest, StoreKind};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VERSION: &str = "0.14.1";
/// What is said of mounts until machines mount.
const NOT_YET: &str = "a bucket or repository as a file mount is not supported yet";

/// The Python of the environment, built if it is missing.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skypilot-{VERSION}"));
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if complete.exists() {
        return Ok(python);
    }
    let run = |command: &mut Command| {
        let output =
            command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(text.lines().last().unwrap_or("it failed without a word").to_owned())
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let package = format!("skypilot=={VERSION}");
    run(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        &package,
    ]))?;
    std::fs::write(complete, "").map_err(|e| e.to_string())?;
    Ok(python)
}

/// One answer a file, by the file's name.
fn ask(python: &Path, files: &[PathBuf]) -> Vec<Value> {
    let home = tempdir();
    let schema = home.join("schema.json");
    std::fs::write(&schema, json_schema().to_string()).expect("the schema is written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg("--schema")
        .arg(&schema)
        // Nothing of the person who runs this: no credentials, no settings, no usage reports.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &home)
        .env("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the oracle starts");
    let names: String = files.iter().map(|f| format!("{}\n", f.display())).collect();
    child.stdin.take().expect("a pipe").write_all(names.as_bytes()).expect("names are sent");
    let output = child.wait_with_output().expect("the oracle ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers: Vec<Value> = said
        .lines()
        .filter_map(|line| line.strip_prefix("ORACLE "))
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), files.len(), "{}", String::from_utf8_lossy(&output.stderr));
    answers
}

fn tempdir() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("skypilot-home");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A task in the oracle's words.
fn told(task: &Task) -> Value {
    let (mut mounts, mut buckets) = (Vec::new(), serde_json::Map::new());
    for mount in &task.file_mounts {
        match &mount.source {
            MountSource::Local(_) | MountSource::Git(_) => mounts.push(mount.target.as_str()),
            MountSource::Bucket(one) => {
                buckets.insert(mount.target.clone(), bucket(one));
            }
        }
    }
    mounts.sort_unstable();
    let mut resources: Vec<Value> = task.resources.alternatives.iter().map(alternative).collect();
    in_order(&mut resources, task.resources.ordered);
    json!({
        "name": task.name,
        "num_nodes": task.num_nodes,
        "envs": task.envs,
        "secrets": task.secrets.keys().collect::<Vec<_>>(),
        "file_mounts": mounts,
        "buckets": buckets,
        "setup": task.setup,
        "run": task.run,
        "ordered": task.resources.ordered,
        "resources": resources,
    })
}

fn bucket(one: &BucketMount) -> Value {
    let store = match one.uri.kind {
        StoreKind::S3 => "S3",
        StoreKind::R2 => "R2",
        StoreKind::Gcs => "GCS",
        StoreKind::Azure => "AZURE",
        StoreKind::File => "none of SkyPilot's",
    };
    let named = one.named.as_ref();
    let upload = named.and_then(|named| named.upload.as_ref()).map(|upload| match upload {
        Upload::Folder(path) => json!(path),
        Upload::Items(paths) => json!(paths),
    });
    json!({
        "store": store,
        "account": one.uri.account,
        "bucket": one.uri.bucket,
        "path": one.uri.prefix,
        "mode": one.mode,
        "persistent": named.map(|named| named.persistent),
        "upload": upload,
    })
}

fn alternative(one: &Alternative) -> Value {
    let accelerators = match &one.accelerator {
        Some(AcceleratorRequest::Named(Accelerator { name, count })) => json!({ name: count }),
        Some(other) => json!(other.to_string()),
        None => json!({}),
    };
    let plus =
        |b: fleet_types::offer::Bound| format!("{}{}", b.value, if b.at_least { "+" } else { "" });
    let place = one.places.first().cloned().unwrap_or_default();
    let part = |text: Option<&str>| text.unwrap_or("*").to_lowercase();
    json!({
        "accelerators": accelerators,
        "cpus": one.cpus.map(plus),
        "memory": one.memory_gib.map(plus).or(one.memory_per_cpu.map(|f| format!("{f}x"))),
        "use_spot": one.use_spot,
        "instance_type": one.instance_type,
        "place": format!(
            "{}/{}/{}",
            part(place.provider.map(fleet_types::ProviderId::as_str)),
            part(place.region.as_deref()),
            part(place.zone.as_deref())
        ),
    })
}

fn in_order(resources: &mut [Value], ordered: bool) {
    if !ordered {
        resources.sort_by_key(Value::to_string);
    }
}

/// The oracle's answer with spellings unified: `64.0+` is `64+`, sets are sorted.
fn unified(mut task: Value) -> Value {
    let ordered = task["ordered"] == json!(true);
    if let Some(resources) = task["resources"].as_array_mut() {
        for one in resources.iter_mut() {
            if let Some(memory) = one["memory"].as_str() {
                one["memory"] = json!(memory.replace(".0", ""));
            }
        }
        in_order(resources, ordered);
    }
    // A bucket that is given by name alone: SkyPilot picks its store when it launches.
    let cloud = task["resources"][0]["place"].as_str().unwrap_or_default().to_owned();
    for bucket in task["buckets"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        if bucket["store"].is_null() {
            bucket["store"] = json!(if cloud.starts_with("gcp/") { "GCS" } else { "S3" });
        }
    }
    task
}

#[test]
fn fleet_reads_what_skypilot_reads() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("SKIPPED: files are not compared with SkyPilot {VERSION}: {reason}");
            return;
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let entries = std::fs::read_dir(folder).expect("the corpus");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    let mut compared = 0;
    for (path, answer) in files.iter().zip(ask(&python, &files)) {
        let name = path.file_name().expect("a name").to_string_lossy();
        assert_eq!(answer["file"], json!(name));
        let text = std::fs::read_to_string(path).expect("a file");
        let mut parsed = parse(text.as_bytes(), &Overrides::default());
        parsed.errors.retain(|e| e.message != NOT_YET);
        let by_schema = answer["schema"].as_array().expect("a list");
        if parsed.errors.is_empty() {
            assert!(by_schema.is_empty(), "{name}: the schema refuses it: {by_schema:?}");
        } else if parsed.errors.iter().any(|e| e.message.contains("unknown key")) {
            assert!(!by_schema.is_empty(), "{name}: the schema takes it");
        }
        let head = text.lines().find_map(|line| line.strip_prefix("# oracle: ")).expect("a head");
        match head.split(' ').next() {
            Some("same") => {
                let ours: Vec<Value> = parsed.tasks.iter().map(told).collect();
                let tasks = answer["tasks"].as_array();
                let theirs = tasks.unwrap_or_else(|| panic!("{name}: {}", answer["refused"]));
                let theirs: Vec<Value> = theirs.iter().cloned().map(unified).collect();
                assert_eq!(ours, theirs, "{name}");
                compared += 1;
            }
            Some("refuses") => {
                assert!(answer["refused"].is_string(), "{name}: SkyPilot takes it");
                assert!(!parsed.errors.is_empty(), "{name}: fleet takes it");
                compared += 1;
            }
            Some("skip") => assert!(head.len() > "skip ".len(), "{name}: skipped without a reason"),
            _ => panic!("{name}: unknown head {head}"),
        }
    }
    assert!(compared >= 45, "{compared}");
}
