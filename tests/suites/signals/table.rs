//! The table: for each kind of signal the command that triggers it, the command of the negative case, and the observation that
//! is expected.
//!
//! `/behaviors/behaviors` is `behaviors.c`: calls that no program of the image makes. Module loads are not here: a kernel
//! without modules has no such tracepoint, and a test must not load a module into the machine's kernel.

use holdfast_model::{RuntimeObservation, SignalKind};

/// A value that must be in no observation.
pub const SECRET: &str = "hUnt3r2";

/// One signal.
pub struct Row {
    /// The name of the container, in both Pods.
    pub name: &'static str,
    /// Whether both are privileged and share the node's process namespace.
    pub privileged: bool,
    /// What triggers the signal, with the same placeholders as in [`Expected::address`].
    pub command: &'static [&'static str],
    /// What the negative case runs: something similar without the signal. Empty where any start of a program has it.
    pub negative: &'static [&'static str],
    /// The observation that must be made.
    pub expected: Expected,
}

/// The expected fields of a runtime observation, apart from its container.
#[derive(Debug)]
pub struct Expected {
    pub kind: SignalKind,
    pub binary: &'static str,
    /// Joined with spaces.
    pub arguments: &'static str,
    pub object: &'static str,
    /// One `*` stands for a part that the kubelet chooses.
    pub path: &'static str,
    /// `{pod}`, `{service}` and `{node}` stand for addresses that the cluster has assigned.
    pub address: &'static str,
    /// What that address resolves to.
    pub peer: &'static str,
}

/// By a program of the image, with every other field empty.
const fn busybox(kind: SignalKind) -> Expected {
    Expected { kind, binary: "/bin/busybox", arguments: "", object: "", path: "", address: "", peer: "" }
}

