//! What a sensor saw a container do, as evidence on the control that would have forbidden it.
//!
//! An act is evidence only where the Pod's specification fails the control: there it shows that what is allowed is used. Acts
//! that no control forbids say nothing here.

use holdfast_model::Location;
use holdfast_model::sighting::{Sighting, SignalKind};

use super::{capability, rules};
use crate::catalog::Control;
use crate::facts::pod::{PodSpec, short};

/// The control on which this act is evidence, and the fact in plain words.
pub fn evidence(sighting: &Sighting, pod: &PodSpec) -> Option<(&'static Control, String)> {
    let (id, fact) = forbidden_by(sighting)?;
    let control = Control::find(id)?;
    (!rules::is_met(control, pod)).then_some((control, fact))
}

/// The act as a place: Pod, node, container, process.
pub fn place(sighting: &Sighting, fact: String, node: &str, pod: &str, container: Option<&str>) -> Location {
    Location {
        path: format!("process {} (pid {})", short(&sighting.name), sighting.pid),
        value: fact,
        container: container.map(short),
        object: Some(format!("Pod {} on node {}", short(pod), short(node))),
    }
}

fn forbidden_by(sighting: &Sighting) -> Option<(&'static str, String)> {
    let Sighting { kind, object, path, binary, .. } = sighting;
    Some(match kind {
        SignalKind::PrivilegedStart => {
            ("workload.privileged", format!("{} was started with rights over the node", short(binary)))
        }
        SignalKind::CapabilityUsed => match capability::set([object.as_str()]) {
            0 => return None,
            used if used & rules::default_set() == 0 => {
                ("workload.capabilities-added", format!("{} was used", capability::names(used)))
            }
            used => ("workload.capabilities-not-dropped", format!("{} was used", capability::names(used))),
        },
        SignalKind::EtcWrite => ("workload.read-only-root", format!("{} was opened for writing", short(path))),
        SignalKind::ForeignBinary => {
            ("workload.read-only-root", format!("{} was started, which its image did not bring", short(binary)))
        }
        SignalKind::ProcessStart
        | SignalKind::Shell
        | SignalKind::NamespaceEntry
        | SignalKind::Mount
        | SignalKind::Ptrace
        | SignalKind::ModuleLoad
        | SignalKind::Bpf
        | SignalKind::SensitiveOpen
        | SignalKind::Connect
        | SignalKind::Listen => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::check::pod;

    fn said(kind: SignalKind, object: &str, yaml: &str) -> Option<(&'static str, String)> {
        let sighting = Sighting {
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
        evidence(&sighting, &pod(yaml)).map(|(control, fact)| (control.id, fact))
    }

    #[test]
    fn an_act_is_evidence_where_the_specification_allows_it() {
        let open = "{containers: [{name: web, securityContext: {privileged: true, capabilities: {add: [SYS_ADMIN]}}}]}";
        let is = |kind, object: &str, id: &'static str, fact: &str| {
            assert_eq!(said(kind, object, open), Some((id, fact.to_owned())), "{kind}");
        };
        is(SignalKind::PrivilegedStart, "", "workload.privileged", "/tmp/x was started with rights over the node");
        is(SignalKind::CapabilityUsed, "CAP_SYS_ADMIN", "workload.capabilities-added", "CAP_SYS_ADMIN was used");
        is(SignalKind::CapabilityUsed, "CAP_CHOWN", "workload.capabilities-not-dropped", "CAP_CHOWN was used");
        is(SignalKind::EtcWrite, "", "workload.read-only-root", "/etc/passwd was opened for writing");
        let foreign = "/tmp/x was started, which its image did not bring";
        is(SignalKind::ForeignBinary, "", "workload.read-only-root", foreign);
    }

    #[test]
    fn the_quiet_twin_says_nothing() {
        let strict = "{containers: [{name: web, securityContext: {readOnlyRootFilesystem: true,
            capabilities: {drop: [ALL]}}}]}";
        for kind in SignalKind::ALL {
            assert_eq!(said(*kind, "CAP_SYS_ADMIN", strict), None, "{kind}");
        }
        assert_eq!(said(SignalKind::CapabilityUsed, "CAP_OF_TOMORROW", "{containers: [{name: web}]}"), None);
        assert_eq!(said(SignalKind::ProcessStart, "", "{containers: [{name: web}]}"), None);
    }
}
