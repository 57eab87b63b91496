//! Flags containers whose CPU or memory is neither requested nor limited: four controls that differ in data alone.
//! Beyond the Pod Security Standards.
//! A limit of the container stands in for its request, as in the API server. What the pod sets as a whole covers all
//! its containers. A limit of zero is none. Init containers count, ephemeral ones cannot have resources. There is no
//! patch: how much is right, only a measurement knows.

use holdfast_model::{Location, Method, OnDeletion, Severity};

use crate::catalog::{Control, Judge};
use crate::facts::pod::{Amount, Amounts, Placed, PodSpec, Resources};

pub(crate) const CPU_LIMIT: Control = Control {
    id: "workload.cpu-limit",
    version: 1,
    title: "CPU is limited",
    severity: Severity::Info,
    description: "A container without a CPU limit may take all idle CPU of its node. That is often wanted; a limit \
                  makes what it can take, and what a busy loop or a miner in it costs, known.",
    remediation: "Set `resources.limits.cpu` for the container, or for the pod as a whole, where its neighbours need \
                  protection.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge_cpu_limit),
    running: None,
    fix: None,
};

pub(crate) const CPU_REQUEST: Control = Control {
    id: "workload.cpu-request",
    version: 1,
    title: "CPU is requested",
    severity: Severity::Low,
    description: "A container that requests no CPU is placed on a node without regard to what it needs, and starves \
                  first when the node is busy.",
    remediation: "Set `resources.requests.cpu` for the container, or for the pod as a whole, to what it needs when \
                  busy.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge_cpu_request),
    running: None,
    fix: None,
};

pub(crate) const MEMORY_LIMIT: Control = Control {
    id: "workload.memory-limit",
    version: 1,
    title: "Memory is limited",
    severity: Severity::Medium,
    description: "A container without a memory limit can use up the memory of its node: the kernel then kills other \
                  programs on it, whoever they belong to.",
    remediation: "Set `resources.limits.memory` for the container, or for the pod as a whole, to somewhat more than \
                  its highest use.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge_memory_limit),
    running: None,
    fix: None,
};

pub(crate) const MEMORY_REQUEST: Control = Control {
    id: "workload.memory-request",
    version: 1,
    title: "Memory is requested",
    severity: Severity::Low,
    description: "A container that requests no memory is placed on a node without regard to what it needs, and is \
                  the first to be evicted when memory runs short.",
    remediation: "Set `resources.requests.memory` for the container, or for the pod as a whole, to what it usually \
                  uses.",
    on_deletion: OnDeletion::Retires,
    methods: &[Method::LiveRead],
    reads: &[],
    judge: Judge::Pod(judge_memory_request),
    running: None,
    fix: None,
};

/// Limits or requests: the name of the field, and how to get there.
type List = (&'static str, fn(&Resources) -> Option<&Amounts>);
/// CPU or memory.
type Unit = (&'static str, fn(&Amounts) -> Option<Amount>);

const LIMIT: List = ("limits", |resources| resources.limits.as_ref());
const REQUEST: List = ("requests", |resources| resources.requests.as_ref());
const CPU: Unit = ("cpu", |amounts| amounts.cpu);
const MEMORY: Unit = ("memory", |amounts| amounts.memory);

fn judge_cpu_limit(pod: &PodSpec, fails: &mut Vec<Location>) {
    judge(pod, LIMIT, CPU, fails);
}

fn judge_cpu_request(pod: &PodSpec, fails: &mut Vec<Location>) {
    judge(pod, REQUEST, CPU, fails);
}

fn judge_memory_limit(pod: &PodSpec, fails: &mut Vec<Location>) {
    judge(pod, LIMIT, MEMORY, fails);
}

fn judge_memory_request(pod: &PodSpec, fails: &mut Vec<Location>) {
    judge(pod, REQUEST, MEMORY, fails);
}

fn judge(pod: &PodSpec, list: List, unit: Unit, fails: &mut Vec<Location>) {
    let is_set = |resources: Option<&Resources>, list: List| {
        resources.and_then(list.1).and_then(unit.1).is_some_and(|amount| amount.0)
    };
    let is_enough = |resources: Option<&Resources>| is_set(resources, list) || is_set(resources, LIMIT);
    if is_enough(pod.resources.as_deref()) {
        return;
    }
    for placed in pod.lasting_containers() {
        let resources = placed.container.resources.as_deref();
        if !is_enough(resources) {
            fails.push(place(&placed, resources, list, unit));
        }
    }
}

/// The amount that is zero, or else its first missing ancestor.
fn place(placed: &Placed, resources: Option<&Resources>, list: List, unit: Unit) -> Location {
    let Some(resources) = resources else { return placed.at("resources", "") };
    let Some(amounts) = list.1(resources) else { return placed.at(&format!("resources.{}", list.0), "") };
    placed.at(&format!("resources.{}.{}", list.0, unit.0), if unit.1(amounts).is_some() { "0" } else { "" })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::catalog::check::{fires, silent};

    #[test]
    fn the_first_missing_ancestor_is_the_place() {
        fires(
            &MEMORY_LIMIT,
            "
    containers:
    - {name: a}
    - {name: b, resources: {requests: {memory: 1Gi}}}
    - {name: c, resources: {limits: {cpu: 1}}}
    - {name: d, resources: {limits: {memory: 0}}}
    - {name: e, resources: {limits: {memory: 64Mi}}}",
            expect![[r#"
                containers[0].resources in a
                containers[1].resources.limits in b
                containers[2].resources.limits.memory in c
                containers[3].resources.limits.memory = 0 in d"#]],
        );
    }

    #[test]
    fn a_limit_stands_in_for_a_request_but_not_the_other_way() {
        let pod = "containers: [{name: a, resources: {limits: {cpu: 500m}}}]";
        silent(&CPU_REQUEST, pod);
        silent(&CPU_LIMIT, pod);
        let pod = "containers: [{name: a, resources: {requests: {cpu: 500m}}}]";
        silent(&CPU_REQUEST, pod);
        fires(&CPU_LIMIT, pod, expect!["containers[0].resources.limits in a"]);
    }

    #[test]
    fn what_the_pod_sets_covers_its_containers() {
        silent(&MEMORY_REQUEST, "{resources: {requests: {memory: 1Gi}}, containers: [{name: a}, {name: b}]}");
        silent(&MEMORY_LIMIT, "ephemeralContainers: [{name: debug}]");
    }
}
