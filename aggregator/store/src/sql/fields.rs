//! Rows that were read: each function names the column that does not hold what it must.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row, Sqlite, Type};

use super::value::{Id, unescape};
use crate::error::{Result, StoreError};

enum EngineRow<'r> {
    Sqlite(&'r SqliteRow),
    Postgres(&'r PgRow),
}

/// A row that was read.
pub(crate) struct Fields<'r> {
    operation: &'static str,
    row: EngineRow<'r>,
}

impl<'r> Fields<'r> {
    pub(super) fn sqlite(operation: &'static str, row: &'r SqliteRow) -> Self {
        Self { operation, row: EngineRow::Sqlite(row) }
    }

    pub(super) fn postgres(operation: &'static str, row: &'r PgRow) -> Self {
        Self { operation, row: EngineRow::Postgres(row) }
    }

    fn wrong(&self, column: &'static str, problem: impl ToString) -> StoreError {
        StoreError::Row { operation: self.operation, column, problem: problem.to_string() }
    }

    fn get<T>(&self, column: &'static str) -> Result<T>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        let value = match self.row {
            EngineRow::Sqlite(row) => row.try_get(column),
            EngineRow::Postgres(row) => row.try_get(column),
        };
        value.map_err(|error| self.wrong(column, error))
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
        Ok(self.get::<Option<&str>>(column)?.map(unescape))
    }

    pub(crate) fn blob(&self, column: &'static str) -> Result<Vec<u8>> {
        Ok(self.get::<&[u8]>(column)?.to_vec())
    }

    pub(crate) fn array<const N: usize>(&self, column: &'static str) -> Result<[u8; N]> {
        let bytes = self.get::<&[u8]>(column)?;
        bytes.try_into().map_err(|_| self.wrong(column, format!("{} bytes, not {N}", bytes.len())))
    }

    pub(crate) fn id<T: Id>(&self, column: &'static str) -> Result<T> {
        T::read(self.get::<&[u8]>(column)?).ok_or_else(|| self.wrong(column, "no 16 bytes"))
    }

    pub(crate) fn optional_id<T: Id>(&self, column: &'static str) -> Result<Option<T>> {
        match self.get::<Option<&[u8]>>(column)? {
            Some(bytes) => T::read(bytes).map(Some).ok_or_else(|| self.wrong(column, "no 16 bytes")),
            None => Ok(None),
        }
    }

    pub(crate) fn word<T: FromStr<Err = String>>(&self, column: &'static str) -> Result<T> {
        self.text(column)?.parse().map_err(|problem| self.wrong(column, problem))
    }

    /// Values separated by spaces.
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
