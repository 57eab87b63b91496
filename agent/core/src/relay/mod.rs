//! The pure parts of the relay: how nodes and their sensors are doing, and what each node is sent of its Pods.

use holdfast_model::CoverageState;

pub mod node_coverage;
pub mod pod_updates;
pub mod sensor_records;

/// A state of coverage with its reason.
pub type StateWithReason = (CoverageState, String);
