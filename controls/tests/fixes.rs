//! Every fix keeps its word: on any pod, in any kind of workload, the patch makes its control pass and no other one fail.
//! The objects are random combinations of absent, null, empty, good and bad fields.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use holdfast_controls::catalog::{self, Judge};
use holdfast_controls::evaluate::Answer;
use holdfast_controls::facts::workload;
use holdfast_controls::fix::{apply, patch};
use holdfast_controls::inventory::Inventory;
use holdfast_controls::{Kind, project};
use holdfast_model::Resource;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

/// An object with some of these fields, each with one of its values.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> =
        fields.into_iter().map(|(name, value)| prop::option::of(value).prop_map(move |v| (name, v))).collect();
    fields
        .prop_map(|fields| {
            let there = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Value::Object(there.collect::<Map<_, _>>())
        })
        .boxed()
}

fn one_of(values: &[Value]) -> BoxedStrategy<Value> {
    select(values.to_vec()).boxed()
}

fn flag() -> BoxedStrategy<Value> {
    one_of(&[json!(true), json!(false), json!(null)])
}

fn profile() -> BoxedStrategy<Value> {
    let kinds = one_of(&[json!("Unconfined"), json!("RuntimeDefault"), json!("Localhost")]);
    prop_oneof![4 => object(vec![("type", kinds)]), 1 => Just(json!(null))].boxed()
}

/// What a pod's and a container's security context have in common.
fn shared() -> Vec<(&'static str, BoxedStrategy<Value>)> {
    let texts = || one_of(&[json!(""), json!("x"), json!("container_t"), json!(null)]);
    vec![
        ("runAsNonRoot", flag()),
        ("runAsUser", one_of(&[json!(0), json!(1), json!(null)])),
        ("seccompProfile", profile()),
        ("appArmorProfile", profile()),
        ("seLinuxOptions", object(vec![("type", texts()), ("user", texts()), ("role", texts())])),
        ("windowsOptions", object(vec![("hostProcess", flag())])),
    ]
}

fn security_context() -> BoxedStrategy<Value> {
    let names = || {
        prop::collection::vec(
            one_of(&[json!("ALL"), json!("CHOWN"), json!("NET_RAW"), json!("NET_BIND_SERVICE")]),
            0..4,
        )
    };
    let names = || prop_oneof![4 => names().prop_map(Value::from), 1 => Just(json!(null))].boxed();
    let mut fields = shared();
    fields.extend([
        ("privileged", flag()),
        ("allowPrivilegeEscalation", flag()),
        ("readOnlyRootFilesystem", flag()),
        ("procMount", one_of(&[json!("Unmasked"), json!("Default"), json!(null)])),
        ("capabilities", object(vec![("add", names()), ("drop", names())])),
    ]);
    prop_oneof![6 => object(fields), 1 => Just(json!(null))].boxed()
}

fn container(name: &'static str) -> BoxedStrategy<Value> {
    let port = object(vec![
        ("containerPort", Just(json!(80)).boxed()),
        ("hostPort", one_of(&[json!(0), json!(80), json!(null)])),
    ]);
    let target = || object(vec![("host", one_of(&[json!(""), json!("x"), json!(null)]))]);
    let probe = || object(vec![("httpGet", target()), ("tcpSocket", target())]);
    let fields = vec![
        ("image", one_of(&[json!("nginx"), json!("nginx:1")])),
        ("ports", prop::collection::vec(port, 0..3).prop_map(Value::from).boxed()),
        ("securityContext", security_context()),
        ("livenessProbe", probe()),
        ("lifecycle", object(vec![("preStop", probe())])),
    ];
    object(fields)
        .prop_map(move |mut container| {
            container["name"] = json!(name);
            container
        })
        .boxed()
}

