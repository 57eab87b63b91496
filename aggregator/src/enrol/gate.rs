//! Lets streams of agents in, and ends them the moment their cluster is revoked, or before their certificate expires: what
//! an agent signs must be recorded while its certificate is valid, or no receipt of it could be checked.

use std::time::Duration;

use futures::future::BoxFuture;
use holdfast_model::ClusterId;
use holdfast_proof::CertificateFacts;
use holdfast_proto::v1;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming};

use super::{EnrolError, Enrolments};
use crate::identity::{self, ClusterIdentity};
use crate::intake::{Identify, Peer};

/// A stream ends this long before its certificate; of a very short life, after nine tenths.
const MARGIN: Duration = Duration::from_secs(60);

/// An agent that was let in.
#[derive(Debug)]
pub struct Admitted {
    /// Who it is. Everything that it says is about this cluster.
    pub identity: ClusterIdentity,
    /// The certificate that it showed, DER: kept beside what it signs.
    pub certificate: Vec<u8>,
    ends: Instant,
    revocations: broadcast::Receiver<ClusterId>,
}

impl Identify for Enrolments {
    fn identify<'a>(&'a self, request: &'a Request<Streaming<v1::FromAgent>>) -> BoxFuture<'a, Result<Peer, Status>> {
        Box::pin(async move {
            let mut admitted = self.admit(request).await?;
            let (cluster, certificate) = (admitted.identity.cluster, admitted.certificate.clone());
            Ok(Peer { cluster, certificate, cut_off: Box::pin(async move { admitted.ended().await }) })
        })
    }
}

impl Admitted {
    /// Waits until the agent must be cut off: select on it beside the stream. An agent in good standing reconnects, with
    /// the certificate that it has renewed by then, and is let in again.
    pub async fn ended(&mut self) -> Status {
        let ends = self.ends;
        tokio::select! {
            status = self.revoked() => status,
            () = tokio::time::sleep_until(ends) => Status::unauthenticated("the certificate is about to expire: connect with a renewed one"),
        }
    }

    /// A listener that fell behind is cut off too.
    async fn revoked(&mut self) -> Status {
        loop {
            match self.revocations.recv().await {
                Ok(cluster) if cluster != self.identity.cluster => {}
                Ok(cluster) => return EnrolError::ClusterRevoked(cluster).status(),
                Err(RecvError::Lagged(_)) => return Status::unavailable("connect again"),
                Err(RecvError::Closed) => return Status::unavailable("the aggregator is stopping"),
            }
        }
    }
}

impl Enrolments {
    /// Lets an agent in, at the start of every stream and call: its certificate names a cluster of this installation, the
    /// credential is on record, and neither was revoked. Its first use ends the credentials that it replaces.
    pub async fn admit<T>(&self, request: &Request<T>) -> Result<Admitted, Status> {
        let identity = identity::of(request, self.authority.trust_domain())?;
        let certificate = identity::certificate(request).unwrap_or_default();
        self.admit_identity(identity, certificate).await
    }

    pub(super) async fn admit_identity(
        &self,
        identity: ClusterIdentity,
        certificate: Vec<u8>,
    ) -> Result<Admitted, Status> {
        // Listens before it looks, so that no revocation falls between the two.
        let revocations = self.revoked.subscribe();
        self.check(&identity).await?;
        Ok(Admitted { ends: Instant::now() + self.left(&certificate), identity, certificate, revocations })
    }

    fn left(&self, certificate: &[u8]) -> Duration {
        let until = CertificateFacts::parse(certificate).map_or(0, |facts| facts.not_after);
        let left = Duration::from_millis(u64::try_from(until - self.now()).unwrap_or(0));
        left - MARGIN.min(left / 10)
    }

    async fn check(&self, identity: &ClusterIdentity) -> Result<(), Status> {
        let failed = |error| EnrolError::Store(error).status();
        let cluster = self.store.cluster(identity.cluster).await.map_err(failed)?;
        super::operate::active(cluster, identity.cluster).map_err(EnrolError::status)?;
        let credential = self.store.credential(identity.cluster, &identity.serial).await.map_err(failed)?;
        let Some(credential) = credential.filter(|credential| credential.key_hash == identity.key_hash) else {
            return Err(Status::permission_denied("this certificate is not on record here: the agent must join again"));
        };
        if credential.revoked_at.is_some() {
            return Err(Status::permission_denied(
                "this certificate was replaced or revoked: the agent must join again",
            ));
        }
        if credential.first_used_at.is_none() {
            let mut tx = self.store.begin().await.map_err(failed)?;
            tx.use_credential(&credential, self.now()).await.map_err(failed)?;
            tx.commit().await.map_err(failed)?;
        }
        Ok(())
    }
}
