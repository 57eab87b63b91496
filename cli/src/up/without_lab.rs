//! No lab: what `holdfast up` says without a context where it was built without the feature `lab`.

use std::path::Path;

use anyhow::{Result, bail};

use super::target::Target;

/// What `--help` says beyond the options.
pub(super) const HELP: &str = "\
It names the server and every right that it will use, asks, and then only reads. Secrets are never read. This program was built
without the lab; `make run` in the source tree builds and starts one.

Examples:
  holdfast up --context prod-eu --context prod-us
  holdfast up --context prod-eu --policy fleet.yaml --data /var/lib/holdfast";

/// There is none.
pub(super) enum Lab {}

impl Lab {
    /// There is nothing to reach.
    pub(super) fn print_access(&self) {
        match *self {}
    }
}

/// Says what to do instead.
pub(super) async fn start(_data: &Path) -> Result<(Lab, Target)> {
    bail!(
        "name a cluster to look at: `holdfast up --context NAME`, with a context of your kubeconfig. This program was built without \
         the lab; `make run` in the source tree builds and starts one"
    )
}
