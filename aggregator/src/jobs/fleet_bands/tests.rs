//! A pattern spreads over a fleet and shrinks again: its band and the severities of its findings follow, each an event.

use std::sync::Arc;

use holdfast_model::{
    Band, ControlId, Coverage, CoverageState, FindingKey, Location, Occurrences, Reach, Resource, Severity,
};
use holdfast_record::calibration::UNAPPROVED;
use holdfast_record::finding::Phase;
use holdfast_record::{Detection, Finding};
use holdfast_store::written::{Counted, Written};
use holdfast_store::{Cluster, Connected, EventFilter};

use super::*;
use crate::environment::Environment;
use crate::environment::testing::TestEnvironment;
use crate::fleet::policy;
use crate::live::Live;
use crate::sessions::Sessions;

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

fn shortly_held() -> Policy {
    let text = include_str!("../../../policy/fleet.yaml").replace("dwell_seconds: 300", "dwell_seconds: 60");
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
    fn worker(&self) -> FleetBands {
        self.worker_by(shortly_held())
    }

    fn worker_by(&self, policy: Policy) -> FleetBands {
        let (policy, environment) = (Arc::new(policy), self.environment.clone());
        let (live, sessions) = (Live::default(), Sessions::default());
        let (writer, _) = Writer::start(self.store.clone(), environment.clone(), policy.clone(), live, sessions);
        FleetBands::new(self.store.clone(), writer, environment, policy)
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
        let (now, locations) = (self.environment.now(), vec![Location::field("a", "b")]);
        self.write(None, &Finding::opened(key(number), Severity::Medium, 1, locations, now)).await;
    }

    async fn write(&self, before: Option<Counted>, after: &Finding) {
        let mut tx = self.store.begin().await.unwrap();
        tx.write_findings(&[Written { before, after, evidence: true }]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// As a verdict would: straight to verified.
    async fn fixed_in(&self, number: u8) {
        let mut finding = self.finding(number).await;
        let before = Some(Counted::of(&finding));
        let (at, resolved_at, reach) = (2, 1, Reach::Config);
        finding.state.phase = Phase::Verified { at, resolved_at, reach, current: true };
        self.write(before, &finding).await;
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
        let (calibration, step) = (&activity.detail["calibration"], &activity.detail["calibration"]["steps"][0]);
        assert_eq!(step["reading"]["pattern_event"], leaf);
        assert_eq!(step["rule"], "widespread-raises-one-step");
        assert_eq!(calibration["approver"], UNAPPROVED);
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
    let mut policy = shortly_held();
    policy.rules[0].raise = 2;
    policy.approver = Some("the board".into());
    fleet.worker_by(policy).pass().await.unwrap();
    let calibration = fleet.finding(1).await.state.calibration.unwrap();
    assert_eq!((calibration.severity, calibration.approver.as_str()), (Severity::Critical, "the board"));
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

#[tokio::test]
async fn the_kernels_raise_follows_another_policy_wherever_its_findings_are() {
    let fleet = fleet(1).await;
    fleet.fails_in(1).await;
    let mut finding = fleet.finding(1).await;
    let seen = Occurrences::once(vec![Location::field("process", "CapEff has CAP_SYS_ADMIN")], 5);
    finding.detections.push(Detection::kernel(Severity::Medium, 1, seen));
    fleet.write(Some(Counted::of(&finding)), &finding).await;
    let mut raising = shortly_held();
    raising.name = "mine".into();
    fleet.worker_by(raising).pass().await.unwrap();
    assert_eq!(fleet.finding(1).await.severity(), Severity::High);
    let mut without = shortly_held();
    without.runtime = None;
    fleet.worker_by(without).pass().await.unwrap();
    assert_eq!(fleet.finding(1).await.severity(), Severity::Medium);
}

/// A band that was decided, and a process that ended before its findings followed.
#[tokio::test]
async fn a_pass_that_broke_off_is_taken_up_by_its_mark() {
    let fleet = fleet(4).await;
    for number in 1..=4 {
        fleet.fails_in(number).await;
    }
    let pattern = fleet.store.pattern(key(1).pattern_id()).await.unwrap().unwrap();
    let broken = fleet.worker();
    let reading = Reading { clusters: 4, judging: 4 };
    let planned = PatternMove { read: pattern, crosses_to: Some(Band::Widespread), reading, members: true };
    assert_eq!(broken.writer.move_patterns(vec![planned.clone()]).await.unwrap().len(), 1);
    assert_eq!(broken.writer.move_patterns(vec![planned]).await.unwrap(), [], "planned from what is no more");
    assert_eq!(fleet.finding(1).await.severity(), Severity::Medium);
    fleet.worker().pass().await.unwrap();
    assert_eq!(fleet.finding(1).await.severity(), Severity::High);
    assert_eq!(fleet.events("pattern-band-changed").await.len(), 1);
    assert_eq!(fleet.store.marked_patterns(9).await.unwrap(), []);
}
