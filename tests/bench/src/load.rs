//! Clusters of a chosen size: control planes without workload controllers, filled through the API server; and the cost of
//! reading everything in them with raw LISTs, the floor of every scan.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use holdfast_agent::api::Api;
use holdfast_agent::collect::path;
use holdfast_controls::{KINDS, Kind};
use holdfast_lab::{ControlPlane, Options};
use http::{Request, header};
use serde_json::{Value, json};

use crate::fixture;

/// Objects that are created at once.
const AT_ONCE: usize = 48;
/// Without these controllers a Deployment stays one object, and the API server is idle but for our requests.
const OMITTED_CONTROLLERS: &[&str] =
    &["deployment-controller", "replicaset-controller", "garbage-collector-controller"];

/// A control plane in which only what we create appears.
pub struct Cluster {
    /// The control plane.
    pub plane: ControlPlane,
    client: kube::Client,
    workloads: usize,
}

impl Cluster {
    /// Starts one, with the namespaces that the fixtures name.
    pub async fn start(name: &str) -> Result<Self> {
        let options = Options { without: OMITTED_CONTROLLERS, ..Options::default() };
        let plane = ControlPlane::start_with(name, options, |line| eprintln!("lab: {line}")).await?;
        let client = plane.client().await?;
        let cluster = Self { plane, client, workloads: 0 };
        cluster.create((0..fixture::NAMESPACES).map(fixture::namespace).collect()).await?;
        Ok(cluster)
    }

    /// Creates workloads until there are this many; `objects` makes the i-th and the objects that belong to it.
    pub async fn grow_to(&mut self, workloads: usize, mut objects: impl FnMut(usize) -> Vec<Value>) -> Result<()> {
        let wanted = (self.workloads..workloads).flat_map(&mut objects).collect();
        self.create(wanted).await?;
        self.workloads = workloads.max(self.workloads);
        Ok(())
    }

    /// Creates objects, in no order.
    pub async fn create(&self, objects: Vec<Value>) -> Result<()> {
        let made = stream::iter(objects).map(|object| self.create_one(object)).buffer_unordered(AT_ONCE);
        made.try_collect().await
    }

    async fn create_one(&self, object: Value) -> Result<()> {
        let path = path::collection(kind(&object)?, object["metadata"]["namespace"].as_str());
        self.send(Request::post(&path).header(header::CONTENT_TYPE, "application/json"), &object).await
    }

    /// Merges a patch into an object.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        self.send(Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json"), patch).await
    }

    async fn send(&self, request: http::request::Builder, body: &Value) -> Result<()> {
        let request = request.body(serde_json::to_vec(body)?)?;
        let path = request.uri().to_string();
        self.client.request_text(request).await.with_context(|| path)?;
        Ok(())
    }

    /// The API server as plain HTTP.
    pub fn api(&self) -> Api {
        Api::new(self.client.clone())
    }

    /// Seconds for LISTs of all kinds that the agent reads, unpaged, one after the other on a new connection, bodies
    /// discarded.
    pub async fn raw_lists(&self) -> Result<f64> {
        let start = Instant::now();
        let api = Api::new(self.plane.client().await?);
        for kind in KINDS {
            let mut body = api.open(&path::collection(kind, None), "application/json").await?;
            while let Some(bytes) = body.next().await {
                bytes?;
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

fn kind(object: &Value) -> Result<&'static Kind> {
    let (version, kind) = (object["apiVersion"].as_str().unwrap_or(""), object["kind"].as_str().unwrap_or(""));
    let group = version.rsplit_once('/').map_or("", |(group, _)| group);
    Kind::find(group, kind).with_context(|| format!("{version} {kind} is not a kind that the agent reads"))
}

/// The patch that makes a Deployment's first container privileged.
pub fn privileged(deployment: &Value) -> Value {
    let mut containers = deployment["spec"]["template"]["spec"]["containers"].clone();
    let context = &mut containers[0]["securityContext"];
    context["privileged"] = json!(true);
    // The API server refuses a privileged container without it.
    context["allowPrivilegeEscalation"] = json!(true);
    json!({ "spec": { "template": { "spec": { "containers": containers } } } })
}
