//! The lab: a real Kubernetes control plane with workloads planted in it, for whoever has no cluster at hand.
//!
//! Built in with the feature `lab`, as `make run` and the tests do. A shipped `holdfast` has none: what builds and starts control
//! planes has no place in a program that people run beside their clusters.

use std::path::Path;

use anyhow::Result;
use holdfast_agent::KubeSource;
use holdfast_agent::rights::{self, Scope, Subject};
use holdfast_lab::{ControlPlane, Options, apply};

use super::target::{Target, fingerprint};
use crate::render::remark;

/// What `--help` says beyond the options.
pub(super) const HELP: &str = "\
Without --context it starts a real Kubernetes control plane with good and bad workloads in it, and looks at that.
With --context it names the server and every right that it will use, asks, and then only reads. Secrets are never read.

Examples:
  holdfast up
  holdfast up --context prod-eu --context prod-us
  holdfast up --policy fleet.yaml --data /var/lib/holdfast";

/// The user as whom the lab's agent speaks to its API server.
const LAB_AGENT: &str = "holdfast-agent";

/// A running lab; it ends with the value.
pub(super) struct Lab(ControlPlane);

impl Lab {
    /// Prints how to reach its API server.
    pub(super) fn print_access(&self) {
        remark(&format!("lab      export KUBECONFIG={}", self.0.kubeconfig().display()));
        if !on_path("kubectl") {
            remark(&format!("kubectl  alias kubectl={}", self.0.kubectl_program().display()));
        }
    }
}

/// A lab with its planted workloads, and its agent's rights: what it lists, no more.
pub(super) async fn start(data: &Path) -> Result<(Lab, Target)> {
    remark("starting a lab: a real Kubernetes control plane of its own");
    let options = Options { folder: Some(data.join("lab")), nodes: 1, ..Options::default() };
    let lab = ControlPlane::start_with("lab", options, remark).await?;
    remark("planting workloads, good and bad");
    lab.plant().await?;
    let admin = lab.client().await?;
    let user = Subject::User(LAB_AGENT);
    apply(&admin, &rights::grant(LAB_AGENT, Scope::Cluster, user, &rights::rights())).await?;
    let kube = KubeSource::Client(lab.client_for(LAB_AGENT, &[]).await?);
    let fingerprint = fingerprint(&admin).await?;
    Ok((Lab(lab), Target { name: "lab".to_owned(), kube, fingerprint }))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
