//! The charts in a real cluster: installed by the commands that `holdfast` prints, judged by the API server's own admission
//! and authorizer. kwok simulates the nodes: Pods are created, admitted and become ready, and nothing runs in them.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use expect_test::{expect, expect_file};
use futures::{StreamExt, TryStreamExt};
use holdfast_agent::rights;
use holdfast_lab::{ControlPlane, Options};
use holdfast_tests::helm::{Helm, chart_path, values, values_files};
use holdfast_tests::programs::run;
use holdfast_tests::scenario::Scenario;
use holdfast_tests::tier;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, PostParams};
use kube::discovery::{Discovery, Scope};
use serde_json::{Value, json};

use super::helm;
use super::rendered::{NOTES, golden};

const NAMESPACE: &str = "holdfast-agent";
const NODES: &str = "holdfast-node";
const CLUSTER_ACCOUNT: &str = "system:serviceaccount:holdfast-agent:holdfast-agent";
const NODE_ACCOUNT: &str = "system:serviceaccount:holdfast-node:holdfast-agent-node";

/// Every verb that RBAC knows for what an API serves.
const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
];

/// Helm and a cluster with two nodes; `None` where a tier can't run.
async fn fixture(name: &str) -> Result<Option<(Helm, ControlPlane)>> {
    let Some(helm) = helm().await? else { return Ok(None) };
    let options = Options { nodes: 2, ..Options::default() };
    let plane = ControlPlane::start_with(name, options, |line| eprintln!("lab: {line}")).await;
    Ok(tier::available("apiserver", plane)?.map(|plane| (helm, plane)))
}

