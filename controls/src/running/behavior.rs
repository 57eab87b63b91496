//! A behavior that a sensor observed in a container, as evidence on one control: the one that would have forbidden it, where
//! the Pod's specification fails that; else the behavior's own.
//!
//! The first shows that what is allowed is used; the second covers what no specification states. Left out is what proves
//! nothing by itself: starts of programs, connections and sockets, writes to the own root, a token read by its owner, a
//! capability that the specification adds by name and no control minds. A kind without a rule here is evidence on the control that names it in its own file.

use holdfast_model::Location;
use holdfast_model::runtime_observation::{RuntimeObservation, SignalKind};

use crate::catalog::{Control, all};
use crate::facts::pod::{PodSpec, short};
use crate::process::{Running, capability, rights};

const CONFINEMENT: &str = "workload.hardening-not-in-force";

/// The control on which this behavior is evidence, and the fact in plain words.
pub fn evidence(observation: &RuntimeObservation, pod: &PodSpec) -> Option<(&'static Control, String)> {
    control_for(observation.kind, &observation.object, pod).map(|control| (control, fact(observation)))
}

/// The control that answers for behaviors of this sort in this Pod.
pub fn control_for(kind: SignalKind, object: &str, pod: &PodSpec) -> Option<&'static Control> {
    let ids: &[&str] = match kind {
        SignalKind::PrivilegedStart => &["workload.privileged", "workload.capabilities-added", CONFINEMENT],
        SignalKind::CapabilityUsed => return capability_used(object, pod),
        SignalKind::EtcWrite => &["workload.read-only-root", "workload.etc-written"],
        SignalKind::ForeignBinary => &["workload.read-only-root", "workload.foreign-binary"],
        SignalKind::SensitiveOpen => return opened(object, pod),
        SignalKind::ProcessStart | SignalKind::RootWrite | SignalKind::Connect | SignalKind::Listen => return None,
        // The control that names this kind in its own file.
        _ => {
            return all()
                .find(|control| matches!(control.running, Some(Running::Behaviors(own)) if own.contains(&kind)));
        }
    };
    first_failing(ids, pod)
}

/// The first that the Pod's specification fails; the last one where it fails none.
fn first_failing(ids: &[&str], pod: &PodSpec) -> Option<&'static Control> {
    let (own, forbidding) = ids.split_last()?;
    let mut forbidding = forbidding.iter().filter_map(|id| Control::find(id));
    forbidding.find(|control| !control.is_met_by(pod)).or_else(|| Control::find(own))
}

/// What is used and was not dropped, or was added. What was given up and is used all the same is no confinement.
fn capability_used(object: &str, pod: &PodSpec) -> Option<&'static Control> {
    let forbidding = match capability::set([object]) {
        0 => return None,
        used if used & rights::default_set() == 0 => "workload.capabilities-added",
        _ => "workload.capabilities-not-dropped",
    };
    let by_name = |name: &str| capability::set([name]) & capability::set([object]) != 0;
    let mut added = pod.all_containers().filter_map(|placed| placed.security_context()?.capabilities.as_ref());
    let is_added = added.any(|capabilities| capabilities.add.iter().any(|name| by_name(name)));
    match Control::find(forbidding).filter(|control| !control.is_met_by(pod)) {
        None if is_added => Control::find("workload.capabilities-restored").filter(|of| !of.is_met_by(pod)),
        None => Control::find(CONFINEMENT),
        found => found,
    }
}

/// A token that is mounted is there to be read, and a folder of the node that a driver provides to be used.
fn opened(object: &str, pod: &PodSpec) -> Option<&'static Control> {
    match object {
        "service-account-token" => None,
        "host-path" if pod.volumes.iter().any(|volume| volume.provided) => None,
        "host-path" => first_failing(&["workload.host-path", "workload.sensitive-file-opened"], pod),
        _ => Control::find("workload.sensitive-file-opened"),
    }
}

