//! What can go wrong between the record and its database, named by the operation that failed.

/// An operation on the store that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address names no supported database.
    #[error("the database address starts with neither `sqlite:` nor `postgres:`")]
    Address,
    /// The database could not be opened.
    #[error("opening the database failed")]
    Open(#[source] sqlx::Error),
    /// The tables could not be brought to this version.
    #[error("migrating the database failed")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A statement failed.
    #[error("{operation} failed")]
    Query {
        /// The operation, as `findings by id`.
        operation: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A statement has more or fewer placeholders than arguments.
    #[error("{operation} has {placeholders} placeholders and {bound} arguments")]
    Arguments {
        /// The operation.
        operation: &'static str,
        /// How many its text has.
        placeholders: usize,
        /// How many were bound.
        bound: usize,
    },
    /// A stored value is not of its column's form.
    #[error("column {column} of a row of {operation} holds {problem}")]
    Row {
        /// The operation that read it.
        operation: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A write changed another number of rows than it must.
    #[error("{operation} changed {found} rows, not {expected}")]
    RowCount {
        /// The operation.
        operation: &'static str,
        /// How many it must change.
        expected: u64,
        /// How many it changed.
        found: u64,
    },
    /// Another statement of the same transaction failed.
    #[error("the transaction was given up")]
    Aborted(#[source] std::sync::Arc<StoreError>),
    /// A value cannot be written.
    #[error("{operation}: the value has no stored form")]
    Form {
        /// The operation.
        operation: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Of every operation of the store.
pub type Result<T> = std::result::Result<T, StoreError>;
