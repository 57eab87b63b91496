//! One table a rule: a Pod in YAML, what the kernel shows of its container, and what the control says to it. The near misses
//! stand beside what they are near to.

use holdfast_model::kernel::{HostMount, Namespaces, Privileges, ProcessGroup, RunningContainer, Seccomp};

use holdfast_model::container_observation::{ContainerObservation, ObservationWindows};

use super::{ObservedContainer, RuntimeJudgement};
use crate::catalog::Control;
use crate::catalog::check::pod;
use crate::facts::pod::PodSpec;
use crate::process::capability::{ALL, set};

mod over_time;

const HOST: Namespaces = Namespaces { user: 1, pid: 2, net: 3, mnt: 4, ipc: 5, uts: 6, cgroup: 7 };
const OWN: Namespaces = Namespaces { user: 1, pid: 12, net: 13, mnt: 14, ipc: 15, uts: 16, cgroup: 17 };

/// A process that every control likes.
fn confined() -> Privileges {
    Privileges {
        uid: 1000,
        gid: 1000,
        effective: 0,
        permitted: 0,
        bounding: 0,
        seccomp: Seccomp::Filter,
        no_new_privs: true,
        namespaces: OWN,
        lsm_label: None,
        root_read_only: Some(true),
    }
}

fn group(privileges: Privileges) -> ProcessGroup {
    ProcessGroup { privileges, processes: 1, pid: 4711, name: "nginx".into(), started: 1 }
}

fn container(privileges: Privileges) -> RunningContainer {
    RunningContainer {
        pod: "uid-1".into(),
        id: "c".repeat(64),
        name: Some("web".into()),
        process_groups: vec![group(privileges)],
        host_mounts: Some(Vec::new()),
        listening: Some(Vec::new()),
        observation: Some(idle()),
        incomplete: None,
    }
}

/// ContainerObservation from its start for two days, and it did nothing but what it must.
fn idle() -> ContainerObservation {
    ContainerObservation {
        since: 0,
        from_start: true,
        until: 2 * ObservationWindows::default().unused_after,
        gaps: Vec::new(),
        capabilities: 0,
        root_written: false,
        token_read: false,
        behaviors: Vec::new(),
    }
}

fn seen<'a>(container: &'a RunningContainer, listed: Option<&'a PodSpec>) -> ObservedContainer<'a> {
    let windows = ObservationWindows::default();
    ObservedContainer { node: "node-1", pod: "web-7d4b9", container, host: &HOST, listed, template: None, windows }
}

fn shown(control: &str, yaml: Option<&str>, container: &RunningContainer) -> RuntimeJudgement {
    let listed = yaml.map(pod);
    let mut shown = RuntimeJudgement::default();
    shown.ask(Control::find(control).unwrap(), &seen(container, listed.as_ref()));
    shown.settle()
}

/// `agrees`, the kernel's fact, or `unread: …`.
fn says(control: &str, yaml: Option<&str>, privileges: Privileges) -> String {
    word(shown(control, yaml, &container(privileges)))
}

fn word(shown: RuntimeJudgement) -> String {
    match (&shown.contradictions[..], &shown.unread[..]) {
        ([], []) => "agrees".to_owned(),
        ([one], []) => one.value.clone(),
        ([], [why]) => format!("unread: {}", why.rsplit_once(": ").unwrap().1),
        more => panic!("one process, one word: {more:?}"),
    }
}

#[track_caller]
fn table(control: &str, cases: &[(&str, Option<&str>, Privileges, &str)]) {
    for (name, yaml, privileges, expected) in cases {
        assert_eq!(says(control, *yaml, privileges.clone()), *expected, "{control}: {name}");
    }
}

const PLAIN: Option<&str> = Some("{containers: [{name: web}]}");
const PRIVILEGED: Option<&str> = Some("{containers: [{name: web, securityContext: {privileged: true}}]}");
const DROPPED: Option<&str> = Some("{containers: [{name: web, securityContext: {capabilities: {drop: [ALL]}}}]}");
const UNLISTED: Option<&str> = None;

