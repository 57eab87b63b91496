//! Files that containers opened: credentials, files of the node, files under /etc for writing, and sockets of runtimes.
//!
//! The program sends files whose name is on a list and files on a file system of the node; the meaning is decided here, from the
//! path that the kernel itself has. A kubelet's rotated client certificate has its date in its name, and is reported as a host
//! path only.

use holdfast_model::SignalKind;

use super::event::path_of;
use super::{At, Behavior, Context, Event, Hook, Sensor, Signal};
use crate::Owner;
use crate::bytes::until_zero;
use crate::text::escaped;
use crate::view::mounts::PodFiles;

const NAMED: u32 = 1;
const OF_NODE: u32 = 2;
const ETC_WRITE: u32 = 4;
const RUNTIME_SOCKET: u32 = 8;

/// Names that the program looks for (at most 31 bytes), what the path must contain, and what the file then is.
const CREDENTIALS: &[(&str, &str, &str)] = &[
    ("token", "/serviceaccount/", "service-account-token"),
    ("shadow", "/etc/", "shadow"),
    ("gshadow", "/etc/", "shadow"),
    ("kubelet.conf", "/kubernetes/", "kubelet-credentials"),
    ("bootstrap-kubelet.conf", "/kubernetes/", "kubelet-credentials"),
    ("kubeconfig", "/kubelet/", "kubelet-credentials"),
    ("kubelet.key", "/pki/", "kubelet-credentials"),
    ("admin.conf", "/kubernetes/", "cluster-credentials"),
    ("super-admin.conf", "/kubernetes/", "cluster-credentials"),
    ("controller-manager.conf", "/kubernetes/", "cluster-credentials"),
    ("scheduler.conf", "/kubernetes/", "cluster-credentials"),
    ("ca.key", "/pki/", "cluster-credentials"),
    ("sa.key", "/pki/", "cluster-credentials"),
    ("apiserver.key", "/pki/", "cluster-credentials"),
];
const SOCKETS: &[&str] =
    &["docker.sock", "containerd.sock", "crio.sock", "cri-dockerd.sock", "dockershim.sock", "podman.sock"];
/// Files that a runtime mounts into every container from a folder of its own.
const BY_RUNTIME: &[&str] = &["/resolv.conf", "/hostname", "/hosts"];

pub(super) const SENSOR: Sensor = Sensor {
    id: "file",
    hooks: &[
        Hook::needed("file_opened", At::Call("openat")),
        Hook::needed("file_opened", At::Call("openat2")),
        Hook::needed("file_connect", At::Call("connect")),
        // Newer architectures have never had these two.
        Hook::optional("file_opened", At::Call("open")),
        Hook::optional("file_opened", At::Call("creat")),
    ],
    behaviors: &[Behavior { name: "OPENED", kinds: &[SignalKind::SensitiveOpen, SignalKind::EtcWrite] }],
    contributes_to: &[SignalKind::RootWrite],
    decode,
};

/// The names that the program looks for.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CREDENTIALS.iter().map(|(name, ..)| *name)
}

/// A bit for each length that one of them has.
pub(super) fn name_lengths() -> u64 {
    names().fold(0, |lengths, name| lengths | 1 << name.len())
}

fn decode(event: &Event<'_>, context: &Context<'_>) -> Vec<Signal> {
    if event.detail & RUNTIME_SOCKET != 0 {
        let path = escaped(until_zero(event.path));
        let known = SOCKETS.iter().any(|name| path.rsplit('/').next() == Some(*name));
        return known.then(|| sensitive(&path, "runtime-socket")).into_iter().collect();
    }
    let path = path_of(event.path);
    let written = event.detail & ETC_WRITE != 0;
    let write = written.then(|| Signal { path: path.clone(), ..Signal::of(SignalKind::EtcWrite) });
    let credential = (event.detail & NAMED != 0).then(|| credential(&path)).flatten();
    let of_node = (event.detail & OF_NODE != 0).then(|| of_node(event, context)).flatten();
    let opened = credential.map(|object| sensitive(&path, object)).or(of_node);
    write.into_iter().chain(opened).collect()
}

fn sensitive(path: &str, object: &str) -> Signal {
    Signal { path: path.to_owned(), object: object.to_owned(), ..Signal::of(SignalKind::SensitiveOpen) }
}

fn credential(path: &str) -> Option<&'static str> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = format!("{folder}/");
    CREDENTIALS.iter().find(|(of, within, _)| *of == name && folder.contains(within)).map(|(.., object)| *object)
}

/// A file of the node, unless kubelet or runtime keep it for this Pod.
fn of_node(event: &Event<'_>, context: &Context<'_>) -> Option<Signal> {
    let on_file_system = path_of(event.arguments);
    let device = format!("{}:{}", event.device >> 20, event.device & 0xf_ffff);
    let sources: Vec<String> = context.paths_on_host(&device, &on_file_system).collect();
    let Owner::Pod { pod, container } = context.owner else { return None };
    let own = PodFiles { pod, containers: vec![container.as_str()] };
    let is_runtimes = |source: &String| BY_RUNTIME.iter().any(|name| source.ends_with(name)) && has_id(source);
    if sources.iter().any(|source| own.contains(source) || is_runtimes(source)) {
        return None;
    }
    let source = sources.into_iter().min_by_key(String::len).unwrap_or(on_file_system);
    Some(sensitive(&source, "host-path"))
}

fn has_id(path: &str) -> bool {
    path.split('/').any(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_no_credential() {
        assert_eq!(credential("/run/secrets/kubernetes.io/serviceaccount/..2026/token"), Some("service-account-token"));
        assert_eq!(credential("/etc/shadow"), Some("shadow"));
        assert_eq!(credential("/host/etc/kubernetes/pki/ca.key"), Some("cluster-credentials"));
        assert_eq!(credential("/app/token"), None);
        assert_eq!(credential("/app/shadow"), None);
        assert!(names().all(|name| name.len() < 32));
    }
}
