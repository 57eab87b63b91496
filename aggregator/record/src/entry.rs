//! One event as it goes into the log: its canonical bytes and the leaf that they hash to (RFC 6962: SHA-256 over a zero byte
//! and the data). Made once, at the decision; store, sequencer and verifier only carry it.

use holdfast_model::activity::leaf_hash;
use holdfast_model::{Activity, canonical};

/// An event, ready for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub activity: Activity,
    /// Its canonical bytes, which are text.
    pub body: String,
    /// Its leaf hash.
    pub leaf: [u8; 32],
}

impl Entry {
    /// The entry of this event. Fails only for a detail that has no canonical form, as a floating-point number.
    pub fn of(activity: Activity) -> Result<Self, serde_json::Error> {
        let bytes = canonical::bytes(&activity)?;
        let leaf = leaf_hash(&bytes);
        let body = String::from_utf8(bytes).map_err(serde::de::Error::custom)?;
        Ok(Self { activity, body, leaf })
    }
}
