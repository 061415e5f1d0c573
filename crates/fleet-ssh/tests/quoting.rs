//! Quoted text goes through a real `sh` unchanged, whatever it is.

use std::process::Command;

use fleet_ssh::quote;

/// Characters that shells care about, and some that they do not.
const ALPHABET: &[char] = &[
    '\'', '"', '\\', '$', '`', '!', '*', '?', '[', ']', '{', '}', '(', ')', '<', '>', '|', '&',
    ';', '#', '~', '=', '%', '^', '-', ' ', '\t', '\n', '\r', '\u{1b}', '\u{7f}', 'a', 'Z', '0',
    'é', '漢', '😀',
];

#[test]
fn thousands_of_strings_go_through_sh_unchanged() {
    let mut rng = fastrand::Rng::with_seed(42);
    let mut texts: Vec<String> =
        ["", "'", "''", "-n", "$(id)", "`id`", "a'b", "\n", "'\\''"].map(String::from).to_vec();
    while texts.len() < 6000 {
        let length = rng.usize(0..24);
        texts.push((0..length).map(|_| *rng.choice(ALPHABET).unwrap()).collect());
    }
    for batch in texts.chunks(500) {
        let words: Vec<String> = batch.iter().map(|text| quote(text)).collect();
        let script = format!("printf '%s\\0' {}", words.join(" "));
        let ran = Command::new("sh").arg("-c").arg(&script).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let mut got: Vec<String> = ran
            .stdout
            .split(|byte| *byte == 0)
            .map(|b| String::from_utf8(b.to_vec()).unwrap())
            .collect();
        assert_eq!(got.pop().as_deref(), Some(""), "the last word is ended too");
        assert_eq!(got, batch);
    }
}
