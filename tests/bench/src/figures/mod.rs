//! The figures, one file each.

pub mod check_files;
pub mod cold_start;
pub mod kernel;
pub mod live;
pub mod store_insert;
pub mod stored;
