//! The kernel's eye: what runs on this node ([`view`]) and what it does ([`sensors`]), as the kernel itself says.
//!
//! Everything here is about one node and knows nothing of the API server: a process is a container's or the host's because
//! of the names of its cgroup ([`attribution`]). What this kernel or these rights don't allow is a reason ([`Blind`]), never
//! an empty answer. Strings of processes are escaped and bounded before they leave this crate.

pub mod attribution;
mod blind;
mod bytes;
mod clock;
pub mod masking;
pub mod sensors;
pub mod text;
pub mod view;
mod watch;

pub use attribution::Owner;
pub use blind::Blind;
pub use clock::since_boot;
pub use sensors::{SensorState, Sensors};
pub use view::{KernelView, View};
pub use watch::Watch;

#[cfg(test)]
#[path = "../tests/cell/mod.rs"]
#[allow(dead_code, reason = "shared with the suites")]
mod cell;
