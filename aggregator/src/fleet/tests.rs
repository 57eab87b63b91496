//! A pattern spreads over a fleet and shrinks again: its band and the severities of its findings follow, each an event.

use std::sync::Arc;

use holdfast_model::{
    ClusterId, ControlId, Coverage, CoverageState, FindingKey, Location, Observation, Origin, Read, Resource, Severity,
    Statement,
};
use holdfast_record::calibration::UNAPPROVED;
use holdfast_record::finding::Phase;
use holdfast_record::lifecycle::Observed;
use holdfast_store::{Cluster, Connected, EventFilter};

use super::*;
use crate::environment::Environment;
use crate::environment::testing::TestEnvironment;

const CONTROL: ControlId = ControlId::known("workload.privileged");

struct Fleet {
    _data: tempfile::TempDir,
    store: Store,
    environment: Arc<TestEnvironment>,
}

fn cluster(number: u8) -> ClusterId {
    ClusterId::from_bytes([number; 16])
}

fn key(number: u8) -> FindingKey {
    FindingKey {
        cluster: cluster(number),
        resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
        control: CONTROL,
    }
}

fn policy() -> FleetPolicy {
    let text = include_str!("../../policy/fleet.yaml").replace("dwell_seconds: 300", "dwell_seconds: 60");
    policy::parse("test", &text).unwrap()
}

/// A fleet whose members can all judge.
async fn fleet(size: u8) -> Fleet {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}", data.path().join("record.db").display())).await.unwrap();
    let fleet = Fleet { _data: data, store, environment: TestEnvironment::at(1_790_000_000_000) };
    for number in 1..=size {
        let mut tx = fleet.store.begin().await.unwrap();
        tx.add_cluster(&Cluster::new(cluster(number), &format!("cluster-{number}"), 0)).await.unwrap();
        let said = Connected {
            fingerprint: format!("uid-{number}"),
            server_version: "v1.34.4".into(),
            agent_version: "0.1.0".into(),
            controls: vec!["workload.privileged@1".into()],
            clock_offset: 0,
        };
        tx.start_epoch(cluster(number), &said, 0).await.unwrap();
        tx.commit().await.unwrap();
        fleet.cover(number, CoverageState::Seen).await;
    }
    fleet
}

impl Fleet {
    fn worker(&self) -> FleetWorker {
        FleetWorker::new(self.store.clone(), Live::default(), self.environment.clone(), std::sync::Arc::new(policy()))
    }

    fn minutes_later(&self, minutes: i64) {
        self.environment.pass(minutes * 60_000);
    }

