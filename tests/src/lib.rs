//! What the suites share. The suites are in `suites/`, one scenario or one oracle a file.

pub mod difference;
pub mod generated_rbac;
pub mod helm;
pub mod images;
pub mod installed;
pub mod inventory;
pub mod pod_security_fixtures;
pub mod programs;
pub mod scenario;
pub mod tier;