fn fact(observation: &RuntimeObservation) -> String {
    let RuntimeObservation { kind, object, path, binary, .. } = observation;
    let (binary, object, path) = (short(binary), short(object), short(path));
    match *kind {
        SignalKind::PrivilegedStart => format!("{binary} was started with rights over the node"),
        SignalKind::CapabilityUsed => format!("{} was used", capability::names(capability::set([object.as_str()]))),
        SignalKind::EtcWrite | SignalKind::RootWrite => format!("{path} was opened for writing"),
        SignalKind::ForeignBinary => format!("{binary} was started, which its image did not bring"),
        SignalKind::Shell => format!("{binary} was started as a shell"),
        // The one behavior of this kind that names a path.
        SignalKind::NamespaceEntry if object == "left its cgroup" => format!("it {object} for {path}"),
        SignalKind::NamespaceEntry => format!("it took other namespaces: {object}"),
        SignalKind::Mount => format!("{object} of {path}"),
        SignalKind::Ptrace => format!("it traced a process: {object}"),
        SignalKind::ModuleLoad => format!("it loaded the kernel module {object}"),
        SignalKind::Bpf => format!("it asked for {object}"),
        SignalKind::SensitiveOpen => format!("{path} was opened ({object})"),
        SignalKind::ProcessStart => format!("{binary} was started"),
        SignalKind::MetadataRequest => {
            format!("{binary} turned to the metadata service of {object} ({})", peer(observation))
        }
        SignalKind::Connect | SignalKind::Listen => format!("{kind} by {binary} ({})", peer(observation)),
        _ => format!("{kind} by {binary}: {object}"),
    }
}

fn peer(observation: &RuntimeObservation) -> String {
    observation.address.map_or_else(|| "no address".to_owned(), |address| address.to_string())
}

