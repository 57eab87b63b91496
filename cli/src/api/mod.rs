//! The aggregator's REST API from the client's side. Its types are shared with the server: `holdfast_api_types`.

mod client;
pub mod profile;

pub use client::{Client, Endpoint, Refusal};
