//! What bands and severities are computed from: which clusters can judge what, and the policy. What follows is planned in
//! [`crate::jobs`] and applied by the writer.

mod coverage;
pub mod policy;

pub use coverage::Judges;

/// The setting that holds the policy by which all findings were last calibrated.
pub(crate) const POLICY: &str = "fleet-policy";
