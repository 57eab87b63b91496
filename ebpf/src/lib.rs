//! The kernel view and the kernel sensors of one node: what runs ([`view`]) and what it does ([`sensors`]), from the kernel itself.
//!
//! Nothing here knows the API server: the names of a process's cgroup tell whether it is a container's or the host's
//! ([`attribution`]). What this kernel or these rights do not allow is a reason ([`Unavailable`]), never an empty result. Strings of
//! processes are escaped and bounded before they leave this crate.

pub mod attribution;
mod bytes;
mod clock;
mod container_observations;
pub mod masking;
pub mod sensors;
pub mod text;
mod unavailable;
pub mod view;

pub use attribution::Owner;
pub use clock::since_boot;
pub use container_observations::ContainerObservations;
pub use sensors::{SensorState, Sensors};
pub use unavailable::Unavailable;
pub use view::{KernelView, View};

#[cfg(test)]
#[path = "../tests/cell/mod.rs"]
#[allow(dead_code, reason = "shared with the suites")]
mod cell;