/// The behavior as a location: Pod, node, container, process.
pub fn location(
    observation: &RuntimeObservation,
    fact: String,
    node: &str,
    pod: &str,
    container: Option<&str>,
) -> Location {
    Location {
        path: format!("process {} (pid {})", short(&observation.name), observation.pid),
        value: fact,
        container: container.map(short),
        object: Some(format!("Pod {} on node {}", short(pod), short(node))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::check::pod;

    fn evidence_of(kind: SignalKind, object: &str, yaml: &str) -> Option<(&'static str, String)> {
        let observation = RuntimeObservation {
            kind,
            cgroup: 7,
            pod: "uid-1".into(),
            container: "c1".into(),
            pid: 4711,
            started: 1,
            name: "sh".into(),
            binary: "/tmp/x".into(),
            arguments: Vec::new(),
            path: "/etc/passwd".into(),
            object: object.into(),
            address: None,
            count: 1,
            first: 1,
            last: 1,
        };
        evidence(&observation, &pod(yaml)).map(|(control, fact)| (control.id, fact))
    }

    #[test]
    fn a_behavior_is_evidence_where_the_specification_allows_it() {
        let open = "{containers: [{name: web, securityContext: {privileged: true, capabilities: {add: [SYS_ADMIN]}}}]}";
        let is = |kind, object: &str, id: &'static str, fact: &str| {
            assert_eq!(evidence_of(kind, object, open), Some((id, fact.to_owned())), "{kind}");
        };
        is(SignalKind::PrivilegedStart, "", "workload.privileged", "/tmp/x was started with rights over the node");
        is(SignalKind::CapabilityUsed, "CAP_SYS_ADMIN", "workload.capabilities-added", "CAP_SYS_ADMIN was used");
        is(SignalKind::CapabilityUsed, "CAP_CHOWN", "workload.capabilities-not-dropped", "CAP_CHOWN was used");
        is(SignalKind::EtcWrite, "", "workload.read-only-root", "/etc/passwd was opened for writing");
        let foreign = "/tmp/x was started, which its image did not bring";
        is(SignalKind::ForeignBinary, "", "workload.read-only-root", foreign);
    }

    #[test]
    fn a_process_that_left_its_cgroup_is_shown_with_where_it_went() {
        let found = evidence_of(SignalKind::NamespaceEntry, "left its cgroup", "{containers: [{name: web}]}");
        assert_eq!(found, Some(("workload.namespace-entered", "it left its cgroup for /etc/passwd".to_owned())));
    }

    #[test]
    fn where_the_specification_forbids_it_the_behavior_is_a_finding_of_its_own() {
        let strict = "{containers: [{name: web, securityContext: {readOnlyRootFilesystem: true,
            capabilities: {drop: [ALL]}}}]}";
        let mut ends = Vec::new();
        for kind in SignalKind::ALL {
            let object = if *kind == SignalKind::CapabilityUsed { "CAP_CHOWN" } else { "shadow" };
            let found = evidence_of(*kind, object, strict);
            ends.push(format!("{kind}: {}", found.map_or("-".to_owned(), |(id, fact)| format!("{id}: {fact}"))));
        }
        expect_test::expect![[r#"
            process-start: -
            privileged-start: workload.hardening-not-in-force: /tmp/x was started with rights over the node
            shell: workload.unexpected-shell: /tmp/x was started as a shell
            foreign-binary: workload.foreign-binary: /tmp/x was started, which its image did not bring
            namespace-entry: workload.namespace-entered: it took other namespaces: shadow
            mount: workload.mount-made: shadow of /etc/passwd
            ptrace: workload.process-traced: it traced a process: shadow
            module-load: workload.module-loaded: it loaded the kernel module shadow
            bpf: workload.bpf-used: it asked for shadow
            capability-used: workload.hardening-not-in-force: CAP_CHOWN was used
            sensitive-open: workload.sensitive-file-opened: /etc/passwd was opened (shadow)
            etc-write: workload.etc-written: /etc/passwd was opened for writing
            root-write: -
            connect: -
            metadata-request: workload.cloud-metadata-reached: /tmp/x turned to the metadata service of shadow (no address)
            listen: -"#]]
        .assert_eq(&ends.join("\n"));
    }

    #[test]
    fn what_the_specification_gives_and_is_meant_to_be_used_says_nothing() {
        assert_eq!(evidence_of(SignalKind::CapabilityUsed, "CAP_OF_TOMORROW", "{containers: [{name: web}]}"), None);
        assert_eq!(
            evidence_of(SignalKind::SensitiveOpen, "service-account-token", "{containers: [{name: web}]}"),
            None
        );
        let claim = "{containers: [{name: web}], volumes: [{name: data, persistentVolumeClaim: {claimName: c}}]}";
        assert_eq!(evidence_of(SignalKind::SensitiveOpen, "host-path", claim), None);
        let added =
            "{containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}]}";
        assert_eq!(evidence_of(SignalKind::CapabilityUsed, "NET_BIND_SERVICE", added), None);
    }

    #[test]
    fn a_folder_of_the_node_answers_for_the_files_in_it() {
        let host = "{containers: [{name: web}], volumes: [{name: node, hostPath: {path: /}}]}";
        assert_eq!(evidence_of(SignalKind::SensitiveOpen, "host-path", host).unwrap().0, "workload.host-path");
        let plain = "{containers: [{name: web}]}";
        assert_eq!(
            evidence_of(SignalKind::SensitiveOpen, "host-path", plain).unwrap().0,
            "workload.sensitive-file-opened"
        );
    }

    #[test]
    fn a_right_that_was_restored_by_name_is_that_controls() {
        let added = "{containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [CHOWN]}}}]}";
        assert_eq!(
            evidence_of(SignalKind::CapabilityUsed, "CHOWN", added).unwrap().0,
            "workload.capabilities-restored"
        );
        let admin = "{containers: [{name: web, securityContext: {capabilities: {drop: [ALL], add: [SYS_ADMIN]}}}]}";
        assert_eq!(evidence_of(SignalKind::PrivilegedStart, "", admin).unwrap().0, "workload.capabilities-added");
    }
}
