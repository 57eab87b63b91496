//! The aggregator's REST API from the client's side. Its types are the server's own: `holdfast_aggregator::api::view`.

pub mod action;
mod client;
pub mod profile;

pub use client::{Client, Endpoint, Refusal};
