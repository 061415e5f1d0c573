//! Where the symbolic links of a tree lead, links on their way included.
//!
//! Counting `..` alone is not enough: `k -> d/up/../x` stays inside by its text, and leaves when `d/up`
//! is a link to `..`. Invariant: a tree in which [`leaving`] finds nothing has no link that a program
//! can follow out of the folder, whatever is created in it later by plain names.

use super::{Tree, TreeKind};
use std::collections::HashMap;

/// Links followed before a kernel gives up; beyond it a path leads nowhere.
const HOPS: u32 = 40;

/// The links that lead outside, by index into the tree's entries.
pub fn leaving(tree: &Tree) -> Vec<usize> {
    let links: HashMap<&str, &str> = tree
        .entries
        .iter()
        .filter_map(|e| match &e.kind {
            TreeKind::Link { target } => Some((e.path.as_str(), target.as_str())),
            TreeKind::File { .. } | TreeKind::Dir => None,
        })
        .collect();
    let is_leaving = |path: &str| links.contains_key(path) && leaves(path, &links);
    (0..tree.entries.len()).filter(|i| is_leaving(&tree.entries[*i].path)).collect()
}

fn leaves(path: &str, links: &HashMap<&str, &str>) -> bool {
    let mut ahead: Vec<&str> = path.rsplit('/').collect();
    let mut here: Vec<&str> = Vec::new();
    let mut hops = 0;
    while let Some(part) = ahead.pop() {
        match part {
            "" | "." => {}
            ".." => {
                if here.pop().is_none() {
                    return true;
                }
            }
            _ => {
                here.push(part);
                let Some(target) = links.get(here.join("/").as_str()) else { continue };
                if target.starts_with('/') {
                    return true;
                }
                here.pop();
                hops += 1;
                if hops > HOPS {
                    return false;
                }
                ahead.extend(target.rsplit('/'));
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TreeEntry;

    fn tree(links: &[(&str, &str)]) -> Tree {
        let entry = |(path, target): &(&str, &str)| TreeEntry {
            path: (*path).into(),
            mode: 0o777,
            kind: TreeKind::Link { target: (*target).into() },
        };
        Tree { entries: links.iter().map(entry).collect() }
    }

    #[test]
    fn links_through_links_are_seen() {
        assert_eq!(leaving(&tree(&[("d/e/up", "../.."), ("k", "d/e/up/../x")])), [1]);
        assert_eq!(
            leaving(&tree(&[("a", ".."), ("b", "/etc"), ("c", "c"), ("d", "x/../y")])),
            [0, 1]
        );
        assert_eq!(leaving(&tree(&[("a", "b"), ("b", "a"), ("d/l", "../b")])), [0; 0]);
    }
}
