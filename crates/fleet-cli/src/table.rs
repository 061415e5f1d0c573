//! Small tables for people: aligned columns without borders, fitted to the terminal.
//!
//! Where there is no terminal nothing is left out and nothing is broken. On a narrow one the columns that
//! a table can spare go first; then the last column, the one with prose, is broken between words.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// Spaces between two columns.
const GAP: usize = 2;
/// The least room in which prose can be read.
const PROSE: usize = 20;

/// A table with a header.
pub(crate) struct Columns {
    names: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    spare: &'static [&'static str],
    width: Option<usize>,
}

impl Columns {
    /// Column names; one that starts with `>` is aligned right. For stdout.
    pub(crate) fn new(names: &[&'static str]) -> Self {
        let width = Table::new().width().map(usize::from);
        Self { names: names.to_vec(), rows: Vec::new(), spare: &[], width }
    }
    /// Columns that may be left out where the room is scarce, the first first.
    pub(crate) fn spare(self, names: &'static [&'static str]) -> Self {
        Self { spare: names, ..self }
    }
    /// Fits into so many columns of a terminal instead of stdout's; `None`: it is for no terminal.
    pub(crate) fn within(self, width: Option<usize>) -> Self {
        Self { width, ..self }
    }
    /// One more row.
    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(|c| c.to_string()).collect());
    }
    /// The table's lines, no space at their ends; the header is the first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let shown = self.shown();
        let cell = |row: &[String], i: usize| row.get(i).cloned().unwrap_or_default();
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.force_no_tty();
        table.set_header(shown.iter().map(|i| plain(self.names[*i])));
        for row in &self.rows {
            table.add_row(shown.iter().map(|i| cell(row, *i)));
        }
        let last = shown.len().saturating_sub(1);
        let firm: usize = shown.iter().take(last).map(|i| self.natural(*i)).sum();
        if let Some(width) = self.width {
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
        }
        for (n, i) in shown.iter().enumerate() {
            let Some(column) = table.column_mut(n) else { continue };
            column.set_padding((0, GAP as u16));
            if self.names[*i].starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
            if n < last && self.width.is_some_and(|w| firm + PROSE <= w) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.lines().map(|l| l.trim_end().to_owned()).collect()
    }

    /// The columns that there is room for.
    fn shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> = (0..self.names.len()).collect();
        let Some(width) = self.width else { return shown };
        for spare in self.spare {
            if shown.iter().map(|i| self.natural(*i)).sum::<usize>() <= width {
                break;
            }
            shown.retain(|i| plain(self.names[*i]) != *spare);
        }
        shown
    }

    /// The room that a column would take, unbroken.
    fn natural(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|r| r.get(column));
        let widest = cells.map(|c| c.chars().count()).max().unwrap_or(0);
        widest.max(plain(self.names[column]).chars().count()) + GAP
    }
}

fn plain(name: &str) -> &str {
    name.trim_start_matches('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(width: Option<usize>) -> String {
        let mut columns =
            Columns::new(&["PLACE", ">PRICE", "NOTE", "WHY"]).spare(&["NOTE"]).within(width);
        columns.row(["aws/us-east-1/us-east-1a", "$0.20", "a note", "one two three four five"]);
        columns.lines().join("\n")
    }

    #[test]
    fn without_a_terminal_nothing_is_left_out() {
        assert_eq!(
            table(None),
            "PLACE                     PRICE  NOTE    WHY\n\
             aws/us-east-1/us-east-1a  $0.20  a note  one two three four five"
        );
    }

    #[test]
    fn a_narrow_terminal_loses_what_can_be_spared_and_breaks_prose_between_words() {
        assert_eq!(
            table(Some(60)),
            "PLACE                     PRICE  WHY\n\
             aws/us-east-1/us-east-1a  $0.20  one two three four five"
        );
        assert_eq!(
            table(Some(54)),
            "PLACE                     PRICE  WHY\n\
             aws/us-east-1/us-east-1a  $0.20  one two three four\n\
             \x20                                five"
        );
    }
}
