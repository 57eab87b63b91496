//! Arguments of statements: integers, texts and bytes, alone or as lists.
//!
//! PostgreSQL refuses U+0000 in texts, so it is escaped on the way in and restored on the way out, for both engines alike.

use std::borrow::Cow;

use holdfast_model::{ClusterId, FindingId, JoinTokenId, Nonce, PatternId, RetestId};
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;

/// An argument in its stored form. A list holds values of one type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
    Ints(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
    Blobs(Vec<Option<Vec<u8>>>),
}

impl Value {
    /// One value of these; none of no values.
    pub(super) fn list(values: Vec<Self>) -> Option<Self> {
        let mut values = values.into_iter();
        let mut list = match values.next()? {
            Self::Int(value) => Self::Ints(vec![value]),
            Self::Text(value) => Self::Texts(vec![value]),
            Self::Blob(value) => Self::Blobs(vec![value]),
            list => list,
        };
        values.for_each(|value| list.push(value));
        Some(list)
    }

    /// An empty list for values of this one's type.
    pub(super) fn empty_list(&self, capacity: usize) -> Self {
        match self {
            Self::Int(_) | Self::Ints(_) => Self::Ints(Vec::with_capacity(capacity)),
            Self::Text(_) | Self::Texts(_) => Self::Texts(Vec::with_capacity(capacity)),
            Self::Blob(_) | Self::Blobs(_) => Self::Blobs(Vec::with_capacity(capacity)),
        }
    }

    /// One value more. A column's values have one type, given by the Rust type that they come from.
    pub(super) fn push(&mut self, value: Self) {
        match (self, value) {
            (Self::Ints(list), Self::Int(value)) => list.push(value),
            (Self::Texts(list), Self::Text(value)) => list.push(value),
            (Self::Blobs(list), Self::Blob(value)) => list.push(value),
            (list, value) => unreachable!("{value:?} among {list:?}"),
        }
    }

    /// The type of an array of such values.
    pub(super) fn array_type(&self) -> &'static str {
        match self {
            Self::Int(_) | Self::Ints(_) => "BIGINT[]",
            Self::Text(_) | Self::Texts(_) => "TEXT[]",
            Self::Blob(_) | Self::Blobs(_) => "BYTEA[]",
        }
    }

    pub(super) fn list_size(&self) -> Option<usize> {
        match self {
            Self::Int(_) | Self::Text(_) | Self::Blob(_) => None,
            Self::Ints(list) => Some(list.len()),
            Self::Texts(list) => Some(list.len()),
            Self::Blobs(list) => Some(list.len()),
        }
    }

    pub(super) fn for_postgres(self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Int(value) => arguments.add(value),
            Self::Text(value) => arguments.add(value),
            Self::Blob(value) => arguments.add(value),
            Self::Ints(list) => arguments.add(list),
            Self::Texts(list) => arguments.add(list),
            Self::Blobs(list) => arguments.add(list),
        }
    }

    pub(super) fn for_sqlite(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Int(value) => arguments.add(value),
            Self::Text(value) => arguments.add(value),
            Self::Blob(value) => arguments.add(value),
            list => list.list_for_sqlite(0, arguments),
        }
    }

    /// Each of these with its counterpart, filled up as lists are.
    pub(super) fn pairs_for_sqlite(
        self,
        seconds: Self,
        size: usize,
        arguments: &mut SqliteArguments,
    ) -> Result<(), BoxDynError> {
        let (firsts, seconds) = (self.into_values(), seconds.into_values());
        for (first, second) in filled(firsts, size).zip(filled(seconds, size)) {
            first.for_sqlite(arguments)?;
            second.for_sqlite(arguments)?;
        }
        Ok(())
    }

    fn into_values(self) -> Vec<Self> {
        match self {
            Self::Ints(list) => list.into_iter().map(Self::Int).collect(),
            Self::Texts(list) => list.into_iter().map(Self::Text).collect(),
            Self::Blobs(list) => list.into_iter().map(Self::Blob).collect(),
            single => vec![single],
        }
    }

    /// A list, filled up to this size with its last value.
    pub(super) fn list_for_sqlite(self, size: usize, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        match self {
            Self::Ints(list) => filled(list, size).try_for_each(|value| arguments.add(value)),
            Self::Texts(list) => filled(list, size).try_for_each(|value| arguments.add(value)),
            Self::Blobs(list) => filled(list, size).try_for_each(|value| arguments.add(value)),
            single => single.for_sqlite(arguments),
        }
    }
}

