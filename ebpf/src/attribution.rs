//! The owner of a process: the names of a cgroup and its ancestors -> Pod uid and container id.
//!
//! Pure. The outermost Pod wins: a process that may create cgroups inside its container can give them any name, and must not be
//! attributed to another Pod. A process below a Pod's cgroup always belongs to that Pod, even if the runtime's names of containers
//! are unknown here; a name that only resembles a Pod's is the host's.
//!
//! The uid of a static Pod is the hash of its file (32 digits, no dashes), which is not the uid of its mirror in the API
//! server: the mirror names it in the annotation `kubernetes.io/config.hash`.

/// To whom a process belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The node itself.
    #[default]
    Host,
    /// A container of a Pod.
    Pod {
        /// The Pod's uid, with dashes where it has them.
        pod: String,
        /// The runtime's id of the container; empty for the Pod's own cgroup.
        container: String,
    },
}

/// Monitors that a runtime puts beside its containers: they run in the host's namespaces and are the node's.
const MONITORS: &[&str] = &["crio-conmon-", "libpod-conmon-"];
/// How runtimes mark the scope of a container under systemd, and CRI-O under cgroupfs.
const SCOPES: &[&str] = &["cri-containerd-", "crio-", "docker-", "libpod-"];

/// The owner by the names of a cgroup's path, outermost first.
pub fn owner(names: &[&str]) -> Owner {
    (0..names.len()).find_map(|at| pod_at(names, at)).unwrap_or_default()
}

/// The same from the path as one text: `/kubepods/besteffort/pod<uid>/<container>`. None where it leads above what the reader
/// sees: in a cgroup namespace of its own, other Pods are `/../../pod<uid>/<container>`, and so is everything else.
pub fn owner_of_path(path: &str) -> Option<Owner> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    (!names.contains(&"..")).then(|| owner(&names))
}

fn pod_at(names: &[&str], at: usize) -> Option<Owner> {
    let above = &names[..at];
    if let Some(owner) = unsplit(names[at]) {
        return Some(owner);
    }
    let pod = by_cgroupfs(above, names[at]).or_else(|| by_systemd(above, names[at]))?;
    let below = names.get(at + 1).copied().unwrap_or_default();
    if MONITORS.iter().any(|monitor| below.starts_with(monitor)) {
        return Some(Owner::Host);
    }
    Some(Owner::Pod { pod, container: container(below).unwrap_or_default() })
}

/// `kubepods/pod<uid>`, `kubepods/burstable/pod<uid>`.
fn by_cgroupfs(above: &[&str], name: &str) -> Option<String> {
    let pod = uid(name.strip_prefix("pod")?, '-')?;
    let under = matches!(above, [.., "kubepods"] | [.., "kubepods", "burstable" | "besteffort"]);
    under.then_some(pod)
}

/// `kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice`; a kubelet in a slice of its own prefixes both names.
fn by_systemd(above: &[&str], name: &str) -> Option<String> {
    let (class, pod) = slice(name)?;
    let parent = above.last()?.strip_suffix(".slice")?;
    (parent == class).then_some(pod)
}

/// A runtime with the cgroupfs driver under a kubelet with systemd's writes the three parts of a systemd name as one
/// cgroup: `kubepods-besteffort-pod<uid>.slice:cri-containerd:<container>`.
fn unsplit(name: &str) -> Option<Owner> {
    let mut parts = name.split(':');
    let (first, _, last) = (parts.next()?, parts.next()?, parts.next()?);
    let (_, pod) = slice(first)?;
    Some(Owner::Pod { pod, container: hex(last, 64)? })
}

fn slice(name: &str) -> Option<(&str, String)> {
    let (class, pod) = name.strip_suffix(".slice")?.rsplit_once("-pod")?;
    let tier = class.strip_suffix("-burstable").or_else(|| class.strip_suffix("-besteffort")).unwrap_or(class);
    let is_kubelets = tier == "kubepods" || tier.ends_with("-kubepods");
    Some((class, uid(pod, '_').filter(|_| is_kubelets)?))
}

fn container(name: &str) -> Option<String> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = SCOPES.iter().find_map(|scope| name.strip_prefix(scope)).unwrap_or(name);
    hex(id, 64)
}

/// A UUID whose groups are joined by `joint`, or a static Pod's hash.
fn uid(text: &str, joint: char) -> Option<String> {
    if let Some(hash) = hex(text, 32) {
        return Some(hash);
    }
    let groups: Vec<&str> = text.split(joint).collect();
    let whole =
        groups.len() == 5 && groups.iter().zip([8, 4, 4, 4, 12]).all(|(group, digits)| hex(group, digits).is_some());
    whole.then(|| groups.join("-"))
}

