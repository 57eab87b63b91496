//! The table: for each kind of signal what a container does, what its quiet twin does instead, and what must be told of it.
//!
//! `/behaviors/behaviors` is `behaviors.c`: calls that no small program of the image makes. Not here: module-load, as a kernel without
//! modules has no such tracepoint, and a test must not load modules into somebody's machine.

use holdfast_model::{RuntimeObservation, SignalKind};

/// A value that must leave the node nowhere.
pub const SECRET: &str = "hUnt3r2";

/// One signal.
pub struct Row {
    /// The container that does it, and its twin's.
    pub name: &'static str,
    /// Whether both are privileged and see the node's processes.
    pub privileged: bool,
    /// What it runs; with the same names of addresses as in [`Told::address`].
    pub does: &'static [&'static str],
    /// What its twin runs instead: something near that is no such act. Empty where any start of a program would be one.
    pub quiet: &'static [&'static str],
    /// What is told.
    pub told: Told,
}

/// What a runtime observation says beside whose it is.
#[derive(Debug)]
pub struct Told {
    pub kind: SignalKind,
    pub binary: &'static str,
    /// With spaces between.
    pub arguments: &'static str,
    pub object: &'static str,
    /// One `*` stands for what the kubelet has chosen.
    pub path: &'static str,
    /// `{pod}`, `{service}` and `{node}` stand for addresses that the cluster has given.
    pub address: &'static str,
    /// Whose that address is.
    pub peer: &'static str,
}

/// By a program of the image, with nothing to add.
const fn busybox(kind: SignalKind) -> Told {
    Told { kind, binary: "/bin/busybox", arguments: "", object: "", path: "", address: "", peer: "" }
}

