//! Two writers on one store, as two aggregators have them, and the fleet's job beside them: whatever the order, no change that
//! was acknowledged is overwritten.

use std::collections::BTreeMap;

use holdfast_model::{ControlId, FindingKey, Location, Resource, Severity, Status};
use holdfast_record::{RetestCause, calibrate};
use holdfast_store::written::{Counted, Written};
use holdfast_store::{Cluster, EventFilter, FindingFilter, RetestState, Sort};

use super::*;
use crate::environment::Environment;
use crate::environment::testing::TestEnvironment;
use crate::fleet::policy;
use crate::jobs::FleetBands;

#[path = "../../store/tests/conformance/postgres.rs"]
mod postgres;

const CONTROL: ControlId = ControlId::known("workload.privileged");
const CLUSTERS: u8 = 6;
const NAMES: [&str; 3] = ["web", "api", "worker"];
const ROUNDS: usize = 40;

/// Numbers that look random and come again with their seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

fn keys(seed: u64) -> Vec<FindingKey> {
    let cluster = |number: u8| ClusterId::from_bytes(u128::from(seed * 256 + u64::from(number) + 1).to_be_bytes());
    let key = |number, name: &str| FindingKey {
        cluster: cluster(number),
        resource: Resource::namespaced("apps", "Deployment", &format!("shop-{seed}"), name),
        control: CONTROL,
    };
    (0..CLUSTERS).flat_map(|number| NAMES.iter().map(move |name| key(number, name))).collect()
}

struct Pair {
    store: Store,
    writers: [Writer; 2],
    fleet: FleetBands,
    environment: Arc<TestEnvironment>,
    keys: Vec<FindingKey>,
}

impl Pair {
    async fn open(address: &str, seed: u64) -> Self {
        let environment = TestEnvironment::at(1_790_000_000_000);
        // Draws of one seed are not those of another.
        assert!((0..seed * 100_000).all(|_| environment.draw().is_some()));
        let policy = Arc::new(policy::shipped().unwrap());
        let mut stores = Vec::new();
        let mut writers = Vec::new();
        for _ in 0..2 {
            let store = Store::open(address).await.unwrap();
            let (live, sessions) = (Live::default(), Sessions::default());
            writers.push(Writer::start(store.clone(), environment.clone(), policy.clone(), live, sessions).0);
            stores.push(store);
        }
        let store = stores.swap_remove(0);
        let fleet = FleetBands::new(stores.swap_remove(0), writers[1].clone(), environment.clone(), policy);
        let writers = writers.try_into().expect("two were started");
        let pair = Self { store, writers, fleet, environment, keys: keys(seed) };
        pair.fill(seed).await;
        pair
    }

