//! What is wrong in a cluster and how to fix it, as pure functions over compact facts.
//!
//! The way of the data: an object of the API server is projected to [`facts`] and forgotten; the [`inventory`] keeps the facts
//! and knows which subjects a change touches; [`evaluate`](Inventory::evaluate) asks every control of the
//! [`catalog`] that applies. The agent does this on every change, a retest does it again on a fresh read, and
//! `holdfast check` does it on files: one code, three doors. [`running`] asks the same controls about the kernel's view.
//! This room reads no clock, no file and no network, and its answers are values: a control cannot fail, it finds or it doesn't.

pub mod catalog;
pub mod evaluate;
pub mod facts;
pub mod fix;
pub mod inventory;
pub mod kubectl;
pub mod peers;
pub mod pod_security;
pub mod process;
pub mod rbac;
pub mod running;

pub use catalog::{CONTROLS, Control};
pub use evaluate::{Answer, Judgement, Outcome};
pub use facts::{KINDS, Kind, Object, project};
pub use inventory::Inventory;
