//! Flags volumes from the node's file system. Pod Security Standards, baseline, "HostPath Volumes":
//! `volumes[*].hostPath` must be undefined.
//! There is no patch: what the mounts of such a volume should read instead is the author's to say.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::facts::pod::{PodSpec, short};
use crate::process::{Mount, Running, RuntimeVerdict};

pub(crate) const CONTROL: Control = Control {
    id: "workload.host-path",
    version: 1,
    title: "Pods mount nothing from their node",
    severity: Severity::High,
    description: "A `hostPath` volume shows the container files of its node. Through the right ones (a container \
                  runtime socket, the kubelet folder, system paths) the container becomes the node.",
    remediation: "Use a volume that is made for pods: `emptyDir`, a PersistentVolumeClaim, `configMap`, `projected`. \
                  Where a node agent needs the path, mount the narrowest folder read-only and record an exception.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Pod(judge),
    running: Some(Running::Mount(nothing_from_the_node)),
    fix: None,
};

fn judge(pod: &PodSpec, fails: &mut Vec<Location>) {
    for (i, volume) in pod.volumes.iter().enumerate() {
        if let Some(path) = &volume.host_path {
            fails.push(Location::field(format!("volumes[{i}].hostPath"), short(path)));
        }
    }
}

/// Nothing from the node but the Pod's own folder, which the kubelet makes, and the few files that every
/// runtime makes for a Pod. A volume that a driver or an administrator provides may be a folder of the node: whether it
/// should be is not this control's question, where that volume is mounted.
fn nothing_from_the_node(mount: &Mount<'_>) -> RuntimeVerdict {
    let source = &mount.mount.source;
    let own_folder = !mount.pod.is_empty() && source.contains(&format!("/pods/{}/", mount.pod));
    let provided = mount.spec.is_some_and(|spec| spec.is_provided(&mount.mount.target));
    if own_folder || provided || is_of_the_runtime(mount) {
        return RuntimeVerdict::Agrees;
    }
    let how = if mount.mount.writable { "writable" } else { "read-only" };
    RuntimeVerdict::Contradicts(format!("it is {} of the node, {how}", short(source)))
}

/// Files that runtimes make for each sandbox, under a folder that is named after its 64 hexadecimal digits.
fn is_of_the_runtime(mount: &Mount<'_>) -> bool {
    const TARGETS: [&str; 6] =
        ["/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets"];
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    TARGETS.contains(&mount.mount.target.as_str()) && mount.mount.source.split('/').any(is_id)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_path_is_shown() {
        fires(
            &CONTROL,
            "volumes: [{name: tmp, emptyDir: {}}, {name: sock, hostPath: {path: /run/containerd}}]",
            expect!["volumes[1].hostPath = /run/containerd"],
        );
    }

    #[test]
    fn a_null_host_path_is_none() {
        silent(
            &CONTROL,
            "volumes: [{name: data, hostPath: null, persistentVolumeClaim: {claimName: data}}, {name: nfs, nfs: {path: /}}]",
        );
    }
}
