//! Controls that take time: what was never used, and what was done. The near misses are those of watching: not from the
//! start, not for long enough, with a gap, and another Pod of the same workload that does use it.

use holdfast_model::SignalKind;
use holdfast_model::container_observation::{
    ContainerObservation, ListeningSocket, ObservationGap, ObservationWindows, ObservedBehavior, Transport,
};
use holdfast_model::kernel::{Privileges, RunningContainer};

use super::super::{ObservedContainer, RuntimeJudgement, Used};
use super::{HOST, confined, container, default_root, idle, privileged, seen, word};
use crate::catalog::Control;
use crate::catalog::check::pod;
use crate::facts::{self, Facts, Workload, workload};

const PLAIN: &str = "{containers: [{name: web}]}";
const STRICT: &str =
    "{containers: [{name: web, securityContext: {readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}}]}";
const CAPABILITIES: &str = "workload.capabilities-unused";
const ROOT: &str = "workload.writable-root-unused";
const TOKEN: &str = "workload.token-unused";
const SHELL: &str = "workload.unexpected-shell";

fn watched_by(watched: Option<ContainerObservation>) -> RunningContainer {
    let privileges = Privileges { root_read_only: Some(false), ..default_root() };
    RunningContainer { observation: watched, ..container(privileges) }
}

/// What a control says of one container.
fn says(control: &str, yaml: &str, container: &RunningContainer) -> String {
    word(super::shown(control, Some(yaml), container))
}

fn gap(kinds: &[SignalKind]) -> ContainerObservation {
    ContainerObservation {
        gaps: vec![ObservationGap { kinds: kinds.to_vec(), reason: "3 behaviors were lost".into() }],
        ..idle()
    }
}

#[test]
fn unused_is_said_of_what_was_watched_from_its_start_for_long_enough_without_a_gap() {
    let short = ContainerObservation { until: 60_000, ..idle() };
    let late = ContainerObservation { from_start: false, ..idle() };
    let none = "CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID and 10 more: none was ever used";
    let missed = "unread: 3 behaviors were lost";
    let token = "{containers: [{name: web}], volumes: [{name: kube-api-access-x2b4f, projected: {}}]}";
    let used = |change: fn(&mut ContainerObservation)| {
        let mut watched = idle();
        change(&mut watched);
        watched
    };
    for (control, name, yaml, watched, expected) in [
        (CAPABILITIES, "never used", PLAIN, Some(idle()), none),
        (CAPABILITIES, "one is used", PLAIN, Some(used(|w| w.capabilities = 1)), "agrees"),
        (
            CAPABILITIES,
            "not for long enough",
            PLAIN,
            Some(short.clone()),
            "unread: it has been watched for 60 s of 24 h",
        ),
        (CAPABILITIES, "not from its start", PLAIN, Some(late), "unread: it has not been watched from its start"),
        (CAPABILITIES, "not watched", PLAIN, None, "unread: no sensor watches it"),
        (CAPABILITIES, "something was lost", PLAIN, Some(gap(&[])), missed),
        (CAPABILITIES, "of another sort", PLAIN, Some(gap(&[SignalKind::Bpf])), none),
        (
            CAPABILITIES,
            "used before the gap",
            PLAIN,
            Some(ContainerObservation { capabilities: 1, ..gap(&[]) }),
            "agrees",
        ),
        (ROOT, "never written", PLAIN, Some(idle()), "it can be written, and never was"),
        (ROOT, "written", PLAIN, Some(used(|w| w.root_written = true)), "agrees"),
        (ROOT, "not for long enough", PLAIN, Some(short.clone()), "unread: it has been watched for 60 s of 24 h"),
        (TOKEN, "never read", token, Some(idle()), "its token is mounted, and was never read"),
        (TOKEN, "read", token, Some(used(|w| w.token_read = true)), "agrees"),
        (TOKEN, "none is mounted", PLAIN, Some(idle()), "agrees"),
        (TOKEN, "something was lost", token, Some(gap(&[SignalKind::SensitiveOpen])), missed),
    ] {
        assert_eq!(says(control, yaml, &watched_by(watched)), expected, "{control}: {name}");
    }
}

