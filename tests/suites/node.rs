//! Real nodes: a kubelet and containerd run Pods from images built on this machine, and everything is removed at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, Options, SHELL, apply, left_behind, real_nodes_possible};
use holdfast_tests::programs::eventually;
use holdfast_tests::tier;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};

/// A lab with this many real nodes; `None` where the machine can't run them.
async fn lab(name: &str, real_nodes: u16) -> Result<Option<ControlPlane>> {
    let options = Options { real_nodes, ..Options::default() };
    let plane = tier::available("node", ControlPlane::start_with(name, options, |line| println!("{line}")).await)?;
    if let Some(plane) = &plane {
        plane.namespace("shop", &[]).await?;
    }
    Ok(plane)
}

/// A Deployment of one Pod on one node that runs a line of shell.
fn deployment(name: &str, node: &str, line: &str, security: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0, "nodeSelector": {"kubernetes.io/hostname": node},
                "containers": [{
                    "name": "web", "image": SHELL, "imagePullPolicy": "Never", "command": ["sh", "-c", line],
                    "securityContext": security,
                }],
            }},
        },
    })
}

async fn until_ready(plane: &ControlPlane, name: &str) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(plane.client().await?, "shop");
    let ready = async || Ok(deployments.get(name).await?.status.and_then(|status| status.ready_replicas) == Some(1));
    let waited = plane.until(&format!("{name} to be ready"), ready).await;
    let state = if waited.is_err() { plane.kubectl(&["-n", "shop", "describe", "pods"]).await? } else { String::new() };
    waited.context(state)
}

/// The output of a shell command in the container of a Deployment.
async fn inside(plane: &ControlPlane, name: &str, line: &str) -> Result<String> {
    plane.kubectl(&["-n", "shop", "exec", &format!("deployment/{name}"), "--", "sh", "-c", line]).await
}

/// A line of `/proc/1/status`, as a process in the container reads it.
async fn status(plane: &ControlPlane, name: &str, key: &str) -> Result<String> {
    last_word(&inside(plane, name, &format!("grep {key} /proc/1/status")).await?)
}

fn last_word(text: &str) -> Result<String> {
    Ok(text.split_whitespace().last().context("nothing was printed")?.to_owned())
}

