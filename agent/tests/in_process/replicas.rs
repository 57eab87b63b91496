//! Two replicas of the cluster part, one Lease, one Secret: who leads, who follows, and that nothing is lost in between.

use std::time::{Duration, Instant};

use holdfast_agent::collect::Pace;
use holdfast_agent::health::Readiness;
use holdfast_agent::lease::Timing;
use holdfast_agent::{AgentConfig, AgentStatus, KubeSource, Shared};
use holdfast_model::Observation;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::aggregator::Aggregator;
use crate::api_server::ApiServer;
use crate::{deployment, ended, fails, web};

const TIMING: Timing =
    Timing { life: Duration::from_secs(1), deadline: Duration::from_millis(600), period: Duration::from_millis(100) };

struct Replica {
    stop: CancellationToken,
    status: watch::Receiver<AgentStatus>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn cluster() -> (ApiServer, Aggregator) {
    let api = ApiServer::start(true).await;
    api.put("deployments", deployment("web", true));
    api.put("leases", json!({"metadata": {"name": "holdfast-agent", "namespace": "holdfast"}}));
    api.put("secrets", json!({"metadata": {"name": "credential", "namespace": "holdfast"}}));
    (api, Aggregator::start().await)
}

fn replica(api: &ApiServer, aggregator: &Aggregator, name: &str) -> Replica {
    let fast = Duration::from_millis(20);
    let shared = Shared {
        namespace: "holdfast".into(),
        lease: "holdfast-agent".into(),
        secret: "credential".into(),
        timing: TIMING,
    };
    let config = AgentConfig {
        join_token: Some(aggregator.token.clone()),
        name: name.into(),
        shared: Some(shared),
        pace: Pace { retry: (fast, fast), refused: fast, ..Pace::default() },
        ..AgentConfig::new(KubeSource::Client(api.client.clone()), &aggregator.url, "/nonexistent/nobody-writes-here")
    };
    let (tell, status) = holdfast_agent::status();
    let stop = CancellationToken::new();
    let task = tokio::spawn(holdfast_agent::run(config, tell, stop.clone()));
    Replica { stop, status, task }
}

impl Replica {
    async fn until(&self, what: &str, condition: impl FnMut(&AgentStatus) -> bool) -> AgentStatus {
        let mut status = self.status.clone();
        match tokio::time::timeout(Duration::from_secs(20), status.wait_for(condition)).await {
            Ok(reached) => reached.unwrap().clone(),
            Err(_) => panic!("not within 20 s: {what}; {:?}", self.status.borrow().clone()),
        }
    }

    async fn until_leading(&self) {
        self.until("leading", |status| status.link.connected && status.progress.synced).await;
    }
}

#[tokio::test]
async fn of_two_replicas_one_leads_and_both_speak_as_one_agent() {
    let (api, aggregator) = cluster().await;
    let first = replica(&api, &aggregator, "first");
    first.until_leading().await;
    let second = replica(&api, &aggregator, "second");
    let standing_by = second.until("standing by", |status| status.standby.is_some()).await;
    assert!(standing_by.standby.as_ref().unwrap().starts_with("first_"), "{standing_by:?}");
    assert!(!standing_by.link.connected);
    assert_eq!(standing_by.readiness(), Readiness::Ready);
    {
        let record = aggregator.record.lock().unwrap();
        assert_eq!((record.enrolled, record.hellos.len()), (1, 1));
    }

    // A leader that is told to stop gives the Lease back: nobody waits it out.
    first.stop.cancel();
    let stopped = Instant::now();
    second.until_leading().await;
    assert!(stopped.elapsed() < Duration::from_secs(5));
    let record = aggregator.record.lock().unwrap();
    assert_eq!(record.enrolled, 1, "the second one found the first one's credential");
    assert!(fails(&record, &web()) && ended(&record, &web()).is_empty());
    assert_eq!(api.object("leases", "holdfast", "holdfast-agent")["spec"]["leaseTransitions"], 2);
}

#[tokio::test]
async fn a_leader_that_vanishes_is_followed_and_what_changed_meanwhile_is_said() {
    let (api, aggregator) = cluster().await;
    let first = replica(&api, &aggregator, "first");
    first.until_leading().await;
    let second = replica(&api, &aggregator, "second");
    second.until("standing by", |status| status.standby.is_some()).await;

    first.task.abort();
    api.put("deployments", deployment("web", false));
    api.put("deployments", deployment("shop", true));
    let vanished = Instant::now();
    second.until_leading().await;
    assert!(vanished.elapsed() < Duration::from_secs(10), "{:?}", vanished.elapsed());
    let shop = holdfast_model::Resource::namespaced("apps", "Deployment", "shop", "shop");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fails(&aggregator.record.lock().unwrap(), &shop) {
        assert!(Instant::now() < deadline, "the new finding was lost");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let record = aggregator.record.lock().unwrap();
    // What the new leader never saw failing is not said to pass: the aggregator has it retested.
    assert!(!ended(&record, &web()).contains(&Observation::Gone));
    assert_eq!(record.enrolled, 1);
}

#[tokio::test]
async fn a_leader_that_cannot_renew_ends_its_duties_before_the_lease_does() {
    let (api, aggregator) = cluster().await;
    let only = replica(&api, &aggregator, "only");
    only.until_leading().await;
    api.set_read_only(true);
    let refused = Instant::now();
    let lost = only.until("the end of its duties", |status| !status.link.connected && status.link.last_error.is_some());
    let lost = lost.await;
    assert!(refused.elapsed() < TIMING.life, "it worked on for {:?}", refused.elapsed());
    assert!(matches!(lost.readiness(), Readiness::NotReady(_)), "{lost:?}");
    api.set_read_only(false);
    only.until_leading().await;
}

#[tokio::test]
async fn a_replica_without_its_secret_says_so() {
    let (api, aggregator) = cluster().await;
    api.vanish("secrets", "holdfast", "credential");
    let only = replica(&api, &aggregator, "only");
    let mut only = only;
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut only.task).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(error.contains("the Secret holdfast/credential"), "{error}");
}
