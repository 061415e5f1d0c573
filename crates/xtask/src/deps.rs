//! The arrows between crates: they point down, and the bottom knows no I/O. One TLS stack.

use crate::workspace::{Package, cargo, output, packages};
use anyhow::{Result, bail};

/// Layer of each crate; an arrow goes from a higher layer to a lower one, or within [`SAME`].
const LAYERS: &[(&str, u8)] = &[
    ("fleet-types", 0),
    ("fleet-spec", 1),
    ("fleet-optimizer", 2),
    ("fleet-lifecycle", 3),
    ("fleet-provider", 4),
    ("fleet-agent-api", 4),
    ("fleet-provider-kit", 5),
    ("fleet-provider-aws", 6),
    ("fleet-provider-gcp", 6),
    ("fleet-provider-lambda", 6),
    ("fleet-provider-runpod", 6),
    ("fleet-provider-vast", 6),
    ("fleet-ssh", 6),
    ("fleet-storage", 6),
    ("fleet-store", 6),
    ("fleet-agent", 6),
    ("fleet-sandbox", 6),
    ("fleet-providers", 7),
    ("fleet-controller", 8),
    ("fleet-api", 9),
    ("fleet-testkit", 9),
    ("fleet-cli", 10),
    ("xtask", 10),
];

/// Crates of the two lowest layers wait for nothing: none of these may be near them.
const PURE: &[&str] = &["fleet-types", "fleet-spec", "fleet-optimizer", "fleet-lifecycle"];
const WAITING: &[&str] = &[
    "tokio", "reqwest", "russh", "rusqlite", "sqlx", "axum", "hyper", "ureq", "rand", "fastrand",
    "nix",
];

/// What a driver may know of ours.
const DRIVER_MAY: &[&str] = &["fleet-types", "fleet-provider", "fleet-provider-kit"];

/// A second TLS stack or crypto provider must not come in.
const BANNED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"];

/// Checks every rule.
pub(crate) fn run() -> Result<()> {
    let mut wrong = Vec::new();
    let packages = packages()?;
    for package in &packages {
        arrows(package, &mut wrong);
    }
    let tree = output(&mut cargo(&[
        "tree",
        "--workspace",
        "--prefix",
        "none",
        "--edges",
        "normal,build",
    ]))?;
    for banned in BANNED {
        if tree.lines().any(|l| l.split(' ').next() == Some(banned)) {
            wrong.push(format!("{banned} is in the tree: one TLS stack, rustls with ring"));
        }
    }
    if wrong.is_empty() {
        println!("deps: {} crates, every arrow points down, one TLS stack", packages.len());
        return Ok(());
    }
    bail!("deps:\n{}", wrong.join("\n"))
}

fn layer(name: &str) -> Option<u8> {
    LAYERS.iter().find(|(n, _)| *n == name).map(|(_, l)| *l)
}

fn arrows(package: &Package, wrong: &mut Vec<String>) {
    let Some(own) = layer(&package.name) else {
        wrong.push(format!("{} has no layer in xtask/src/deps.rs", package.name));
        return;
    };
    let driver =
        package.name.starts_with("fleet-provider-") && package.name != "fleet-provider-kit";
    for dependency in package.dependencies.iter().filter(|d| d.kind.is_none()) {
        if let Some(theirs) = layer(&dependency.name) {
            if theirs >= own {
                wrong.push(format!("{} -> {}: the arrow points up", package.name, dependency.name));
            }
            if driver && !DRIVER_MAY.contains(&dependency.name.as_str()) {
                wrong.push(format!(
                    "{} -> {}: a driver knows only the contract and the kit",
                    package.name, dependency.name
                ));
            }
        }
        if PURE.contains(&package.name.as_str()) && WAITING.contains(&dependency.name.as_str()) {
            wrong.push(format!("{} -> {}: decisions never wait", package.name, dependency.name));
        }
    }
}