fn default_root() -> Privileges {
    let default = set(crate::process::rights::BY_DEFAULT);
    Privileges { uid: 0, effective: default, permitted: default, bounding: default, ..confined() }
}

/// As the lab's privileged Pod showed it: the machine itself lacks CAP_SYS_RESOURCE.
fn privileged() -> Privileges {
    let all = ALL & !set(["SYS_RESOURCE"]);
    Privileges {
        uid: 0,
        effective: all,
        permitted: all,
        bounding: all,
        seccomp: Seccomp::Disabled,
        no_new_privs: false,
        root_read_only: Some(false),
        ..confined()
    }
}

/// A program that made a user namespace for itself: all capabilities inside it, none outside.
fn in_its_own_user_namespace(privileges: Privileges) -> Privileges {
    let namespaces = Namespaces { user: 99, ..OWN };
    Privileges { effective: ALL, permitted: ALL, bounding: ALL, namespaces, ..privileges }
}

#[test]
fn privileged_is_nearly_every_capability_without_a_seccomp_filter() {
    let fact = "CapEff has CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH, CAP_LINUX_IMMUTABLE, CAP_NET_BROADCAST and 22 more and no \
                seccomp filter";
    let not_root = Privileges { uid: 1000, effective: 0, permitted: 0, ..privileged() };
    let adds_all = Some("{containers: [{name: web, securityContext: {capabilities: {add: [ALL]}}}]}");
    table(
        "workload.privileged",
        &[
            ("a privileged process under a fixed template", PLAIN, privileged(), fact),
            ("of a Pod that is not listed", UNLISTED, privileged(), fact),
            ("as another user the bounding set tells", PLAIN, not_root, &fact.replace("CapEff", "CapBnd")),
            (
                "all capabilities behind a filter are added ones",
                PLAIN,
                Privileges { seccomp: Seccomp::Filter, ..privileged() },
                "agrees",
            ),
            ("so are those that the specification adds by name", adds_all, privileged(), "agrees"),
            ("root with the runtime's default set", PLAIN, default_root(), "agrees"),
            (
                "one capability too many is another control's",
                PLAIN,
                Privileges { bounding: set(["SYS_ADMIN"]), seccomp: Seccomp::Disabled, ..confined() },
                "agrees",
            ),
            ("a browser's sandbox", PLAIN, in_its_own_user_namespace(privileged()), "agrees"),
            (
                "the same where nobody knows the Pod",
                UNLISTED,
                in_its_own_user_namespace(privileged()),
                "unread: it has a user namespace of its own, and no specification says whether it should",
            ),
            (
                "a namespace that was not read",
                PLAIN,
                Privileges { namespaces: Namespaces { user: 0, ..OWN }, ..privileged() },
                "unread: its user namespace could not be read",
            ),
        ],
    );
}

#[test]
fn a_capability_beyond_the_default_set_was_added_whoever_added_it() {
    let with = |names: &[&str]| Privileges { bounding: set(names.iter().copied()), ..confined() };
    let effective = Privileges { effective: set(["SYS_ADMIN"]), ..with(&["SYS_ADMIN"]) };
    table(
        "workload.capabilities-added",
        &[
            ("in force", PLAIN, effective, "CapEff has CAP_SYS_ADMIN"),
            ("within reach of an exec", PLAIN, with(&["SYS_ADMIN", "BPF"]), "CapBnd has CAP_SYS_ADMIN, CAP_BPF"),
            ("the runtime's default set", PLAIN, default_root(), "agrees"),
            ("NET_RAW is in it", PLAIN, with(&["NET_RAW"]), "agrees"),
            ("a privileged specification is another control's", PRIVILEGED, privileged(), "agrees"),
            ("a browser's sandbox", PLAIN, in_its_own_user_namespace(confined()), "agrees"),
        ],
    );
}

