//! Controls that need observation over time: both charts on a real node, sensors in the real kernel, windows of seconds.
//!
//! Seven shells are one finding that stays open while the container in which they were started runs, and is verified without
//! a request once the new container has been watched for a whole window without a shell. A granted right that is never used
//! is a finding with a patch; a used one is none. An undeclared port is a finding until it is declared.

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, Options, SHELL, apply};
use holdfast_tests::helm::{Helm, chart_path};
use holdfast_tests::installed::{Form, Installed};
use holdfast_tests::programs::eventually;
use holdfast_tests::tier;
use serde_json::{Value, json};

/// How long anything must be watched here, in seconds: longer than the interval of the sensors' heartbeat probe.
const WINDOW: u32 = 12;
const NAMES: [&str; 4] = ["shells", "idle", "busy", "listener"];
const UNUSED: [&str; 3] = ["workload.capabilities-unused", "workload.token-unused", "workload.writable-root-unused"];
/// What a container runtime does while it sets a container up, and none of these containers does.
const OF_RUNTIMES: [&str; 3] = ["workload.namespace-entered", "workload.mount-made", "workload.hardening-not-in-force"];
/// Uses a capability, the writable root file system and the token. The shell is the container's own command.
const USES: &str = "touch /written && chown 1234 /written && \
    cat /var/run/secrets/kubernetes.io/serviceaccount/token >/dev/null && exec sleep infinity";

/// A Deployment of one Pod that runs this. Its old Pod goes before the new one comes.
fn deployment(name: &str, command: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": name}}, "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": name, "image": SHELL, "imagePullPolicy": "Never", "command": command,
                    "securityContext": {"allowPrivilegeEscalation": false},
                }],
            }},
        },
    })
}

struct OverTime<'a> {
    plane: &'a ControlPlane,
    installed: &'a Installed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behaviors_and_unused_rights_are_found_and_closed_only_after_a_watched_window() -> Result<()> {
    let Some(helm) = tier::available("helm", Helm::prepare().await)? else { return Ok(()) };
    let options = Options { real_nodes: 1, ..Options::default() };
    let plane = ControlPlane::start_with("prod-us", options, |line| println!("{line}")).await;
    let Some(plane) = tier::available("node", plane)? else { return Ok(()) };
    let installed = Installed::install(helm, &plane, "prod-us", Form::Apart).await?;
    let scenario = OverTime { plane: &plane, installed: &installed };
    let result = scenario.run().await;
    let state = if result.is_err() { scenario.state().await } else { String::new() };
    result.context(state)
}

