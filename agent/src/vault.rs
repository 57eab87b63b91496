//! Where the cluster part keeps its key and its certificate: a folder, or in the cluster one named Secret.
//!
//! The Secret is there beforehand, empty, so that no right to create Secrets is needed; the replicas share it, and whoever
//! leads finds what the leader before has left. It is replaced whole and only at the version that was read: of two that
//! write at once one is refused and reads again. Nothing of it is ever logged.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::api::{Answer, Api, refusal};
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
            let object = self.read().await?;
            if let Some(pem) = self.entry(&object, KEY)? {
                return AgentKey::from_pem(&pem).ok_or_else(|| self.failed("use", "its key.pem is no key"));
            }
            let key = AgentKey::generate()?;
            if self.write(object, KEY, key.pem().as_bytes()).await? {
                return Ok(key);
            }
        }
        Err(self.failed("write", "others keep writing it"))
    }

    async fn credential(&self) -> Result<Option<Credential>, CredentialError> {
        let Some(text) = self.entry(&self.read().await?, CREDENTIAL)? else { return Ok(None) };
        let parsed = serde_json::from_str(&text);
        parsed.map(Some).map_err(|_| {
            self.failed("use", "its credential.json is damaged; remove the entry and enrol again with a new join token")
        })
    }

    async fn keep(&self, credential: &Credential) -> Result<(), CredentialError> {
        let text = serde_json::to_vec(credential).expect("a credential holds strings and integers only");
        for _ in 0..TRIES {
            if self.write(self.read().await?, CREDENTIAL, &text).await? {
                return Ok(());
            }
        }
        Err(self.failed("write", "others keep writing it"))
    }

    async fn read(&self) -> Result<Value, CredentialError> {
        let answer = self.api.get(&self.path()).await.map_err(|refusal| self.failed("read", &refusal.to_string()))?;
        self.object("read", &answer)
    }

    /// Writes one entry beside the others. False if somebody else has written since the object was read.
    async fn write(&self, mut object: Value, entry: &str, bytes: &[u8]) -> Result<bool, CredentialError> {
        object["data"][entry] = json!(BASE64.encode(bytes));
        let answer = self.api.put(&self.path(), &object).await;
        let answer = answer.map_err(|refusal| self.failed("write", &refusal.to_string()))?;
        if answer.status == http::StatusCode::CONFLICT {
            return Ok(false);
        }
        self.object("write", &answer).map(|_| true)
    }

    fn object(&self, operation: &'static str, answer: &Answer) -> Result<Value, CredentialError> {
        if !answer.status.is_success() {
            return Err(self.failed(operation, &refusal(answer).to_string()));
        }
        let object: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if object.is_object() { Ok(object) } else { Err(self.failed(operation, "the answer is no object")) }
    }

    fn entry(&self, object: &Value, entry: &str) -> Result<Option<String>, CredentialError> {
        let Some(encoded) = object["data"][entry].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
        let bytes = BASE64.decode(encoded.as_bytes()).ok();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(|| self.failed("use", "an entry of it is no text"))
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/secrets/{}", self.namespace, self.name)
    }

    fn failed(&self, operation: &'static str, problem: &str) -> CredentialError {
        let secret = format!("{}/{}", self.namespace, self.name);
        CredentialError::Secret { operation, secret, problem: problem.to_owned() }
    }
}
