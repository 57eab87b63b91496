//! The figures, one file each.

pub mod check_files;
pub mod store_insert;
