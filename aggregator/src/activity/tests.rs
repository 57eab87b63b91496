//! Events get their places once, whatever happens in between, and a stranger notices every change.

use holdfast_model::{Activity, Actor, Receipt, RetestId, RootFingerprint};
use holdfast_proof::log::verify;
use holdfast_proof::merkle::leaf_hash;
use holdfast_proof::merkle::proof::{verify_consistency, verify_inclusion};
use holdfast_proof::{LogProblem, LoggedEntry, SignedHead, TrustProblem, VerifiedLog, receipt};
use holdfast_record::Entry;
use holdfast_store::{Cluster, EventKey};
use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::json;

use super::*;
use crate::authority::AuthoritySettings;
use crate::environment::testing::TestEnvironment;
use crate::signing_request::SigningRequest;

const NOW: i64 = 1_790_000_000_000;

struct Installation {
    _data: tempfile::TempDir,
    store: Store,
    authority: Arc<Authority>,
}

async fn installation() -> Installation {
    let data = tempfile::tempdir().unwrap();
    let authority = Arc::new(Authority::open(data.path(), &AuthoritySettings::default(), NOW).unwrap());
    let store = Store::open(&format!("sqlite:{}", data.path().join("record.db").display())).await.unwrap();
    Installation { _data: data, store, authority }
}

impl Installation {
    fn sequencer(&self) -> Sequencer {
        Sequencer::new(self.store.clone(), self.authority.clone(), TestEnvironment::at(NOW))
    }

    async fn happen(&self, from: usize, count: usize) {
        let entry = |i: usize| {
            let actor = Actor::Holdfast("test".into());
            let event = "cluster-added".to_owned();
            let cause = format!("event {i}");
            Entry::of(Activity { at: NOW, actor, event, cluster: None, finding: None, cause, detail: json!({}) })
                .unwrap()
        };
        let mut tx = self.store.begin().await.unwrap();
        tx.add_events(&(from..from + count).map(entry).collect::<Vec<_>>()).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// An agent's attestation is recorded with the event that it caused.
    async fn testify(&self) -> (RetestId, EventKey) {
        let agent = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&agent).unwrap();
        let request = SigningRequest::parse(request.der()).unwrap();
        let attestation = receipts::tests::attestation();
        let text = canonical::text(&attestation).unwrap();
        let activity = Activity {
            at: NOW,
            actor: Actor::Agent(attestation.cluster),
            event: "finding-verified".into(),
            cluster: Some(attestation.cluster),
            finding: Some(attestation.finding),
            cause: attestation.reason.clone(),
            detail: json!({}),
        };
        let mut tx = self.store.begin().await.unwrap();
        tx.add_cluster(&Cluster::new(attestation.cluster, "shop", NOW)).await.unwrap();
        let event = tx.add_events(&[Entry::of(activity).unwrap()]).await.unwrap()[0];
        let receipt = StoredReceipt {
            cluster: attestation.cluster,
            retest: attestation.retest,
            finding: attestation.finding,
            agent_signature: agent.sign(text.as_bytes()).unwrap(),
            agent_certificate: self.authority.issue(attestation.cluster, &request, NOW).unwrap().der,
            attestation: text,
            recorded_at: NOW,
            event,
            receipt: None,
        };
        tx.add_receipt(&receipt).await.unwrap();
        tx.commit().await.unwrap();
        (attestation.retest, EventKey { cluster: Some(attestation.cluster), id: event })
    }

    async fn exported(&self) -> Vec<LoggedEntry> {
        let events = self.store.events_from(0, 10_000).await.unwrap();
        let entry = |event: holdfast_store::StoredEvent| LoggedEntry {
            index: event.log_index.unwrap(),
            bytes: event.body.map(String::into_bytes),
            leaf: event.leaf,
        };
        events.into_iter().map(entry).collect()
    }

    fn check(
        &self,
        entries: Vec<LoggedEntry>,
        head: &LogHead,
        root: &RootFingerprint,
    ) -> Result<VerifiedLog, LogProblem> {
        let LogHead { signed, signature, certificate, .. } = head;
        verify(entries, &SignedHead { signed, signature, certificate, root_certificate: self.authority.root() }, root)
    }
}

