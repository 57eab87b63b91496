//! Who belongs to the installation: clusters are added, agents join with a token, renew over mTLS, and are revoked.
//!
//! A token is bound to one cluster that an operator added, counted, expiring, and stored as a hash. Joining is idempotent
//! on (token, public key), so an answer lost on the way strands nobody. A renewed certificate replaces the old one when it
//! is first used, not before. An agent that was off for too long comes back with a new token for the same cluster
//! (`holdfast cluster token`): a recovery that an operator decides, that is counted, and that stands in the activity log.
//! `operate` has what operators do, `join` what agents do, `node` what they ask for their nodes, `gate` lets streams in and
//! ends them.

mod gate;
mod join;
mod node;
mod operate;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use holdfast_model::{Activity, Actor, ClusterId, JoinTokenId, UnixMillis};
use holdfast_record::Entry;
use holdfast_store::{Store, StoreError, Tx};
use serde_json::Value;
use tokio::sync::broadcast;
use tonic::{Code, Status};

pub use gate::Admitted;
pub use operate::{NewToken, TokenTerms};

use crate::authority::{Authority, AuthorityError};
use crate::environment::SharedEnvironment;
use crate::live::{Live, LiveChange};
use crate::signing_request::RequestProblem;

/// How many revocations a live stream may be behind before it is ended to be on the safe side.
const REVOCATIONS: usize = 256;

/// The members of the installation. Cheap to clone; one per process, so that a revocation reaches every stream.
#[derive(Clone)]
pub struct Enrolments {
    store: Store,
    authority: Arc<Authority>,
    live: Live,
    environment: SharedEnvironment,
    revoked: broadcast::Sender<ClusterId>,
}

/// Why somebody does not get in, or an operator's wish is not granted. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A text that is no token, an id that is not on record, or a wrong secret: not told apart.
    #[error("this join token is not known here: check that it was copied whole, and for this aggregator")]
    UnknownToken,
    /// It was revoked.
    #[error("join token {0} was revoked; an operator can make another with `holdfast cluster token`")]
    TokenRevoked(JoinTokenId),
    /// Its time is over.
    #[error("join token {0} has expired; an operator can make another with `holdfast cluster token`")]
    TokenExpired(JoinTokenId),
    /// It has let in as many keys as it may.
    #[error(
        "join token {0} has been used up by other agents; an operator can make another with `holdfast cluster token`"
    )]
    TokenUsedUp(JoinTokenId),
    /// There is no such cluster.
    #[error("there is no cluster {0}")]
    UnknownCluster(ClusterId),
    /// Its membership has ended.
    #[error("cluster {0} was revoked; an operator can add it again with `holdfast cluster add`")]
    ClusterRevoked(ClusterId),
    /// The cluster's record belongs to another Kubernetes cluster.
    #[error(
        "cluster {0} was enrolled as another Kubernetes cluster (the uid of its namespace kube-system differs). If this one \
         was rebuilt or is a copy, add it as a cluster of its own with `holdfast cluster add`"
    )]
    OtherFingerprint(ClusterId),
    /// Another record is about this Kubernetes cluster.
    #[error(
        "this Kubernetes cluster is on record already as {0}. To let its agent join again, make a token for that record with \
         `holdfast cluster token`; if that record is of a copy, revoke it first"
    )]
    FingerprintTaken(ClusterId),
    /// The agent did not say which cluster it is in.
    #[error("the request names no fingerprint: the uid of the namespace kube-system, at most 128 characters")]
    NoFingerprint,
    /// The certificate request is refused.
    #[error("the certificate request is refused: {0}")]
    Request(#[from] RequestProblem),
    /// The node's name is of no form that a name may have.
    #[error("that is no name of a Kubernetes Node")]
    NodeName,
    /// The cluster's name is of no form that a name may have.
    #[error(
        "a cluster's name has 1 to 63 lower-case letters, digits, `-` and `.`, and starts and ends with a letter or digit"
    )]
    Name,
    /// The name is in use.
    #[error("there is a cluster with the name {0} already")]
    NameTaken(String),
    /// A count or a time that no token may have.
    #[error("a join token lives for 1 minute to 30 days and lets in 1 to 1000 agents")]
    Terms,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The authority failed.
    #[error("the authority failed")]
    Authority(#[from] AuthorityError),
    /// The event has no canonical form.
    #[error("the event has no canonical form")]
    Event(#[from] serde_json::Error),
}

impl EnrolError {
    /// The gRPC answer. Internal causes are logged here and not sent.
    fn status(self) -> Status {
        let code = match &self {
            Self::UnknownToken | Self::TokenRevoked(_) | Self::TokenExpired(_) => Code::Unauthenticated,
            Self::ClusterRevoked(_) | Self::UnknownCluster(_) => Code::PermissionDenied,
            Self::TokenUsedUp(_) | Self::OtherFingerprint(_) | Self::FingerprintTaken(_) => Code::FailedPrecondition,
            Self::NoFingerprint | Self::Request(_) | Self::NodeName | Self::Name | Self::NameTaken(_) | Self::Terms => {
                Code::InvalidArgument
            }
            Self::Store(_) | Self::Authority(_) | Self::Event(_) => {
                tracing::error!(error = &self as &dyn std::error::Error, "an enrolment failed");
                return Status::unavailable("the aggregator cannot answer now: try again");
            }
        };
        Status::new(code, self.to_string())
    }
}

impl Enrolments {
    /// The members of the installation that this store records and this authority names.
    pub fn new(store: Store, authority: Arc<Authority>, live: Live, environment: SharedEnvironment) -> Self {
        Self { store, authority, live, environment, revoked: broadcast::Sender::new(REVOCATIONS) }
    }

    fn now(&self) -> UnixMillis {
        self.environment.now()
    }

    /// Commits, then tells whoever watches.
    async fn commit(&self, tx: Tx, cluster: ClusterId) -> Result<(), EnrolError> {
        tx.commit().await?;
        self.live.send(LiveChange::Cluster { cluster });
        Ok(())
    }
}

/// Records what happened to a cluster's membership, in the transaction that makes it so.
async fn record(
    tx: &mut Tx,
    at: UnixMillis,
    actor: Actor,
    cluster: ClusterId,
    event: &str,
    cause: &str,
    detail: Value,
) -> Result<(), EnrolError> {
    let activity = Activity {
        at,
        actor,
        event: event.to_owned(),
        cluster: Some(cluster),
        finding: None,
        cause: cause.to_owned(),
        detail,
    };
    tx.add_events(&[Entry::of(activity)?]).await?;
    Ok(())
}
