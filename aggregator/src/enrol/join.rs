//! What agents do: join with a token, and renew what they have.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use holdfast_model::{Actor, ClusterId, JoinToken, UnixMillis};
use holdfast_proto::v1;
use holdfast_store::{Credential, StoredJoinToken, Tx};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::operate::active;
use super::{EnrolError, Enrolments, record};
use crate::authority::IssuedCertificate;
use crate::signing_request::SigningRequest;

/// The longest fingerprint: a uid has 36 characters.
const FINGERPRINT_BYTES: usize = 128;

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for Enrolments {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        let peer = request.remote_addr();
        match self.join(request.into_inner()).await {
            Ok((cluster, issued)) => Ok(Response::new(self.answer(cluster, issued))),
            Err(refused) => {
                tracing::warn!(?peer, reason = %refused, "an enrolment was refused");
                Err(refused.status())
            }
        }
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        let cluster = self.admit(&request).await?.identity.cluster;
        let issued = self.reissue(cluster, &request.into_inner().csr).await.map_err(EnrolError::status)?;
        Ok(Response::new(self.answer(cluster, issued)))
    }
}

impl Enrolments {
    fn answer(&self, cluster: ClusterId, issued: IssuedCertificate) -> v1::Certificate {
        v1::Certificate {
            not_after: issued.facts.not_after,
            certificate: issued.der,
            root: self.authority.root().to_vec(),
            cluster_id: cluster.as_bytes().to_vec(),
        }
    }

    async fn join(&self, asked: v1::EnrolRequest) -> Result<(ClusterId, IssuedCertificate), EnrolError> {
        let token: JoinToken = asked.token.parse().map_err(|_| EnrolError::UnknownToken)?;
        let request = SigningRequest::parse(&asked.csr)?;
        check_fingerprint(&asked.fingerprint)?;
        let now = self.now();
        // Before the one connection that writes: strangers without a token must not make it wait.
        check_token(self.store.join_token(token.id).await?, &token, now)?;

        let mut tx = self.store.begin().await?;
        let stored = check_token(tx.lock_join_token(token.id).await?, &token, now)?;
        let cluster = active(tx.lock_cluster(stored.cluster).await?, stored.cluster)?;
        settle_fingerprint(&mut tx, cluster, &asked.fingerprint).await?;
        let again = count(&mut tx, &stored, &request, now).await?;
        let issued = self.authority.issue(stored.cluster, &request, now)?;
        tx.add_credential(&credential(stored.cluster, &issued, now)).await?;
        let detail = json!({ "token": token.id.to_string(), "serial": issued.facts.serial, "again": again });
        let actor = Actor::Agent(stored.cluster);
        record(&mut tx, now, actor, stored.cluster, "agent-joined", "an agent joined with a join token", detail)
            .await?;
        self.commit(tx, stored.cluster).await?;
        Ok((stored.cluster, issued))
    }

    async fn reissue(&self, cluster: ClusterId, csr: &[u8]) -> Result<IssuedCertificate, EnrolError> {
        let request = SigningRequest::parse(csr)?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        active(tx.lock_cluster(cluster).await?, cluster)?;
        let issued = self.authority.issue(cluster, &request, now)?;
        tx.add_credential(&credential(cluster, &issued, now)).await?;
        let detail = json!({ "serial": issued.facts.serial });
        let cause = "the agent renewed its certificate";
        record(&mut tx, now, Actor::Agent(cluster), cluster, "agent-renewed", cause, detail).await?;
        self.commit(tx, cluster).await?;
        Ok(issued)
    }
}

fn check_fingerprint(fingerprint: &str) -> Result<(), EnrolError> {
    let fits =
        (1..=FINGERPRINT_BYTES).contains(&fingerprint.len()) && fingerprint.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(()) } else { Err(EnrolError::NoFingerprint) }
}

fn check_token(
    found: Option<StoredJoinToken>,
    shown: &JoinToken,
    now: UnixMillis,
) -> Result<StoredJoinToken, EnrolError> {
    let stored = found.ok_or(EnrolError::UnknownToken)?;
    verify_slices_are_equal(&stored.secret_hash, &shown.secret.hash()).map_err(|_| EnrolError::UnknownToken)?;
    if stored.revoked_at.is_some() {
        return Err(EnrolError::TokenRevoked(stored.id));
    }
    if now >= stored.expires_at {
        return Err(EnrolError::TokenExpired(stored.id));
    }
    Ok(stored)
}

/// One record is about one Kubernetes cluster, and no other record is about it.
async fn settle_fingerprint(
    tx: &mut Tx,
    cluster: holdfast_store::Cluster,
    fingerprint: &str,
) -> Result<(), EnrolError> {
    match cluster.fingerprint {
        Some(known) if known == fingerprint => Ok(()),
        Some(_) => Err(EnrolError::OtherFingerprint(cluster.id)),
        None => match tx.cluster_by_fingerprint(fingerprint).await? {
            Some(other) => Err(EnrolError::FingerprintTaken(other.id)),
            None => Ok(tx.set_fingerprint(cluster.id, fingerprint).await?),
        },
    }
}

/// Counts the key against the token. True if the same key was let in before: then it costs nothing.
async fn count(
    tx: &mut Tx,
    token: &StoredJoinToken,
    request: &SigningRequest,
    now: UnixMillis,
) -> Result<bool, EnrolError> {
    let key_hash = request.key_hash();
    if tx.enrolment(token.id, &key_hash).await?.is_some() {
        return Ok(true);
    }
    if token.used >= token.uses {
        return Err(EnrolError::TokenUsedUp(token.id));
    }
    tx.add_enrolment(token, &key_hash, now).await?;
    Ok(false)
}

fn credential(cluster: ClusterId, issued: &IssuedCertificate, now: UnixMillis) -> Credential {
    Credential {
        cluster,
        serial: issued.facts.serial.clone(),
        certificate: issued.der.clone(),
        key_hash: issued.facts.key_hash,
        issued_at: now,
        not_after: issued.facts.not_after,
        first_used_at: None,
        revoked_at: None,
    }
}
