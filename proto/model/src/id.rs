//! Identities: 128 bits each, shown as a letter, an underscore and 26 base32 characters.
//!
//! A derived id is a hash of what it names, so independent processes derive the same one. A drawn id (cluster, retest,
//! nonce) comes in as bytes: this room has no randomness.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Text that is not an id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidId {
    kind: &'static str,
    prefix: &'static str,
    text: String,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(64).flat_map(char::escape_default).collect();
        write!(f, "{shown:?} is not a {} id: expected `{}` and 26 characters of a-z and 2-7", self.kind, self.prefix)
    }
}

impl std::error::Error for InvalidId {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these 16 bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The id held in a byte string of exactly 16 bytes, as stores and the wire carry it.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The 16 bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = || InvalidId { kind: $kind, prefix: $prefix, text: text.to_owned() };
                let body = text.strip_prefix($prefix).filter(|body| body.len() == 26).ok_or_else(invalid)?;
                let bytes = BASE32_NOPAD.decode(body.to_ascii_uppercase().as_bytes()).map_err(|_| invalid())?;
                Self::from_slice(&bytes).ok_or_else(invalid)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// One Kubernetes cluster, drawn by the aggregator when the cluster is added.
    ClusterId, "cluster", "c_"
);
id!(
    /// One problem on one resource of one cluster: derived from the finding's key, never issued twice.
    FindingId, "finding", "f_"
);
id!(
    /// The same problem wherever it repeats: the finding's key without its cluster.
    PatternId, "pattern", "p_"
);
id!(
    /// One request to prove a finding fixed, drawn by the aggregator.
    RetestId, "retest", "r_"
);
id!(
    /// The fresh value that ties a verdict to the request that caused it: a read made before it was issued cannot carry it.
    Nonce, "nonce", "n_"
);
id!(
    /// One join token, drawn by the aggregator. It names the token and proves nothing.
    JoinTokenId, "join token", "hf_join_"
);

/// The first 128 bits of SHA-256 over a version tag and length-prefixed parts. The lengths keep ("ab","c") apart from ("a","bc").
pub(crate) fn derive(tag: &str, parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in std::iter::once(tag.as_bytes()).chain(parts.iter().copied()) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_name_the_same_id() {
        let id = ClusterId::from_bytes(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<ClusterId>().unwrap(), id);
        assert_eq!(ClusterId::from_slice(id.as_bytes()), Some(id));
    }

    #[test]
    fn an_id_of_another_kind_is_refused_with_the_expected_form() {
        let finding = FindingId::from_bytes([7; 16]).to_string();
        let error = finding.parse::<ClusterId>().unwrap_err().to_string();
        assert!(error.contains("is not a cluster id: expected `c_`"), "{error}");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(derive("t", &[b"ab", b"c"]), derive("t", &[b"a", b"bc"]));
        assert_ne!(derive("t", &[b"a"]), derive("t", &[b"a", b""]));
    }
}
