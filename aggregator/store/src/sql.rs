//! Statements for both engines: `$1` placeholders, texts that pass the door, rows that name what does not parse.
//!
//! PostgreSQL refuses U+0000 in texts, so it is escaped on the way in and restored on the way out, for both engines alike.

use std::borrow::Cow;
use std::str::FromStr;

use holdfast_model::{ClusterId, FindingId, JoinTokenId, Nonce, PatternId, RetestId};
use serde::de::DeserializeOwned;
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, Row, Type};

use crate::error::{Result, StoreError};

/// A statement with its arguments, in the making.
pub(crate) struct Sql {
    operation: &'static str,
    text: String,
    arguments: AnyArguments,
    failed: Option<sqlx::Error>,
}

impl Sql {
    /// A statement that starts with this text. Static text may number its own placeholders.
    pub(crate) fn new(operation: &'static str, text: &str) -> Self {
        Self { operation, text: text.to_owned(), arguments: AnyArguments::default(), failed: None }
    }

    /// More text.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// The placeholder of the next argument, then the argument.
    pub(crate) fn place(&mut self, argument: impl Argument) -> &mut Self {
        self.text.push('$');
        self.text.push_str(&(self.arguments.len() + 1).to_string());
        argument.bind(self);
        self
    }

    /// An argument for a placeholder that the text already has.
    pub(crate) fn bind(mut self, argument: impl Argument) -> Self {
        argument.bind(&mut self);
        self
    }

    /// `(<placeholder>, <placeholder>, …)` rows, comma-separated: each row is written by the closure.
    pub(crate) fn rows<T>(&mut self, items: &[T], mut row: impl FnMut(&mut Tuple<'_>, &T)) -> &mut Self {
        for (i, item) in items.iter().enumerate() {
            self.push(if i == 0 { "(" } else { ", (" });
            row(&mut Tuple { sql: self, first: true }, item);
            self.push(")");
        }
        self
    }

    fn add<T: for<'t> Encode<'t, Any> + Type<Any>>(&mut self, value: T) {
        if let Err(source) = self.arguments.add(value) {
            self.failed.get_or_insert(sqlx::Error::Encode(source));
        }
    }

    fn parts(self) -> Result<(&'static str, AssertSqlSafe<String>, AnyArguments)> {
        match self.failed {
            Some(source) => Err(StoreError::Query { operation: self.operation, source }),
            None => Ok((self.operation, AssertSqlSafe(self.text), self.arguments)),
        }
    }

    /// Runs it; the answer is the number of rows changed.
    pub(crate) async fn run(self, connection: &mut AnyConnection) -> Result<u64> {
        let (operation, text, arguments) = self.parts()?;
        let done = sqlx::query_with(text, arguments).execute(connection).await;
        Ok(done.map_err(|source| StoreError::Query { operation, source })?.rows_affected())
    }

    /// Runs it and insists on exactly one changed row.
    pub(crate) async fn run_one(self, connection: &mut AnyConnection) -> Result<()> {
        let operation = self.operation;
        match self.run(connection).await? {
            1 => Ok(()),
            found => Err(StoreError::RowCount { operation, expected: 1, found }),
        }
    }

    /// Every row.
    pub(crate) async fn all<T>(
        self,
        connection: &mut AnyConnection,
        read: impl Fn(&Fields<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (operation, text, arguments) = self.parts()?;
        let rows = sqlx::query_with(text, arguments).fetch_all(connection).await;
        let rows = rows.map_err(|source| StoreError::Query { operation, source })?;
        rows.iter().map(|row| read(&Fields { operation, row })).collect()
    }

    /// The row, if there is one.
    pub(crate) async fn optional<T>(
        self,
        connection: &mut AnyConnection,
        read: impl Fn(&Fields<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.all(connection, read).await?.into_iter().next())
    }
}

/// One row of values in the making.
pub(crate) struct Tuple<'s> {
    sql: &'s mut Sql,
    first: bool,
}

impl Tuple<'_> {
    /// The next value of the row.
    pub(crate) fn value(&mut self, argument: impl Argument) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.sql.push(", ");
        }
        self.sql.place(argument);
        self
    }
}

/// Rows that go into one statement, so that it stays below every engine's limit of arguments and is prepared once: a few
/// fixed sizes, largest first.
pub(crate) fn chunks<T>(mut items: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = [256, 64, 16, 4, 1].into_iter().find(|&size| size <= items.len())?;
        let (chunk, rest) = items.split_at(size);
        items = rest;
        Some(chunk)
    })
}

/// Something that can be an argument of a statement.
pub(crate) trait Argument {
    fn bind(self, sql: &mut Sql);
}

impl Argument for i64 {
    fn bind(self, sql: &mut Sql) {
        sql.add(self);
    }
}

impl Argument for bool {
    fn bind(self, sql: &mut Sql) {
        sql.add(i64::from(self));
    }
}

impl Argument for u32 {
    fn bind(self, sql: &mut Sql) {
        sql.add(i64::from(self));
    }
}

impl Argument for u64 {
    fn bind(self, sql: &mut Sql) {
        sql.add(i64::try_from(self).unwrap_or(i64::MAX));
    }
}

impl Argument for &str {
    fn bind(self, sql: &mut Sql) {
        sql.add(escape(self).into_owned());
    }
}

impl Argument for String {
    fn bind(self, sql: &mut Sql) {
        sql.add(match escape(&self) {
            Cow::Borrowed(_) => self,
            Cow::Owned(escaped) => escaped,
        });
    }
}