fn pod() -> BoxedStrategy<Value> {
    let sysctl = one_of(&[json!({"name": "kernel.msgmax"}), json!({"name": "kernel.shm_rmid_forced"})]);
    let mut context = shared();
    context.push(("sysctls", prop::collection::vec(sysctl, 0..4).prop_map(Value::from).boxed()));
    let spec = object(vec![
        ("initContainers", prop::collection::vec(container("init"), 0..2).prop_map(Value::from).boxed()),
        ("containers", (container("web"), container("side")).prop_map(|(web, side)| json!([web, side])).boxed()),
        ("securityContext", prop_oneof![6 => object(context), 1 => Just(json!(null))].boxed()),
        ("hostNetwork", flag()),
        ("hostPID", flag()),
        ("hostIPC", flag()),
        ("automountServiceAccountToken", flag()),
        ("os", one_of(&[json!({"name": "linux"}), json!({"name": "windows"}), json!(null)])),
    ]);
    let annotation = || one_of(&[json!("unconfined"), json!("runtime/default")]);
    let annotations = object(vec![
        ("container.apparmor.security.beta.kubernetes.io/web", annotation()),
        ("container.apparmor.security.beta.kubernetes.io/a~b", annotation()),
    ]);
    (spec, annotations)
        .prop_map(|(spec, annotations)| json!({"metadata": {"annotations": annotations}, "spec": spec}))
        .boxed()
}

/// The pod in one of the places where a pod stands.
fn any_workload() -> impl Strategy<Value = (&'static Kind, Value)> {
    (0..3, pod()).prop_map(|(place, mut pod)| match place {
        0 => {
            pod["metadata"]["name"] = json!("it");
            pod["metadata"]["namespace"] = json!("shop");
            (&workload::POD, pod)
        }
        1 => {
            let it = json!({"metadata": {"name": "it", "namespace": "shop"}, "spec": {"template": pod}});
            (&workload::DEPLOYMENT, it)
        }
        _ => {
            let spec = json!({"jobTemplate": {"spec": {"template": pod}}});
            (&workload::CRON_JOB, json!({"metadata": {"name": "it", "namespace": "shop"}, "spec": spec}))
        }
    })
}

fn judge(kind: &'static Kind, object: &Value) -> BTreeMap<&'static str, Answer> {
    let mut inventory = Inventory::complete();
    inventory.apply(project(kind, object.clone()).expect("the object is well formed"));
    let judgement =
        inventory.evaluate(&Resource::namespaced(kind.group, kind.kind, "shop", "it")).expect("it is known");
    judgement.outcomes.into_iter().map(|outcome| (outcome.control.id, outcome.answer)).collect()
}

/// The ids of the pod controls that have a fix: what the cases must have tried between them.
fn fixable() -> BTreeSet<&'static str> {
    let of_pods = catalog::all().filter(|control| matches!(control.judge, Judge::Pod(_) | Judge::PodUnder(_)));
    of_pods.filter(|control| control.fix.is_some()).map(|control| control.id).collect()
}

#[test]
fn a_fix_makes_its_control_pass_and_no_other_fail() {
    let tried = RefCell::new(BTreeSet::new());
    let config = Config { cases: 400, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&any_workload(), |(kind, object)| {
        let before = judge(kind, &object);
        for (id, answer) in &before {
            let control = catalog::Control::find(id).expect("the catalog judged by it");
            let (Answer::Fail(places), Some(_)) = (answer, &control.fix) else { continue };
            tried.borrow_mut().insert(control.id);
            let patch = patch(control, places).unwrap_or_else(|| panic!("{id}: no patch for {places:?}"));
            let mut fixed = object.clone();
            apply(&patch, &mut fixed).unwrap_or_else(|error| panic!("{id}: {error}: {patch:?}"));
            let after = judge(kind, &fixed);
            prop_assert_eq!(&after[id], &Answer::Pass, "{} after {:?}", id, patch);
            for (other, answer) in &after {
                let failed_before = before[other] != Answer::Pass;
                prop_assert!(
                    failed_before || *answer == Answer::Pass,
                    "the fix of {} breaks {}: {:?}",
                    id,
                    other,
                    answer
                );
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    let missed: Vec<_> = fixable().difference(&tried.borrow()).copied().collect();
    assert!(missed.is_empty(), "no case tries {missed:?}");
}
