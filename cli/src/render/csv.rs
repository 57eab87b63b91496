//! Lists for spreadsheets: every cell quoted, and a cell that a spreadsheet would take for a formula begins with `'`.
//!
//! OWASP's list of what begins a formula: `=`, `+`, `-`, `@`, tab, carriage return, line feed; with their full-width twins.

use super::Column;

/// The list as CSV (RFC 4180), heading first.
pub fn csv<T>(rows: &[T], columns: &[Column<T>]) -> anyhow::Result<String> {
    let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
    writer.write_record(columns.iter().map(|column| column.title.replace(' ', "_")))?;
    for row in rows {
        writer.write_record(columns.iter().map(|column| disarm((column.value)(row))))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn disarm(cell: String) -> String {
    let armed =
        cell.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let cell: String = cell.chars().map(|c| if is_odd(c) { '\u{fffd}' } else { c }).collect();
    if armed { format!("'{cell}") } else { cell }
}

/// Characters that a terminal would obey, should somebody print the file.
fn is_odd(c: char) -> bool {
    !matches!(c, '\t' | '\r' | '\n') && super::escape::is_harmful(c)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_formula_is_disarmed_and_every_cell_quoted() {
        let columns: &[Column<&str>] = &[Column::new("the cell", |row| (*row).to_owned())];
        let text =
            csv(&["=HYPERLINK(\"http://x\")", "  +1", "-1", "@a", "\tx", "a=b", "say \"hi\"\x1b"], columns).unwrap();
        expect![[r#"
            "the_cell"
            "'=HYPERLINK(""http://x"")"
            "'  +1"
            "'-1"
            "'@a"
            "'	x"
            "a=b"
            "say ""hi""�"
        "#]]
        .assert_eq(&text);
    }
}
