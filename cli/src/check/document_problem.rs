//! What is wrong with one document, or with one object of it: what the parsers and `decode` report.

use super::report::Weight;

/// A problem inside one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentProblem {
    /// How bad it is.
    pub weight: Weight,
    /// Which object of a list.
    pub item: Option<usize>,
    /// Line in the document, from 1; 0 when unknown.
    pub line: usize,
    /// Field path, where one is meant.
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl DocumentProblem {
    /// A document, or an object of it, that could not be evaluated.
    pub fn error(message: impl Into<String>) -> Self {
        Self { weight: Weight::Error, item: None, line: 0, field: None, message: message.into() }
    }

    /// Something that the API server would refuse or ignore; the object is evaluated all the same.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, ..Self::error(message) }
    }
}
