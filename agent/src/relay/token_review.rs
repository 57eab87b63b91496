//! Which node a token is of: the API server alone decides it (TokenReview).
//!
//! The token must be authentic, made for the audience `holdfast-relay`, of the expected service account, and bound to a Pod.
//! The node is the one that the API server names with the token; one that does not name it yet (before Kubernetes 1.32)
//! names the Pod, and the watch knows where that runs. What the node calls itself is never used.

use holdfast_proof::NodeName;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};

use super::settings::ServiceAccount;
use crate::api::{Api, Refusal};
use crate::pod_directory::PodDirectory;
use holdfast_agent_core::text::line;

/// The audience of a node's token: it is good for the relay alone.
pub const AUDIENCE: &str = "holdfast-relay";

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// The longest token that is shown to the API server.
const TOKEN_BYTES: usize = 16 * 1024;
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why a token is refused. For the log and for the node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Too long, or with characters that no token has.
    #[error("that is no token")]
    NoToken,
    /// The API server does not answer, or refuses the review.
    #[error("the token could not be reviewed")]
    Unreviewed(#[source] Refusal),
    /// The API server does not know it, or not for this audience.
    #[error("the API server does not accept the token for the audience {AUDIENCE}")]
    NotAuthentic,
    /// Another service account's.
    #[error("the token is of {0}, not of the node agent's service account")]
    OtherAccount(String),
    /// The token is bound to no Pod on a node.
    #[error("the token names no node: it must be bound to the node agent's Pod")]
    NoNode,
    /// The Pod is not known yet.
    #[error("it is not known yet on which node the token's Pod runs")]
    UnknownPod,
}

/// Asks the API server and answers the node.
pub async fn node(
    api: &Api,
    account: &ServiceAccount,
    pods: &PodDirectory,
    token: &str,
) -> Result<NodeName, TokenRefused> {
    if token.is_empty() || token.len() > TOKEN_BYTES || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(TokenRefused::NoToken);
    }
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let review = api.review(PATH, &review).await.map_err(TokenRefused::Unreviewed)?;
    decide(&review.status.unwrap_or_default(), account, pods)
}

fn decide(status: &TokenReviewStatus, account: &ServiceAccount, pods: &PodDirectory) -> Result<NodeName, TokenRefused> {
    // A server that does not know audiences answers without any: it has not checked this one.
    let is_for_relay = status.audiences.iter().flatten().any(|audience| audience == AUDIENCE);
    if status.authenticated != Some(true) || !is_for_relay {
        return Err(TokenRefused::NotAuthentic);
    }
    let user = status.user.as_ref().ok_or(TokenRefused::NotAuthentic)?;
    let username = user.username.as_deref().ok_or(TokenRefused::NotAuthentic)?;
    if username != account.user() {
        return Err(TokenRefused::OtherAccount(line(username)));
    }
    let only = |key: &str| match user.extra.as_ref().and_then(|extra| extra.get(key)).map(Vec::as_slice) {
        Some([value]) => Some(value.as_str()),
        _ => None,
    };
    if let Some(node) = only(NODE_NAME) {
        return NodeName::parse(node).ok_or(TokenRefused::NoNode);
    }
    let pod = pods.pod(only(POD_UID).ok_or(TokenRefused::NoNode)?).ok_or(TokenRefused::UnknownPod)?;
    if pod.namespace != account.namespace {
        return Err(TokenRefused::NoNode);
    }
    NodeName::parse(&pod.node).ok_or(TokenRefused::NoNode)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use holdfast_agent_core::pod_index::{self, PodIndex};

    fn decided(change: impl FnOnce(&mut Value)) -> Result<String, TokenRefused> {
        let account: ServiceAccount = "holdfast-node/agent".parse().unwrap();
        let (known, mut index) = (PodDirectory::default(), PodIndex::default());
        let pod = json!({"metadata": {"uid": "u1", "name": "agent-x", "namespace": "holdfast-node"}, "spec": {"nodeName": "worker-1"}});
        let elsewhere =
            json!({"metadata": {"uid": "u2", "name": "web", "namespace": "shop"}, "spec": {"nodeName": "worker-2"}});
        for object in [pod, elsewhere] {
            index.put(
                *pod_index::read(&holdfast_controls::facts::workload::POD, object.to_string().as_bytes()).unwrap(),
            );
        }
        known.publish(index.take_changes());
        let mut review = json!({"status": {
            "authenticated": true, "audiences": ["holdfast-relay"],
            "user": {"username": "system:serviceaccount:holdfast-node:agent", "extra": {NODE_NAME: ["worker-1"]}},
        }});
        change(&mut review["status"]);
        let review: TokenReview = serde_json::from_value(review).unwrap();
        decide(&review.status.unwrap(), &account, &known).map(|node| node.to_string())
    }

    #[test]
    fn the_node_is_the_one_that_the_api_server_names() {
        assert_eq!(decided(|_| {}), Ok("worker-1".to_owned()));
        assert_eq!(decided(|status| status["user"]["extra"] = json!({POD_UID: ["u1"]})), Ok("worker-1".to_owned()));
    }

    #[test]
    fn a_token_that_lacks_anything_is_refused() {
        assert_eq!(decided(|status| status["authenticated"] = json!(false)), Err(TokenRefused::NotAuthentic));
        assert_eq!(decided(|status| status["audiences"] = json!(["api"])), Err(TokenRefused::NotAuthentic));
        assert_eq!(decided(|status| status["audiences"] = json!([])), Err(TokenRefused::NotAuthentic));
        for name in ["system:serviceaccount:shop:agent", "system:serviceaccount:holdfast-node:agent2", "agent", ""] {
            let answer = decided(|status| status["user"]["username"] = json!(name));
            assert!(matches!(answer, Err(TokenRefused::OtherAccount(_))), "{name}");
        }
        for extra in [json!({}), json!({NODE_NAME: []}), json!({NODE_NAME: ["a", "b"]}), json!({NODE_NAME: ["../a"]})] {
            assert_eq!(decided(|status| status["user"]["extra"] = extra), Err(TokenRefused::NoNode));
        }
        assert_eq!(decided(|status| status["user"]["extra"] = json!({POD_UID: ["u9"]})), Err(TokenRefused::UnknownPod));
        assert_eq!(decided(|status| status["user"]["extra"] = json!({POD_UID: ["u2"]})), Err(TokenRefused::NoNode));
    }
}
