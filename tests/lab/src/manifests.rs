//! The objects of a lab's cluster: nodes that kwok simulates, and sample workloads, compliant and not.

use anyhow::{Context, Result};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::discovery::{Discovery, Scope};
use kube::{Api, Client};
use serde_json::{Value, json};

/// The sample workloads as (file name, YAML), each a namespace with what a team runs there.
pub fn planted() -> &'static [(&'static str, &'static str)] {
    &[
        ("shop.yaml", include_str!("../planted/shop.yaml")),
        ("payments.yaml", include_str!("../planted/payments.yaml")),
        ("monitoring.yaml", include_str!("../planted/monitoring.yaml")),
        ("ci.yaml", include_str!("../planted/ci.yaml")),
    ]
}

/// Applies objects by server-side apply, in order.
pub async fn apply(client: &Client, objects: &[Value]) -> Result<()> {
    let discovery =
        Discovery::new(client.clone()).run().await.context("discovering the resources of the API server")?;
    for object in objects {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let name = object.metadata.name.clone().context("an object without a name")?;
        let types = object.types.clone().with_context(|| format!("{name} has no apiVersion and kind"))?;
        let gvk = kube::core::GroupVersionKind::try_from(&types)?;
        let (resource, capabilities) = discovery
            .resolve_gvk(&gvk)
            .with_context(|| format!("{} {} is not served here", types.api_version, types.kind))?;
        let api: Api<DynamicObject> = match (capabilities.scope, &object.metadata.namespace) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
            (Scope::Namespaced, None) => Api::namespaced_with(client.clone(), "default", &resource),
            (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        };
        let params = PatchParams::apply("holdfast-lab").force();
        api.patch(&name, &params, &Patch::Apply(&object))
            .await
            .with_context(|| format!("applying {} {name}", types.kind))?;
    }
    Ok(())
}

/// The annotation of the nodes that kwok simulates.
pub(crate) const SIMULATED: &str = "kwok.x-k8s.io/node";

/// Registers nodes for kwok to simulate.
pub(crate) async fn nodes(client: &Client, count: u16) -> Result<()> {
    let nodes: Vec<Value> = (0..count).map(node).collect();
    apply(client, &nodes).await
}

fn node(number: u16) -> Value {
    let capacity = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": format!("lab-{number}"),
            "labels": {"kubernetes.io/os": "linux", "kubernetes.io/hostname": format!("lab-{number}")},
            "annotations": {SIMULATED: "fake"},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    })
}