#[test]
fn dropped_capabilities_are_out_of_reach_but_for_those_that_are_added() {
    let bind = Privileges { bounding: set(["NET_BIND_SERVICE"]), ..confined() };
    let adds =
        Some("{containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}]}");
    let fact = "CapEff has CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID and 10 more";
    table(
        "workload.capabilities-not-dropped",
        &[
            ("the default set in spite of the drop", DROPPED, default_root(), fact),
            (
                "as another user it is still within reach",
                DROPPED,
                Privileges { effective: 0, permitted: 0, ..default_root() },
                &fact.replace("CapEff", "CapBnd"),
            ),
            ("what was added back is another control's", adds, bind.clone(), "agrees"),
            ("what was not", DROPPED, bind.clone(), "CapBnd has CAP_NET_BIND_SERVICE"),
            ("the standard allows it where nobody knows the Pod", UNLISTED, bind, "agrees"),
            ("none", DROPPED, confined(), "agrees"),
        ],
    );
}

#[test]
fn capabilities_are_restored_only_where_all_were_dropped() {
    let chown = Privileges { bounding: set(["CHOWN"]), ..confined() };
    table(
        "workload.capabilities-restored",
        &[
            ("one is back", DROPPED, chown.clone(), "CapBnd has CAP_CHOWN"),
            ("none was dropped", PLAIN, default_root(), "agrees"),
            (
                "NET_BIND_SERVICE may be back",
                DROPPED,
                Privileges { bounding: set(["NET_BIND_SERVICE"]), ..confined() },
                "agrees",
            ),
            (
                "beyond the set it is an added one",
                DROPPED,
                Privileges { bounding: set(["SYS_ADMIN"]), ..confined() },
                "agrees",
            ),
            ("nobody knows the Pod", UNLISTED, chown, "CapBnd has CAP_CHOWN"),
        ],
    );
}

#[test]
fn no_new_privs_is_what_forbids_escalation() {
    table(
        "workload.privilege-escalation",
        &[
            ("set", PLAIN, confined(), "agrees"),
            ("not set", PLAIN, Privileges { no_new_privs: false, ..confined() }, "no_new_privs is not set"),
        ],
    );
}

#[test]
fn root_is_the_hosts_uid_0_whatever_a_user_namespace_calls_it() {
    let mapped = Privileges { uid: 65_536, namespaces: Namespaces { user: 99, ..OWN }, ..confined() };
    table(
        "workload.run-as-non-root",
        &[
            ("root", PLAIN, default_root(), "it runs as uid 0 of the node"),
            ("root of its own user namespace", PLAIN, mapped, "agrees"),
            ("the group 0 is no root", PLAIN, Privileges { gid: 0, ..confined() }, "agrees"),
            ("an image that drops to another user", PLAIN, Privileges { uid: 33, ..confined() }, "agrees"),
        ],
    );
    let asks = Some("{securityContext: {runAsUser: 1000}, containers: [{name: web}]}");
    table(
        "workload.run-as-root-user",
        &[
            (
                "another is asked for",
                asks,
                default_root(),
                "it runs as uid 0 of the node, where user 1000 is asked for",
            ),
            ("another runs", asks, Privileges { uid: 33, ..confined() }, "agrees"),
            ("the image decides, and another control looks", PLAIN, default_root(), "agrees"),
        ],
    );
}

#[test]
fn a_profile_that_is_asked_for_filters() {
    let open = || Privileges { seccomp: Seccomp::Disabled, ..confined() };
    let fact = "Seccomp is 0: no system call is filtered";
    let asks =
        |kind: &str| format!("{{securityContext: {{seccompProfile: {{type: {kind}}}}}, containers: [{{name: web}}]}}");
    let (default, unconfined) = (asks("RuntimeDefault"), asks("Unconfined"));
    let privileged = "{securityContext: {seccompProfile: {type: RuntimeDefault}}, containers: [{name: web, securityContext: {privileged: true}}]}";
    for control in ["workload.seccomp-unset", "workload.seccomp-unconfined"] {
        table(
            control,
            &[
                ("not in force", Some(&default), open(), fact),
                ("in force", Some(&default), confined(), "agrees"),
                ("strict is stricter", Some(&default), Privileges { seccomp: Seccomp::Strict, ..confined() }, "agrees"),
                ("unconfined flags the specification", Some(&unconfined), open(), "agrees"),
                ("so does unset", PLAIN, open(), "agrees"),
                ("a privileged container gets none", Some(privileged), open(), "agrees"),
                ("nobody knows the Pod", UNLISTED, open(), fact),
            ],
        );
    }
}

