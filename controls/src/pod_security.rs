//! The Pod Security Standards: which of their checks a pod fails, and so which level it fits, derived from the controls.
//!
//! The table [`CHECKS`] mirrors `k8s.io/pod-security-admission` 0.34: each check by the API server's own name, with the
//! policy versions in which it exists and the controls that decide it. The controls are finer than the checks, never
//! coarser. A restricted check that overrides a baseline one shares its controls, so that one cause is one finding.
//! What a check says is what the API server says of the same pod; a test asks a real one about thousands of pods.

use holdfast_model::Location;

use crate::catalog::{Control, workload};
use crate::facts::pod::PodSpec;

pub use crate::facts::pod_security::{Level, Version};

/// One check of the standards, in one range of versions.
#[derive(Debug)]
pub struct Check {
    /// The API server's own id: `capabilities_baseline`.
    pub id: &'static str,
    /// What the API server writes when a pod fails it, without the details in parentheses.
    pub reasons: &'static [&'static str],
    /// The level that the check belongs to.
    pub level: Level,
    /// The minor versions in which the check is this one.
    versions: std::ops::Range<u16>,
    /// The baseline check that it replaces at its own level.
    overrides: Option<&'static str>,
    /// The controls that decide it, with the share of their places that counts.
    decided_by: &'static [(&'static Control, Counts)],
    /// Whether pods for Windows are exempt, from the version on that knows pods for Windows.
    spares_windows: bool,
}

/// Which places of a control count for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counts {
    /// All.
    All,
    /// Fields of the specification.
    Fields,
    /// Annotations of the metadata.
    Annotations,
    /// All, where the pod declares ports: in the host network, the API server makes host ports of them.
    WithPorts,
}

const EVER: u16 = u16::MAX;

/// Every check, baseline first, then by id, as the API server orders its messages.
pub const CHECKS: &[Check] = &[
    baseline(
        "appArmorProfile",
        &["forbidden AppArmor profile", "forbidden AppArmor profiles"],
        0..EVER,
        &[(&workload::apparmor::CONTROL, Counts::All)],
    ),
    baseline(
        "capabilities_baseline",
        &["non-default capabilities"],
        0..EVER,
        &[(&workload::capabilities_added::CONTROL, Counts::All)],
    ),
    baseline(
        "hostNamespaces",
        &["host namespaces"],
        0..EVER,
        &[
            (&workload::host_ipc::CONTROL, Counts::All),
            (&workload::host_network::CONTROL, Counts::All),
            (&workload::host_pid::CONTROL, Counts::All),
        ],
    ),
    baseline("hostPathVolumes", &["hostPath volumes"], 0..EVER, &[(&workload::host_path::CONTROL, Counts::All)]),
    baseline(
        "hostPorts",
        &["hostPort"],
        0..EVER,
        &[(&workload::host_port::CONTROL, Counts::All), (&workload::host_network::CONTROL, Counts::WithPorts)],
    ),
    baseline(
        "hostProbesAndHostLifecycle",
        &["probe or lifecycle host"],
        34..EVER,
        &[(&workload::host_probes::CONTROL, Counts::All)],
    ),
    baseline("privileged", &["privileged"], 0..EVER, &[(&workload::privileged::CONTROL, Counts::All)]),
    baseline("procMount", &["procMount"], 0..EVER, &[(&workload::proc_mount::CONTROL, Counts::All)]),
    baseline("seLinuxOptions", &["seLinuxOptions"], 0..EVER, &[(&workload::selinux::CONTROL, Counts::All)]),
    baseline(
        "seccompProfile_baseline",
        &["seccompProfile"],
        0..19,
        &[(&workload::seccomp_unconfined::CONTROL, Counts::Annotations)],
    ),
    baseline(
        "seccompProfile_baseline",
        &["seccompProfile"],
        19..EVER,
        &[(&workload::seccomp_unconfined::CONTROL, Counts::Fields)],
    ),
    baseline("sysctls", &["forbidden sysctls"], 0..EVER, &[(&workload::sysctls::CONTROL, Counts::All)]),
    baseline("windowsHostProcess", &["hostProcess"], 0..EVER, &[(&workload::host_process::CONTROL, Counts::All)]),
    Check {
        spares_windows: true,
        ..restricted(
            "allowPrivilegeEscalation",
            &["allowPrivilegeEscalation != false"],
            8..EVER,
            &[(&workload::privilege_escalation::CONTROL, Counts::All)],
        )
    },
    Check {
        overrides: Some("capabilities_baseline"),
        spares_windows: true,
        ..restricted(
            "capabilities_restricted",
            &["unrestricted capabilities"],
            22..EVER,
            &[
                (&workload::capabilities_added::CONTROL, Counts::All),
                (&workload::capabilities_not_dropped::CONTROL, Counts::All),
                (&workload::capabilities_restored::CONTROL, Counts::All),
            ],
        )
    },
    Check {
        overrides: Some("hostPathVolumes"),
        ..restricted(
            "restrictedVolumes",
            &["restricted volume types"],
            0..EVER,
            &[(&workload::host_path::CONTROL, Counts::All), (&workload::volume_types::CONTROL, Counts::All)],
        )
    },
    restricted(
        "runAsNonRoot",
        &["runAsNonRoot != true"],
        0..EVER,
        &[(&workload::run_as_non_root::CONTROL, Counts::All)],
    ),
    restricted("runAsUser", &["runAsUser=0"], 23..EVER, &[(&workload::run_as_root_user::CONTROL, Counts::All)]),
    Check {
        overrides: Some("seccompProfile_baseline"),
        spares_windows: true,
        ..restricted(
            "seccompProfile_restricted",
            &["seccompProfile"],
            19..EVER,
            &[
                (&workload::seccomp_unconfined::CONTROL, Counts::Fields),
                (&workload::seccomp_unset::CONTROL, Counts::All),
            ],
        )
    },
];

