//! Workload runtime configuration: what a pod asks of the node that it runs on.

use super::Control;

mod privileged;

/// The controls of this archetype, by id.
pub const CONTROLS: &[Control] = &[privileged::CONTROL];
