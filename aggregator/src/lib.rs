//! The aggregator: one record of every problem in the fleet, and what is done about each.

pub mod activity;
pub mod api;
pub mod authority;
pub mod dispatch;
pub mod enrol;
pub mod environment;
pub mod fleet;
pub mod identity;
pub mod intake;
pub mod jobs;
pub mod live;
pub mod receipts;
pub mod serve;
pub mod sessions;
pub mod settings;
pub mod signing_request;
pub mod writer;