#[tokio::test]
async fn a_deployment_runs_on_a_real_node_and_the_lab_removes_everything_at_its_end() -> Result<()> {
    let settings = ["kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "vm/overcommit_memory"];
    let of_machine = || settings.map(|name| std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default());
    let before = of_machine();
    let Some(plane) = lab("node", 1).await? else { return Ok(()) };
    // The kubelet has set them in the node's mount namespace only.
    assert_eq!(plane.on_node("node-0", &["cat", "/proc/sys/kernel/panic"]).await?.trim(), "10");
    plane.on_node("node-0", &["findmnt", "/proc/sys/kernel/panic"]).await?;
    assert_eq!(of_machine(), before);
    let number = plane.number().context("a lab with real nodes has a number")?;
    let restricted = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 1000});
    let objects = [
        deployment("restricted", "node-0", "sleep infinity", &restricted),
        deployment("privileged", "node-0", "sleep infinity", &json!({"privileged": true})),
    ];
    apply(&plane.client().await?, &objects).await?;
    until_ready(&plane, "restricted").await?;
    until_ready(&plane, "privileged").await?;
    assert_eq!(status(&plane, "restricted", "CapEff").await?, "0000000000000000");
    assert_eq!(status(&plane, "restricted", "NoNewPrivs").await?, "1");
    let own = plane.on_node("node-0", &["grep", "CapEff", "/proc/self/status"]).await?;
    assert_eq!(status(&plane, "privileged", "CapEff").await?, last_word(&own)?);
    assert!(!left_behind(number)?.is_empty(), "`left_behind` finds nothing even while the lab runs");

    plane.kubectl(&["-n", "shop", "delete", "deployments", "--all"]).await?;
    eventually("the containers to be gone", async || {
        let containers =
            plane.on_node("node-0", &["ctr", "--namespace", "k8s.io", "containers", "list", "--quiet"]).await?;
        ensure!(containers.trim().is_empty(), "there are still {containers}");
        Ok(Some(()))
    })
    .await?;
    drop(plane);
    assert_eq!(left_behind(number)?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn pods_on_two_nodes_reach_each_other_and_the_api_server_by_name() -> Result<()> {
    let Some(plane) = lab("two-nodes", 2).await? else { return Ok(()) };
    assert_eq!(plane.node_names(), ["node-0", "node-1"]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    });
    let objects = [
        service,
        deployment(
            "web",
            "node-1",
            "mkdir /www && echo served >/www/index.html && httpd -f -p 8080 -h /www",
            &json!({}),
        ),
        deployment("client", "node-0", "sleep infinity", &json!({})),
    ];
    apply(&plane.client().await?, &objects).await?;
    until_ready(&plane, "web").await?;
    until_ready(&plane, "client").await?;
    let answer = async |line: String, expected: &str| {
        eventually(&line, async || {
            let answered = inside(&plane, "client", &line).await?;
            ensure!(answered.trim() == expected, "it answered {answered}");
            Ok(Some(()))
        })
        .await
    };
    // A static BusyBox resolves names in nslookup only, and its wget not even without.
    let named = |name: &str| format!("$(nslookup {name}.svc.cluster.local | sed -n 's/^Address: //p' | tail -1)");
    answer(format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {} 80 | tail -1", named("web.shop")), "served")
        .await?;
    answer(format!("nc -w 2 {} 443 </dev/null && echo open", named("kubernetes.default")), "open").await?;
    Ok(())
}

/// Simulated nodes give size, real ones run containers.
#[tokio::test]
async fn one_cluster_can_have_simulated_and_real_nodes() -> Result<()> {
    let options = Options { nodes: 2, real_nodes: 1, ..Options::default() };
    let plane = ControlPlane::start_with("mixed", options, |line| println!("{line}")).await;
    let Some(plane) = tier::available("node", plane)? else { return Ok(()) };
    plane.namespace("shop", &[]).await?;
    let objects = ["node-0", "lab-0", "lab-1"].map(|node| deployment(node, node, "sleep infinity", &json!({})));
    apply(&plane.client().await?, &objects).await?;
    for node in ["node-0", "lab-0", "lab-1"] {
        until_ready(&plane, node).await?;
        let of = format!("--selector=app={node}");
        let line = ["-n", "shop", "get", "pods", &of, "-o", "jsonpath={.items[*].spec.nodeName}"];
        assert_eq!(plane.kubectl(&line).await?, node);
    }
    assert_eq!(inside(&plane, "node-0", "echo alive").await?.trim(), "alive");
    let containers = ["ctr", "--namespace", "k8s.io", "tasks", "list", "--quiet"];
    let running = plane.on_node("node-0", &containers).await?;
    assert_eq!(
        running.lines().count(),
        2,
        "one container and its sandbox, and nothing of the simulated nodes: {running}"
    );
    Ok(())
}

#[tokio::test]
async fn a_killed_lab_leaves_nothing_behind() -> Result<()> {
    let Some(()) = tier::available("node", real_nodes_possible())? else { return Ok(()) };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "holds_a_lab_until_it_is_killed", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let printed = BufReader::new(child.stdout.take().context("no output")?);
    let number = printed.lines().find_map(|line| line.ok()?.strip_prefix("holds ")?.parse::<u8>().ok());
    let number = number.context("the lab did not start")?;
    assert!(!left_behind(number)?.is_empty());
    child.kill()?;
    child.wait()?;
    eventually("the guard to be done", async || {
        let left = left_behind(number)?;
        ensure!(left.is_empty(), "there is still {left:?}");
        Ok(Some(()))
    })
    .await
}

#[tokio::test]
#[ignore = "started by a_killed_lab_leaves_nothing_behind as a process of its own"]
async fn holds_a_lab_until_it_is_killed() -> Result<()> {
    let Some(plane) = lab("victim", 1).await? else { return Ok(()) };
    apply(&plane.client().await?, &[deployment("web", "node-0", "sleep infinity", &json!({}))]).await?;
    until_ready(&plane, "web").await?;
    println!("\nholds {}", plane.number().context("no number")?);
    std::future::pending().await
}