impl OverTime<'_> {
    async fn run(&self) -> Result<()> {
        self.short_windows().await?;
        self.plane.namespace("shop", &[]).await?;
        let all = [
            deployment("shells", &["sleep", "infinity"]),
            deployment("idle", &["sleep", "infinity"]),
            deployment("busy", &["sh", "-c", USES]),
            deployment("listener", &["httpd", "-f", "-p", "8080"]),
        ];
        apply(&self.plane.client().await?, &all).await?;
        for name in NAMES {
            self.rolled_out(name).await?;
        }
        let shells = self.seven_shells_are_one_finding().await?;
        self.unused_rights_have_a_patch_that_is_verified().await?;
        self.an_undeclared_port_is_a_finding_until_it_is_declared().await?;
        self.installed.until(&shells, "verified").await.context("the shells, without a request")?;
        for control in UNUSED {
            ensure!(self.find("busy", control).await?.is_none(), "busy uses what {control} judges unused");
        }
        ensure!(
            self.find("busy", "workload.unexpected-shell").await?.is_none(),
            "the container's own shell is a finding"
        );
        for (name, control) in NAMES.iter().flat_map(|name| OF_RUNTIMES.map(|control| (name, control))) {
            let found = self.find(name, control).await?;
            ensure!(found.is_none(), "{control} is found on {name} for what its runtime did: {found:?}");
        }
        Ok(())
    }

    /// The default windows of a day are too long for a test.
    async fn short_windows(&self) -> Result<()> {
        let upgrade = format!(
            "helm upgrade holdfast-agent {} -n holdfast-agent --reuse-values --set windows.scanEverySeconds=3 \
             --set windows.unusedAfterSeconds={WINDOW} --set windows.idleAfterSeconds={WINDOW}
            kubectl rollout status deployment/holdfast-agent -n holdfast-agent --timeout=60s",
            chart_path("holdfast-agent")
        );
        self.installed.paste(self.plane, &upgrade).await.map(drop)
    }

    async fn seven_shells_are_one_finding(&self) -> Result<String> {
        for _ in 0..7 {
            self.plane.kubectl(&["-n", "shop", "exec", "deployment/shells", "--", "sh", "-c", "true"]).await?;
        }
        let id = self.finding("shells", "workload.unexpected-shell").await?;
        eventually("seven shells on one record", async || {
            let evidence = self.installed.show(&id).await?["evidence"]["runtime"].take();
            ensure!(evidence["count"] == 7, "{evidence}");
            ensure!(evidence["locations"].as_array().is_some_and(|locations| locations.len() == 1), "{evidence}");
            Ok(Some(()))
        })
        .await?;
        let pod = self.pod("shells").await?;
        let retest = self.installed.holdfast(&["retest", &id, "--wait", "-o", "json"]).await?;
        let reason = retest["reason"].as_str().context("a retest without reason")?;
        ensure!(retest["verdict"] == "still-failing", "{retest}");
        ensure!(reason.contains(&format!("Pod {pod} on node node-0")) && reason.contains("shell by"), "{reason}");
        ensure!(
            self.installed.show(&id).await?["status"] == "open",
            "closed while the container in which the shells ran still runs"
        );
        self.plane.kubectl(&["-n", "shop", "rollout", "restart", "deployment/shells"]).await?;
        self.rolled_out("shells").await?;
        Ok(id)
    }

    async fn unused_rights_have_a_patch_that_is_verified(&self) -> Result<()> {
        let mut ids = Vec::new();
        for control in UNUSED {
            let id = self.finding("idle", control).await?;
            let line = self.installed.show(&id).await?["fix"]["kubectl"].as_str().map(str::to_owned);
            self.installed.paste(self.plane, &line.with_context(|| format!("{control} has no patch"))?).await?;
            ids.push((control, id));
        }
        self.rolled_out("idle").await?;
        for (control, id) in ids {
            self.verify(&id).await.with_context(|| control.to_owned())?;
        }
        Ok(())
    }

    async fn an_undeclared_port_is_a_finding_until_it_is_declared(&self) -> Result<()> {
        let id = self.finding("listener", "workload.undeclared-port").await?;
        let declare =
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"listener","ports":[{"containerPort":8080}]}]}}}}"#;
        self.plane.kubectl(&["-n", "shop", "patch", "deployment", "listener", "-p", declare]).await?;
        self.rolled_out("listener").await?;
        self.verify(&id).await
    }

    /// Requests retests until one proves the fix, and checks that the proof reaches the running processes.
    async fn verify(&self, id: &str) -> Result<()> {
        eventually("a verdict of fixed", async || {
            let retest = self.installed.holdfast(&["retest", id, "--wait", "-o", "json"]).await?;
            ensure!(retest["verdict"] == "fixed", "{}: {}", retest["verdict"], retest["reason"]);
            Ok(Some(()))
        })
        .await?;
        let verified = self.installed.until(id, "verified").await?;
        ensure!(verified["reach"] == "running", "{verified}");
        Ok(())
    }

    /// The one finding of a control about a Deployment, once there is one.
    async fn finding(&self, name: &str, control: &str) -> Result<String> {
        eventually(&format!("{control} about {name}"), async || self.find(name, control).await).await
    }

    async fn find(&self, name: &str, control: &str) -> Result<Option<String>> {
        let line = ["findings", "--namespace", "shop", "--control", control, "-o", "json"];
        let found = self.installed.holdfast(&line).await?;
        let mut about = found.as_array().into_iter().flatten().filter(|one| one["resource"]["name"] == name);
        let id = about.next().and_then(|one| one["id"].as_str()).map(str::to_owned);
        ensure!(about.next().is_none(), "two findings of {control} about {name}: {found}");
        Ok(id)
    }

    async fn pod(&self, name: &str) -> Result<String> {
        let label = format!("app={name}");
        self.plane
            .kubectl(&["-n", "shop", "get", "pods", "-l", &label, "-o", "jsonpath={.items[*].metadata.name}"])
            .await
    }

    async fn rolled_out(&self, name: &str) -> Result<()> {
        let deployment = format!("deployment/{name}");
        self.plane.kubectl(&["-n", "shop", "rollout", "status", &deployment, "--timeout=60s"]).await.map(drop)
    }

    /// The Pods, Holdfast's logs and the findings, for the message of a failure.
    async fn state(&self) -> String {
        const LINES: &str = "kubectl get pods -A -o wide
            kubectl logs -n holdfast-agent deployment/holdfast-agent --all-pods --prefix --tail=20
            kubectl logs -n holdfast-node daemonset/holdfast-agent-node --tail=20";
        let pods = self.plane.shell(LINES).await.unwrap_or_else(|error| format!("{error:#}"));
        let found = self.installed.holdfast(&["findings", "--namespace", "shop", "-o", "json"]).await;
        let rows = found.unwrap_or_default();
        let rows = rows.as_array().into_iter().flatten();
        let rows = rows.map(|row| format!("{} {} {}\n", row["resource"]["name"], row["control_id"], row["status"]));
        format!("{pods}\n{}", rows.collect::<String>())
    }
}
