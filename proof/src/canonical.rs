//! Reads signed text strictly: it must be the one canonical form of the value that it holds.

use holdfast_model::canonical;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Signed text that is not one value in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {what} is not in canonical form: {problem}")]
pub struct NotCanonical {
    /// `attestation`, `countersignature`, `node's statement` or `head`.
    pub what: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// The value of a text that is exactly its canonical form: nothing unknown, nothing twice, nothing left out.
pub fn parse<T: Serialize + DeserializeOwned>(what: &'static str, text: &str) -> Result<T, NotCanonical> {
    let problem = |problem: String| NotCanonical { what, problem };
    let value: T = serde_json::from_str(text).map_err(|error| problem(error.to_string()))?;
    let again = canonical::text(&value).map_err(|error| problem(error.to_string()))?;
    if again == text { Ok(value) } else { Err(problem("written differently than it reads".into())) }
}
