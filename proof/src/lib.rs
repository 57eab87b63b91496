//! What an offline verifier needs to believe a receipt or an activity log, and nothing else. PURE.
//!
//! Everything here is a function of bytes, a root's fingerprint and a moment. There is no clock: a certificate is judged at the
//! moment that the signed bytes name, or at one that the caller passes. There is no file, no network and no randomness: checking a
//! signature draws none. The algorithm is fixed (ECDSA P-256 with SHA-256) instead of being an argument, so that no caller can accept
//! a weaker one; aws-lc-rs computes it, the only cryptographic library of the workspace. Nothing here signs or holds a key: that is
//! done by the aggregator's `authority` and the agent's `credential`.

pub mod attestation;
pub mod canonical;
pub mod certificate;
pub mod log;
pub mod merkle;
pub mod node_statement;
pub mod receipt;
pub mod spiffe;
pub mod trust;

pub use attestation::AttestationProblem;
pub use canonical::NotCanonical;
pub use certificate::{CertificateFacts, CertificateProblem};
pub use log::{LogProblem, LoggedEntry, SignedHead, VerifiedLog};
pub use node_statement::{NodeQuestion, StatementProblem};
pub use receipt::{ReceiptProblem, VerifiedReceipt};
pub use spiffe::{NodeName, Party, SpiffeName};
pub use trust::{TrustProblem, TrustedRoot};
