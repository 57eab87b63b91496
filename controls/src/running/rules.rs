//! The rules themselves. A control's own file names the one that it asks.
//!
//! Capabilities count against a node only in the host's user namespace: whoever makes a namespace of its own, as browsers and
//! image builders do, has every capability inside it and none outside. Where the specification is known, such processes
//! agree; where it is not, nobody can say whether the namespace is the Pod's, and they count as unread.

use holdfast_model::kernel::{Namespaces, Seccomp};

use super::capability::{self, names};
use super::{Mount, Process, Running, Spec, Word};
use crate::catalog::{self, Control, Judge};
use crate::facts::pod::PodSpec;
use crate::pod_security::Version;

use Word::{Agrees, Contradicts, Unread};

/// What runtimes give a container that asks for nothing: the fourteen of containerd and Docker. CRI-O gives fewer.
pub(super) const BY_DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// So many capabilities beyond the default set (27 on Linux 6.18) make a container privileged in all but name. A node may lack
/// some itself: nested nodes often lack SYS_RESOURCE, SYS_MODULE or SYS_BOOT.
const NEARLY_ALL: u32 = 20;

/// workload.privileged: nearly every capability within reach and no seccomp filter, which no runtime gives a privileged
/// container. What the specification adds by name is `workload.capabilities-added`'s.
pub(crate) fn not_privileged(process: &Process<'_>) -> Word {
    let explained = process.spec.filter(|spec| !spec.is_privileged()).map_or(0, |spec| spec.adds());
    let beyond = reach(process) & !default_set() & !explained;
    judge_capabilities(process, || {
        let is_privileged = beyond.count_ones() >= NEARLY_ALL && process.privileges.seccomp == Seccomp::Disabled;
        let sentence = || format!("{} has {} and no seccomp filter", held_in(process, beyond), names(beyond));
        if is_privileged { Contradicts(sentence()) } else { Agrees }
    })
}

/// workload.capabilities-added: nothing beyond the runtime's default set. A privileged specification is another control's.
pub(crate) fn none_added(process: &Process<'_>) -> Word {
    let privileged = process.spec.is_some_and(|spec| spec.is_privileged());
    let allowed = if privileged { u64::MAX } else { default_set() };
    only(process, allowed)
}

/// workload.capabilities-not-dropped: nothing but what the specification adds, which other controls judge.
pub(crate) fn all_dropped(process: &Process<'_>) -> Word {
    let added = process.spec.map_or(capability::set(["NET_BIND_SERVICE"]), |spec| spec.adds());
    only(process, added)
}

/// workload.capabilities-restored: once all are dropped, none of the default set is back but NET_BIND_SERVICE. Where they
/// are not dropped, `workload.capabilities-not-dropped` says so; what is beyond the set is `workload.capabilities-added`'s.
pub(crate) fn none_restored(process: &Process<'_>) -> Word {
    if process.spec.is_some_and(|spec| spec.is_privileged() || !spec.drops_all()) {
        return Agrees;
    }
    only(process, !default_set() | capability::set(["NET_BIND_SERVICE"]))
}

/// workload.privilege-escalation: an exec can gain nothing any more.
pub(crate) fn cannot_escalate(process: &Process<'_>) -> Word {
    if process.privileges.no_new_privs { Agrees } else { Contradicts("no_new_privs is not set".to_owned()) }
}

/// workload.run-as-non-root: not root as the host counts users, whatever the process calls itself inside a user namespace.
pub(crate) fn not_root(process: &Process<'_>) -> Word {
    if process.privileges.uid == 0 { Contradicts("it runs as uid 0 of the node".to_owned()) } else { Agrees }
}

/// workload.run-as-root-user: where another user is asked for, it is not root after all. Where none is, the image decides,
/// and `workload.run-as-non-root` watches it.
pub(crate) fn not_root_when_another_is_asked_for(process: &Process<'_>) -> Word {
    match process.spec.map(|spec| spec.user()) {
        Some(None | Some(0)) => Agrees,
        Some(Some(user)) if process.privileges.uid == 0 => {
            Contradicts(format!("it runs as uid 0 of the node, where user {user} is asked for"))
        }
        Some(Some(_)) => Agrees,
        None => not_root(process),
    }
}

/// workload.seccomp-unset and workload.seccomp-unconfined: a profile that is asked for is in force. Where none is asked for,
/// or one that does not confine, one of the two flags the specification; a privileged container gets none.
pub(crate) fn filtered(process: &Process<'_>) -> Word {
    let asked =
        |spec: super::Spec<'_>| !spec.is_privileged() && spec.seccomp().is_some_and(|profile| profile.confines());
    if process.privileges.seccomp == Seccomp::Disabled && process.spec.is_none_or(asked) {
        Contradicts("Seccomp is 0: no system call is filtered".to_owned())
    } else {
        Agrees
    }
}

/// workload.host-pid.
pub(crate) fn own_pid(process: &Process<'_>) -> Word {
    own("process", process, |namespaces| namespaces.pid)
}

/// workload.host-network.
pub(crate) fn own_net(process: &Process<'_>) -> Word {
    own("network", process, |namespaces| namespaces.net)
}