pub const ROWS: &[Row] = &[
    Row {
        name: "process-start",
        privileged: false,
        command: &["echo", "--password=hUnt3r2", "--user", "admin"],
        negative: &[],
        expected: Expected { arguments: "--password=*** --user ***", ..busybox(SignalKind::ProcessStart) },
    },
    Row {
        name: "privileged-start",
        privileged: true,
        command: &["echo", "--password=hUnt3r2"],
        negative: &[],
        expected: Expected { arguments: "--password=***", ..busybox(SignalKind::PrivilegedStart) },
    },
    Row {
        name: "shell",
        privileged: false,
        command: &["sh", "-c", "exit 0", "--password=hUnt3r2"],
        negative: &["echo", "sh", "-c"],
        expected: Expected { arguments: "-c *** --password=***", ..busybox(SignalKind::Shell) },
    },
    Row {
        name: "foreign-binary",
        privileged: false,
        command: &["sh", "-c", "mkdir -p /tmp && cp /bin/busybox /tmp/echo && /tmp/echo --password=hUnt3r2"],
        negative: &["sh", "-c", "mkdir -p /tmp && cp /bin/busybox /tmp/echo && echo"],
        expected: Expected { binary: "/tmp/echo", arguments: "--password=***", ..busybox(SignalKind::ForeignBinary) },
    },
    Row {
        name: "namespace-made",
        privileged: true,
        command: &["unshare", "-n", "true"],
        negative: &["/behaviors/behaviors", "unshare-files"],
        expected: Expected { object: "unshare net", ..busybox(SignalKind::NamespaceEntry) },
    },
    Row {
        name: "namespace-entered",
        privileged: true,
        // The lab's API server runs in the machine's own network namespace.
        command: &["sh", "-c", "nsenter -t $(pidof kube-apiserver | cut -d ' ' -f 1) -n true"],
        negative: &["sh", "-c", "readlink /proc/$(pidof kube-apiserver | cut -d ' ' -f 1)/ns/net"],
        expected: Expected {
            object: "setns; now in the node's user, pid, net, cgroup",
            ..busybox(SignalKind::NamespaceEntry)
        },
    },
    Row {
        name: "mount",
        privileged: true,
        command: &["sh", "-c", "mkdir /made && mount -t tmpfs none /made"],
        negative: &["sh", "-c", "! mount -t tmpfs none /absent"],
        expected: Expected { object: "mount", path: "/made", ..busybox(SignalKind::Mount) },
    },
    Row {
        name: "trace",
        privileged: false,
        command: &["/behaviors/behaviors", "trace"],
        negative: &["/behaviors/behaviors", "trace-refused"],
        expected: Expected { binary: "/behaviors/behaviors", object: "PTRACE_TRACEME", ..busybox(SignalKind::Ptrace) },
    },
    Row {
        name: "bpf",
        privileged: true,
        command: &["/behaviors/behaviors", "map"],
        negative: &["/behaviors/behaviors", "map-refused"],
        expected: Expected { binary: "/behaviors/behaviors", object: "BPF_MAP_CREATE", ..busybox(SignalKind::Bpf) },
    },
    Row {
        name: "capability",
        privileged: false,
        command: &["sh", "-c", "touch /given && chown 1234 /given"],
        // Giving a file to its own owner needs no capability.
        negative: &["sh", "-c", "touch /given && chown 0 /given"],
        expected: Expected { object: "CHOWN", ..busybox(SignalKind::CapabilityUsed) },
    },
    Row {
        name: "token",
        privileged: false,
        command: &["wc", "-c", "/var/run/secrets/kubernetes.io/serviceaccount/token"],
        negative: &["wc", "-c", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"],
        expected: Expected {
            object: "service-account-token",
            path: "/var/run/secrets/kubernetes.io/serviceaccount/*/token",
            ..busybox(SignalKind::SensitiveOpen)
        },
    },
    Row {
        name: "shadow",
        privileged: false,
        command: &["wc", "-c", "/etc/shadow"],
        // These include files on the node's disk that the runtime mounts into every container.
        negative: &["wc", "-c", "/etc/passwd", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf"],
        expected: Expected { object: "shadow", path: "/etc/shadow", ..busybox(SignalKind::SensitiveOpen) },
    },
    Row {
        name: "etc-write",
        privileged: false,
        command: &["touch", "/etc/written"],
        negative: &["touch", "/written"],
        expected: Expected { path: "/etc/written", ..busybox(SignalKind::EtcWrite) },
    },
    Row {
        name: "connect",
        privileged: false,
        // The API server, by its service.
        command: &["sh", "-c", "nc -w 5 10.0.0.1 443 </dev/null || true"],
        negative: &["httpd", "-p", "127.0.0.1:8081"],
        expected: Expected { address: "10.0.0.1:443", peer: "the API server", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "connect-pod",
        privileged: false,
        command: &["sh", "-c", "nc -w 1 {pod} 8080 </dev/null || true"],
        negative: &["httpd", "-p", "8090"],
        expected: Expected {
            address: "{pod}:8080",
            peer: "Pod shop/{pod-name} of Deployment shop/negative",
            ..busybox(SignalKind::Connect)
        },
    },
    Row {
        name: "connect-service",
        privileged: false,
        command: &["sh", "-c", "nc -w 1 {service} 80 </dev/null || true"],
        negative: &["httpd", "-p", "8091"],
        expected: Expected { address: "{service}:80", peer: "Service shop/negative", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "connect-node",
        privileged: false,
        command: &["sh", "-c", "nc -w 1 {node} 9 </dev/null || true"],
        negative: &["httpd", "-p", "8092"],
        expected: Expected { address: "{node}:9", peer: "node node-0", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "metadata",
        privileged: false,
        command: &["sh", "-c", "nc -w 1 169.254.169.254 80 </dev/null || true"],
        // The same address is also a name server.
        negative: &["sh", "-c", "nc -w 1 169.254.169.254 53 </dev/null || true"],
        expected: Expected {
            object: "AWS, Azure, Google Cloud, OpenStack and others",
            address: "169.254.169.254:80",
            peer: "the metadata service of AWS, Azure, Google Cloud, OpenStack and others",
            ..busybox(SignalKind::MetadataRequest)
        },
    },
    Row {
        name: "connect-outside",
        privileged: false,
        // A documentation address (RFC 5737) that is assigned to the lab's node: nothing leaves the machine.
        command: &["sh", "-c", "nc -w 1 203.0.113.7 443 </dev/null || true"],
        negative: &["httpd", "-p", "8094"],
        expected: Expected { address: "203.0.113.7:443", peer: "outside the cluster", ..busybox(SignalKind::Connect) },
    },
    Row {
        name: "listen",
        privileged: false,
        command: &["httpd", "-p", "127.0.0.1:8080"],
        negative: &["sh", "-c", "! nc -w 1 127.0.0.1 9"],
        expected: Expected { address: "127.0.0.1:8080", peer: "the Pod itself", ..busybox(SignalKind::Listen) },
    },
    Row {
        name: "connect-udp",
        privileged: false,
        command: &["/behaviors/behaviors", "udp-connect"],
        negative: &["/behaviors/behaviors", "udp-any"],
        expected: Expected {
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
        command: &["/behaviors/behaviors", "udp-send"],
        negative: &["/behaviors/behaviors", "udp-any"],
        expected: Expected {
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
        command: &["/behaviors/behaviors", "udp-listen"],
        negative: &["/behaviors/behaviors", "udp-any"],
        expected: Expected {
            binary: "/behaviors/behaviors",
            object: "udp",
            address: "127.0.0.1:5300",
            peer: "the Pod itself",
            ..busybox(SignalKind::Listen)
        },
    },
];

impl Expected {
    /// Whether an observation has these fields and this address.
    pub fn matches(&self, observation: &RuntimeObservation, expected: &str) -> bool {
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