fn hex(text: &str, digits: usize) -> Option<String> {
    let right = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    right.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "1f2e3d4c-0000-4111-8222-0123456789ab";
    const UNDERSCORED: &str = "1f2e3d4c_0000_4111_8222_0123456789ab";
    const STATIC: &str = "0123456789abcdef0123456789abcdef";
    const ID: &str = "aa00000000000000000000000000000000000000000000000000000000000000";

    fn filled(path: &str) -> String {
        path.replace("UNDERSCORED", UNDERSCORED).replace("UID", UID).replace("STATIC", STATIC).replace("ID", ID)
    }

    #[test]
    fn every_driver_and_runtime_names_pod_and_container() {
        for path in [
            "/kubepods/podUID/ID",
            "/kubepods/burstable/podUID/ID",
            "/kubepods/besteffort/podUID/ID",
            "/kubepods/besteffort/podUID/crio-ID",
            "/k8s/kubepods/besteffort/podUID/ID",
            "/kubepods.slice/kubepods-podUNDERSCORED.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUNDERSCORED.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUNDERSCORED.slice/docker-ID.scope",
            "/docker/ID/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podUNDERSCORED.slice/cri-containerd-ID.scope",
            "/system.slice/containerd.service/kubepods-besteffort-podUNDERSCORED.slice:cri-containerd:ID",
            "/kubepods.slice/kubepods-podUNDERSCORED.slice/crio-ID.scope/container/deeper",
        ] {
            let expected = Owner::Pod { pod: UID.to_owned(), container: ID.to_owned() };
            assert_eq!(owner_of_path(&filled(path)), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_static_pod_is_named_by_the_hash_of_its_file() {
        for path in [
            "/kubepods/burstable/podSTATIC/ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podSTATIC.slice/cri-containerd-ID.scope",
        ] {
            let expected = Owner::Pod { pod: STATIC.to_owned(), container: ID.to_owned() };
            assert_eq!(owner_of_path(&filled(path)), Some(expected), "{path}");
        }
    }

    #[test]
    fn a_process_below_a_pod_is_the_pods_however_its_container_is_named() {
        for path in ["/kubepods/podUID", "/kubepods/podUID/vm-17", "/kubepods/podUID/crio-ID-not"] {
            let expected = Owner::Pod { pod: UID.to_owned(), container: String::new() };
            assert_eq!(owner_of_path(&filled(path)), Some(expected), "{path}");
        }
    }

    #[test]
    fn near_misses_are_the_hosts() {
        for path in [
            "/",
            "/system.slice/sshd.service",
            "/podUID/ID",
            "/user.slice/podUID/ID",
            "/kubepods/guaranteed/podUID/ID",
            "/kubepods/besteffort/podnonsense/ID",
            "/kubepods/besteffort/podUID-1/ID",
            "/kubepods.slice/kubepods-burstable-podUNDERSCORED.slice/cri-containerd-ID.scope",
            "/kubepods.slice/notkubepods-podUNDERSCORED.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-podUNDERSCORED.slice/crio-conmon-ID.scope",
            "/docker/ID",
        ] {
            assert_eq!(owner_of_path(&filled(path)), Some(Owner::Host), "{path}");
        }
    }

    #[test]
    fn a_container_that_names_its_own_cgroups_after_another_pod_stays_itself() {
        let other = UID.replace('1', "9");
        let path = filled(&format!("/kubepods/podUID/ID/kubepods/pod{other}/ID"));
        assert_eq!(owner_of_path(&path), Some(Owner::Pod { pod: UID.to_owned(), container: ID.to_owned() }));
    }

    #[test]
    fn what_lies_above_the_readers_own_cgroup_namespace_is_unknown_and_not_the_hosts() {
        for path in [
            "/../../podUID/ID",
            "/../../../burstable/podUID/ID",
            "/../../kubepods-besteffort-podUNDERSCORED.slice/cri-containerd-ID.scope",
            "/../../../../system.slice/sshd.service",
            "/..",
        ] {
            assert_eq!(owner_of_path(&filled(path)), None, "{path}");
        }
        assert_eq!(owner_of_path("/"), Some(Owner::Host));
        assert_eq!(owner_of_path("/..slice"), Some(Owner::Host));
    }
}
