//! Flags volumes that only a cluster's administrator should write. Pod Security Standards, restricted, "Volume Types":
//! everything but `configMap`, `csi`, `downwardAPI`, `emptyDir`, `ephemeral`, `image`, `persistentVolumeClaim`,
//! `projected` and `secret`.
//! `hostPath` is `workload.host-path`. A source that this version does not know is flagged: nobody has said that it is
//! safe.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::facts::pod::{PodSpec, Source, short};

pub(crate) const CONTROL: Control = Control {
    id: "workload.volume-types",
    version: 1,
    title: "Pods use the volume types that are made for their authors",
    severity: Severity::Low,
    description: "Volumes such as `nfs`, `iscsi` or `rbd`, written into a pod, let its author name any server and \
                  any export, mount it with the rights of the node, and exercise drivers in its kernel.",
    remediation: "Use a PersistentVolumeClaim, or an inline `csi` volume: the administrator then decides which \
                  servers are mounted.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge),
    running: None,
    fix: None,
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for (i, volume) in pod.volumes.iter().enumerate() {
        if let Source::Restricted(source) = &volume.source
            && &**source != "hostPath"
        {
            fails.push(Location::field(format!("volumes[{i}].{}", short(source)), short(&volume.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_source_is_named() {
        fires(
            &CONTROL,
            "volumes: [{name: a, emptyDir: {}}, {name: b, nfs: {server: x, path: /}}, {name: c, newfangled: {}}]",
            expect![[r#"
                volumes[1].nfs = b
                volumes[2].newfangled = c"#]],
        );
    }

    #[test]
    fn a_volume_without_a_source_is_an_empty_dir() {
        silent(
            &CONTROL,
            "volumes: [{name: a}, {name: b, nfs: null}, {name: c, hostPath: {path: /}}, {name: d, ephemeral: {}}]",
        );
    }
}