#[test]
fn what_is_not_given_cannot_be_unused() {
    let unlisted = ContainerObservation { from_start: false, ..idle() };
    for (control, in_force) in [(CAPABILITIES, "its specification drops"), (ROOT, "should be read-only, and is not")] {
        let confined = RunningContainer { observation: Some(unlisted.clone()), ..container(confined()) };
        assert_eq!(says(control, STRICT, &confined), "agrees", "{control}");
        let privileged = RunningContainer { observation: Some(idle()), ..container(privileged()) };
        let yaml = "{containers: [{name: web, securityContext: {privileged: true}}]}";
        // Another control says so, and whoever makes it privileged has mended nothing.
        assert_eq!(says(control, yaml, &privileged), "unread: it is privileged", "{control}");
        let said = says(control, STRICT, &watched_by(Some(idle())));
        assert!(said.starts_with("unread: ") && said.ends_with(in_force), "{control}: {said}");
    }
    let nobodys = super::shown(CAPABILITIES, None, &watched_by(Some(idle())));
    assert_eq!(word(nobodys), "unread: nobody knows what it was given");
}

#[test]
fn a_capability_that_is_added_by_name_is_a_place_of_its_own() {
    let yaml =
        "{containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [CHOWN, SETUID, SYS_ADMIN]}}}]}";
    let has = 1 | 1 << 7 | 1 << 21;
    let privileges = Privileges { effective: has, permitted: has, bounding: has, ..default_root() };
    let with = |capabilities| {
        let watched = Some(ContainerObservation { capabilities, ..idle() });
        RunningContainer { observation: watched, ..container(privileges.clone()) }
    };
    assert_eq!(says(CAPABILITIES, yaml, &with(1)), "CAP_SETUID was never used");
    assert_eq!(says(CAPABILITIES, yaml, &with(1 | 1 << 7)), "agrees", "of CAP_SYS_ADMIN nothing can be said");
}

/// A Deployment with this Pod as template, and a Pod of it that looks so.
fn of_template(template: &str, yaml: &str, containers: &[RunningContainer]) -> RuntimeJudgement {
    let spec: serde_json::Value = serde_saphyr::from_str(template).unwrap();
    let object = serde_json::json!({"metadata": {"name": "web"}, "spec": {"template": {"spec": spec}}});
    let Facts::Workload(template) = facts::project(&workload::DEPLOYMENT, object).unwrap().facts else {
        unreachable!()
    };
    let template: Workload = template;
    let pod = pod(yaml);
    let mut shown = RuntimeJudgement::default();
    for container in containers {
        let seen = ObservedContainer { template: Some(&template), ..seen(container, Some(&pod)) };
        shown.ask(Control::find(CAPABILITIES).unwrap(), &seen);
    }
    shown.settle()
}

#[test]
fn what_the_template_gives_has_a_patch_and_what_only_an_old_pod_has_is_the_pods() {
    let control = Control::find(CAPABILITIES).unwrap();
    let shown = of_template(PLAIN, PLAIN, &[watched_by(Some(idle()))]);
    assert_eq!(shown.contradictions[0].path, "spec.template.spec.containers[0].securityContext");
    let patch = crate::fix::patch(control, &shown.contradictions).unwrap();
    let expected = r#"[{"op":"add","path":"/spec/template/spec/containers/0/securityContext","value":{"capabilities":{"drop":["ALL"]}}}]"#;
    assert_eq!(serde_json::to_string(&patch).unwrap(), expected);

    let shown = of_template(STRICT, PLAIN, &[watched_by(Some(idle()))]);
    assert_eq!(shown.contradictions[0].object.as_deref(), Some("Pod web-7d4b9 on node node-1"));
    assert_eq!(crate::fix::patch(control, &shown.contradictions), None);
}

#[test]
fn one_pod_that_uses_a_thing_answers_for_all_and_one_that_nobody_watched_leaves_it_open() {
    let (unused, used) =
        (watched_by(Some(idle())), watched_by(Some(ContainerObservation { capabilities: 1, ..idle() })));
    let unwatched = watched_by(None);
    let both = |one: &RunningContainer, other: &RunningContainer| {
        let together = word(of_template(PLAIN, PLAIN, &[one.clone(), other.clone()]));
        let mut folded = Used::default();
        for container in [other, one] {
            let pod = pod(PLAIN);
            folded.fold(&Used::of(crate::process::Allowance::Capabilities, &seen(container, Some(&pod))));
        }
        let (places, unread) = folded.settle();
        let apart = match (&places[..], &unread[..]) {
            ([], []) => "agrees".to_owned(),
            ([place, ..], _) => place.value.clone(),
            (_, [why, ..]) => format!("unread: {}", why.rsplit_once(": ").unwrap().1),
        };
        assert_eq!(together, apart, "in any order, and piece by piece");
        together
    };
    assert_eq!(both(&unused, &used), "agrees");
    assert_eq!(both(&used, &unwatched), "agrees");
    assert_eq!(both(&unused, &unwatched), "unread: no sensor watches it");
    assert!(both(&unused, &unused).ends_with("none was ever used"));
}