impl Argument for &[u8] {
    fn bind(self, sql: &mut Sql) {
        sql.add(self.to_vec());
    }
}

impl Argument for Option<i64> {
    fn bind(self, sql: &mut Sql) {
        sql.add(self);
    }
}

impl Argument for Option<u64> {
    fn bind(self, sql: &mut Sql) {
        sql.add(self.map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

impl Argument for Option<&str> {
    fn bind(self, sql: &mut Sql) {
        sql.add(self.map(|text| escape(text).into_owned()));
    }
}

impl Argument for Option<&[u8]> {
    fn bind(self, sql: &mut Sql) {
        sql.add(self.map(<[u8]>::to_vec));
    }
}

/// A 16-byte id, in and out of a column.
pub(crate) trait Id: Sized {
    fn slice(&self) -> &[u8];
    fn read(bytes: &[u8]) -> Option<Self>;
}

macro_rules! ids {
    ($($id:ty),+) => { $(
        impl Id for $id {
            fn slice(&self) -> &[u8] {
                self.as_bytes()
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                Self::from_slice(bytes)
            }
        }

        impl Argument for $id {
            fn bind(self, sql: &mut Sql) {
                self.slice().bind(sql);
            }
        }

        impl Argument for Option<$id> {
            fn bind(self, sql: &mut Sql) {
                self.as_ref().map(Id::slice).bind(sql);
            }
        }
    )+ };
}
ids!(ClusterId, FindingId, PatternId, RetestId, Nonce, JoinTokenId, crate::event::EventId);

/// A row that was read. Each function names the column that does not hold what it must.
pub(crate) struct Fields<'r> {
    operation: &'static str,
    row: &'r AnyRow,
}

impl Fields<'_> {
    fn wrong(&self, column: &'static str, problem: impl ToString) -> StoreError {
        StoreError::Row { operation: self.operation, column, problem: problem.to_string() }
    }

    fn get<'r, T: sqlx::Decode<'r, Any> + Type<Any>>(&'r self, column: &'static str) -> Result<T> {
        self.row.try_get(column).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        self.get(column)
    }

    pub(crate) fn optional_int(&self, column: &'static str) -> Result<Option<i64>> {
        self.get(column)
    }

    pub(crate) fn count(&self, column: &'static str) -> Result<u64> {
        u64::try_from(self.int(column)?).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn optional_count(&self, column: &'static str) -> Result<Option<u64>> {
        let value = self.optional_int(column)?.map(u64::try_from).transpose();
        value.map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn small(&self, column: &'static str) -> Result<u32> {
        u32::try_from(self.int(column)?).map_err(|error| self.wrong(column, error))
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        Ok(unescape(self.get(column)?))
    }

    pub(crate) fn optional_text(&self, column: &'static str) -> Result<Option<String>> {
        Ok(self.get::<Option<String>>(column)?.map(unescape))
    }

    pub(crate) fn blob(&self, column: &'static str) -> Result<Vec<u8>> {
        self.get(column)
    }

    pub(crate) fn array<const N: usize>(&self, column: &'static str) -> Result<[u8; N]> {
        let bytes = self.blob(column)?;
        bytes.try_into().map_err(|bytes: Vec<u8>| self.wrong(column, format!("{} bytes, not {N}", bytes.len())))
    }

    pub(crate) fn id<T: Id>(&self, column: &'static str) -> Result<T> {
        T::read(&self.blob(column)?).ok_or_else(|| self.wrong(column, "no 16 bytes"))
    }

    pub(crate) fn optional_id<T: Id>(&self, column: &'static str) -> Result<Option<T>> {
        match self.get::<Option<Vec<u8>>>(column)? {
            Some(bytes) => T::read(&bytes).map(Some).ok_or_else(|| self.wrong(column, "no 16 bytes")),
            None => Ok(None),
        }
    }

    pub(crate) fn word<T: FromStr<Err = String>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|problem| self.wrong(column, problem))
    }

    /// Words apart by spaces.
    pub(crate) fn words<T: FromStr<Err = String>>(&self, column: &'static str) -> Result<Vec<T>> {
        let text = self.text(column)?;
        text.split_ascii_whitespace().map(|word| word.parse().map_err(|problem| self.wrong(column, problem))).collect()
    }

    pub(crate) fn optional_word<T: FromStr<Err = String>>(&self, column: &'static str) -> Result<Option<T>> {
        let word = self.optional_text(column)?.map(|text| text.parse()).transpose();
        word.map_err(|problem| self.wrong(column, problem))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.wrong(column, error))
    }
}

/// U+0000 becomes U+0001 `0`, U+0001 becomes U+0001 `1`.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0"))
}

fn unescape(text: String) -> String {
    if !text.contains('\u{1}') {
        return text;
    }
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

/// The JSON text of a value.
pub(crate) fn json_text<T: serde::Serialize>(operation: &'static str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|source| StoreError::Form { operation, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_passes_the_door_and_comes_back() {
        for text in ["plain", "a\0b", "\u{1}", "\u{1}0", "\0\u{1}\0", "\u{1}1\0"] {
            let stored = escape(text);
            assert!(!stored.contains('\0'));
            assert_eq!(unescape(stored.into_owned()), text);
        }
    }

    #[test]
    fn chunks_hold_everything_once_in_few_sizes() {
        for count in [0, 1, 5, 63, 64, 300, 1000] {
            let items: Vec<_> = (0..count).collect();
            let parts: Vec<_> = chunks(&items).collect();
            assert_eq!(parts.concat(), items);
            assert!(parts.iter().all(|part| [256, 64, 16, 4, 1].contains(&part.len())));
        }
    }
}