    async fn cover(&self, number: u8, state: CoverageState) {
        let coverage = Coverage { subject: "deployments.apps".into(), state, reason: String::new(), since: 0 };
        let mut tx = self.store.begin().await.unwrap();
        tx.put_coverage(cluster(number), 1, &[coverage]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn fails_in(&self, number: u8) {
        let key = key(number);
        let (origin, read) = (Origin::default(), Read::default());
        let observation = Observation::Fail { severity: Severity::Medium, locations: vec![Location::field("a", "b")] };
        let statement = Statement { control: CONTROL, control_version: 1, observation };
        let observed = Observed { key: &key, origin: &origin, read: &read, statement: &statement };
        let now = self.environment.now();
        let mut made = None;
        decide(&context(&CONTROL, now), &mut made, Command::Observe(observed)).unwrap();
        let mut tx = self.store.begin().await.unwrap();
        tx.write_findings(&[Written { before: None, after: &made.unwrap(), evidence: true }]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// As a verdict would: straight to verified.
    async fn fixed_in(&self, number: u8) {
        let before = self.finding(number).await;
        let mut after = before.clone();
        let (at, resolved_at, reach) = (2, 1, holdfast_model::Reach::Config);
        after.state.phase = Phase::Verified { at, resolved_at, reach, current: true };
        let mut tx = self.store.begin().await.unwrap();
        let before = Some(Counted::of(&before));
        tx.write_findings(&[Written { before, after: &after, evidence: false }]).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn finding(&self, number: u8) -> Finding {
        self.store.finding(key(number).finding_id()).await.unwrap().unwrap()
    }

    async fn band(&self) -> Band {
        self.store.pattern(key(1).pattern_id()).await.unwrap().unwrap().band
    }

    async fn events(&self, event: &str) -> Vec<holdfast_store::StoredEvent> {
        let filter = EventFilter { event: Some(event.into()), ..EventFilter::default() };
        let mut events = self.store.events(&filter, 1000).await.unwrap();
        events.reverse();
        events
    }
}

#[tokio::test]
async fn a_pattern_spreads_and_shrinks_and_severities_follow_both_ways() {
    let fleet = fleet(10).await;
    let mut worker = fleet.worker();
    let mut seen = Vec::new();
    for number in 1..=8 {
        fleet.fails_in(number).await;
        fleet.minutes_later(2);
        worker.pass().await.unwrap();
        seen.push((fleet.band().await, fleet.finding(number).await.severity()));
    }
    use Band::*;
    let up = [Isolated, Several, Several, Widespread, Widespread, Widespread, Widespread, Systemic];
    assert_eq!(seen.iter().map(|(band, _)| *band).collect::<Vec<_>>(), up);
    assert_eq!([seen[2].1, seen[3].1, seen[7].1], [Severity::Medium, Severity::High, Severity::Critical]);
    assert_eq!(fleet.finding(1).await.severity(), Severity::Critical);

    for number in 1..=7 {
        fleet.fixed_in(number).await;
        fleet.minutes_later(2);
        worker.pass().await.unwrap();
    }
    assert_eq!(fleet.band().await, Isolated);
    for number in 1..=8 {
        let finding = fleet.finding(number).await;
        assert_eq!((finding.severity(), finding.state.calibration), (Severity::Medium, None), "cluster {number}");
    }
    let crossings: Vec<_> = fleet.events("pattern-band-changed").await;
    let bands: Vec<_> = crossings
        .iter()
        .map(|event| event.activity.as_ref().unwrap().detail["band"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(bands, ["several", "widespread", "systemic", "widespread", "several", "isolated"]);
}

#[tokio::test]
async fn the_events_of_findings_cite_the_one_event_of_their_pattern() {
    let fleet = fleet(4).await;
    let mut worker = fleet.worker();
    for number in 1..=4 {
        fleet.fails_in(number).await;
    }
    worker.pass().await.unwrap();
    let [crossing] = &fleet.events("pattern-band-changed").await[..] else { panic!("one event of the pattern") };
    let moved = fleet.events("severity-recalibrated").await;
    assert_eq!(moved.len(), 4);
    let leaf = data_encoding::HEXLOWER.encode(&crossing.leaf);
    for event in moved {
        let activity = event.activity.unwrap();
        assert_eq!(activity.detail["reading"]["pattern_event"], leaf);
        assert_eq!(activity.detail["reading"]["rule"], "widespread-raises-one-step");
        assert_eq!(activity.detail["reading"]["approver"], UNAPPROVED);
        assert_eq!((&activity.detail["from"], &activity.detail["to"]), (&"medium".into(), &"high".into()));
        assert_eq!(activity.cause, "4 of 4 clusters have it, so it is widespread: rule widespread-raises-one-step");
    }
}

#[tokio::test]
async fn a_change_waits_for_the_dwell_time_and_then_comes_by_itself() {
    let fleet = fleet(4).await;
    let mut worker = fleet.worker();
    fleet.fails_in(1).await;
    fleet.fails_in(2).await;
    worker.pass().await.unwrap();
    fleet.fails_in(3).await;
    fleet.fails_in(4).await;
    worker.pass().await.unwrap();
    assert_eq!(fleet.band().await, Band::Several);
    fleet.minutes_later(1);
    worker.rest_until = Instant::now();
    worker.pass().await.unwrap();
    assert_eq!(fleet.band().await, Band::Widespread);
}

#[tokio::test]
async fn a_restart_repeats_nothing_and_forgets_nothing() {
    let fleet = fleet(4).await;
    for number in 1..=4 {
        fleet.fails_in(number).await;
        fleet.minutes_later(2);
        fleet.worker().pass().await.unwrap();
        fleet.worker().pass().await.unwrap();
    }
    assert_eq!(fleet.band().await, Band::Widespread);
    assert_eq!(fleet.events("pattern-band-changed").await.len(), 2);
    assert_eq!(fleet.events("severity-recalibrated").await.len(), 4);
}

#[tokio::test]
async fn clusters_that_cannot_look_are_no_part_of_the_whole() {
    let fleet = fleet(41).await;
    for number in 1..=4 {
        fleet.fails_in(number).await;
    }
    let mut worker = fleet.worker();
    worker.pass().await.unwrap();
    assert_eq!(fleet.band().await, Band::Several);
    fleet.minutes_later(2);
    fleet.cover(41, CoverageState::Forbidden).await;
    worker.rest_until = Instant::now();
    worker.pass().await.unwrap();
    assert_eq!(fleet.band().await, Band::Widespread);
}

#[tokio::test]
async fn another_policy_moves_what_is_on_record() {
    let fleet = fleet(4).await;
    for number in 1..=4 {
        fleet.fails_in(number).await;
    }
    fleet.worker().pass().await.unwrap();
    let mut approved = fleet.worker();
    let policy = std::sync::Arc::make_mut(&mut approved.policy);
    policy.rules[0].raise = 2;
    policy.approver = Some("the board".into());
    approved.pass().await.unwrap();
    let calibration = fleet.finding(1).await.state.calibration.unwrap();
    assert_eq!((calibration.severity, &calibration.detail["approver"]), (Severity::Critical, &"the board".into()));
}

#[tokio::test]
async fn a_finding_that_joins_a_spread_pattern_is_calibrated_like_the_others() {
    let fleet = fleet(6).await;
    let mut worker = fleet.worker();
    for number in 1..=4 {
        fleet.fails_in(number).await;
    }
    worker.pass().await.unwrap();
    fleet.fails_in(5).await;
    worker.pass().await.unwrap();
    assert_eq!(fleet.finding(5).await.severity(), Severity::High);
    assert_eq!(fleet.events("pattern-band-changed").await.len(), 1);
}
