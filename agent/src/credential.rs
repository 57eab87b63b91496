//! The agent's key and certificates on disk: made once, replaced in two steps, never lost to a half-written file.
//!
//! The key never leaves its file. A renewed certificate stands beside the old one until a session with it has been
//! welcomed: an answer lost on the way, or an aggregator restored from yesterday, strands nobody.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use holdfast_model::canonical::hex_bytes;
use holdfast_model::{ClusterId, UnixMillis};
use holdfast_proto::v1;
use rcgen::{CertificateParams, DnType, KeyPair, SigningKey};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};

use crate::api::Refusal;

/// What can go wrong with the credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file of the state folder.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file that does not hold what it should.
    #[error("{} is damaged; remove it and enrol again with a new join token", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The Secret that stands in for the folder.
    #[error("cannot {operation} the Secret {secret}")]
    Secret {
        /// What was tried.
        operation: &'static str,
        /// Namespace and name.
        secret: String,
        /// Why it failed.
        source: Refusal,
    },
    /// Others have written the Secret each time it was read.
    #[error("cannot write the Secret {0}: others keep writing it")]
    Contended(String),
    /// An entry of the Secret that does not hold what it should.
    #[error("the entry {entry} of the Secret {secret} is damaged; remove it and enrol again with a new join token")]
    DamagedEntry {
        /// Namespace and name.
        secret: String,
        /// The key of its data.
        entry: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The key could not be made or used.
    #[error("cannot {operation} with the agent's key")]
    Key {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
}

/// The agent's private key, ECDSA P-256.
pub struct AgentKey {
    pair: KeyPair,
}

/// A certificate and how long it lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// DER.
    #[serde(with = "hex_bytes")]
    pub certificate: Vec<u8>,
    /// When it was received.
    pub received_at: UnixMillis,
    /// When it ends.
    pub not_after: UnixMillis,
}

/// Who this agent is, and whom it trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The cluster that the aggregator gave this agent.
    pub cluster: ClusterId,
    /// The aggregator's root, DER: the only one that is trusted.
    #[serde(with = "hex_bytes")]
    pub root: Vec<u8>,
    /// The certificate that is known to work.
    pub current: Issued,
    /// A renewed one that has not been used yet.
    pub next: Option<Issued>,
}

/// The folder that holds the key and the credential.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

impl AgentKey {
    /// A new key.
    pub fn generate() -> Result<Self, CredentialError> {
        let failed = |source| CredentialError::Key { operation: "begin", source };
        Ok(Self { pair: KeyPair::generate().map_err(failed)? })
    }

    /// The key that was kept as PEM.
    pub fn from_pem(pem: &str) -> Result<Self, rcgen::Error> {
        Ok(Self { pair: KeyPair::from_pem(pem)? })
    }

    /// The key as the TLS library takes it.
    pub fn der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialize_der()).into()
    }

    /// A signing request. It asks for nothing: the aggregator decides what the certificate says.
    pub fn csr(&self) -> Result<Vec<u8>, CredentialError> {
        let failed = |source| CredentialError::Key { operation: "make a signing request", source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, "holdfast-agent");
        Ok(params.serialize_request(&self.pair).map_err(failed)?.der().to_vec())
    }

    /// Signs: ECDSA P-256 over SHA-256, ASN.1.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CredentialError> {
        self.pair.sign(message).map_err(|source| CredentialError::Key { operation: "sign", source })
    }

    /// PEM, for the TLS library.
    pub fn pem(&self) -> String {
        self.pair.serialize_pem()
    }
}

impl Credential {
    /// The credential that an enrolment gave.
    pub fn enrolled(certificate: v1::Certificate, now: UnixMillis) -> Option<Self> {
        Some(Self {
            cluster: ClusterId::from_slice(&certificate.cluster_id)?,
            root: certificate.root,
            current: Issued {
                certificate: certificate.certificate,
                received_at: now,
                not_after: certificate.not_after,
            },
            next: None,
        })
    }

    /// The certificates to try, the newest first.
    pub fn certificates(&self) -> impl Iterator<Item = &Issued> {
        self.next.iter().chain([&self.current])
    }

    /// A session with this certificate was welcomed: an older one is no longer needed. Answers whether anything changed.
    pub fn used(&mut self, certificate: &Issued) -> bool {
        let renewed = self.next.as_ref() == Some(certificate);
        if renewed && let Some(next) = self.next.take() {
            self.current = next;
        }
        renewed
    }

