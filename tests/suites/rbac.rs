//! RBAC with a real API server as the oracle: our authorizer answers from facts, a SubjectAccessReview from the cluster.
//!
//! A cluster's RBAC is generated from a seed, created on a real API server, listed and projected like any other; then both
//! answer each question. The seed is printed, and `HOLDFAST_SEED` repeats it. The second test evaluates the catalog against
//! the roles and bindings that Kubernetes itself ships: none of them is a finding.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::{Family, role, role_binding};
use holdfast_controls::inventory::Inventory;
use holdfast_controls::rbac::{Request, ResourceRequest, User, authorize};
use holdfast_controls::{KINDS, Kind, project};
use holdfast_lab::ControlPlane;
use holdfast_tests::generated_rbac::{Cluster, NAMESPACES, Of, Question};
use holdfast_tests::tier::available;
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};

const QUESTIONS: usize = 6_000;
const AT_ONCE: usize = 24;

#[tokio::test]
async fn our_authorizer_agrees_with_the_api_server_on_every_question() -> Result<()> {
    let Some(plane) = available("apiserver", ControlPlane::start("rbac").await)? else { return Ok(()) };
    let seed = seed()?;
    println!("HOLDFAST_SEED={seed}");
    let client = plane.client().await?;
    let mut cluster = Cluster::draw(seed);
    create(&plane, &client, &cluster).await?;
    let inventory = listed(
        &client,
        &[&role::ROLE, &role::CLUSTER_ROLE, &role_binding::ROLE_BINDING, &role_binding::CLUSTER_ROLE_BINDING],
    )
    .await?;

    let answers: Vec<(Question, bool, String)> = stream::iter(cluster.questions(QUESTIONS))
        .map(|question| review(&client, question))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    let allowed = answers.iter().filter(|(_, allowed, _)| *allowed).count();
    println!("{QUESTIONS} questions about {} objects, {allowed} allowed", inventory.len());
    let disagreements: Vec<_> =
        answers.iter().filter(|(question, allowed, _)| ours(&inventory, question) != *allowed).collect();
    assert!(disagreements.is_empty(), "{} disagreements, such as {:#?}", disagreements.len(), disagreements[0]);
    assert!((QUESTIONS / 10..QUESTIONS * 9 / 10).contains(&allowed), "{allowed} allowed: the questions are too easy");
    Ok(())
}

#[tokio::test]
async fn what_kubernetes_itself_ships_is_no_finding() -> Result<()> {
    let Some(plane) = available("apiserver", ControlPlane::start("shipped").await)? else { return Ok(()) };
    let client = plane.client().await?;
    until_aggregated(&plane, &client).await?;
    let kinds: Vec<_> = KINDS.iter().copied().filter(|kind| kind.family != Family::Workload).collect();
    let inventory = listed(&client, &kinds).await?;
    let mut found = Vec::new();
    for judgement in inventory.subjects().filter_map(|subject| inventory.evaluate(subject)) {
        for outcome in judgement.outcomes.iter().filter(|outcome| outcome.control.id.starts_with("rbac.")) {
            if let Answer::Fail(locations) = &outcome.answer {
                found.push(format!("{} fails {}: {}", judgement.resource, outcome.control.id, locations[0].value));
            }
        }
    }
    ensure!(inventory.of_kind(&role::CLUSTER_ROLE).count() > 50, "the default roles are not there");
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}

fn seed() -> Result<u64> {
    match std::env::var("HOLDFAST_SEED") {
        Ok(seed) => seed.parse().context("HOLDFAST_SEED is no number"),
        Err(_) => Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs()),
    }
}

fn ours(inventory: &Inventory, question: &Question) -> bool {
    let user = User { name: question.user.clone(), groups: question.groups.clone() };
    let request = match &question.of {
        Of::Path { verb, path } => Request::NonResource { verb, path },
        Of::Resource { verb, group, resource, subresource, namespace, name } => {
            Request::Resource(ResourceRequest { verb, group, resource, subresource, namespace, name })
        }
    };
    authorize(inventory, &user, &request).is_some()
}

async fn review(client: &Client, question: Question) -> Result<(Question, bool, String)> {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(question.user.clone()),
        groups: Some(question.groups.clone()),
        ..SubjectAccessReviewSpec::default()
    };
    let some = |text: &String| Some(text.clone());
    match &question.of {
        Of::Path { verb, path } => {
            spec.non_resource_attributes = Some(NonResourceAttributes { verb: some(verb), path: some(path) });
        }
        Of::Resource { verb, group, resource, subresource, namespace, name } => {
            spec.resource_attributes = Some(ResourceAttributes {
                verb: some(verb),
                group: some(group),
                resource: some(resource),
                subresource: some(subresource),
                namespace: some(namespace),
                name: some(name),
                ..ResourceAttributes::default()
            });
        }
    }
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    let status = answer.with_context(|| format!("{question:?}"))?.status.context("a review without a status")?;
    Ok((question, status.allowed, status.reason.unwrap_or_default()))
}

