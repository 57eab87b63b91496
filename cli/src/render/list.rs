//! Lists for people: one table whose columns are data, as wide as the terminal and no wider.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

use super::escape;
use super::paint::Tone;

/// One column of a list.
pub struct Column<T> {
    /// Its heading; in CSV, where programs read it, with `_` for spaces.
    pub title: &'static str,
    /// Whether the table has it too; CSV has every column.
    pub in_table: bool,
    /// What stands in it.
    pub value: fn(&T) -> String,
}

impl<T> Column<T> {
    /// A column that people and programs see.
    pub const fn new(title: &'static str, value: fn(&T) -> String) -> Self {
        Self { title, in_table: true, value }
    }

    /// A column for programs only.
    pub const fn more(title: &'static str, value: fn(&T) -> String) -> Self {
        Self { title, in_table: false, value }
    }
}

/// The table, with a line break at its end. Without a terminal, each row is one line.
pub fn table<T>(rows: &[T], columns: &[Column<T>]) -> String {
    let shown: Vec<_> = columns.iter().filter(|column| column.in_table).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(shown.iter().map(|column| Cell::new(column.title.to_uppercase())));
    for row in rows {
        table.add_row(shown.iter().map(|column| cell(&(column.value)(row))));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

fn cell(text: &str) -> Cell {
    let cell = Cell::new(escape::line(text));
    let tone = Tone::of(text);
    match tone.color() {
        Some(color) if tone == Tone::Bad => cell.fg(color).add_attribute(Attribute::Bold),
        Some(color) => cell.fg(color),
        None => cell,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_table_has_a_heading_and_one_escaped_line_a_row() {
        let columns: &[Column<(&str, u32)>] = &[
            Column::new("name", |row| row.0.to_owned()),
            Column::more("hidden", |_| "never".to_owned()),
            Column::new("times seen", |row| row.1.to_string()),
        ];
        let text = table(&[("web", 1), ("evil\x1b[2J\nname", 20)], columns);
        expect![[r#"
            NAME                 TIMES SEEN
            web                  1
            evil\u{1b}[2J\nname  20
        "#]]
        .assert_eq(&text);
    }
}
