//! API tokens: `hf_api_<26 characters>.<52 characters>`. The first half names the token and may be shown and logged; the
//! second proves it, is shown once, and is stored as a hash.

use aws_lc_rs::rand;
use data_encoding::BASE32_NOPAD;
use holdfast_api_types::Role;
use holdfast_model::{Activity, Actor, UnixMillis};
use holdfast_record::Entry;
use holdfast_store::{ApiToken, Store, StoreError, Tx};
use serde_json::json;
use sha2::{Digest, Sha256};

const PREFIX: &str = "hf_api_";
/// What a token that does not exist is compared with, so that both take the same time.
const NOBODY: [u8; 32] = [0; 32];

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// No randomness.
    #[error("the system gives no random bytes")]
    Random,
    /// Not stored.
    #[error("storing the API token failed")]
    Store(#[from] StoreError),
    /// Not logged.
    #[error("the event has no canonical form")]
    Event(#[from] serde_json::Error),
}

/// A token that was just made, whole.
#[derive(Clone)]
pub struct IssuedToken {
    /// As it is stored.
    pub stored: ApiToken,
    /// The whole text, for the one place that hands it to a person.
    pub text: String,
}

/// Shows which token, never its secret.
impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("stored", &self.stored.id).finish_non_exhaustive()
    }
}

/// Makes a token and stores its hash; the activity log says who made it for whom.
pub async fn issue(
    store: &Store,
    name: &str,
    role: Role,
    by: Actor,
    now: UnixMillis,
) -> Result<IssuedToken, IssueError> {
    let (id, secret) = (draw::<16>()?, draw::<32>()?);
    let id = format!("{PREFIX}{}", base32(&id));
    let stored = ApiToken {
        id: id.clone(),
        name: name.to_owned(),
        secret_hash: hash(&secret),
        role: role.as_str().to_owned(),
        created_at: now,
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = store.begin().await?;
    tx.add_api_token(&stored).await?;
    note(&mut tx, now, by, "api-token-made", &stored).await?;
    tx.commit().await?;
    Ok(IssuedToken { stored, text: format!("{id}.{}", base32(&secret)) })
}

/// Revokes a token. None if there is none with this id; revoking it again changes nothing.
pub async fn revoke(store: &Store, id: &str, by: Actor, now: UnixMillis) -> Result<Option<ApiToken>, IssueError> {
    let mut tx = store.begin().await?;
    let changed = tx.revoke_api_token(id, now).await?;
    let Some(token) = store.api_token(id).await? else { return Ok(None) };
    if changed {
        note(&mut tx, now, by, "api-token-revoked", &token).await?;
    }
    tx.commit().await?;
    Ok(store.api_token(id).await?)
}

async fn note(tx: &mut Tx, at: UnixMillis, actor: Actor, event: &str, token: &ApiToken) -> Result<(), IssueError> {
    let activity = Activity {
        at,
        actor,
        event: event.to_owned(),
        cluster: None,
        finding: None,
        cause: "access to the API was changed".to_owned(),
        detail: json!({ "token": token.id, "name": token.name, "role": token.role }),
    };
    tx.add_events(&[Entry::of(activity)?]).await?;
    Ok(())
}

/// The stored token that this text proves, if it is in force.
pub async fn check(store: &Store, text: &str, now: UnixMillis) -> Result<Option<ApiToken>, StoreError> {
    let Some((id, secret)) = parse(text) else { return Ok(None) };
    let found = store.api_token(id).await?;
    let expected = found.as_ref().map_or(&NOBODY, |token| &token.secret_hash);
    let proved = aws_lc_rs::constant_time::verify_slices_are_equal(&hash(&secret), expected).is_ok();
    Ok(found.filter(|token| proved && in_force(token, now)))
}

fn in_force(token: &ApiToken, now: UnixMillis) -> bool {
    token.revoked_at.is_none() && token.expires_at.is_none_or(|end| now < end)
}

fn parse(text: &str) -> Option<(&str, [u8; 32])> {
    let (id, secret) = text.split_once('.')?;
    let name = id.strip_prefix(PREFIX)?;
    let known_form = name.len() == 26 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let secret = BASE32_NOPAD.decode(secret.to_ascii_uppercase().as_bytes()).ok()?;
    known_form.then_some((id, secret.try_into().ok()?))
}

/// A plain hash serves: 256 random bits cannot be guessed.
fn hash(secret: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(b"holdfast/api-secret/1").chain_update(secret).finalize().into()
}

fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn draw<const N: usize>() -> Result<[u8; N], IssueError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| IssueError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_is_taken_apart() {
        let text = format!("hf_api_{}.{}", base32(&[1; 16]), base32(&[2; 32]));
        assert_eq!(parse(&text).map(|(_, secret)| secret), Some([2; 32]));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "{cut} characters");
        }
        assert_eq!(parse(&text.replace("hf_api_", "hf_join_")), None);
        assert_eq!(parse(&format!("{text}.x")), None);
    }
}
