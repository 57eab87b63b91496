//! Asks the API server whether this account has the agent's rights: one SelfSubjectAccessReview a verb.
//!
//! For `holdfast-agent rights --check` and the chart's test. It decides nothing and changes nothing: a review keeps nothing.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};

use crate::api::{Api, Refusal};
use crate::rights::Right;

const PATH: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// The verbs of these rights that the account does not have: in one namespace, or in the whole cluster where none is named.
pub async fn missing<'a>(
    api: &Api,
    namespace: Option<&str>,
    rights: &'a [Right],
) -> Result<Vec<(&'a Right, &'static str)>, Refusal> {
    let mut missing = Vec::new();
    for right in rights {
        for verb in right.verbs {
            if !is_allowed(api, namespace, right, verb).await? {
                missing.push((right, *verb));
            }
        }
    }
    Ok(missing)
}

async fn is_allowed(api: &Api, namespace: Option<&str>, right: &Right, verb: &str) -> Result<bool, Refusal> {
    let attributes = ResourceAttributes {
        group: Some(right.group.to_owned()),
        resource: Some(right.resource.to_owned()),
        verb: Some(verb.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: right.name.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = api.review(PATH, &SelfSubjectAccessReview { spec, ..Default::default() }).await?;
    let status = review.status.ok_or_else(|| Refusal::Failing("the review came back without its status".to_owned()))?;
    Ok(status.allowed)
}
