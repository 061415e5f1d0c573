//! Whatever the bytes, reading ends with errors or with tasks, and never with a panic.

use fleet_spec::{Overrides, parse, render, render_warnings};
use proptest::prelude::*;
use std::sync::LazyLock;

static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
    let entries = std::fs::read_dir(folder).expect("the corpus");
    entries.map(|e| std::fs::read(e.expect("an entry").path()).expect("a file")).collect()
});

/// Pieces that mean something to YAML or to us.
const PIECES: &[&str] = &[
    "\n",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<: *a\n",
    "!!x ",
    "|\n",
    "\t",
    "\"",
    "'",
    "---\n",
    "...\n",
    "null",
    "-1",
    "1e999",
    "#",
    "any_of: ",
    "accelerators: ",
    "resources:\n  ",
    "envs:\n  ",
    "\u{202e}",
    "\0",
    "~",
    "$A",
    "%YAML 9\n",
    "infra: a/b/c/d\n",
    "? ",
    "\u{e9}",
];

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    let parsed = parse(bytes, &Overrides::default());
    prop_assert!(!parsed.errors.is_empty() || !parsed.tasks.is_empty());
    prop_assert_eq!(parsed.tasks.len(), parsed.secret_values.len());
    let text = String::from_utf8_lossy(bytes);
    let shown = render(&parsed.errors, "f", &text, false)
        + &render_warnings(&parsed.warnings, "f", &text, false);
    prop_assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{:?}", shown);
    for d in parsed.errors.iter().chain(&parsed.warnings) {
        prop_assert!(d.line >= 1 && d.column >= 1, "{:?}", d);
        prop_assert!(!d.message.contains('\n') && d.message.len() < 600, "{:?}", d);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes)?;
    }

    #[test]
    fn random_text(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let text: String = pieces.iter().map(|i| PIECES[*i]).collect();
        check(text.as_bytes())?;
    }

    #[test]
    fn mutated_files(
        file in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..4, 0..PIECES.len()), 1..8),
    ) {
        let mut bytes = file.get(&CORPUS).clone();
        for (at, kind, piece) in edits {
            let at = at.index(bytes.len().max(1)).min(bytes.len());
            match kind {
                0 => { bytes.splice(at..at, PIECES[piece].bytes()); }
                1 => { bytes.truncate(at); }
                2 => { let end = (at + piece).min(bytes.len()); bytes.drain(at..end); }
                _ => { let end = (at + piece).min(bytes.len()); let part = bytes[at..end].to_vec(); bytes.splice(at..at, part); }
            }
        }
        check(&bytes)?;
    }
}
