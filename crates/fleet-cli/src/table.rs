//! Small tables for people: aligned columns without borders, cut to the terminal.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table with a header.
pub(crate) struct Columns {
    table: Table,
}

impl Columns {
    /// Column names; one that starts with `>` is aligned right.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(names.iter().map(|n| n.trim_start_matches('>')));
        for (i, name) in names.iter().enumerate() {
            if let Some(column) = table.column_mut(i) {
                column.set_padding((0, 2));
                if name.starts_with('>') {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        Self { table }
    }
    /// One more row.
    pub(crate) fn row<T: ToString>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.table.add_row(cells.into_iter().map(|c| c.to_string()));
    }
    /// The table's lines, no space at their ends; the header is the first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.table.lines().map(|l| l.trim_end().to_owned()).collect()
    }
}
