//! Statements for both engines, written once: `?` stands for each argument, in the order in which the arguments are bound.
//!
//! SQLite gets the text as it is: sqlx asks SQLite for the name of every numbered placeholder, which is a search through all
//! of them. PostgreSQL gets `$1`, `$2`, …; a list is one array there and several placeholders on SQLite.

use std::fmt::Write;

use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe};

use crate::error::{Result, StoreError};

mod bulk;
mod fields;
mod link;
mod value;

pub(crate) use bulk::Bulk;
pub(crate) use fields::Fields;
pub(crate) use link::Link;
use link::Session;
pub(crate) use value::{Argument, Id, Value, ids};

/// Stands in a text for a list of arguments, with the comparison before it.
const LIST: char = '\u{2}';
/// Stands for two lists of equal length, with the comparison before them.
const PAIRS: char = '\u{3}';
/// Numbers of placeholders of a list on SQLite. A list is filled up with its last value, so that few statements are prepared.
const LIST_SIZES: [usize; 8] = [1, 2, 4, 16, 64, 256, 1024, LIST_ROWS];
/// Most values of one list.
pub(crate) const LIST_ROWS: usize = 4096;

/// A statement with its arguments, in the making.
pub(crate) struct Sql {
    operation: &'static str,
    text: String,
    arguments: Vec<Value>,
}

impl Sql {
    /// A statement that starts with this text. Each `?` of it is bound later, in order.
    pub(crate) fn new(operation: &'static str, text: &str) -> Self {
        Self { operation, text: text.to_owned(), arguments: Vec::new() }
    }

    /// More text.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The placeholder of the next argument, then the argument.
    pub(crate) fn place(&mut self, argument: impl Argument) -> &mut Self {
        self.text.push('?');
        self.arguments.push(argument.value());
        self
    }

    /// An argument for a placeholder that the text already has.
    pub(crate) fn bind(mut self, argument: impl Argument) -> Self {
        self.arguments.push(argument.value());
        self
    }

    /// A condition: the column holds one of these values. An empty list is never met.
    pub(crate) fn any_of<A: Argument>(&mut self, column: &str, values: impl IntoIterator<Item = A>) -> &mut Self {
        let values: Vec<_> = values.into_iter().map(Argument::value).collect();
        match Value::list(values) {
            Some(list) => {
                self.push(column).text.push(LIST);
                self.arguments.push(list);
                self
            }
            None => self.push("1 = 0"),
        }
    }

