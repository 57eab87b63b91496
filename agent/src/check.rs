//! Asks the API server whether this account has the agent's rights: one SelfSubjectAccessReview a verb.
//!
//! For `holdfast-agent rights --check` and the chart's test. It decides nothing and changes nothing: a review keeps nothing.

use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, Refusal, refusal};
use crate::rights::Right;

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Review {
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    allowed: bool,
}

/// The verbs of these rights that the account does not have: in one namespace, or in the whole cluster where none is named.
pub async fn missing<'a>(
    api: &Api,
    namespace: Option<&str>,
    rights: &'a [Right],
) -> Result<Vec<(&'a Right, &'static str)>, Refusal> {
    let mut missing = Vec::new();
    for right in rights {
        for verb in right.verbs {
            if !allowed(api, namespace, right, verb).await? {
                missing.push((right, *verb));
            }
        }
    }
    Ok(missing)
}

async fn allowed(api: &Api, namespace: Option<&str>, right: &Right, verb: &str) -> Result<bool, Refusal> {
    let attributes = json!({
        "group": right.group, "resource": right.resource, "verb": verb,
        "namespace": namespace.unwrap_or_default(), "name": right.name.unwrap_or_default(),
    });
    let question = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    });
    let answer = api.review(PATH, &question).await?;
    if !answer.status.is_success() {
        return Err(refusal(&answer));
    }
    // An answer without its status allows nothing.
    let review: Review = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(review.status.allowed)
}
