//! The wire: `holdfast.v1` as generated Rust, and the conversions between its messages and the model.
//!
//! Nothing outside this room and the two ends of the stream sees a wire type. What comes in is checked here, field by
//! field, before it becomes a value of the model; an error names the message and the field.

pub mod convert;
pub mod parts;

/// The generated messages and services.
#[allow(missing_docs, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

pub use convert::Malformed;
pub use holdfast_model::limits;

/// The version of the protocol that this build speaks.
pub const PROTOCOL: u32 = 1;
