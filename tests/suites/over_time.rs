//! What only watching tells, where Holdfast lives: both charts on a real node, sensors in the real kernel, windows of seconds.
//!
//! Seven shells are one finding that stays open for as long as the container lives in which they were started, and closes by
//! itself once its successor has been watched and kept quiet. What is given and never used is a finding with a patch; what is
//! used is none. A port that nobody declared is one until it is declared.

use anyhow::{Context, Result, ensure};
use holdfast_lab::{ControlPlane, Options, SHELL, apply};
use holdfast_tests::helm::{Helm, chart_path};
use holdfast_tests::installed::{Form, Installed};
use holdfast_tests::programs::eventually;
use holdfast_tests::tier;
use serde_json::{Value, json};

/// How long anything must be watched here, in seconds: longer than a canary takes to come back.
const WINDOW: u32 = 12;
const NAMES: [&str; 4] = ["worked", "idle", "busy", "doored"];
const UNUSED: [&str; 3] = ["workload.capabilities-unused", "workload.token-unused", "workload.writable-root-unused"];
/// What a runtime does before a container is the container, and none of these ever does.
const OF_RUNTIMES: [&str; 3] = ["workload.namespace-entered", "workload.mount-made", "workload.hardening-not-in-force"];
/// Uses one of each: a capability, the root file system, its token. Its shell is what the container was made to run.
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

struct Story<'a> {
    plane: &'a ControlPlane,
    installed: &'a Installed,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_and_what_is_never_used_is_told_and_closes_only_when_it_was_watched() -> Result<()> {
    let Some(helm) = tier::available("helm", Helm::prepare().await)? else { return Ok(()) };
    let options = Options { real_nodes: 1, ..Options::default() };
    let plane = ControlPlane::start_with("prod-us", options, |line| println!("{line}")).await;
    let Some(plane) = tier::available("node", plane)? else { return Ok(()) };
    let installed = Installed::install(helm, &plane, "prod-us", Form::Apart).await?;
    let story = Story { plane: &plane, installed: &installed };
    let told = story.tell().await;
    let said = if told.is_err() { story.state().await } else { String::new() };
    told.context(said)
}

impl Story<'_> {
    async fn tell(&self) -> Result<()> {
        self.short_windows().await?;
        self.plane.namespace("shop", &[]).await?;
        let all = [
            deployment("worked", &["sleep", "infinity"]),
            deployment("idle", &["sleep", "infinity"]),
            deployment("busy", &["sh", "-c", USES]),
            deployment("doored", &["httpd", "-f", "-p", "8080"]),
        ];
        apply(&self.plane.client().await?, &all).await?;
        for name in NAMES {
            self.rolled_out(name).await?;
        }
        let shells = self.seven_shells_are_one_finding().await?;
        self.what_is_never_used_has_a_patch_that_is_proved().await?;
        self.a_port_is_one_until_it_is_declared().await?;
        self.installed.until(&shells, "verified").await.context("the shells, without anybody asking")?;
        for control in UNUSED {
            ensure!(self.find("busy", control).await?.is_none(), "busy uses what {control} says it does not");
        }
        ensure!(self.find("busy", "workload.unexpected-shell").await?.is_none(), "its own program is no stranger");
        for (name, control) in NAMES.iter().flat_map(|name| OF_RUNTIMES.map(|control| (name, control))) {
            let found = self.find(name, control).await?;
            ensure!(found.is_none(), "{name} is told of {control}, which its runtime did: {found:?}");
        }
        Ok(())
    }

    /// A day is too long for a test.
    async fn short_windows(&self) -> Result<()> {
        let upgrade = format!(
            "helm upgrade holdfast-agent {} -n holdfast-agent --reuse-values --set windows.lookEverySeconds=3 \
             --set windows.unusedAfterSeconds={WINDOW} --set windows.quietAfterSeconds={WINDOW}
            kubectl rollout status deployment/holdfast-agent -n holdfast-agent --timeout=60s",
            chart_path("holdfast-agent")
        );
        self.installed.paste(self.plane, &upgrade).await.map(drop)
    }

    async fn seven_shells_are_one_finding(&self) -> Result<String> {
        for _ in 0..7 {
            self.plane.kubectl(&["-n", "shop", "exec", "deployment/worked", "--", "sh", "-c", "true"]).await?;
        }
        let id = self.finding("worked", "workload.unexpected-shell").await?;
        eventually("seven shells on one record", async || {
            let evidence = self.installed.show(&id).await?["evidence"]["runtime"].take();
            ensure!(evidence["count"] == 7, "{evidence}");
            ensure!(evidence["locations"].as_array().is_some_and(|places| places.len() == 1), "{evidence}");
            Ok(Some(()))
        })
        .await?;
        let pod = self.pod("worked").await?;
        let asked = self.installed.holdfast(&["retest", &id, "--wait", "-o", "json"]).await?;
        let reason = asked["reason"].as_str().context("a retest without reason")?;
        ensure!(asked["verdict"] == "still-failing", "{asked}");
        ensure!(reason.contains(&format!("Pod {pod} on node node-0")) && reason.contains("shell by"), "{reason}");
        ensure!(self.installed.show(&id).await?["status"] == "open", "the container that did it still runs");
        self.plane.kubectl(&["-n", "shop", "rollout", "restart", "deployment/worked"]).await?;
        self.rolled_out("worked").await?;
        Ok(id)
    }

    async fn what_is_never_used_has_a_patch_that_is_proved(&self) -> Result<()> {
        let mut ids = Vec::new();
        for control in UNUSED {
            let id = self.finding("idle", control).await?;
            let line = self.installed.show(&id).await?["fix"]["kubectl"].as_str().map(str::to_owned);
            self.installed.paste(self.plane, &line.with_context(|| format!("{control} has no patch"))?).await?;
            ids.push((control, id));
        }
        self.rolled_out("idle").await?;
        for (control, id) in ids {
            self.proved(&id).await.with_context(|| control.to_owned())?;
        }
        Ok(())
    }

    async fn a_port_is_one_until_it_is_declared(&self) -> Result<()> {
        let id = self.finding("doored", "workload.undeclared-port").await?;
        let declare =
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"doored","ports":[{"containerPort":8080}]}]}}}}"#;
        self.plane.kubectl(&["-n", "shop", "patch", "deployment", "doored", "-p", declare]).await?;
        self.rolled_out("doored").await?;
        self.proved(&id).await
    }

    /// Asked for until it is proved, down to the processes.
    async fn proved(&self, id: &str) -> Result<()> {
        eventually("a proof", async || {
            let asked = self.installed.holdfast(&["retest", id, "--wait", "-o", "json"]).await?;
            ensure!(asked["verdict"] == "fixed", "{}: {}", asked["verdict"], asked["reason"]);
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

    /// What runs and what Holdfast says, for a failure's message.
    async fn state(&self) -> String {
        const LINES: &str = "kubectl get pods -A -o wide
            kubectl logs -n holdfast-agent deployment/holdfast-agent --all-pods --prefix --tail=20
            kubectl logs -n holdfast-node daemonset/holdfast-agent-node --tail=20";
        let runs = self.plane.shell(LINES).await.unwrap_or_else(|error| format!("{error:#}"));
        let found = self.installed.holdfast(&["findings", "--namespace", "shop", "-o", "json"]).await;
        let rows = found.unwrap_or_default();
        let rows = rows.as_array().into_iter().flatten();
        let rows = rows.map(|row| format!("{} {} {}\n", row["resource"]["name"], row["control_id"], row["status"]));
        format!("{runs}\n{}", rows.collect::<String>())
    }
}