#[tokio::test]
async fn the_log_is_the_same_whether_the_sequencer_lives_on_or_starts_anew_each_time() {
    let (steady, restarted) = (installation().await, installation().await);
    let mut one = steady.sequencer();
    let mut at = 0;
    for count in [1, 254, 1, 1, 300, 2, 500] {
        steady.happen(at, count).await;
        restarted.happen(at, count).await;
        at += count;
        assert_eq!(one.step().await.unwrap(), Step { sequenced: count, countersigned: 0 });
        restarted.sequencer().catch_up().await.unwrap();
        let (ours, theirs) = (steady.store.log_head().await.unwrap(), restarted.store.log_head().await.unwrap());
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert_eq!((ours.size, ours.root), (at as u64, theirs.root));
    }
    assert_eq!(one.step().await.unwrap(), Step::default());
    let causes = steady.store.events_from(0, 10_000).await.unwrap();
    let causes: Vec<_> = causes.into_iter().map(|event| event.activity.unwrap().cause).collect();
    assert_eq!(causes, (0..at).map(|i| format!("event {i}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receipt_is_countersigned_once_its_event_has_its_place_and_is_believed_by_a_stranger() {
    let here = installation().await;
    let mut sequencer = here.sequencer();
    here.happen(0, 3).await;
    let (retest, event) = here.testify().await;
    let stored = || async { here.store.receipt(retest).await.unwrap().unwrap() };
    assert_eq!(stored().await.receipt, None);
    assert_eq!(sequencer.step().await.unwrap(), Step { sequenced: 4, countersigned: 1 });
    assert_eq!(sequencer.step().await.unwrap(), Step::default(), "nothing is signed twice");

    let receipt: Receipt = serde_json::from_str(&stored().await.receipt.unwrap()).unwrap();
    let verified = receipt::verify(&receipt, &here.authority.fingerprint()).unwrap();
    let place = here.store.event(event).await.unwrap().unwrap();
    assert_eq!(verified.countersigned.recorded_at, NOW);
    assert_eq!(Some(verified.countersigned.log_index), place.log_index);
    assert_eq!(verified.countersigned.log_leaf, place.leaf.to_vec());
}

#[tokio::test]
async fn a_log_as_it_was_kept_is_believed() {
    let here = installation().await;
    here.happen(0, 700).await;
    here.sequencer().catch_up().await.unwrap();
    let head = here.store.log_head().await.unwrap().unwrap();
    let verified = here.check(here.exported().await, &head, &here.authority.fingerprint()).unwrap();
    assert_eq!((verified.entries, verified.without_bytes, verified.head.at), (700, 0, NOW));

    let mut thinned = here.exported().await;
    thinned[10].bytes = None;
    let verified = here.check(thinned, &head, &here.authority.fingerprint()).unwrap();
    assert_eq!((verified.entries, verified.without_bytes), (699, 1));
}

#[tokio::test]
async fn what_came_after_the_head_waits_for_a_later_one() {
    let here = installation().await;
    let mut sequencer = here.sequencer();
    here.happen(0, 5).await;
    sequencer.step().await.unwrap();
    let early = here.store.log_head().await.unwrap().unwrap();
    here.happen(5, 5).await;
    sequencer.step().await.unwrap();
    assert_eq!(here.check(here.exported().await, &early, &here.authority.fingerprint()).unwrap().entries, 5);
}

#[tokio::test]
async fn every_way_to_change_history_is_noticed_and_named() {
    let here = installation().await;
    here.happen(0, 20).await;
    here.sequencer().catch_up().await.unwrap();
    let (root, head) = (here.authority.fingerprint(), here.store.log_head().await.unwrap().unwrap());
    let honest = here.exported().await;
    let problem = |change: &dyn Fn(&mut Vec<LoggedEntry>)| {
        let mut changed = honest.clone();
        change(&mut changed);
        here.check(changed, &head, &root).unwrap_err()
    };
    assert_eq!(problem(&|log| log[3].bytes = Some(b"another".to_vec())), LogProblem::Changed(3));
    assert_eq!(problem(&|log| log[3].leaf[0] ^= 1), LogProblem::Changed(3));
    let forged = |log: &mut Vec<LoggedEntry>| {
        log[3].leaf = leaf_hash(b"another");
        log[3].bytes = Some(b"another".to_vec());
    };
    assert_eq!(problem(&forged), LogProblem::Root);
    assert_eq!(problem(&|log| drop(log.remove(7))), LogProblem::Order { expected: 7, found: 8 });
    assert_eq!(problem(&|log| log.swap(1, 2)), LogProblem::Order { expected: 1, found: 2 });
    assert_eq!(problem(&|log| log.truncate(19)), LogProblem::Short { expected: 20, found: 19 });

    let mut smaller = head.clone();
    smaller.signed = smaller.signed.replace("\"size\":20", "\"size\":19");
    assert!(matches!(
        here.check(honest.clone(), &smaller, &root),
        Err(LogProblem::Trust(TrustProblem::Signature { .. }))
    ));
    let stranger = RootFingerprint::of(b"stranger");
    let other = here.check(honest, &head, &stranger);
    assert!(matches!(other, Err(LogProblem::Trust(TrustProblem::OtherRoot { .. }))));
}

#[tokio::test]
async fn proofs_from_the_kept_tiles_hold() {
    let here = installation().await;
    let mut sequencer = here.sequencer();
    here.happen(0, 300).await;
    sequencer.step().await.unwrap();
    let first = here.store.log_head().await.unwrap().unwrap();
    here.happen(300, 400).await;
    sequencer.step().await.unwrap();
    let second = here.store.log_head().await.unwrap().unwrap();
    let entries = here.exported().await;
    for index in [0, 255, 256, 299] {
        let path = inclusion(&here.store, index, 700).await.unwrap().unwrap();
        assert!(verify_inclusion(&entries[index as usize].leaf, index, 700, &path, &second.root));
        let path = inclusion(&here.store, index, 300).await.unwrap().unwrap();
        assert!(verify_inclusion(&entries[index as usize].leaf, index, 300, &path, &first.root));
    }
    let path = consistency(&here.store, 300, 700).await.unwrap().unwrap();
    assert!(verify_consistency(300, 700, &path, &first.root, &second.root));
    assert_eq!(inclusion(&here.store, 700, 700).await.unwrap(), None);
    assert_eq!(inclusion(&here.store, 0, 701).await.unwrap(), None);
    assert_eq!(consistency(&here.store, 700, 300).await.unwrap(), None);
    assert_eq!(consistency(&here.store, 0, 300).await.unwrap(), None);
}

#[tokio::test]
async fn tiles_that_do_not_fit_stop_the_log_and_say_so() {
    let here = installation().await;
    here.happen(0, 5).await;
    here.sequencer().catch_up().await.unwrap();
    let mut tx = here.store.begin().await.unwrap();
    tx.put_log_tile(&LogTile { level: 0, number: 0, hashes: vec![0; 32] }).await.unwrap();
    tx.commit().await.unwrap();
    here.happen(5, 1).await;
    assert!(matches!(here.sequencer().step().await, Err(ActivityError::Tiles { size: 5 })));
}