/// Creates the cluster and waits until the API server's authorizer has all of it: the aggregated roles are filled, and a
/// role and a binding of each kind that were created last take effect.
async fn create(plane: &ControlPlane, client: &Client, cluster: &Cluster) -> Result<()> {
    for name in NAMESPACES {
        plane.namespace(name, &[]).await?;
    }
    let make = |object: Value| async move {
        let api = api(client, kind_of(&object)?, object["metadata"]["namespace"].as_str());
        let made = api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await;
        made.map(drop).with_context(|| object.to_string())
    };
    stream::iter(cluster.objects.clone()).map(make).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    until_aggregated(plane, client).await?;
    for object in last() {
        make(object).await?;
    }
    plane
        .until("the authorizer to have everything", async || {
            let question = |namespace: &str, name: &str| Question {
                user: "last".to_owned(),
                groups: Vec::new(),
                of: Of::Resource {
                    verb: "get".to_owned(),
                    group: "last".to_owned(),
                    resource: name.to_owned(),
                    subresource: String::new(),
                    namespace: namespace.to_owned(),
                    name: String::new(),
                },
            };
            Ok(review(client, question("", "cluster")).await?.1
                && review(client, question("shop", "namespaced")).await?.1)
        })
        .await
}

fn last() -> [Value; 4] {
    let rules = |resource: &str| json!([{"verbs": ["get"], "apiGroups": ["last"], "resources": [resource]}]);
    let group = "rbac.authorization.k8s.io";
    let (version, user) = (format!("{group}/v1"), json!([{"apiGroup": group, "kind": "User", "name": "last"}]));
    let (cluster_wide, namespaced) = (json!({"name": "last"}), json!({"name": "last", "namespace": "shop"}));
    let reference = |kind: &str| json!({"apiGroup": group, "kind": kind, "name": "last"});
    [
        json!({"apiVersion": version, "kind": "ClusterRole", "metadata": cluster_wide, "rules": rules("cluster")}),
        json!({"apiVersion": version, "kind": "Role", "metadata": namespaced, "rules": rules("namespaced")}),
        json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": cluster_wide, "subjects": user, "roleRef": reference("ClusterRole")}),
        json!({"apiVersion": version, "kind": "RoleBinding", "metadata": namespaced, "subjects": user, "roleRef": reference("Role")}),
    ]
}

/// Waits until every aggregated ClusterRole holds exactly the rules of the ClusterRoles that its selectors match.
async fn until_aggregated(plane: &ControlPlane, client: &Client) -> Result<()> {
    plane
        .until("the aggregated roles to be filled", async || {
            let roles = raw(client, &role::CLUSTER_ROLE).await?;
            Ok(!roles.is_empty() && roles.iter().all(|role| is_filled(role, &roles)))
        })
        .await
}

fn is_filled(role: &Value, all: &[Value]) -> bool {
    let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else { return true };
    let matches = |other: &&Value| {
        other["metadata"]["name"] != role["metadata"]["name"]
            && selectors.iter().any(|selector| selects(selector, &other["metadata"]["labels"]))
    };
    let rules = |role: &Value| role["rules"].as_array().cloned().unwrap_or_default();
    let wanted: Vec<Value> = all.iter().filter(matches).flat_map(&rules).collect();
    let held = rules(role);
    wanted.iter().all(|rule| held.contains(rule)) && held.iter().all(|rule| wanted.contains(rule))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let listed = selector["matchExpressions"].as_array().into_iter().flatten();
    exact.into_iter().all(|(key, value)| labels[key] == *value)
        && listed.into_iter().all(|expression| {
            let key = expression["key"].as_str().unwrap_or_default();
            expression["values"].as_array().is_some_and(|values| values.contains(&labels[key]))
        })
}

async fn listed(client: &Client, kinds: &[&'static Kind]) -> Result<Inventory> {
    let mut inventory = Inventory::complete();
    for &kind in kinds {
        for object in raw(client, kind).await? {
            inventory.apply(project(kind, &object).with_context(|| object.to_string())?);
        }
    }
    Ok(inventory)
}

async fn raw(client: &Client, kind: &'static Kind) -> Result<Vec<Value>> {
    let list = api(client, kind, None).list(&ListParams::default()).await?;
    list.items.iter().map(|object| Ok(serde_json::to_value(object)?)).collect()
}

fn api(client: &Client, kind: &Kind, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(kind.group, kind.version, kind.kind), kind.plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn kind_of(object: &Value) -> Result<&'static Kind> {
    let kind = object["kind"].as_str().unwrap_or_default();
    Kind::find(role::GROUP, kind).with_context(|| format!("{kind} is not read"))
}