    async fn fill(&self, seed: u64) {
        let mut tx = self.store.begin().await.unwrap();
        for (number, keys) in self.keys.chunks(NAMES.len()).enumerate() {
            tx.add_cluster(&Cluster::new(keys[0].cluster, &format!("cluster-{seed}-{number}"), 0)).await.unwrap();
        }
        let opened =
            |key: &FindingKey| Finding::opened(key.clone(), Severity::Medium, 1, vec![Location::field("a", "b")], 1);
        let findings: Vec<_> = self.keys.iter().map(opened).collect();
        let written: Vec<_> = findings.iter().map(|after| Written { before: None, after, evidence: true }).collect();
        tx.write_findings(&written).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Several changes at once, each through either writer; the answer is what was acknowledged.
    async fn round(&mut self, numbers: &mut Numbers) -> Vec<FindingId> {
        self.environment.pass(1);
        let mut changes = Vec::new();
        for _ in 0..=numbers.below(6) {
            let (key, writer) = (self.keys[numbers.below(self.keys.len())].clone(), numbers.below(2));
            let action = match numbers.below(4) {
                0 => Action::Claim(String::new()),
                1 => Action::WithdrawClaim,
                _ => Action::RequestRetest(RetestCause::User),
            };
            let writer = self.writers[writer].clone();
            changes.push(async move {
                let retests = matches!(action, Action::RequestRetest(_));
                let done = writer.act(Actor::User("u".into()), key.cluster, key.finding_id(), action).await;
                assert!(!matches!(done, Err(WriteError::Store(_) | WriteError::Stopped)), "{done:?}");
                done.ok().filter(|_| retests).map(|finding| finding.id)
            });
        }
        let changes = futures::future::join_all(changes);
        if numbers.below(2) == 0 {
            let (acknowledged, passed) = futures::join!(changes, self.fleet.pass());
            passed.unwrap();
            return acknowledged.into_iter().flatten().collect();
        }
        changes.await.into_iter().flatten().collect()
    }

    async fn check(&self, acknowledged: &BTreeMap<FindingId, usize>) {
        for key in &self.keys {
            let id = key.finding_id();
            let finding = self.store.finding(id).await.unwrap().unwrap();
            let retests = self.store.retests(key.cluster, id, 500).await.unwrap();
            let open = |retest: &&holdfast_store::Retest| retest.state == RetestState::Waiting;
            let open: Vec<_> = retests.iter().filter(open).map(|retest| retest.id).collect();
            assert_eq!(open, finding.state.retest.into_iter().collect::<Vec<_>>(), "the last order is the finding's");
            let of_users = retests.iter().filter(|retest| retest.cause == RetestCause::User).count();
            assert_eq!(of_users, acknowledged.get(&id).copied().unwrap_or_default(), "every order is on record");
            let filter = EventFilter { finding: Some(id), ..EventFilter::default() };
            let events = self.store.events(&filter, 500).await.unwrap();
            let count = |event: &str| {
                events.iter().filter(|it| it.activity.as_ref().is_some_and(|it| it.event == event)).count()
            };
            let resolved = count("finding-resolved") - count("claim-withdrawn");
            assert_eq!(resolved, usize::from(finding.status() == Status::Resolved), "claims and their withdrawals");
            let policy = policy::shipped().unwrap();
            let fresh = calibrate(finding.state.base_severity, &finding.readings(true), &policy);
            assert_eq!(finding.severity(), fresh.severity);
            assert_eq!(finding.severity(), Severity::High, "six of six clusters: widespread");
        }
        self.check_counts().await;
    }

    async fn check_counts(&self) {
        let clusters: std::collections::BTreeSet<_> = self.keys.iter().map(|key| key.cluster).collect();
        let filter = FindingFilter { clusters: clusters.iter().copied().collect(), ..FindingFilter::default() };
        let mut expected: BTreeMap<(ClusterId, Counted), u64> = BTreeMap::new();
        for finding in self.store.findings(&filter, Sort::Severity, None, 500).await.unwrap().findings {
            let finding = self.store.finding(finding.id).await.unwrap().unwrap();
            *expected.entry((finding.key.cluster, Counted::of(&finding))).or_default() += 1;
        }
        let counts = self.store.counts().await.unwrap().into_iter().filter(|it| clusters.contains(&it.cluster));
        let counted: BTreeMap<_, _> = counts
            .map(|it| {
                let counted = Counted { status: it.status, severity: it.severity, reach: it.reach };
                ((it.cluster, counted), it.findings)
            })
            .collect();
        assert_eq!(counted, expected);
    }
}

async fn two_writers(address: &str, seed: u64) {
    let (mut pair, mut numbers) = (Pair::open(address, seed).await, Numbers(seed));
    let mut acknowledged: BTreeMap<FindingId, usize> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for id in pair.round(&mut numbers).await {
            *acknowledged.entry(id).or_default() += 1;
        }
    }
    pair.fleet.pass().await.unwrap();
    pair.check(&acknowledged).await;
}

#[tokio::test]
async fn two_writers_on_sqlite_overwrite_nothing_that_was_acknowledged() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        two_writers(&format!("sqlite:{}", folder.path().join("record.db").display()), seed).await;
    }
}

#[tokio::test]
async fn two_writers_on_postgres_overwrite_nothing_that_was_acknowledged() {
    let server = match postgres::Server::start() {
        Ok(server) => server,
        Err(reason) => {
            let required =
                std::env::var("HOLDFAST_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|t| t == "postgres"));
            assert!(!required, "PostgreSQL is required: {reason}");
            return println!("skipped: no PostgreSQL: {reason}");
        }
    };
    for seed in 1..=3 {
        two_writers(&server.address, seed).await;
    }
}
