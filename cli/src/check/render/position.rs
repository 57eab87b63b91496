//! The position of an object or a problem, as text.

use std::fmt::Write as _;

use crate::check::report::{Place, Report};

/// `deploy.yaml: document 2, object 3, line 40`.
pub(super) fn position(report: &Report, place: &Place) -> String {
    let mut text = report.file(place).to_owned();
    if place.document > 0 {
        let _ = write!(text, ": document {}", place.document);
    }
    if let Some(item) = place.item {
        let _ = write!(text, ", object {item}");
    }
    if place.line > 0 {
        let _ = write!(text, ", line {}", place.line);
    }
    text
}
