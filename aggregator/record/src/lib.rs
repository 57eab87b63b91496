//! What may happen to a finding, as pure functions from a state and a command to the next state and its events.
//!
//! No clock, no randomness, no database: time, drawn ids and what the catalog knows come in as arguments; storing and
//! sending follow elsewhere. A test of a rule needs no more than a value.

pub mod calibration;
pub mod detection;
pub mod entry;
pub mod event;
pub mod finding;
pub mod fleet;
pub mod lifecycle;
pub mod propagation;
pub mod retest;

pub use calibration::{Calibration, calibrate};
pub use detection::{Detection, Source, Standing};
pub use entry::Entry;
pub use event::{Event, Happened};
pub use finding::Finding;
pub use lifecycle::{Command, Context, Decision, Refused, decide};
pub use retest::{RetestCause, RetestChange};
