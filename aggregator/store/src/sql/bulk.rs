//! Many rows with few statements: on SQLite tuples in a few fixed numbers, so that each statement is prepared once; on
//! PostgreSQL one array a column.

use std::fmt::Write;

use super::link::Session;
use super::{Link, Sql, Tuple, Value};
use crate::error::Result;

/// Rows of one statement on SQLite, largest first.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// Most rows of one statement on PostgreSQL: what bounds the memory of a message.
const ARRAY_ROWS: usize = 8192;

/// A statement that takes rows.
pub(crate) struct Bulk {
    operation: &'static str,
    head: &'static str,
    tail: &'static str,
}

impl Bulk {
    /// `head`, then the rows as `VALUES (…), …` or a SELECT of equal form, then `tail`.
    pub(crate) const fn new(operation: &'static str, head: &'static str, tail: &'static str) -> Self {
        Self { operation, head, tail }
    }

    /// Runs it for these rows; the answer is the number of rows changed.
    pub(crate) async fn run<T>(
        &self,
        link: &mut Link,
        items: &[T],
        mut row: impl FnMut(&mut Tuple<'_>, &T),
    ) -> Result<u64> {
        let mut changed = 0;
        if matches!(link.session(), Session::Postgres(_)) {
            for chunk in items.chunks(ARRAY_ROWS) {
                changed += self.arrays(chunk, &mut row).run(link).await?;
            }
        } else {
            for chunk in chunks(items) {
                let mut sql = Sql::new(self.operation, self.head);
                sql.push("VALUES ").rows(chunk, &mut row).push(self.tail);
                changed += sql.run(link).await?;
            }
        }
        Ok(changed)
    }

    fn arrays<T>(&self, items: &[T], row: &mut impl FnMut(&mut Tuple<'_>, &T)) -> Sql {
        let mut columns: Vec<Value> = Vec::new();
        let mut values = Vec::new();
        for item in items {
            row(&mut Tuple { values: &mut values }, item);
            if columns.is_empty() {
                columns = values.iter().map(|value| value.empty_list(items.len())).collect();
            }
            columns.iter_mut().zip(values.drain(..)).for_each(|(column, value)| column.push(value));
        }
        let mut text = self.head.to_owned();
        for (i, column) in columns.iter().enumerate() {
            // Writing into a string cannot fail. The names are those that SQLite gives to the columns of VALUES.
            let _ = write!(text, "{}?::{}", if i == 0 { "SELECT * FROM UNNEST(" } else { ", " }, column.array_type());
        }
        for i in 1..=columns.len() {
            let _ = write!(text, "{}column{i}", if i == 1 { ") AS rows (" } else { ", " });
        }
        text.push(')');
        text.push_str(self.tail);
        Sql { operation: self.operation, text, arguments: columns }
    }
}

/// Rows that go into one statement, so that it stays below SQLite's limit of arguments and is prepared once: a few fixed
/// sizes, largest first.
fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|&size| size <= items.len())?;
        let (chunk, rest) = items.split_at(size);
        items = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_everything_once_in_few_sizes() {
        for count in [0, 1, 5, 63, 64, 300, 1000] {
            let items: Vec<_> = (0..count).collect();
            let parts: Vec<_> = chunks(&items).collect();
            assert_eq!(parts.concat(), items);
            assert!(parts.iter().all(|part| SIZES.contains(&part.len())));
        }
    }

    #[test]
    fn columns_become_arrays_of_their_types() {
        let bulk = Bulk::new("test", "INSERT INTO t (a, b) ", " ON CONFLICT DO NOTHING");
        let items = [(1_i64, None), (2, Some("x"))];
        let sql = bulk.arrays(&items, &mut |row: &mut Tuple<'_>, &(number, text)| {
            row.value(number).value(text);
        });
        assert_eq!(
            sql.text,
            "INSERT INTO t (a, b) SELECT * FROM UNNEST(?::BIGINT[], ?::TEXT[]) AS rows (column1, column2) ON CONFLICT DO \
             NOTHING"
        );
        assert_eq!(sql.arguments[1], Value::Texts(vec![None, Some("x".into())]));
    }
}