/// Runs a pasted script with `helm` and `kubectl` on the PATH.
async fn paste(helm: &Helm, plane: &ControlPlane, script: &str) -> Result<String> {
    plane.shell(&format!("set -e\nPATH={}:$PATH\n{script}", helm.folder().display())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cluster_add_prints_installs_an_agent_that_joins_with_the_charts_rights() -> Result<()> {
    let Some((helm, plane)) = fixture("charts").await? else { return Ok(()) };
    let scenario = Scenario::start().await?;
    let agents = format!("https://127.0.0.1:{}", scenario.agents_port());
    let chart = chart_path("holdfast-agent");
    let flags = ["cluster", "add", "prod-eu", "--helm", "--agents", &agents, "--chart", &chart, "-o", "json"];
    let added = scenario.holdfast(&flags).await?;
    let output = paste(&helm, &plane, added["commands"].as_str().context("no commands")?).await?;
    ensure!(output.contains("kubectl rollout status deployment/holdfast-agent"), "{output}");

    ready(&plane, "deployment", NAMESPACE, "holdfast-agent", "readyReplicas").await?;
    ready(&plane, "daemonset", NODES, "holdfast-agent-node", "numberReady").await?;
    let level = |namespace| level_of(&plane, namespace);
    assert_eq!([level(NAMESPACE).await?, level(NODES).await?], ["restricted", "privileged"]);

    // The agent of this cluster, with the chart's ServiceAccount and the token in its Secret.
    let secrets: Api<Secret> = Api::namespaced(plane.client().await?, NAMESPACE);
    let token = secrets.get("holdfast-agent-join").await?.data.context("no data")?["token"].0.clone();
    assert_eq!(added["token"], String::from_utf8(token)?);
    let groups = groups(NAMESPACE);
    let account = plane.kubeconfig_for(CLUSTER_ACCOUNT, &groups.each_ref().map(String::as_str))?;
    let _agent = scenario.start_agent(&added, &account, &agents)?;

    // What `helm test` runs, with the environment of its Pods.
    let relay = [("HOLDFAST_RELAY_LISTEN", "127.0.0.1:0"), ("HOLDFAST_NODE_SERVICE_ACCOUNT", "holdfast-node/x")];
    let shares = [("HOLDFAST_NAMESPACE", NAMESPACE), ("HOLDFAST_LEASE", rights::LEASE)];
    let as_account = ["--kubeconfig", &account.display().to_string(), "rights", "--check"].map(str::to_owned);
    let output = run("holdfast-agent", &as_account, &[relay, shares].concat()).await?;
    ensure!(output.contains("every right is there"), "{output}");
    let nobody = plane.kubeconfig_for("nobody", &[])?;
    let as_nobody = ["--kubeconfig", &nobody.display().to_string(), "rights", "--check"].map(str::to_owned);
    let refused = run("holdfast-agent", &as_nobody, &[]).await.err().context("nobody has every right")?;
    ensure!(format!("{refused:#}").contains("missing: watch pods: "), "{refused:#}");
    let api = scenario.api_url().trim_start_matches("http://").trim_end_matches("/api/v1").to_owned();
    let output = run("holdfast-aggregator", &["ready".to_owned(), api], &[]).await?;
    ensure!(output.contains("is ready"), "{output}");
    let data = scenario.path("aggregator").display().to_string();
    let token = run("holdfast-aggregator", &["admin-token".to_owned()], &[("HOLDFAST_DATA", &data)]).await?;
    assert_eq!(token.trim(), scenario.token()?);
    scenario.until_observed("prod-eu").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folded_into_the_node_pods_everything_is_in_one_namespace_that_admits_them() -> Result<()> {
    let Some((helm, plane)) = fixture("folded").await? else { return Ok(()) };
    let scenario = Scenario::start().await?;
    let chart = chart_path("holdfast-agent");
    let flags = ["--helm", "--agents", "https://holdfast.example.com:8471", "--chart", &chart, "--in-daemon-set"];
    let added =
        scenario.holdfast(&[&["cluster", "add", "small-cluster"], &flags[..], &["-o", "json"]].concat()).await?;
    paste(&helm, &plane, added["commands"].as_str().context("no commands")?).await?;

    ready(&plane, "daemonset", NAMESPACE, "holdfast-agent-node", "numberReady").await?;
    assert_eq!(level_of(&plane, NAMESPACE).await?, "privileged");
    let others = plane.kubectl(&["get", "namespaces,deployments", "-A", "-o", "name"]).await?;
    ensure!(!others.contains(NODES) && !others.contains("deployment"), "{others}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restricted_namespace_admits_every_pod_but_the_node_part() -> Result<()> {
    let Some((helm, plane)) = fixture("admission").await? else { return Ok(()) };
    plane.namespace("holdfast", &[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
    install(&helm, &plane, "holdfast-aggregator", &["trial"]).await?;
    install(&helm, &plane, "holdfast-agent", &[]).await?;
    ready(&plane, "statefulset", "holdfast", "holdfast-aggregator", "readyReplicas").await?;

    let mut admitted = BTreeSet::new();
    for chart in super::CHARTS {
        for rendered in helm.render(chart, &[]).await? {
            let Some(pod) = pod_of(&rendered.object) else { continue };
            if rendered.object["kind"] == "DaemonSet" {
                // Its own ServiceAccount does not exist here, and would be refused before Pod Security is checked.
                let mut with_default_account = pod.clone();
                with_default_account["spec"]["serviceAccountName"] = json!("default");
                let answer = dry_run(&plane, "holdfast", &with_default_account).await;
                let refusal = format!("{:#}", answer.err().context("restricted admits the node part")?);
                let (_, why) = refusal.split_once("violates PodSecurity").context("refused for another reason")?;
                expect![[r#" "restricted:latest": host namespaces (hostPID=true), unrestricted capabilities (container "agent" must not include "BPF", "PERFMON" in securityContext.capabilities.add), restricted volume types (volume "tracefs" uses restricted volume type "hostPath"), runAsNonRoot != true (pod or container "agent" must set securityContext.runAsNonRoot=true), runAsUser=0 (container "agent" must not set runAsUser=0)"#]].assert_eq(why.split(": Forbidden").next().unwrap_or(why));
                dry_run(&plane, NODES, &pod).await.context("the node part in its own namespace")?;
            } else {
                let answer = dry_run(&plane, "holdfast", &pod).await;
                answer.with_context(|| format!("{} of {chart}", rendered.name))?;
                admitted.insert(rendered.name);
            }
        }
    }
    let expected = [
        "deployment-holdfast-agent",
        "pod-holdfast-agent-test",
        "pod-holdfast-aggregator-test",
        "statefulset-holdfast-aggregator",
    ];
    assert_eq!(admitted, expected.map(str::to_owned).into());
    Ok(())
}

/// Asks the authorizer about every verb on every resource that the API server serves: in the whole cluster, and in the
/// agent's own namespace. Rights that every account has (reviews of itself) are subtracted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_rights_are_exactly_those_listed_and_the_node_part_has_none() -> Result<()> {
    let Some((helm, plane)) = fixture("rights").await? else { return Ok(()) };
    plane.namespace("holdfast-agent", &[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
    let (path, default) = (chart_path("holdfast-agent"), values("holdfast-agent", "default"));
    paste(&helm, &plane, &format!("helm install holdfast-agent {path} -n {NAMESPACE} -f {default}")).await?;

    for namespace in [None, Some(NAMESPACE), Some("kube-system")] {
        let anybody = allowed(&plane, "system:serviceaccount:default:nobody", "default", namespace).await?;
        let node = allowed(&plane, NODE_ACCOUNT, NODES, namespace).await?;
        assert_eq!(node, anybody, "the node part's account in {namespace:?}");
        let cluster = allowed(&plane, CLUSTER_ACCOUNT, NAMESPACE, namespace).await?;
        let more: BTreeSet<_> = cluster.difference(&anybody).cloned().collect();
        assert_eq!(more, listed(namespace), "the agent's account in {namespace:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_notes_of_an_installation_name_the_next_steps() -> Result<()> {
    let Some((helm, plane)) = fixture("notes").await? else { return Ok(()) };
    for chart in super::CHARTS {
        let mut all = String::new();
        // A ServiceMonitor is a kind that only the Prometheus operator brings.
        for file in values_files(chart)?.into_iter().filter(|file| file != "observed") {
            let (path, first, second) = (chart_path(chart), values(chart, "default"), values(chart, &file));
            let line = format!("helm install {chart} {path} -n holdfast --dry-run=client -f {first} -f {second}");
            let output = paste(&helm, &plane, &line).await?;
            let (_, notes) =
                output.split_once("NOTES:\n").with_context(|| format!("{chart} has no notes with {file}"))?;
            all.push_str(&format!("== {file}\n{}\n\n", notes.trim_end()));
        }
        expect_file![golden(chart, NOTES)].assert_eq(&all);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_keeps_the_credential_and_the_lease() -> Result<()> {
    let Some((helm, plane)) = fixture("upgrade").await? else { return Ok(()) };
    plane.namespace("holdfast", &[("pod-security.kubernetes.io/enforce", "restricted")]).await?;
    install(&helm, &plane, "holdfast-agent", &[]).await?;
    let credential = r#"{"data":{"credential.json":"e30="}}"#;
    let lease = r#"{"spec":{"holderIdentity":"holdfast-agent-0"}}"#;
    plane.shell(&format!("kubectl patch secret holdfast-agent-credential -n holdfast -p '{credential}'")).await?;
    plane.shell(&format!("kubectl patch lease holdfast-agent -n holdfast -p '{lease}'")).await?;

    let (path, default) = (chart_path("holdfast-agent"), values("holdfast-agent", "default"));
    let line = format!("helm upgrade holdfast-agent {path} -n holdfast -f {default} --set log.filter=debug");
    paste(&helm, &plane, &line).await?;
    let read = async |what: &str, path: &str| {
        plane.shell(&format!("kubectl get {what} -n holdfast -o jsonpath='{path}'")).await
    };
    assert_eq!(read("secret holdfast-agent-credential", r"{.data.credential\.json}").await?, "e30=");
    assert_eq!(read("lease holdfast-agent", "{.spec.holderIdentity}").await?, "holdfast-agent-0");

    paste(&helm, &plane, "helm uninstall holdfast-agent -n holdfast --wait").await?;
    let left = plane
        .shell("kubectl get all,secret,lease,role,rolebinding,pdb,netpol -n holdfast -o name | grep holdfast || true")
        .await?;
    assert_eq!(left, "");
    Ok(())
}

async fn install(helm: &Helm, plane: &ControlPlane, chart: &str, files: &[&str]) -> Result<()> {
    let files: String = ["default"].iter().chain(files).map(|file| format!(" -f {}", values(chart, file))).collect();
    paste(helm, plane, &format!("helm install {chart} {} -n holdfast{files}", chart_path(chart))).await?;
    Ok(())
}

/// Waits until a workload has as many ready Pods as it wants.
async fn ready(plane: &ControlPlane, kind: &str, namespace: &str, name: &str, field: &str) -> Result<()> {
    plane
        .until(&format!("{name} to be ready"), async || {
            let workload: Value =
                serde_json::from_str(&plane.kubectl(&["get", kind, name, "-n", namespace, "-o", "json"]).await?)?;
            let wanted = workload["spec"]["replicas"].as_u64();
            let wanted = wanted.or(workload["status"]["desiredNumberScheduled"].as_u64()).unwrap_or_default();
            Ok(wanted > 0 && workload["status"][field] == wanted)
        })
        .await
}

async fn level_of(plane: &ControlPlane, namespace: &str) -> Result<String> {
    let label = r"{.metadata.labels.pod-security\.kubernetes\.io/enforce}";
    plane.kubectl(&["get", "namespace", namespace, "-o", &format!("jsonpath={label}")]).await
}

/// The Pod that an object is, or creates from its template.
fn pod_of(object: &Value) -> Option<Value> {
    let template = match object["kind"].as_str()? {
        "Pod" => object,
        "Deployment" | "StatefulSet" | "DaemonSet" => &object["spec"]["template"],
        _ => return None,
    };
    let metadata = json!({"generateName": "dry-run-", "labels": template["metadata"]["labels"]});
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}))
}

async fn dry_run(plane: &ControlPlane, namespace: &str, pod: &Value) -> Result<()> {
    let mut pod: Pod = serde_json::from_value(pod.clone())?;
    // The StatefulSet controller adds the volumes of claim templates.
    if let Some(spec) = &mut pod.spec {
        let volumes = spec.volumes.get_or_insert_default();
        let mounts = spec.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
        let missing: Vec<_> = mounts.filter(|mount| volumes.iter().all(|volume| volume.name != mount.name)).collect();
        let claims =
            missing.iter().map(|mount| json!({"name": mount.name, "persistentVolumeClaim": {"claimName": mount.name}}));
        let claims: Vec<_> = claims.map(serde_json::from_value).collect::<Result<_, _>>()?;
        volumes.extend(claims);
    }
    let pods: Api<Pod> = Api::namespaced(plane.client().await?, namespace);
    pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await?;
    Ok(())
}

fn groups(namespace: &str) -> [String; 3] {
    [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]
}

/// What the authorizer allows an account: `verb resource.group`, with `/name` where it is allowed for that name only.
async fn allowed(plane: &ControlPlane, account: &str, home: &str, namespace: Option<&str>) -> Result<BTreeSet<String>> {
    let client = plane.client().await?;
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let mut questions = Vec::new();
    for (group, resource, namespaced) in resources(&client).await? {
        if namespaced || namespace.is_none() {
            for verb in VERBS {
                questions.push((group.clone(), resource.clone(), verb, None));
                for name in [rights::CREDENTIAL_SECRET, rights::LEASE] {
                    questions.push((group.clone(), resource.clone(), verb, Some(name)));
                }
            }
        }
    }
    let asked = questions.into_iter().map(|(group, resource, verb, name)| {
        let (resource_name, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
        let attributes = json!({
            "group": group, "resource": resource_name, "subresource": subresource, "verb": verb,
            "namespace": namespace.unwrap_or_default(), "name": name.unwrap_or_default(),
        });
        let spec = json!({"user": account, "groups": groups(home), "resourceAttributes": attributes});
        let reviews = reviews.clone();
        async move {
            let review = serde_json::from_value(json!({"spec": spec}))?;
            let answer = reviews.create(&PostParams::default(), &review).await?;
            let dot = if group.is_empty() { "" } else { "." };
            let name = name.map_or(String::new(), |name| format!("/{name}"));
            let right = format!("{verb} {resource}{dot}{group}{name}");
            anyhow::Ok(answer.status.is_some_and(|status| status.allowed).then_some(right))
        }
    });
    let all: BTreeSet<String> =
        futures::stream::iter(asked).buffer_unordered(16).try_filter_map(async |right| Ok(right)).try_collect().await?;
    // A right on all objects includes each name: it is listed once.
    let by_name = |right: &String| right.rsplit_once('/').is_some_and(|(whole, _)| all.contains(whole));
    Ok(all.iter().filter(|right| !by_name(right)).cloned().collect())
}

/// Every resource that is served, subresources that matter included: (group, plural, namespaced).
async fn resources(client: &kube::Client) -> Result<Vec<(String, String, bool)>> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut all = BTreeSet::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let namespaced = capabilities.scope == Scope::Namespaced;
            all.insert((resource.group.clone(), resource.plural.clone(), namespaced));
        }
    }
    let parts = [
        "pods/exec",
        "pods/attach",
        "pods/log",
        "pods/portforward",
        "pods/ephemeralcontainers",
        "pods/eviction",
        "serviceaccounts/token",
    ];
    all.extend(parts.map(|part| (String::new(), part.to_owned(), true)));
    all.extend(["nodes/proxy", "users", "groups"].map(|part| (String::new(), part.to_owned(), false)));
    ensure!(all.len() > 60, "only {} resources were discovered", all.len());
    Ok(all.into_iter().collect())
}

/// The rights that the agent lists, in the format of [`allowed`].
fn listed(namespace: Option<&str>) -> BTreeSet<String> {
    let own = if namespace == Some(NAMESPACE) { rights::own_rights() } else { Vec::new() };
    let namespaced = |right: &rights::Right| {
        let kind =
            holdfast_controls::KINDS.iter().find(|kind| kind.plural == right.resource && kind.group == right.group);
        kind.is_some_and(|kind| kind.namespaced) || right.name.is_some()
    };
    let all = [rights::rights(), rights::relay_rights(), own].concat();
    let here = all.iter().filter(|right| namespace.is_none() || namespaced(right));
    here.flat_map(|right| {
        let dot = if right.group.is_empty() { "" } else { "." };
        let name = right.name.map_or(String::new(), |name| format!("/{name}"));
        right.verbs.iter().map(move |verb| format!("{verb} {}{dot}{}{name}", right.resource, right.group))
    })
    .collect()
}
