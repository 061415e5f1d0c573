//! Reads the numbers of the MUSTs out of the specification.

use std::collections::BTreeSet;

/// The numbers that lines of the form `- **PRV-n** …` carry.
pub fn numbers(specification: &str) -> BTreeSet<u32> {
    specification
        .lines()
        .filter_map(|line| line.strip_prefix("- **PRV-")?.split_once("**")?.0.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::ALL;

    const SPECIFICATION: &str = include_str!("../../../docs/specs/provider.md");

    #[test]
    fn every_number_has_a_trial_and_every_trial_a_number() {
        let tried: BTreeSet<u32> = ALL.iter().map(|t| t.number).collect();
        assert_eq!(numbers(SPECIFICATION), tried);
    }

    #[test]
    fn numbers_are_a_row_without_gaps_or_doubles() {
        let found = numbers(SPECIFICATION);
        let lines = SPECIFICATION.lines().filter(|l| l.starts_with("- **PRV-")).count();
        assert_eq!(lines, found.len(), "a number is used twice");
        assert_eq!(found, (1..=found.len() as u32).collect());
    }

    #[test]
    fn every_line_says_must() {
        for paragraph in SPECIFICATION.split("\n- **PRV-").skip(1) {
            let line = paragraph.split("\n\n").next().unwrap_or_default();
            assert!(line.contains("MUST"), "{line}");
        }
    }

    #[test]
    fn the_sandboxes_credentials_are_told_apart_from_real_ones() {
        for credential in fleet_sandbox::DUMMY_CREDENTIALS {
            assert!(fleet_providers::is_sandbox_credential(credential), "{credential}");
        }
        assert!(!fleet_providers::is_sandbox_credential("AKIAIOSFODNN7EXAMPLE"));
    }
}
