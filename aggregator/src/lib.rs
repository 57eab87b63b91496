//! The aggregator: one record of every problem in the fleet, and what is done about each.

pub mod activity;
pub mod api;
pub mod authority;
pub mod certificate;
pub mod clock;
pub mod enrol;
pub mod identity;
pub mod live;
pub mod receipts;