const fn baseline(
    id: &'static str,
    reasons: &'static [&'static str],
    versions: std::ops::Range<u16>,
    decided_by: &'static [(&'static Control, Counts)],
) -> Check {
    Check { id, reasons, level: Level::Baseline, versions, overrides: None, decided_by, spares_windows: false }
}

const fn restricted(
    id: &'static str,
    reasons: &'static [&'static str],
    versions: std::ops::Range<u16>,
    decided_by: &'static [(&'static Control, Counts)],
) -> Check {
    Check { id, reasons, level: Level::Restricted, versions, overrides: None, decided_by, spares_windows: false }
}

/// The checks that exist at a level and version: its own and those of the levels below it that it does not override.
pub fn checks(level: Level, version: Version) -> impl Iterator<Item = &'static Check> {
    let asked = move |check: &&Check| check.level <= level && check.exists_in(version);
    let overridden = move |id| CHECKS.iter().filter(asked).any(|check| check.overrides == Some(id));
    CHECKS.iter().filter(asked).filter(move |check| !overridden(check.id))
}

/// The checks that a pod fails at a level and version: empty means that a namespace which enforces them lets it in.
pub fn failing(pod: &PodSpec, level: Level, version: Version) -> Vec<&'static Check> {
    checks(level, version).filter(|check| check.fails(pod, version)).collect()
}

/// The narrowest level that a pod fits.
pub fn level_of(pod: &PodSpec, version: Version) -> Level {
    let fits = |level: &Level| checks(*level, version).all(|check| !check.fails(pod, version));
    [Level::Restricted, Level::Baseline].into_iter().find(fits).unwrap_or(Level::Privileged)
}

/// The checks that a control decides, alone or with others.
pub fn decided_by(control: &Control) -> impl Iterator<Item = &'static Check> {
    CHECKS.iter().filter(move |check| check.controls().any(|id| id == control.id))
}

impl Check {
    /// The ids of the controls that decide this check.
    pub fn controls(&self) -> impl Iterator<Item = &'static str> {
        self.decided_by.iter().map(|(control, _)| control.id)
    }

    fn exists_in(&self, version: Version) -> bool {
        version.reaches(self.versions.start) && (!version.reaches(self.versions.end) || self.versions.end == EVER)
    }

    fn fails(&self, pod: &PodSpec, version: Version) -> bool {
        if self.spares_windows && version.exempts_windows() && pod.is_windows() {
            return false;
        }
        let mut places = Vec::new();
        self.decided_by.iter().any(|(control, counts)| {
            places.clear();
            control.judge.pod(pod, version, &mut places);
            places.iter().any(|place| counts.counts(place, pod))
        })
    }
}