#[test]
fn a_shared_namespace_is_the_hosts_only_if_it_is_the_same_one() {
    let unread = "unread: its namespaces could not be read";
    let of = |namespaces| Privileges { namespaces, ..confined() };
    table(
        "workload.host-pid",
        &[
            ("the host's", PLAIN, of(Namespaces { pid: HOST.pid, ..OWN }), "its process namespace is the node's (2)"),
            ("shared between the Pod's containers", PLAIN, of(OWN), "agrees"),
            ("another one of the host's", PLAIN, of(Namespaces { net: HOST.net, ..OWN }), "agrees"),
            ("not read", PLAIN, of(Namespaces { pid: 0, ..OWN }), unread),
        ],
    );
    let net = of(Namespaces { net: HOST.net, ..OWN });
    table("workload.host-network", &[("the host's", PLAIN, net, "its network namespace is the node's (3)")]);
    let ipc = of(Namespaces { ipc: HOST.ipc, ..OWN });
    table("workload.host-ipc", &[("the host's", PLAIN, ipc, "its IPC namespace is the node's (5)")]);
}

#[test]
fn a_root_that_could_not_be_read_is_no_read_only_root() {
    let of = |root_read_only| Privileges { root_read_only, ..confined() };
    let debugger = Some("{containers: [{name: x}], ephemeralContainers: [{name: web}]}");
    table(
        "workload.read-only-root",
        &[
            ("read-only", PLAIN, of(Some(true)), "agrees"),
            ("writable", PLAIN, of(Some(false)), "its root is mounted writable"),
            ("not read", PLAIN, of(None), "unread: how its root is mounted could not be read"),
            ("a debugger's is made to be written to", debugger, of(Some(false)), "agrees"),
        ],
    );
}

#[test]
fn what_comes_from_the_node_is_named_and_what_every_pod_gets_is_not() {
    let id = "a".repeat(64);
    let says = |yaml, target: &str, source: &str, writable| {
        let mount = HostMount { target: target.into(), source: source.into(), writable };
        let container = RunningContainer { host_mounts: Some(vec![mount]), ..container(confined()) };
        word(shown("workload.host-path", yaml, &container))
    };
    let claim = Some(
        "{volumes: [{name: a, persistentVolumeClaim: {claimName: a}}, {name: b, emptyDir: {}}], containers: [{name: web,
         volumeMounts: [{name: a, mountPath: /data/}, {name: b, mountPath: /cache}]}]}",
    );
    let empty_dir = Some("{volumes: [{name: a, emptyDir: {}}], containers: [{name: web}]}");
    assert_eq!(says(PLAIN, "/host", "/etc", true), "it is /etc of the node, writable");
    assert_eq!(says(empty_dir, "/host", "/", false), "it is / of the node, read-only");
    assert_eq!(says(PLAIN, "/data", "/var/lib/kubelet/pods/uid-1/volumes/kubernetes.io~empty-dir/a", true), "agrees");
    assert_eq!(
        says(PLAIN, "/data", "/var/lib/kubelet/pods/uid-2/volumes/kubernetes.io~empty-dir/a", true),
        "it is /var/lib/kubelet/pods/uid-2/volumes/kubernetes.io~empty-dir/a of the node, writable",
        "another Pod's folder"
    );
    assert_eq!(says(PLAIN, "/etc/resolv.conf", &format!("/run/sandboxes/{id}/resolv.conf"), true), "agrees");
    assert_eq!(says(PLAIN, "/etc/hosts", "/etc/hosts", true), "it is /etc/hosts of the node, writable");
    assert_eq!(
        says(PLAIN, "/x", &format!("/sandboxes/{id}/x"), false),
        format!("it is /sandboxes/{id}/x of the node, read-only")
    );
    assert_eq!(says(claim, "/data", "/mnt/disks/ssd1", true), "agrees", "a local volume of the administrator's");
    assert_eq!(says(claim, "/data/deeper", "/mnt/disks/ssd1/deeper", true), "agrees", "what he mounts below it");
    assert_eq!(says(claim, "/database", "/etc", true), "it is /etc of the node, writable", "beside the claim's place");
    assert_eq!(says(claim, "/cache", "/etc", true), "it is /etc of the node, writable", "over another volume's place");
    assert_eq!(says(claim, "/", "/etc", true), "it is /etc of the node, writable", "above it");
    let unread = RunningContainer { host_mounts: None, ..container(confined()) };
    assert_eq!(word(shown("workload.host-path", PLAIN, &unread)), "unread: its mounts could not be read");
}

