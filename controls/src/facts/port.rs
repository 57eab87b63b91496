//! A port by number or by name: of a Service's target, an Ingress' backend, a NetworkPolicy's rule.

use serde::{Deserialize, Serialize};

/// `IntOrString`, where it names a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortRef {
    /// By number.
    Number(i32),
    /// By the name that a container or a Service gives it.
    Name(Box<str>),
}

/// TCP, where no protocol is named.
pub(super) fn protocol(named: Option<&str>) -> &str {
    named.unwrap_or("TCP")
}
