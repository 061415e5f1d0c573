//! One live line on stderr, where stderr is a terminal; nothing at all elsewhere.
//!
//! Invariant: lines printed while it shows never tear it; it is gone when the command ends.

use crate::printer::Printer;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often the line moves.
const TICK: Duration = Duration::from_millis(120);

/// The live line.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A line that shows what [`Progress::say`] was told last.
    pub(crate) fn new(printer: &Printer) -> Self {
        let bar = (printer.live && !printer.json).then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner())
                .tick_chars("|/-\\ ");
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar }
    }
    /// Changes the line.
    pub(crate) fn say(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        }
    }
    /// Prints something without tearing the line.
    pub(crate) fn around<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