/// workload.host-ipc.
pub(crate) fn own_ipc(process: &Process<'_>) -> Word {
    own("IPC", process, |namespaces| namespaces.ipc)
}

/// workload.read-only-root. Ephemeral containers are made to be written to.
pub(crate) fn root_read_only(process: &Process<'_>) -> Word {
    if process.spec.is_some_and(|spec| spec.is_ephemeral()) {
        return Agrees;
    }
    match process.privileges.root_read_only {
        Some(true) => Agrees,
        Some(false) => Contradicts("its root is mounted writable".to_owned()),
        None => Unread("how its root is mounted could not be read".into()),
    }
}

/// workload.host-path: nothing from the node but the Pod's own folder, which the kubelet makes, and the few files that every
/// runtime makes for a Pod. A volume that a driver or an administrator provides may be a folder of the node: whether it
/// should be is not this control's question, where that volume is mounted.
pub(crate) fn nothing_from_the_node(mount: &Mount<'_>) -> Word {
    let source = &mount.mount.source;
    let own_folder = !mount.pod.is_empty() && source.contains(&format!("/pods/{}/", mount.pod));
    let provided = mount.spec.is_some_and(|spec| spec.is_provided(&mount.mount.target));
    if own_folder || provided || is_of_the_runtime(mount) {
        return Agrees;
    }
    let how = if mount.mount.writable { "writable" } else { "read-only" };
    Contradicts(format!("it is {} of the node, {how}", crate::facts::pod::short(source)))
}

/// Files that runtimes make for each sandbox, under a folder that is named after its 64 hexadecimal digits.
fn is_of_the_runtime(mount: &Mount<'_>) -> bool {
    const TARGETS: [&str; 6] =
        ["/dev/shm", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/run/.containerenv", "/run/secrets"];
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    TARGETS.contains(&mount.mount.target.as_str()) && mount.mount.source.split('/').any(is_id)
}

/// workload.hardening-not-in-force: every control on processes whose judge the specification passes is met. The first
/// contradiction speaks.
pub(crate) fn as_specified(process: &Process<'_>) -> Word {
    let Some(spec) = process.spec else { return Unread("no specification of its container is listed".into()) };
    let mut unread = None;
    for control in catalog::all().filter(|control| asks_for(control, &spec)) {
        let Some(Running::Process(rule)) = control.running else { continue };
        match rule(process) {
            Agrees => {}
            Contradicts(fact) => return Contradicts(format!("{fact}, though its specification meets {}", control.id)),
            Unread(why) => unread = Some(why),
        }
    }
    unread.map_or(Agrees, Unread)
}

/// Whether a specification meets a control that judges specifications.
fn asks_for(control: &Control, spec: &Spec<'_>) -> bool {
    !matches!(control.judge, Judge::Processes) && control.running.is_some() && is_met(control, spec.pod)
}

/// Whether a Pod's specification meets a control, by the newest version of the standards.
pub(crate) fn is_met(control: &Control, pod: &PodSpec) -> bool {
    let mut fails = Vec::new();
    control.judge.pod(pod, Version::LATEST, &mut fails);
    fails.is_empty()
}

fn own(what: &str, process: &Process<'_>, of: impl Fn(&Namespaces) -> u32) -> Word {
    match (of(&process.privileges.namespaces), of(process.host)) {
        (0, _) | (_, 0) => Unread("its namespaces could not be read".into()),
        (its, hosts) if its == hosts => Contradicts(format!("its {what} namespace is the node's ({its})")),
        _ => Agrees,
    }
}

/// It holds none but these capabilities.
fn only(process: &Process<'_>, allowed: u64) -> Word {
    let beyond = reach(process) & !allowed;
    judge_capabilities(process, || match beyond {
        0 => Agrees,
        _ => Contradicts(format!("{} has {}", held_in(process, beyond), names(beyond))),
    })
}

/// Capabilities of the host's user namespace count; those of another one reach nothing of the node.
fn judge_capabilities(process: &Process<'_>, judge: impl FnOnce() -> Word) -> Word {
    match (process.privileges.namespaces.user, process.host.user) {
        (0, _) | (_, 0) => Unread("its user namespace could not be read".into()),
        (its, hosts) if its == hosts => judge(),
        _ if process.spec.is_some() => Agrees,
        _ => Unread("it has a user namespace of its own, and no specification says whether it should".into()),
    }
}

/// Everything that it has or that an exec could still gain.
fn reach(process: &Process<'_>) -> u64 {
    let privileges = process.privileges;
    privileges.effective | privileges.permitted | privileges.bounding
}

/// The strongest of its sets that holds one of these, as /proc calls it.
fn held_in(process: &Process<'_>, capabilities: u64) -> &'static str {
    let privileges = process.privileges;
    if privileges.effective & capabilities != 0 {
        "CapEff"
    } else if privileges.permitted & capabilities != 0 {
        "CapPrm"
    } else {
        "CapBnd"
    }
}

pub(super) fn default_set() -> u64 {
    capability::set(BY_DEFAULT)
}
