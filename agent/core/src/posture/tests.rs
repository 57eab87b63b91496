use holdfast_controls::facts::workload::DEPLOYMENT;
use holdfast_controls::project;
use serde_json::{Value, json};

use super::*;

const NOW: UnixMillis = 1_795_377_700_000;

fn deployment(version: u32, privileged: bool) -> Value {
    let container = json!({"name": "app", "image": "app:1", "securityContext": {"privileged": privileged}});
    json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-web", "resourceVersion": version.to_string()},
        "spec": {"template": {"spec": {"containers": [container]}}},
    })
}

fn key() -> ObjectKey {
    ObjectKey { kind: &DEPLOYMENT, namespace: Some("shop".into()), name: "web".into() }
}

fn seen(posture: &mut Posture, object: &Value) -> Vec<PostureOutput> {
    posture.apply(ObjectChange::Seen(Box::new(project(&DEPLOYMENT, object).unwrap())), NOW)
}

fn synced() -> Posture {
    let mut posture = Posture::new(ClusterId::from_bytes([1; 16]), NOW);
    for kind in KINDS {
        posture.apply(ObjectChange::Coverage { kind, state: CoverageState::Seen, reason: String::new() }, NOW);
    }
    posture.settle(NOW, |_| {});
    assert!(posture.is_synced());
    posture
}

/// Ids of the controls whose last statement this is, by what it states.
fn settled(posture: &mut Posture) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    posture.settle(NOW, |report| {
        for statement in report.statements {
            let observation = format!("{:?}", statement.observation);
            let word = observation.split([' ', '{']).next().unwrap_or_default().to_owned();
            all.insert(statement.control.as_str().to_owned(), word);
        }
    });
    all
}

#[test]
fn a_failure_is_reported_once_and_its_end_once() {
    let mut posture = synced();
    seen(&mut posture, &deployment(1, true));
    assert_eq!(settled(&mut posture)["workload.privileged"], "Fail");
    seen(&mut posture, &deployment(2, true));
    assert!(settled(&mut posture).is_empty());
    seen(&mut posture, &deployment(3, false));
    assert_eq!(settled(&mut posture)["workload.privileged"], "Pass");
}

#[test]
fn an_event_that_is_older_than_what_a_retest_read_is_dropped() {
    let mut posture = synced();
    posture.set_server_minor(34);
    seen(&mut posture, &deployment(5, false));
    settled(&mut posture);
    posture.retested(vec![("uid-web".into(), "9".into()), ("other".into(), "no number".into())]);
    seen(&mut posture, &deployment(8, true));
    assert!(settled(&mut posture).is_empty());
    seen(&mut posture, &deployment(9, true));
    assert_eq!(settled(&mut posture)["workload.privileged"], "Fail");
}

#[test]
fn an_unreadable_object_is_named_until_it_can_be_read_or_is_deleted() {
    let mut posture = synced();
    let unreadable = || Unreadable { key: key(), uid: "uid-web".into(), problem: "spec: no object".into() };
    let states = |outputs: Vec<PostureOutput>| -> Vec<CoverageState> {
        let state = |output| match output {
            PostureOutput::ObjectCoverage(coverage) if coverage.subject == "deployments.apps shop/web" => {
                coverage.state
            }
            other => panic!("{other:?}"),
        };
        outputs.into_iter().map(state).collect()
    };
    let broken = posture.apply(ObjectChange::Unreadable(unreadable()), NOW);
    assert_eq!(states(broken), [CoverageState::Failing]);
    assert_eq!(states(seen(&mut posture, &deployment(1, false))), [CoverageState::Absent]);
    posture.apply(ObjectChange::Unreadable(unreadable()), NOW);
    let other = posture.apply(ObjectChange::Deleted { key: key(), uid: "another".into() }, NOW);
    assert_eq!(states(other), []);
    let gone = posture.apply(ObjectChange::Deleted { key: key(), uid: "uid-web".into() }, NOW);
    assert_eq!(states(gone), [CoverageState::Absent]);
}

#[test]
fn a_deletion_is_gone_and_a_kind_that_is_lost_turns_passes_into_unknown() {
    let mut posture = synced();
    seen(&mut posture, &deployment(1, true));
    settled(&mut posture);
    let (state, reason) = (CoverageState::Forbidden, "no".to_owned());
    posture.apply(ObjectChange::Coverage { kind: &DEPLOYMENT, state, reason }, NOW);
    seen(&mut posture, &deployment(2, false));
    assert_eq!(settled(&mut posture)["workload.privileged"], "Unknown");
    let state = CoverageState::Seen;
    posture.apply(ObjectChange::Coverage { kind: &DEPLOYMENT, state, reason: String::new() }, NOW);
    seen(&mut posture, &deployment(3, true));
    settled(&mut posture);
    assert_eq!(posture.listed(&DEPLOYMENT, &Uids::new()), [(key(), "uid-web".to_owned())]);
    posture.apply(ObjectChange::Deleted { key: key(), uid: "uid-web".into() }, NOW);
    assert_eq!(settled(&mut posture)["workload.privileged"], "Gone");
}