fn filled<T: Clone>(list: Vec<T>, size: usize) -> impl Iterator<Item = T> {
    let missing = size.saturating_sub(list.len());
    let last = list.last().cloned();
    list.into_iter().chain(last.into_iter().cycle().take(missing))
}

/// Something that can be an argument of a statement.
pub(crate) trait Argument {
    fn value(self) -> Value;
}

impl Argument for Value {
    fn value(self) -> Value {
        self
    }
}

impl Argument for i64 {
    fn value(self) -> Value {
        Value::Int(Some(self))
    }
}

impl Argument for bool {
    fn value(self) -> Value {
        i64::from(self).value()
    }
}

impl Argument for u32 {
    fn value(self) -> Value {
        i64::from(self).value()
    }
}

impl Argument for u64 {
    fn value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).value()
    }
}

impl Argument for &str {
    fn value(self) -> Value {
        Value::Text(Some(escape(self).into_owned()))
    }
}

impl Argument for String {
    fn value(self) -> Value {
        Value::Text(Some(match escape(&self) {
            Cow::Borrowed(_) => self,
            Cow::Owned(escaped) => escaped,
        }))
    }
}

impl Argument for &[u8] {
    fn value(self) -> Value {
        Value::Blob(Some(self.to_vec()))
    }
}

impl Argument for Option<i64> {
    fn value(self) -> Value {
        Value::Int(self)
    }
}

impl Argument for Option<u64> {
    fn value(self) -> Value {
        Value::Int(self.map(|value| i64::try_from(value).unwrap_or(i64::MAX)))
    }
}

impl Argument for Option<&str> {
    fn value(self) -> Value {
        Value::Text(self.map(|text| escape(text).into_owned()))
    }
}

impl Argument for Option<&[u8]> {
    fn value(self) -> Value {
        Value::Blob(self.map(<[u8]>::to_vec))
    }
}

/// A 16-byte id, in and out of a column.
pub(crate) trait Id: Sized {
    fn slice(&self) -> &[u8];
    fn read(bytes: &[u8]) -> Option<Self>;
}

/// Makes types of 16 bytes ids: each with the column that it is and the argument that it can be.
macro_rules! ids {
    ($($id:ty),+) => { $(
        impl $crate::sql::Id for $id {
            fn slice(&self) -> &[u8] {
                self.as_bytes()
            }

            fn read(bytes: &[u8]) -> Option<Self> {
                Self::from_slice(bytes)
            }
        }

        impl $crate::sql::Argument for $id {
            fn value(self) -> $crate::sql::Value {
                $crate::sql::Argument::value($crate::sql::Id::slice(&self))
            }
        }

        impl $crate::sql::Argument for Option<$id> {
            fn value(self) -> $crate::sql::Value {
                $crate::sql::Argument::value(self.as_ref().map($crate::sql::Id::slice))
            }
        }
    )+ };
}
pub(crate) use ids;

ids!(ClusterId, FindingId, PatternId, RetestId, Nonce, JoinTokenId);

/// U+0000 becomes U+0001 `0`, U+0001 becomes U+0001 `1`.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte <= 1) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0"))
}

pub(super) fn unescape(text: &str) -> String {
    if !text.contains('\u{1}') {
        return text.to_owned();
    }
    text.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nul_is_stored_and_comes_back() {
        for text in ["plain", "a\0b", "\u{1}", "\u{1}0", "\0\u{1}\0", "\u{1}1\0"] {
            let stored = escape(text);
            assert!(!stored.contains('\0'));
            assert_eq!(unescape(&stored), text);
        }
    }

    #[test]
    fn a_list_is_filled_up_with_its_last_value() {
        assert_eq!(filled(vec![1, 2], 4).collect::<Vec<_>>(), [1, 2, 2, 2]);
        assert_eq!(filled(vec![1, 2], 0).collect::<Vec<_>>(), [1, 2]);
    }
}
