//! What the suites share. The suites themselves stand in `suites/`, one story or one oracle a file.

pub mod difference;
pub mod fixtures;
pub mod generated_rbac;
pub mod helm;
pub mod images;
pub mod installed;
pub mod inventory;
pub mod programs;
pub mod story;
pub mod tier;
