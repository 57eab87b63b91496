//! What lets a cluster join: one line of text that names a token, proves it, and says whom to trust.
//!
//! `hf_join_<26 characters>.<52 characters>.<64 hexadecimal>`: the token's id, its secret, and the SHA-256 of the
//! aggregator's root certificate. The id may be shown and logged. The secret is shown once, stored only as a hash, and
//! never printed by `Debug`. The fingerprint lets an agent know its aggregator before it sends the secret.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::id::JoinTokenId;

/// SHA-256 of a root certificate in DER: all that a stranger needs to check an agent, a receipt or the activity log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootFingerprint([u8; 32]);

impl RootFingerprint {
    /// The fingerprint of this root certificate.
    pub fn of(root_der: &[u8]) -> Self {
        Self(Sha256::digest(root_der).into())
    }
}

impl fmt::Display for RootFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for RootFingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let decoded = HEXLOWER.decode(text.to_ascii_lowercase().as_bytes()).ok();
        let bytes = decoded.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| "a root fingerprint has 64 hexadecimal characters".to_owned())
    }
}

impl Serialize for RootFingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RootFingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The secret half of a join token: 256 bits drawn by the aggregator.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinSecret([u8; 32]);

impl JoinSecret {
    /// The secret with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What is stored instead of the secret. A plain hash serves: 256 random bits cannot be guessed.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::new().chain_update(b"holdfast/join-secret/1").chain_update(self.0).finalize().into()
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(not shown)")
    }
}

/// A join token, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Names the token; no secret.
    pub id: JoinTokenId,
    /// Proves it.
    pub secret: JoinSecret,
    /// The root that the aggregator must show.
    pub root: RootFingerprint,
}

impl JoinToken {
    /// The whole text, secret included: for the one place that hands it to a person.
    pub fn reveal(&self) -> String {
        format!("{}.{}.{}", self.id, BASE32_NOPAD.encode(&self.secret.0).to_ascii_lowercase(), self.root)
    }
}

/// The error never repeats the text: it may hold a secret.
impl FromStr for JoinToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid =
            || "this is no join token: expected `hf_join_<id>.<secret>.<root fingerprint>`, in one line".to_owned();
        let mut parts = text.trim().split('.');
        let (Some(id), Some(secret), Some(root), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let secret = BASE32_NOPAD.decode(secret.to_ascii_uppercase().as_bytes()).map_err(|_| invalid())?;
        Ok(Self {
            id: id.parse().map_err(|_| invalid())?,
            secret: JoinSecret(secret.try_into().map_err(|_| invalid())?),
            root: root.parse().map_err(|_| invalid())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> JoinToken {
        JoinToken {
            id: JoinTokenId::from_bytes([1; 16]),
            secret: JoinSecret::from_bytes([2; 32]),
            root: RootFingerprint::of(b"root"),
        }
    }

    #[test]
    fn a_token_survives_being_pasted() {
        assert_eq!(format!(" {}\n", example().reveal()).parse::<JoinToken>().unwrap(), example());
    }

    #[test]
    fn a_secret_is_neither_debugged_nor_repeated_in_errors() {
        let text = example().reveal();
        let secret = text.split('.').nth(1).unwrap();
        assert!(!format!("{:?}", example()).contains(secret));
        assert!(!format!("{text}x").parse::<JoinToken>().unwrap_err().contains(secret));
    }

    #[test]
    fn a_token_cut_short_is_refused() {
        let text = example().reveal();
        for cut in 0..text.len() {
            assert!(text[..cut].parse::<JoinToken>().is_err(), "{cut} characters");
        }
    }
}
