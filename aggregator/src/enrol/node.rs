//! What agents ask for their nodes: a certificate that names the cluster, which the asking stream's certificate says, and the
//! node, which the API server named to the agent's relay.
//!
//! Nothing of it is kept but the event: a node's certificate opens nothing here. It proves who signed a statement, is short
//! of life, and is made only while its cluster is a member.

use data_encoding::HEXLOWER;
use futures::FutureExt;
use futures::future::BoxFuture;
use holdfast_model::{Actor, ClusterId};
use holdfast_proof::NodeName;
use holdfast_proto::v1;
use serde_json::json;

use super::operate::active;
use super::{EnrolError, Enrolments, record};
use crate::authority::IssuedCertificate;
use crate::intake::Certify;
use crate::signing_request::SigningRequest;

impl Certify for Enrolments {
    fn certify(&self, cluster: ClusterId, asked: v1::NodeCsr) -> BoxFuture<'static, v1::NodeCertificate> {
        let enrolments = self.clone();
        async move {
            let request_id = asked.request_id;
            match enrolments.certify_node(cluster, &asked).await {
                Ok(issued) => v1::NodeCertificate {
                    request_id,
                    certificate: issued.der,
                    not_after: issued.facts.not_after,
                    error: String::new(),
                },
                Err(refused) => {
                    tracing::warn!(cluster.id = %cluster, reason = %refused, "a node's certificate was refused");
                    let refused = refused.status().message().to_owned();
                    v1::NodeCertificate { request_id, error: refused, ..v1::NodeCertificate::default() }
                }
            }
        }
        .boxed()
    }
}

impl Enrolments {
    async fn certify_node(&self, cluster: ClusterId, asked: &v1::NodeCsr) -> Result<IssuedCertificate, EnrolError> {
        let node = NodeName::parse(&asked.node).ok_or(EnrolError::NodeName)?;
        let request = SigningRequest::parse(&asked.csr)?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        active(tx.lock_cluster(cluster).await?, cluster)?;
        let issued = self.authority.issue_node(cluster, node.clone(), &request, now)?;
        let cause = "a node's agent got a certificate";
        let detail = json!({ "node": node.as_str(), "serial": issued.facts.serial, "key": HEXLOWER.encode(&issued.facts.key_hash) });
        record(&mut tx, now, Actor::Agent(cluster), cluster, "node-certified", cause, detail).await?;
        tx.commit().await?;
        Ok(issued)
    }
}