    /// A condition: the two columns hold one of these pairs. No pairs are never met.
    pub(crate) fn any_pair_of<A: Argument, B: Argument>(
        &mut self,
        columns: &str,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> &mut Self {
        let pairs = pairs.into_iter().map(|(first, second)| (first.value(), second.value()));
        let (firsts, seconds) = pairs.unzip();
        match (Value::list(firsts), Value::list(seconds)) {
            (Some(firsts), Some(seconds)) => {
                self.push("(").push(columns).push(")").text.push(PAIRS);
                self.arguments.extend([firsts, seconds]);
                self
            }
            _ => self.push("1 = 0"),
        }
    }

    /// `(<placeholder>, <placeholder>, …)` rows, comma-separated: each row is written by the closure.
    pub(crate) fn rows<T>(&mut self, items: &[T], mut row: impl FnMut(&mut Tuple<'_>, &T)) -> &mut Self {
        for (i, item) in items.iter().enumerate() {
            self.push(if i == 0 { "(" } else { ", (" });
            let before = self.arguments.len();
            row(&mut Tuple { values: &mut self.arguments }, item);
            let placeholders = self.arguments.len() - before;
            self.push(&"?, ".repeat(placeholders.saturating_sub(1))).push("?)");
        }
        self
    }

    /// What to send to PostgreSQL.
    fn for_postgres(self) -> Result<(AssertSqlSafe<String>, PgArguments)> {
        self.check()?;
        let (mut text, mut number) = (String::with_capacity(self.text.len() + 16), 0);
        let mut types = self.arguments.iter().map(Value::array_type);
        let mut next = || {
            number += 1;
            (number, types.next().unwrap_or_default())
        };
        for letter in self.text.chars() {
            // Writing into a string cannot fail.
            let _ = match letter {
                '?' => write!(text, "${}", next().0),
                LIST => write!(text, " = ANY(${})", next().0),
                PAIRS => {
                    let ((first, one), (second, other)) = (next(), next());
                    write!(text, " IN (SELECT * FROM UNNEST(${first}::{one}, ${second}::{other}))")
                }
                _ => {
                    text.push(letter);
                    Ok(())
                }
            };
        }
        tracing::trace!(target: "holdfast_store::statement", operation = self.operation, text);
        let mut arguments = PgArguments::default();
        arguments.reserve(number, 0);
        for value in self.arguments {
            value.for_postgres(&mut arguments).map_err(|source| encode(self.operation, source))?;
        }
        Ok((AssertSqlSafe(text), arguments))
    }

    /// What to send to SQLite.
    fn for_sqlite(self) -> Result<(AssertSqlSafe<String>, SqliteArguments)> {
        self.check()?;
        let mut text = self.text;
        let mut bound = SqliteArguments::default();
        bound.reserve(self.arguments.len(), 0);
        let mut arguments = self.arguments.into_iter();
        while let Some(value) = arguments.next() {
            let added = match value.list_size() {
                None => value.for_sqlite(&mut bound),
                Some(size) => {
                    let padded = LIST_SIZES.into_iter().find(|&padded| padded >= size).unwrap_or(size);
                    // Lists and pairs come in the order of their marks.
                    if text.find([LIST, PAIRS]).is_some_and(|at| text[at..].starts_with(PAIRS)) {
                        text =
                            text.replacen(PAIRS, &format!(" IN (VALUES {}(?, ?))", "(?, ?), ".repeat(padded - 1)), 1);
                        let seconds = arguments.next().unwrap_or(Value::Int(None));
                        value.pairs_for_sqlite(seconds, padded, &mut bound)
                    } else {
                        text = text.replacen(LIST, &format!(" IN ({}?)", "?, ".repeat(padded - 1)), 1);
                        value.list_for_sqlite(padded, &mut bound)
                    }
                }
            };
            added.map_err(|source| encode(self.operation, source))?;
        }
        tracing::trace!(target: "holdfast_store::statement", operation = self.operation, text);
        Ok((AssertSqlSafe(text), bound))
    }

    /// SQLite takes what is not bound for NULL: better an error than a wrong answer.
    fn check(&self) -> Result<()> {
        let takes = |letter| match letter {
            '?' | LIST => 1,
            PAIRS => 2,
            _ => 0,
        };
        let placeholders = self.text.chars().map(takes).sum::<usize>();
        let (operation, bound) = (self.operation, self.arguments.len());
        (placeholders == bound).then_some(()).ok_or(StoreError::Arguments { operation, placeholders, bound })
    }

    /// Runs it; the answer is the number of rows changed.
    pub(crate) async fn run(self, link: &mut Link) -> Result<u64> {
        let operation = self.operation;
        let done = match link.session() {
            Session::Sqlite(connection) => {
                let (text, arguments) = self.for_sqlite()?;
                let done = sqlx::query_with(text, arguments).execute(connection).await;
                done.map(|done| done.rows_affected())
            }
            Session::Postgres(connection) => {
                let (text, arguments) = self.for_postgres()?;
                let done = sqlx::query_with(text, arguments).execute(connection).await;
                done.map(|done| done.rows_affected())
            }
        };
        done.map_err(|source| StoreError::Query { operation, source })
    }

    /// Runs it and insists on exactly one changed row.
    pub(crate) async fn run_one(self, link: &mut Link) -> Result<()> {
        let operation = self.operation;
        match self.run(link).await? {
            1 => Ok(()),
            found => Err(StoreError::RowCount { operation, expected: 1, found }),
        }
    }

    /// Every row.
    pub(crate) async fn all<T>(self, link: &mut Link, read: impl Fn(&Fields<'_>) -> Result<T>) -> Result<Vec<T>> {
        let operation = self.operation;
        let failed = |source| StoreError::Query { operation, source };
        match link.session() {
            Session::Sqlite(connection) => {
                let (text, arguments) = self.for_sqlite()?;
                let rows = sqlx::query_with(text, arguments).fetch_all(connection).await.map_err(failed)?;
                rows.iter().map(|row| read(&Fields::sqlite(operation, row))).collect()
            }
            Session::Postgres(connection) => {
                let (text, arguments) = self.for_postgres()?;
                let rows = sqlx::query_with(text, arguments).fetch_all(connection).await.map_err(failed)?;
                rows.iter().map(|row| read(&Fields::postgres(operation, row))).collect()
            }
        }
    }

    /// The row, if there is one.
    pub(crate) async fn optional<T>(
        self,
        link: &mut Link,
        read: impl Fn(&Fields<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.all(link, read).await?.into_iter().next())
    }
}

fn encode(operation: &'static str, source: sqlx::error::BoxDynError) -> StoreError {
    StoreError::Query { operation, source: sqlx::Error::Encode(source) }
}

/// One row of values in the making.
pub(crate) struct Tuple<'s> {
    values: &'s mut Vec<Value>,
}

impl Tuple<'_> {
    /// The next value of the row.
    pub(crate) fn value(&mut self, argument: impl Argument) -> &mut Self {
        self.values.push(argument.value());
        self
    }
}

/// The JSON text of a value.
pub(crate) fn json_text<T: serde::Serialize>(operation: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Form { operation, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql() -> Sql {
        let mut sql = Sql::new("test", "SELECT a FROM t WHERE b = ?").bind(1_i64);
        sql.push(" AND ").any_of("c", ["x", "y", "z"]).push(" AND d = ").place(2_i64);
        sql
    }

    #[test]
    fn placeholders_are_numbered_for_postgres_alone() {
        let (AssertSqlSafe(text), arguments) = sql().for_postgres().unwrap();
        assert_eq!(text, "SELECT a FROM t WHERE b = $1 AND c = ANY($2) AND d = $3");
        assert_eq!(arguments.len(), 3);
        let (AssertSqlSafe(text), arguments) = sql().for_sqlite().unwrap();
        assert_eq!(text, "SELECT a FROM t WHERE b = ? AND c IN (?, ?, ?, ?) AND d = ?");
        assert_eq!(arguments.len(), 6);
    }

    #[test]
    fn pairs_are_two_arrays_or_tuples() {
        let pairs = || {
            let mut sql = Sql::new("test", "SELECT a FROM t WHERE ");
            sql.any_pair_of("b, c", [(1_i64, "x"), (2, "y"), (3, "z")]);
            sql
        };
        let (AssertSqlSafe(text), _) = pairs().for_postgres().unwrap();
        assert_eq!(text, "SELECT a FROM t WHERE (b, c) IN (SELECT * FROM UNNEST($1::BIGINT[], $2::TEXT[]))");
        let (AssertSqlSafe(text), arguments) = pairs().for_sqlite().unwrap();
        assert_eq!(text, "SELECT a FROM t WHERE (b, c) IN (VALUES (?, ?), (?, ?), (?, ?), (?, ?))");
        assert_eq!(arguments.len(), 8);
    }

    #[test]
    fn an_empty_list_is_never_met() {
        let mut sql = Sql::new("test", "SELECT a FROM t WHERE ");
        sql.any_of("c", std::iter::empty::<&str>());
        assert_eq!(sql.for_sqlite().unwrap().0.0, "SELECT a FROM t WHERE 1 = 0");
    }

    #[test]
    fn an_argument_too_few_is_an_error() {
        assert!(Sql::new("test", "SELECT ?, ?").bind(1_i64).for_sqlite().is_err());
        assert!(Sql::new("test", "SELECT $1").bind(1_i64).for_postgres().is_err());
    }
}