#[test]
fn whose_a_socket_of_the_nodes_network_is_nobody_can_say() {
    let port = "workload.undeclared-port";
    let socket = ListeningSocket { transport: Transport::Tcp, address: [0, 0, 0, 0].into(), port: 8080 };
    let open = |net: u32| {
        let mut running = RunningContainer { listening: Some(vec![socket.clone()]), ..container(confined()) };
        running.process_groups[0].privileges.namespaces.net = net;
        running
    };
    let own = super::OWN.net;
    let undeclared = "tcp port 8080 is open at 0.0.0.0, and no containerPort declares it";
    assert_eq!(says(port, PLAIN, &open(own)), undeclared);
    assert_eq!(says(port, "{containers: [{name: web, ports: [{containerPort: 8080}]}]}", &open(own)), "agrees");
    let nobody = "unread: it has the node's network, where nobody can say whose a socket is";
    assert_eq!(says(port, PLAIN, &open(HOST.net)), nobody);
    let unread = RunningContainer { listening: None, ..open(own) };
    assert_eq!(says(port, PLAIN, &unread), "unread: they could not be read");
    assert_eq!(word(super::shown(port, None, &open(own))), "unread: no Pod declares its ports");
}

fn shell(count: u64) -> ContainerObservation {
    let done = ObservedBehavior {
        kind: SignalKind::Shell,
        object: String::new(),
        name: "sh".into(),
        pid: 4711,
        count,
        first: 1_000,
        last: idle().until - 12_000,
    };
    ContainerObservation { behaviors: vec![done], ..idle() }
}

#[test]
fn a_container_is_quiet_if_it_was_watched_from_its_start_for_the_window_and_did_nothing() {
    let seven = "shell by sh (pid 4711) 7 times, the last 12 s ago";
    let short = ContainerObservation { until: 30_000, ..idle() };
    let late = ContainerObservation { from_start: false, ..idle() };
    for (name, watched, expected) in [
        ("quiet", Some(idle()), "agrees"),
        ("seven shells are one place", Some(shell(7)), seven),
        ("a gap takes nothing back", Some(ContainerObservation { gaps: gap(&[]).gaps, ..shell(7) }), seven),
        (
            "nor does a short life",
            Some(ContainerObservation { from_start: false, ..shell(1) }),
            "shell by sh (pid 4711) once, the last 12 s ago",
        ),
        ("not for long enough", Some(short), "unread: it has been watched for 30 s of 10 min"),
        ("not from its start", Some(late), "unread: it has not been watched from its start"),
        ("not watched", None, "unread: no sensor watches it"),
        ("something was lost", Some(gap(&[SignalKind::Shell])), "unread: 3 behaviors were lost"),
        ("of another sort", Some(gap(&[SignalKind::Mount])), "agrees"),
    ] {
        assert_eq!(says(SHELL, PLAIN, &watched_by(watched)), expected, "{name}");
    }
}

#[test]
fn an_act_that_another_control_answers_for_does_not_hold_this_one_open() {
    let mut watched = shell(1);
    watched.behaviors[0].kind = SignalKind::EtcWrite;
    let container = watched_by(Some(watched));
    assert_eq!(says("workload.etc-written", PLAIN, &container), "agrees", "workload.read-only-root answers");
    assert!(says("workload.etc-written", STRICT, &container).starts_with("etc-write by sh"));
}

#[test]
fn the_window_is_the_callers() {
    let short = ContainerObservation { until: 30_000, ..idle() };
    let container = watched_by(Some(short));
    let (pod, windows) = (pod(PLAIN), ObservationWindows { unused_after: 30_000, idle_after: 30_000 });
    for (control, expected) in [(SHELL, 0), (ROOT, 1)] {
        let mut shown = RuntimeJudgement::default();
        shown.ask(Control::find(control).unwrap(), &ObservedContainer { windows, ..seen(&container, Some(&pod)) });
        assert_eq!(shown.settle().contradictions.len(), expected, "{control}");
    }
}