pub const ROWS: &[Row] = &[
    Row {
        name: "process-start",
        privileged: false,
        does: &["echo", "--password=hUnt3r2", "--user", "admin"],
        quiet: &[],
        told: Told { arguments: "--password=*** --user ***", ..busybox(SignalKind::ProcessStart) },
    },
    Row {
        name: "privileged-start",
        privileged: true,
        does: &["echo", "--password=hUnt3r2"],
        quiet: &[],
        told: Told { arguments: "--password=***", ..busybox(SignalKind::PrivilegedStart) },
    },
    Row {
        name: "shell",
        privileged: false,
        does: &["sh", "-c", "exit 0", "--password=hUnt3r2"],
        quiet: &["echo", "sh", "-c"],
        told: Told { arguments: "-c *** --password=***", ..busybox(SignalKind::Shell) },
    },
    Row {
        name: "foreign-binary",
        privileged: false,
        does: &["sh", "-c", "mkdir -p /tmp && cp /bin/busybox /tmp/echo && /tmp/echo --password=hUnt3r2"],
        quiet: &["sh", "-c", "mkdir -p /tmp && cp /bin/busybox /tmp/echo && echo"],
        told: Told { binary: "/tmp/echo", arguments: "--password=***", ..busybox(SignalKind::ForeignBinary) },
    },
    Row {
        name: "namespace-made",
        privileged: true,
        does: &["unshare", "-n", "true"],
        quiet: &["/behaviors/behaviors", "unshare-files"],
        told: Told { object: "unshare net", ..busybox(SignalKind::NamespaceEntry) },
    },
    Row {
        name: "namespace-entered",
        privileged: true,
        // A lab's API server runs beside its nodes: in the network of the machine whose kernel this is.
        does: &["sh", "-c", "nsenter -t $(pidof kube-apiserver | cut -d ' ' -f 1) -n true"],
        quiet: &["sh", "-c", "readlink /proc/$(pidof kube-apiserver | cut -d ' ' -f 1)/ns/net"],
        told: Told { object: "setns; now in the node's user, pid, net, cgroup", ..busybox(SignalKind::NamespaceEntry) },
    },
    Row {
        name: "mount",
        privileged: true,
        does: &["sh", "-c", "mkdir /given && mount -t tmpfs none /given"],
        quiet: &["sh", "-c", "! mount -t tmpfs none /absent"],
        told: Told { object: "mount", path: "/given", ..busybox(SignalKind::Mount) },
    },
    Row {
        name: "trace",
        privileged: false,
        does: &["/behaviors/behaviors", "trace"],
        quiet: &["/behaviors/behaviors", "trace-refused"],
        told: Told { binary: "/behaviors/behaviors", object: "PTRACE_TRACEME", ..busybox(SignalKind::Ptrace) },
    },
    Row {
        name: "bpf",
        privileged: true,
        does: &["/behaviors/behaviors", "map"],
        quiet: &["/behaviors/behaviors", "map-refused"],
        told: Told { binary: "/behaviors/behaviors", object: "BPF_MAP_CREATE", ..busybox(SignalKind::Bpf) },
    },
    Row {
        name: "capability",
        privileged: false,
        does: &["sh", "-c", "touch /given && chown 1234 /given"],
        // An owner may give a file to himself without any capability.
        quiet: &["sh", "-c", "touch /given && chown 0 /given"],
        told: Told { object: "CHOWN", ..busybox(SignalKind::CapabilityUsed) },
    },
    Row {
        name: "token",
        privileged: false,
        does: &["wc", "-c", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
        quiet: &["wc", "-c", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"],
        told: Told {
            object: "service-account-token",
            path: "/var/run/secrets/kubernetes.io/serviceaccount/*/token",
            ..busybox(SignalKind::SensitiveOpen)
        },
    },
    Row {
        name: "shadow",
        privileged: false,
        does: &["wc", "-c", "/etc/shadow"],
        // Among them files of the node's disk that the runtime gives to every container.
        quiet: &["wc", "-c", "/etc/passwd", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"],
        told: Told { object: "shadow", path: "/etc/shadow", ..busybox(SignalKind::SensitiveOpen) },
    },
    Row {
        name: "etc-write",
        privileged: false,
        does: &["touch", "/etc/written"],
        quiet: &["touch", "/written"],
        told: Told { path: "/etc/written", ..busybox(SignalKind::EtcWrite) },
    },
    Row {
        name: "connect",
        privileged: false,
        // The API server, by its service.
        does: &["sh", "-c", "nc -w 5 10.0.0.1 443 </dev/null || true"],
        quiet: &["httpd", "-p", "127.0.0.1:8081"],
        told: Told { address: "10.0.0.1:443", peer: "the API server", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "connect-pod",
        privileged: false,
        does: &["sh", "-c", "nc -w 1 {pod} 8080 </dev/null || true"],
        quiet: &["httpd", "-p", "8090"],
        told: Told {
            address: "{pod}:8080",
            peer: "Pod shop/{pod-name} of Deployment shop/quiet",
            ..busybox(SignalKind::Connect)
        },
    },
    Row {
        name: "connect-service",
        privileged: false,
        does: &["sh", "-c", "nc -w 1 {service} 80 </dev/null || true"],
        quiet: &["httpd", "-p", "8091"],
        told: Told { address: "{service}:80", peer: "Service shop/quiet", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "connect-node",
        privileged: false,
        does: &["sh", "-c", "nc -w 1 {node} 9 </dev/null || true"],
        quiet: &["httpd", "-p", "8092"],
        told: Told { address: "{node}:9", peer: "node node-0", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "metadata",
        privileged: false,
        does: &["sh", "-c", "nc -w 1 169.254.169.254 80 </dev/null || true"],
        // There the same address answers names.
        quiet: &["sh", "-c", "nc -w 1 169.254.169.254 53 </dev/null || true"],
        told: Told {
            object: "AWS, Azure, Google Cloud, OpenStack and others",
            address: "169.254.169.254:80",
            peer: "the metadata service of AWS, Azure, Google Cloud, OpenStack and others",
            ..busybox(SignalKind::MetadataAsked)
        },
    },
    Row {
        name: "connect-outside",
        privileged: false,
        // An address of documentation (RFC 5737), which the lab's node has taken: nothing leaves the machine.
        does: &["sh", "-c", "nc -w 1 203.0.113.7 443 </dev/null || true"],
        quiet: &["httpd", "-p", "8094"],
        told: Told { address: "203.0.113.7:443", peer: "outside the cluster", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "listen",
        privileged: false,
        does: &["httpd", "-p", "127.0.0.1:8080"],
        quiet: &["sh", "-c", "! nc -w 1 127.0.0.1 9"],
        told: Told { address: "127.0.0.1:8080", peer: "the Pod itself", ..busybox(SignalKind::Listen) },
    },
    Row {
        name: "connect-udp",
        privileged: false,
        does: &["/behaviors/behaviors", "udp-connect"],
        quiet: &["/behaviors/behaviors", "udp-any"],
        told: Told {
            binary: "/behaviors/behaviors",
            object: "udp",
            address: "127.0.0.1:5300",
            peer: "the Pod itself",
            ..busybox(SignalKind::Connect)
        },
    },
    Row {
        name: "send-udp",
        privileged: false,
        does: &["/behaviors/behaviors", "udp-send"],
        quiet: &["/behaviors/behaviors", "udp-any"],
        told: Told {
            binary: "/behaviors/behaviors",
            object: "udp",
            address: "127.0.0.1:5300",
            peer: "the Pod itself",
            ..busybox(SignalKind::Connect)
        },
    },
    Row {
        name: "listen-udp",
        privileged: false,
        does: &["/behaviors/behaviors", "udp-listen"],
        quiet: &["/behaviors/behaviors", "udp-any"],
        told: Told {
            binary: "/behaviors/behaviors",
            object: "udp",
            address: "127.0.0.1:5300",
            peer: "the Pod itself",
            ..busybox(SignalKind::Listen)
        },
    },
];

impl Told {
    /// Whether this runtime observation tells it, of this address.
    pub fn by(&self, observation: &RuntimeObservation, expected: &str) -> bool {
        let address = observation.address.map(|address| address.to_string()).unwrap_or_default();
        let path = match self.path.split_once('*') {
            Some((start, end)) => observation.path.starts_with(start) && observation.path.ends_with(end),
            None => observation.path == self.path,
        };
        path && observation.kind == self.kind
            && observation.binary == self.binary
            && observation.arguments.join(" ") == self.arguments
            && observation.object == self.object
            && address == expected
    }
}
