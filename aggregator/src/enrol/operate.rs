//! What operators do with members: add a cluster, make and revoke its join tokens, revoke it.

use std::time::Duration;

use holdfast_model::{Actor, ClusterId, JoinSecret, JoinToken, JoinTokenId, UnixMillis};
use holdfast_store::{Cluster, StoredJoinToken};
use serde_json::json;

use super::{EnrolError, Enrolments, record};
use crate::authority::random;

/// How long and for how many agents a token works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenTerms {
    /// How long.
    pub life: Duration,
    /// How many different keys it lets in.
    pub uses: u32,
}

impl Default for TokenTerms {
    fn default() -> Self {
        Self { life: Duration::from_secs(60 * 60), uses: 1 }
    }
}

impl TokenTerms {
    fn check(self) -> Result<(), EnrolError> {
        let life = Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 60 * 60);
        if life.contains(&self.life) && (1..=1000).contains(&self.uses) { Ok(()) } else { Err(EnrolError::Terms) }
    }
}

/// A token that was just made. Its secret is shown now or never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The token.
    pub token: JoinToken,
    /// The cluster that it joins.
    pub cluster: ClusterId,
    /// When it stops working.
    pub expires_at: UnixMillis,
}

impl Enrolments {
    /// Adds a cluster, with a first token for its agent.
    pub async fn add_cluster(&self, name: &str, terms: TokenTerms, actor: Actor) -> Result<NewToken, EnrolError> {
        check_name(name)?;
        terms.check()?;
        let (now, id) = (self.now(), ClusterId::from_bytes(random()?));
        let mut tx = self.store.begin().await?;
        if tx.cluster_by_name(name).await?.is_some() {
            return Err(EnrolError::NameTaken(name.to_owned()));
        }
        tx.add_cluster(&Cluster::new(id, name, now)).await?;
        let cause = "an operator added the cluster";
        record(&mut tx, now, actor.clone(), id, "cluster-added", cause, json!({ "name": name })).await?;
        let token = self.make_token(&mut tx, id, terms, actor, now).await?;
        self.commit(tx, id).await?;
        Ok(token)
    }

    /// Makes a token for a cluster that was added before: for its first agent, or for one that lost its credential.
    pub async fn add_token(&self, cluster: ClusterId, terms: TokenTerms, actor: Actor) -> Result<NewToken, EnrolError> {
        terms.check()?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        active(tx.lock_cluster(cluster).await?, cluster)?;
        let token = self.make_token(&mut tx, cluster, terms, actor, now).await?;
        self.commit(tx, cluster).await?;
        Ok(token)
    }

    /// Revokes a token, with no grace. False if it was revoked before.
    pub async fn revoke_token(&self, token: JoinTokenId, actor: Actor) -> Result<bool, EnrolError> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let stored = tx.lock_join_token(token).await?.ok_or(EnrolError::UnknownToken)?;
        if !tx.revoke_join_token(token, now).await? {
            return Ok(false);
        }
        let detail = json!({ "token": token.to_string() });
        let cause = "an operator revoked the join token";
        record(&mut tx, now, actor, stored.cluster, "join-token-revoked", cause, detail).await?;
        self.commit(tx, stored.cluster).await?;
        Ok(true)
    }

    /// Revokes a cluster: its tokens, its credentials, and at once every stream that its agent holds. Its findings stay.
    /// False if it was revoked before.
    pub async fn revoke_cluster(&self, cluster: ClusterId, actor: Actor) -> Result<bool, EnrolError> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        tx.lock_cluster(cluster).await?.ok_or(EnrolError::UnknownCluster(cluster))?;
        if !tx.revoke_cluster(cluster, now).await? {
            return Ok(false);
        }
        record(&mut tx, now, actor, cluster, "cluster-revoked", "an operator revoked the cluster", json!({})).await?;
        self.commit(tx, cluster).await?;
        // Nobody listening is no error: the agent is not connected.
        let _ = self.revoked.send(cluster);
        Ok(true)
    }

    async fn make_token(
        &self,
        tx: &mut holdfast_store::Tx,
        cluster: ClusterId,
        terms: TokenTerms,
        actor: Actor,
        now: UnixMillis,
    ) -> Result<NewToken, EnrolError> {
        let token = JoinToken {
            id: JoinTokenId::from_bytes(random()?),
            secret: JoinSecret::from_bytes(random()?),
            root: self.authority.fingerprint(),
        };
        let expires_at = now + UnixMillis::try_from(terms.life.as_millis()).map_err(|_| EnrolError::Terms)?;
        let stored = StoredJoinToken {
            id: token.id,
            cluster,
            secret_hash: token.secret.hash(),
            created_at: now,
            expires_at,
            uses: terms.uses,
            used: 0,
            revoked_at: None,
        };
        tx.add_join_token(&stored).await?;
        let detail = json!({ "token": token.id.to_string(), "expires_at": expires_at, "uses": terms.uses });
        let cause = "an operator made a join token";
        record(tx, now, actor, cluster, "join-token-made", cause, detail).await?;
        Ok(NewToken { token, cluster, expires_at })
    }
}

/// The cluster, if it is a member.
pub(super) fn active(found: Option<Cluster>, id: ClusterId) -> Result<Cluster, EnrolError> {
    let cluster = found.ok_or(EnrolError::UnknownCluster(id))?;
    if cluster.revoked_at.is_some() { Err(EnrolError::ClusterRevoked(id)) } else { Ok(cluster) }
}

fn check_name(name: &str) -> Result<(), EnrolError> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let body = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
    let fits = (1..=63).contains(&name.len()) && body && edge(name.chars().next()) && edge(name.chars().last());
    if fits { Ok(()) } else { Err(EnrolError::Name) }
}
