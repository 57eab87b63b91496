//! The one way in which the controls on pods are tested: a pod in YAML, and the places where the control should fail.

use expect_test::Expect;
use holdfast_model::Location;

use super::Control;
use crate::facts::pod::PodSpec;
use crate::facts::pod_security::Version;
use crate::facts::{self, Facts, workload};

/// A pod from YAML: a whole one, or just its `spec`.
pub(crate) fn pod(yaml: &str) -> PodSpec {
    let mut pod: serde_json::Value = serde_saphyr::from_str(yaml).expect("the fixture is YAML");
    if pod.get("spec").is_none() {
        pod = serde_json::json!({"metadata": {"name": "pod"}, "spec": pod});
    }
    match facts::project(&workload::POD, pod).expect("the fixture is a pod").facts {
        Facts::Workload(workload) => workload.pod,
        other => panic!("a pod is a workload, not {other:?}"),
    }
}

/// The control fails at these places, one a line: path, value, container.
pub(crate) fn fires(control: &Control, yaml: &str, places: Expect) {
    let lines: Vec<_> = judge(control, yaml).iter().map(line).collect();
    assert!(!lines.is_empty(), "{} holds for {yaml}", control.id);
    places.assert_eq(&lines.join("\n"));
}

/// The control holds.
pub(crate) fn silent(control: &Control, yaml: &str) {
    let fails = judge(control, yaml);
    assert!(fails.is_empty(), "{} fails at {fails:?} for {yaml}", control.id);
}

fn judge(control: &Control, yaml: &str) -> Vec<Location> {
    let mut fails = Vec::new();
    control.judge.pod(&pod(yaml), Version::LATEST, &mut fails);
    fails
}

fn line(place: &Location) -> String {
    let value = if place.value.is_empty() { String::new() } else { format!(" = {}", place.value) };
    let container = place.container.as_deref().map_or(String::new(), |name| format!(" in {name}"));
    format!("{}{value}{container}", place.path)
}
