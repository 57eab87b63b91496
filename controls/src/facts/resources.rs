//! Requests and limits of a container or a pod: which are there. How much does not matter to any control, except that a
//! limit of nothing is no limit.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

/// `ResourceRequirements`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// `limits`.
    pub limits: Option<Amounts>,
    /// `requests`.
    pub requests: Option<Amounts>,
}

/// `ResourceList`, as far as it is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Amounts {
    /// `cpu`.
    pub cpu: Option<Amount>,
    /// `memory`.
    pub memory: Option<Amount>,
}

/// A quantity: whether it is more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Amount(pub bool);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Quantity;

        impl Visitor<'_> for Quantity {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity, such as 500m or 2Gi")
            }

            fn visit_u64<E>(self, value: u64) -> Result<Amount, E> {
                Ok(Amount(value != 0))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Amount, E> {
                Ok(Amount(value > 0))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Amount, E> {
                Ok(Amount(value > 0.0))
            }

            /// A digit other than zero before the exponent or suffix makes it more than nothing: `0.0e5` and `0Gi` are not.
            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                let number = text.split(|c: char| c.is_ascii_alphabetic()).next().unwrap_or_default();
                Ok(Amount(!number.starts_with('-') && number.bytes().any(|byte| matches!(byte, b'1'..=b'9'))))
            }
        }

        from.deserialize_any(Quantity)
    }
}