#[test]
fn the_runtimes_own_processes_are_not_the_workloads() {
    let process = |name: &str, started| ProcessGroup { name: name.into(), started, ..group(privileged()) };
    let unlisted = |id: &str, process_groups: Vec<ProcessGroup>| RunningContainer {
        id: id.into(),
        name: None,
        process_groups,
        ..container(confined())
    };
    let sandbox = unlisted("s", vec![process("pause", 10)]);
    let of = |containers: &[RunningContainer]| {
        super::sandboxes(containers).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let web = RunningContainer { id: "w".into(), process_groups: vec![process("nginx", 20)], ..container(confined()) };
    assert_eq!(of(&[web.clone(), sandbox.clone()]), ["s"], "it holds the namespaces open");
    let also = unlisted("x", vec![process("pause", 20)]);
    assert_eq!(of(&[also.clone(), sandbox.clone()]), ["s"], "a container that calls itself pause came later");
    let earlier = RunningContainer { process_groups: vec![process("nginx", 5)], ..web };
    assert!(of(&[earlier, also]).is_empty(), "whatever is named so, nothing of a Pod starts before its sandbox");
    let crowd = unlisted("s", vec![ProcessGroup { processes: 2, ..process("pause", 10) }]);
    assert!(of(&[crowd]).is_empty(), "a sandbox has one process");
    let named = RunningContainer { name: Some("web".into()), ..sandbox.clone() };
    assert!(of(&[named]).is_empty(), "a container of the API server's is none");
    let other = RunningContainer { pod: "uid-2".into(), ..unlisted("t", vec![process("pause", 30)]) };
    assert_eq!(of(&[sandbox, other]), ["s", "t"], "each Pod has its own");

    let of_the_pod = |namespaces| {
        let privileges = Privileges { namespaces, ..privileged() };
        RunningContainer {
            id: String::new(),
            name: None,
            process_groups: vec![group(privileges)],
            ..container(confined())
        }
    };
    let shown = |namespaces| shown("workload.privileged", PLAIN, &of_the_pod(namespaces));
    assert_eq!(shown(HOST), RuntimeJudgement::default(), "as conmon is");
    assert_eq!(shown(Namespaces { mnt: 77, ..HOST }).unread.len(), 1, "it left its container");
    assert_eq!(shown(Namespaces { net: 13, ..HOST }).unread.len(), 1, "and is in the node's mounts now");
    assert_eq!(shown(Namespaces { mnt: 0, ..HOST }).unread.len(), 1, "nobody knows where it is");
}

#[test]
fn a_container_that_was_not_seen_whole_never_agrees_and_what_was_seen_still_counts() {
    let crowd = RunningContainer { incomplete: Some("it has too many".into()), ..container(confined()) };
    for control in crate::catalog::all().filter(|control| control.running.is_some()) {
        let shown = shown(control.id, PLAIN, &crowd);
        let [why, ..] = &shown.unread[..] else { panic!("{}: {shown:?}", control.id) };
        assert_eq!(why, "Pod web-7d4b9 on node node-1, container web, the whole of it: it has too many");
    }
    let crowd = RunningContainer { process_groups: vec![group(privileged())], ..crowd };
    assert_eq!(shown("workload.privileged", PLAIN, &crowd).contradictions.len(), 1);
}

#[test]
fn a_contradiction_names_pod_node_container_process_and_the_kernels_fact() {
    let three = ProcessGroup { processes: 4, ..group(privileged()) };
    let mixed = RunningContainer { process_groups: vec![group(confined()), three], ..container(confined()) };
    let shown = shown("workload.run-as-non-root", PLAIN, &mixed);
    assert_eq!(shown.processes, 5);
    let [place] = &shown.contradictions[..] else { panic!("{shown:?}") };
    assert_eq!(place.object.as_deref(), Some("Pod web-7d4b9 on node node-1"));
    assert_eq!(place.container.as_deref(), Some("web"));
    assert_eq!(place.path, "process nginx (pid 4711) and 3 like it");
    assert_eq!(place.value, "it runs as uid 0 of the node");
}

#[test]
fn a_container_that_its_pod_does_not_list_is_judged_by_the_kernel_alone() {
    let stranger = RunningContainer { name: None, ..container(privileged()) };
    let shown = shown("workload.host-pid", PLAIN, &stranger);
    assert!(shown.contradictions.is_empty() && shown.processes == 1, "{shown:?}");
    let shown = self::shown("workload.privileged", PLAIN, &stranger);
    assert_eq!(shown.contradictions[0].container.as_deref(), Some("cccccccccccc (not listed)"));
}

#[test]
fn a_process_that_every_control_likes_agrees_with_all_of_them_and_the_privileged_one_with_few() {
    let strict = "{securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}},
        containers: [{name: web, securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true,
        capabilities: {drop: [ALL]}}}]}";
    let mut contradicted = Vec::new();
    for control in crate::catalog::all().filter(|control| control.running.is_some()) {
        assert_eq!(says(control.id, Some(strict), confined()), "agrees", "{}", control.id);
        if says(control.id, Some(strict), privileged()) != "agrees" {
            contradicted.push(control.id);
        }
    }
    expect_test::expect![[r#"
        workload.capabilities-added
        workload.capabilities-not-dropped
        workload.capabilities-restored
        workload.capabilities-unused
        workload.hardening-not-in-force
        workload.privilege-escalation
        workload.privileged
        workload.read-only-root
        workload.run-as-non-root
        workload.run-as-root-user
        workload.seccomp-unconfined
        workload.seccomp-unset
        workload.writable-root-unused"#]]
    .assert_eq(&contradicted.join("\n"));
}

#[test]
fn hardening_that_is_asked_for_and_not_in_force_is_one_finding_of_its_own() {
    let with_one = Privileges { effective: set(["SYS_ADMIN"]), bounding: set(["SYS_ADMIN"]), ..confined() };
    let fact = "CapEff has CAP_SYS_ADMIN, though its specification meets workload.capabilities-added";
    let nothing = "{containers: [{name: web, securityContext: {privileged: true, capabilities: {add: [ALL]}}}]}";
    table(
        "workload.hardening-not-in-force",
        &[
            ("a capability that was dropped", DROPPED, with_one.clone(), fact),
            (
                "as confined as it asks to be",
                DROPPED,
                Privileges { seccomp: Seccomp::Disabled, uid: 0, ..confined() },
                "agrees",
            ),
            ("a specification that asks for little gets little", Some(nothing), privileged(), "agrees"),
            (
                "nobody knows what an unlisted container asked for",
                UNLISTED,
                privileged(),
                "unread: no specification of its container is listed",
            ),
        ],
    );
    let pod = pod(DROPPED.unwrap());
    let container = container(with_one);
    let found: Vec<_> =
        super::evidence(&seen(&container, Some(&pod))).into_iter().map(|(control, _)| control.id).collect();
    assert_eq!(found, ["workload.hardening-not-in-force"], "one cause, one finding");
}

#[test]
fn what_posture_flags_and_the_kernel_shows_is_evidence_on_the_same_control() {
    let pod = pod(PRIVILEGED.unwrap());
    let container = container(privileged());
    let found: Vec<_> =
        super::evidence(&seen(&container, Some(&pod))).into_iter().map(|(control, _)| control.id).collect();
    expect_test::expect![[r#"
        workload.privilege-escalation
        workload.privileged
        workload.read-only-root
        workload.run-as-non-root"#]]
    .assert_eq(&found.join("\n"));
}