impl Counts {
    fn counts(self, place: &Location, pod: &PodSpec) -> bool {
        match self {
            Self::All => true,
            Self::Annotations => place.path.starts_with("metadata."),
            Self::Fields => !place.path.starts_with("metadata."),
            Self::WithPorts => pod.lasting_containers().any(|placed| !placed.container.ports.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::check;

    fn failing_ids(yaml: &str, level: Level, version: Version) -> Vec<&'static str> {
        failing(&check::pod(yaml), level, version).iter().map(|check| check.id).collect()
    }

    #[test]
    fn versions_are_read_as_the_server_reads_them() {
        assert_eq!(Version::parse("latest"), Some(Version::LATEST));
        assert_eq!(Version::parse("v1.30").map(|version| version.to_string()).as_deref(), Some("v1.30"));
        assert!(Version::LATEST > Version::minor(999));
        for bad in ["", "1.30", "v1.030", "v1.+3", "v2.0", "v1.", "v1.3.0", "Latest"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn restricted_overrides_baseline_so_that_one_cause_is_named_once() {
        let pod = "{volumes: [{name: a, hostPath: {path: /}}], securityContext: {seccompProfile: {type: Unconfined}}}";
        assert_eq!(failing_ids(pod, Level::Baseline, Version::LATEST), ["hostPathVolumes", "seccompProfile_baseline"]);
        assert_eq!(
            failing_ids(pod, Level::Restricted, Version::LATEST),
            ["restrictedVolumes", "seccompProfile_restricted"]
        );
    }

    #[test]
    fn a_check_exists_from_its_version_on() {
        let pod = "containers: [{name: a, livenessProbe: {tcpSocket: {host: x}}, securityContext: {runAsUser: 0}}]";
        assert_eq!(failing_ids(pod, Level::Baseline, Version::minor(33)), [""; 0]);
        assert_eq!(failing_ids(pod, Level::Baseline, Version::minor(34)), ["hostProbesAndHostLifecycle"]);
        assert!(!failing_ids(pod, Level::Restricted, Version::minor(22)).contains(&"runAsUser"));
        assert!(failing_ids(pod, Level::Restricted, Version::minor(23)).contains(&"runAsUser"));
    }

    #[test]
    fn the_level_is_the_narrowest_that_fits() {
        let hardened = "{runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}";
        let drop = "{allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}";
        for (pod, level) in [
            (
                format!("{{securityContext: {hardened}, containers: [{{name: a, securityContext: {drop}}}]}}"),
                Level::Restricted,
            ),
            ("containers: [{name: a}]".to_owned(), Level::Baseline),
            ("{hostPID: true, containers: [{name: a}]}".to_owned(), Level::Privileged),
        ] {
            assert_eq!(level_of(&check::pod(&pod), Version::LATEST), level, "{pod}");
        }
    }

    #[test]
    fn ports_in_the_host_network_are_host_ports_to_the_server() {
        let pod = "{hostNetwork: true, containers: [{name: a, ports: [{containerPort: 80}]}]}";
        assert_eq!(failing_ids(pod, Level::Baseline, Version::LATEST), ["hostNamespaces", "hostPorts"]);
        assert_eq!(failing_ids("hostNetwork: true", Level::Baseline, Version::LATEST), ["hostNamespaces"]);
    }

    #[test]
    fn seccomp_was_an_annotation_before_1_19() {
        let annotated = "{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}, spec: {}}";
        let field = "securityContext: {seccompProfile: {type: Unconfined}}";
        assert_eq!(failing_ids(annotated, Level::Baseline, Version::minor(18)), ["seccompProfile_baseline"]);
        assert_eq!(failing_ids(annotated, Level::Baseline, Version::minor(19)), [""; 0]);
        assert_eq!(failing_ids(field, Level::Baseline, Version::minor(18)), [""; 0]);
        assert_eq!(failing_ids(field, Level::Baseline, Version::minor(19)), ["seccompProfile_baseline"]);
    }
}
