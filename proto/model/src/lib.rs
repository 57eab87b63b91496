//! The words of Holdfast as types: what every room means by cluster, resource, control, finding, statement and verdict.
//!
//! Pure: no clock, no randomness, no IO, no database, no wire. A time is an argument in Unix milliseconds; an id is either
//! derived here from what it identifies or given by the caller. Rooms convert to and from these types once, at their door.

pub mod activity;
pub mod canonical;
pub mod container_observation;
pub mod control;
pub mod coverage;
pub mod detection;
pub mod digest;
pub mod finding;
pub mod fleet;
pub mod id;
pub mod join_token;
pub mod kernel;
pub mod limits;
pub mod metadata_service;
pub mod receipt;
pub mod resource;
pub mod retest;
pub mod runtime_observation;
pub mod statement;

pub use activity::{Activity, Actor, Head};
pub use control::{Archetype, ControlId, Method, OnDeletion, Reach, Severity};
pub use coverage::{Coverage, CoverageState};
pub use detection::{DetectionBatch, Occurrences, RuntimeDetection};
pub use finding::{FindingKey, RetiredReason, Status};
pub use fleet::{Band, Reading};
pub use id::{ClusterId, FindingId, JoinTokenId, Nonce, PatternId, RetestId};
pub use join_token::{JoinSecret, JoinToken, RootFingerprint};
pub use receipt::{Attestation, Receipt};
pub use resource::{Origin, Resource};
pub use retest::{ObjectRead, RetestOrder, Verdict};
pub use runtime_observation::{RuntimeObservation, SignalKind};
pub use statement::{Location, Observation, Read, Report, Statement};

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Signed, so that clock offsets subtract without care.
pub type UnixMillis = i64;
