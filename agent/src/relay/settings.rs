//! How nodes are served: the address, and whose tokens count.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// How nodes are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The service account of the node part: tokens of no other one are accepted.
    pub account: ServiceAccount,
}

/// A service account, written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ServiceAccount {
    /// As authentication names it.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }
}

impl FromStr for ServiceAccount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!("{text:?} is no service account: expected NAMESPACE/NAME")),
        }
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
