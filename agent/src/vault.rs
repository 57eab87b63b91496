//! Where the cluster part keeps its key and its certificate: a folder, or in the cluster one named Secret.
//!
//! The Secret is there beforehand, empty, so that no right to create Secrets is needed; the replicas share it, and whoever
//! leads finds what the leader before has left. It is replaced whole and only at the version that was read: of two that
//! write at once one is refused and reads again. Nothing of it is ever logged.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::api::{Api, Refusal};
use crate::credential::{AgentKey, Credential, CredentialError, StateDir};

/// Keys of the Secret's data.
const KEY: &str = "key.pem";
const CREDENTIAL: &str = "credential.json";
/// How often a write that met another one is tried again.
const TRIES: usize = 4;

/// Where the credential is kept.
#[derive(Clone)]
pub enum Vault {
    /// A folder of this machine.
    Folder(StateDir),
    /// A Secret of the cluster.
    Secret(SecretVault),
}

/// The one Secret.
#[derive(Clone)]
pub struct SecretVault {
    api: Api,
    namespace: String,
    name: String,
}

impl Vault {
    /// The key, made on the first call and the same ever after.
    pub async fn key(&self) -> Result<AgentKey, CredentialError> {
        match self {
            Self::Folder(folder) => folder.key(),
            Self::Secret(secret) => secret.key().await,
        }
    }

    /// The credential, once there is one.
    pub async fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        match self {
            Self::Folder(folder) => folder.credential(),
            Self::Secret(secret) => secret.credential().await,
        }
    }

    /// Keeps the credential.
    pub async fn keep(&self, credential: &Credential) -> Result<(), CredentialError> {
        match self {
            Self::Folder(folder) => folder.keep(credential),
            Self::Secret(secret) => secret.keep(credential).await,
        }
    }
}

impl SecretVault {
    /// The Secret of this name.
    pub fn new(api: Api, namespace: &str, name: &str) -> Self {
        Self { api, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    async fn key(&self) -> Result<AgentKey, CredentialError> {
        for _ in 0..TRIES {
            let secret = self.read().await?;
            if let Some(bytes) = entry(&secret, KEY) {
                let pem = std::str::from_utf8(bytes).map_err(|error| self.damaged(KEY, error))?;
                return AgentKey::from_pem(pem).map_err(|error| self.damaged(KEY, error));
            }
            let key = AgentKey::generate()?;
            if self.write(secret, KEY, key.pem().into_bytes()).await? {
                return Ok(key);
            }
        }
        Err(CredentialError::Contended(self.secret()))
    }

    async fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        let secret = self.read().await?;
        let Some(bytes) = entry(&secret, CREDENTIAL) else { return Ok(None) };
        serde_json::from_slice(bytes).map(Some).map_err(|error| self.damaged(CREDENTIAL, error))
    }

    async fn keep(&self, credential: &Credential) -> Result<(), CredentialError> {
        let text = serde_json::to_vec(credential).expect("a credential holds strings and integers only");
        for _ in 0..TRIES {
            if self.write(self.read().await?, CREDENTIAL, text.clone()).await? {
                return Ok(());
            }
        }
        Err(CredentialError::Contended(self.secret()))
    }

    async fn read(&self) -> Result<Secret, CredentialError> {
        self.api.read(&self.path()).await.map_err(|source| self.failed("read", source))
    }

    /// Writes one entry beside the others. False if somebody else has written since the Secret was read.
    async fn write(&self, mut secret: Secret, entry: &str, bytes: Vec<u8>) -> Result<bool, CredentialError> {
        secret.data.get_or_insert_default().insert(entry.to_owned(), ByteString(bytes));
        let replaced = self.api.replace(&self.path(), &secret).await;
        replaced.map(|replaced| replaced.is_some()).map_err(|source| self.failed("write", source))
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.namespace, self.name)
    }

    fn secret(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn failed(&self, operation: &'static str, source: Refusal) -> CredentialError {
        CredentialError::Secret { operation, secret: self.secret(), source }
    }

    fn damaged(&self, entry: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> CredentialError {
        CredentialError::DamagedEntry { secret: self.secret(), entry, source: Box::new(error) }
    }
}

/// An entry that is there and not empty: the chart makes the Secret without any.
fn entry<'a>(secret: &'a Secret, entry: &str) -> Option<&'a [u8]> {
    let bytes = secret.data.as_ref()?.get(entry)?;
    (!bytes.0.is_empty()).then_some(bytes.0.as_slice())
}