    /// In how many milliseconds to renew, by the aggregator's clock: with a third of the life left. Where the moment of
    /// receipt was noted by a clock that runs ahead, what is left now counts as the life.
    pub fn renew_in(&self, now: UnixMillis) -> UnixMillis {
        let newest = self.next.as_ref().unwrap_or(&self.current);
        let left = newest.not_after.saturating_sub(now).max(0);
        let life = newest.not_after.saturating_sub(newest.received_at).max(left);
        (left - life / 3).max(0)
    }
}

impl StateDir {
    /// Opens the folder, and makes it where it is missing.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, CredentialError> {
        let path = path.into();
        let failed = |operation| {
            let path = path.clone();
            move |source| CredentialError::File { operation, path, source }
        };
        std::fs::create_dir_all(&path).map_err(failed("create"))?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).map_err(failed("protect"))?;
        Ok(Self { path })
    }

    /// The key, made on the first call and the same ever after.
    pub fn key(&self) -> Result<AgentKey, CredentialError> {
        let path = self.path.join("key.pem");
        if let Some(pem) = read(&path)? {
            return AgentKey::from_pem(&pem).map_err(|error| CredentialError::Damaged { path, source: error.into() });
        }
        let key = AgentKey::generate()?;
        write(&path, key.pem().as_bytes())?;
        Ok(key)
    }

    /// The credential, once there is one.
    pub fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        let path = self.path.join("credential.json");
        let Some(text) = read(&path)? else { return Ok(None) };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|error| CredentialError::Damaged { path, source: error.into() })
    }

    /// Keeps the credential.
    pub fn keep(&self, credential: &Credential) -> Result<(), CredentialError> {
        let text = serde_json::to_vec_pretty(credential).expect("a credential holds strings and integers only");
        write(&self.path.join("credential.json"), &text)
    }
}

/// PEM of a certificate, for the TLS library.
pub fn certificate_pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der))
}

fn read(path: &Path) -> Result<Option<String>, CredentialError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CredentialError::File { operation: "read", path: path.to_owned(), source }),
    }
}

/// Writes beside, syncs, renames: after a power loss there is the old file or the new one, never half of one.
fn write(path: &Path, bytes: &[u8]) -> Result<(), CredentialError> {
    let failed = |operation| move |source| CredentialError::File { operation, path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(failed("write"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    std::fs::rename(&beside, path).map_err(failed("replace"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(byte: u8) -> Issued {
        Issued { certificate: vec![byte], received_at: 0, not_after: 300 * i64::from(byte) }
    }

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        assert_eq!(state.key().unwrap().pem(), state.key().unwrap().pem());
        let mode = std::fs::metadata(folder.path().join("state/key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_old_certificate_stays_until_the_new_one_has_been_used() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path()).unwrap();
        let mut credential =
            Credential { cluster: ClusterId::from_bytes([1; 16]), root: vec![9], current: issued(1), next: None };
        assert_eq!(credential.renew_in(0), 200);
        credential.next = Some(issued(2));
        state.keep(&credential).unwrap();
        assert_eq!(state.credential().unwrap().as_ref(), Some(&credential));
        assert_eq!(credential.certificates().cloned().collect::<Vec<_>>(), [issued(2), issued(1)]);
        assert_eq!(credential.renew_in(0), 400);
        assert!(!credential.used(&issued(1)));
        assert!(credential.used(&issued(2)));
        assert_eq!(credential.certificates().cloned().collect::<Vec<_>>(), [issued(2)]);
    }

    #[test]
    fn no_clock_makes_the_renewal_come_at_once_for_ever_or_never() {
        let of = |received_at, not_after| {
            let current = Issued { certificate: vec![1], received_at, not_after };
            Credential { cluster: ClusterId::from_bytes([1; 16]), root: vec![9], current, next: None }
        };
        assert_eq!(of(10_000, 300).renew_in(0), 200, "received by a clock that runs ahead");
        assert_eq!(of(0, 300).renew_in(250), 0);
        assert_eq!(of(i64::MAX, i64::MIN).renew_in(i64::MAX), 0);
        assert_eq!(of(i64::MIN, i64::MAX).renew_in(i64::MIN), i64::MAX - i64::MAX / 3);
    }

    #[test]
    fn a_damaged_credential_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("credential.json"), "{").unwrap();
        let error = StateDir::open(folder.path()).unwrap().credential().unwrap_err().to_string();
        assert!(error.contains("enrol again with a new join token"), "{error}");
    }
}
