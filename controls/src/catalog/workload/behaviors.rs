//! What containers do that no specification speaks of: one control a sort of act, which differ in data alone.
//! No object shows it; sensors in the kernel tell it as it happens, and `running::behavior` says whose an act is. Such a finding
//! closes when the container that did it is gone and what runs in its place has been watched from its start and kept quiet.

use holdfast_model::{Method, OnDeletion, Severity, SignalKind};

use crate::catalog::{Control, Judge};
use crate::process::Running;

/// Said by each of them for itself.
const NAMELESS: &str = "";

/// What all of them have in common.
const ACT: Control = Control {
    id: NAMELESS,
    version: 1,
    title: NAMELESS,
    severity: Severity::High,
    description: NAMELESS,
    remediation: NAMELESS,
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead, Method::RuntimeRecheck],
    reads: &[],
    judge: Judge::Processes,
    running: None,
    fix: None,
};

pub(crate) const BPF_USED: Control = Control {
    id: "workload.bpf-used",
    title: "Containers do not program the kernel",
    description: "A process of the container used bpf(): with it a program can read every process of the node and hide \
                  from those who look.",
    remediation: "Find out what the program is for. Where it is meant to do so, accept the risk for this workload; where \
                  it is not, take its image from service, drop CAP_BPF and CAP_SYS_ADMIN, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::Bpf])),
    ..ACT
};

pub(crate) const CLOUD_METADATA_REACHED: Control = Control {
    id: "workload.cloud-metadata-reached",
    title: "Containers do not turn to the cloud's metadata service",
    description: "A process of the container began a connection to the address where the cloud answers a node about itself. \
                  Whoever is answered there gets the node's credentials, its start-up script and its identity: the usual \
                  way from one container into the cloud's account. Whether it was answered, the kernel does not tell.",
    remediation: "Let a NetworkPolicy that selects the Pods allow egress only where it is needed, so that \
                  169.254.169.254/32 and the other addresses of the service are not among it (a rule for 0.0.0.0/0 takes \
                  them under `except`), and let nodes answer at one hop only. Give the workload an identity of its own \
                  (EKS Pod Identity or IRSA, workload identity), keep its cloud library from asking the node \
                  (`AWS_EC2_METADATA_DISABLED=true`), and replace the Pods: one that goes on asking stays here, refused \
                  or not.",
    running: Some(Running::Behaviors(&[SignalKind::MetadataRequest])),
    ..ACT
};

pub(crate) const ETC_WRITTEN: Control = Control {
    id: "workload.etc-written",
    title: "Nothing changes /etc of a read-only container",
    severity: Severity::Medium,
    description: "A file under /etc was opened for writing, though the root of the container is read-only: something that \
                  can be written is mounted there, and users, names or trust can be changed by whoever breaks in.",
    remediation: "Mount configuration read-only, or elsewhere than under /etc, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::EtcWrite])),
    ..ACT
};

pub(crate) const FOREIGN_BINARY: Control = Control {
    id: "workload.foreign-binary",
    title: "Containers run only what their image brought",
    description: "A program was started that the image did not bring: it was put onto a volume, or has no file at all. \
                  That is how an intruder's tools run where the root file system is read-only.",
    remediation: "Find out where the program came from. Mount volumes that hold data without the right to execute, put \
                  programs into the image, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::ForeignBinary])),
    ..ACT
};

pub(crate) const MODULE_LOADED: Control = Control {
    id: "workload.module-loaded",
    title: "Containers load no kernel module",
    severity: Severity::Critical,
    description: "The container loaded a module into the node's kernel. A module is the kernel: nothing on that node can \
                  be believed that the module may have touched.",
    remediation: "Treat the node as broken into unless the workload is meant to install drivers: replace the node, drop \
                  CAP_SYS_MODULE, and load modules by the node's own configuration.",
    running: Some(Running::Behaviors(&[SignalKind::ModuleLoad])),
    ..ACT
};

pub(crate) const MOUNT_MADE: Control = Control {
    id: "workload.mount-made",
    title: "Containers mount nothing themselves",
    description: "A process of the container mounted something, or changed its root: a step in most ways out of a \
                  container, and nothing that an ordinary program does.",
    remediation: "Let the Pod's specification name the volumes that it needs, drop CAP_SYS_ADMIN, keep the runtime's \
                  seccomp profile, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::Mount])),
    ..ACT
};

pub(crate) const NAMESPACE_ENTERED: Control = Control {
    id: "workload.namespace-entered",
    title: "Containers stay in their namespaces",
    description: "A process of the container entered other namespaces or made new ones: so one leaves a container, and so \
                  one gets at parts of the kernel that are closed otherwise. Browsers and image builders do it by design.",
    remediation: "Where it is meant to do so, accept the risk for this workload. Where it is not, drop CAP_SYS_ADMIN, keep \
                  the runtime's seccomp profile, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::NamespaceEntry])),
    ..ACT
};

pub(crate) const PROCESS_TRACED: Control = Control {
    id: "workload.process-traced",
    title: "Containers trace no process",
    severity: Severity::Medium,
    description: "A process took hold of another one's memory or execution: a debugger does so, and whoever wants the \
                  keys that a process holds.",
    remediation: "Debug in a copy of the Pod; drop CAP_SYS_PTRACE, do not share process namespaces, and replace the Pods.",
    running: Some(Running::Behaviors(&[SignalKind::Ptrace])),
    ..ACT
};

pub(crate) const SENSITIVE_FILE_OPENED: Control = Control {
    id: "workload.sensitive-file-opened",
    title: "Containers open no credentials of others",
    description: "The container opened a file that holds credentials of the node, of the cluster or of users, or the \
                  socket of a container runtime: whoever has one of these has more than the container.",
    remediation: "Find out what the program wanted with it, take the file out of the container, and replace what may \
                  have been read.",
    running: Some(Running::Behaviors(&[SignalKind::SensitiveOpen])),
    ..ACT
};

pub(crate) const UNEXPECTED_SHELL: Control = Control {
    id: "workload.unexpected-shell",
    title: "No shell is started in running containers",
    severity: Severity::Medium,
    description: "A shell was started in the container after its own first program: by somebody with `kubectl exec`, by a \
                  script or a probe, or by an intruder through the program. Only the first two are meant to be.",
    remediation: "Find out who started it, when, and how. Build images without a shell, let probes call a program of \
                  their own, and replace Pods in which somebody has worked by hand.",
    running: Some(Running::Behaviors(&[SignalKind::Shell])),
    ..ACT
};
