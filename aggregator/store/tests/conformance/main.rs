//! What every engine must do the same: one suite, run on a SQLite file always and on PostgreSQL where there is one.
//!
//! PostgreSQL is taken from `HOLDFAST_TEST_POSTGRES` (an address whose user may create databases) or started from Debian's
//! package in a folder of its own. `HOLDFAST_REQUIRE=postgres` makes its absence a failure.

#![allow(clippy::unwrap_used)] // clippy's own exception ends at the helpers of a test binary

use holdfast_model::*;
use holdfast_record::detection::Rule;
use holdfast_record::finding::Phase;
use holdfast_record::{Detection, Entry, Finding, RetestCause, Source};
use holdfast_store::written::{Counted, Written};
use holdfast_store::*;
use serde_json::json;

mod layout;
mod postgres;

#[tokio::test]
async fn sqlite_keeps_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let address = format!("sqlite:{}", folder.path().join("record.db").display());
    let statements = conform(&address).await;
    layout::sqlite_walks_along_indexes(folder.path().join("record.db"), &statements);
}

#[tokio::test]
async fn postgres_keeps_the_record() {
    let server = match postgres::Server::start() {
        Ok(server) => server,
        Err(reason) => {
            let required =
                std::env::var("HOLDFAST_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|t| t == "postgres"));
            assert!(!required, "PostgreSQL is required: {reason}");
            return println!("skipped: no PostgreSQL: {reason}");
        }
    };
    let statements = conform(&server.address).await;
    layout::postgres_walks_along_indexes(&server.address, &statements).await;
}

async fn conform(address: &str) -> layout::Statements {
    let statements = layout::Statements::default();
    let _recording = statements.record();
    let store = Store::open(address).await.unwrap();
    clusters_and_credentials(&store).await;
    tokens_count_their_uses(&store).await;
    findings_come_back_as_they_went(&store).await;
    pages_show_everything_once(&store).await;
    every_list_goes_on_where_its_page_ended(&store).await;
    counts_and_patterns_follow(&store).await;
    events_are_sequenced_once(&store).await;
    retests_and_receipts(&store).await;
    coverage_scope_settings_and_log(&store).await;
    the_longest_unchanged_of_the_verified_come_first(&store).await;
    short_proofs_are_found_once_there_is_a_kernel_view(&store).await;
    a_detection_batch_is_taken_once_and_few_runs_are_kept(&store).await;
    coverage_that_a_later_session_does_not_repeat_is_dropped(&store).await;
    observed_nodes_are_counted(&store).await;
    what_is_not_committed_never_was(&store).await;
    store.close().await;
    let again = Store::open(address).await.unwrap();
    assert_eq!(again.clusters().await.unwrap().len(), 3, "a restart finds everything");
    again.close().await;
    statements.name_the_cluster();
    statements
}

fn cluster(number: u8) -> ClusterId {
    ClusterId::from_bytes([number; 16])
}

fn finding(number: u8, name: &str) -> Finding {
    let key = FindingKey {
        cluster: cluster(number),
        resource: Resource::namespaced("apps", "Deployment", "shop", name),
        control: ControlId::known("workload.privileged"),
    };
    let locations = vec![Location::field("spec", "a\0b").in_container("web")];
    let mut finding = Finding::opened(key, Severity::High, 1, locations, 1);
    finding.state.origin = Origin { owner: Some("team-a".into()), ..Origin::default() };
    finding.state.read = Read { uid: "u".into(), resource_version: "1".into(), hash: vec![1; 32] };
    finding.detections[0].statement = Some([7; 16]);
    finding
}

fn verified(reach: Reach) -> Phase {
    Phase::Verified { at: 2, resolved_at: 1, reach, current: true }
}

async fn write(store: &Store, before: Option<Counted>, findings: &[Finding]) {
    let mut tx = store.begin().await.unwrap();
    let written: Vec<_> = findings.iter().map(|after| Written { before, after, evidence: true }).collect();
    tx.write_findings(&written).await.unwrap();
    tx.commit().await.unwrap();
}

async fn clusters_and_credentials(store: &Store) {
    let mut tx = store.begin().await.unwrap();
    tx.add_cluster(&Cluster::new(cluster(1), "prod", 5)).await.unwrap();
    tx.add_cluster(&Cluster::new(cluster(2), "stage\0", 6)).await.unwrap();
    let reported = Connected {
        fingerprint: "uid-1".into(),
        server_version: "v1.34".into(),
        agent_version: "0.1".into(),
        controls: vec!["workload.privileged@1".into()],
        clock_offset: -3,
    };
    assert_eq!(tx.start_epoch(cluster(1), &reported, 10).await.unwrap(), 1);
    tx.set_applied(cluster(1), 1, 4, 11).await.unwrap();
    assert!(tx.set_applied(cluster(1), 9, 5, 11).await.is_err(), "another epoch's batch is no write");
    tx.commit().await.unwrap();

    let known = store.cluster_by_fingerprint("uid-1").await.unwrap().unwrap();
    assert_eq!((known.epoch, known.sequence, known.clock_offset), (1, 4, Some(-3)));
    assert_eq!(known.controls, reported.controls);
    let names: Vec<_> = store.clusters().await.unwrap().into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(names, ["prod", "stage\0"]);
    assert_eq!(store.cluster_by_name("prod").await.unwrap().map(|known| known.id), Some(cluster(1)));

    let mut tx = store.begin().await.unwrap();
    assert!(tx.add_cluster(&Cluster::new(cluster(9), "prod", 7)).await.is_err(), "a name is one cluster's");
    drop(tx);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.set_fingerprint(cluster(2), "uid-1").await.is_err(), "a fingerprint is one cluster's");
    drop(tx);
}

async fn tokens_count_their_uses(store: &Store) {
    let token = StoredJoinToken {
        id: JoinTokenId::from_bytes([3; 16]),
        cluster: cluster(1),
        secret_hash: [1; 32],
        created_at: 1,
        expires_at: 100,
        uses: 1,
        used: 0,
        revoked_at: None,
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_join_token(&token).await.unwrap();
    tx.add_enrolment(&token, &[5; 32], 2).await.unwrap();
    assert_eq!(tx.enrolment(token.id, &[5; 32]).await.unwrap(), Some(cluster(1)));
    assert!(tx.add_enrolment(&token, &[6; 32], 2).await.is_err(), "its one use is gone");
    drop(tx);
    assert!(store.join_tokens(cluster(1)).await.unwrap().is_empty(), "dropped without a commit");

    let api = ApiToken {
        id: "t1".into(),
        name: "ci".into(),
        secret_hash: [2; 32],
        role: "admin".into(),
        created_at: 1,
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_api_token(&api).await.unwrap();
    assert!(tx.revoke_api_token("t1", 9).await.unwrap());
    assert!(!tx.revoke_api_token("t1", 10).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.api_token("t1").await.unwrap().unwrap().revoked_at, Some(9));
    assert_eq!(store.api_tokens().await.unwrap().len(), 1);
}

async fn findings_come_back_as_they_went(store: &Store) {
    let mut known = finding(1, "we\0b");
    write(store, None, std::slice::from_ref(&known)).await;
    assert_eq!(store.finding(known.id).await.unwrap().as_ref(), Some(&known));
    let (claimed_by, unverified) = (Some(Actor::User("u".into())), Some("no answer".into()));
    known.state.phase = Phase::Resolved { at: 3, claimed_by, unverified };
    known.state.retest = Some(RetestId::from_bytes([4; 16]));
    known.detections[0].statement = None;
    let seen = Occurrences::once(vec![Location::field("process \0", "a shell")], 5);
    known.detections.push(Detection::kernel(Severity::High, 1, seen.clone()));
    let rule = Rule::Foreign { id: "KSV-0017".into(), edition: String::new(), message: "privileged".into() };
    known.detections.push(Detection::new(Source::Tool("trivy".into()), rule, Severity::Medium, seen));
    write(
        store,
        Some(Counted { status: Status::Open, severity: Severity::High, reach: None }),
        std::slice::from_ref(&known),
    )
    .await;
    assert_eq!(store.finding(known.id).await.unwrap(), Some(known.clone()));
    assert!(store.statements(cluster(1)).await.unwrap().is_empty());

    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.findings_by_id(cluster(1), &[known.id]).await.unwrap(), std::slice::from_ref(&known));
    assert!(tx.findings_by_id(cluster(2), &[known.id]).await.unwrap().is_empty(), "another cluster's id finds nothing");
    assert_eq!(tx.findings_in(cluster(1), "shop").await.unwrap().len(), 1);
    assert!(tx.failing_in_bucket(cluster(1), known.id.as_bytes()[0]).await.unwrap().is_empty());
}

async fn pages_show_everything_once(store: &Store) {
    let mut many: Vec<_> = (0..700).map(|i| finding(2, &format!("app-{i:03}"))).collect();
    for (i, finding) in many.iter_mut().enumerate() {
        finding.state.base_severity = Severity::ALL[i % 5];
        finding.state.changed_at = i as i64 % 7;
    }
    write(store, None, &many).await;
    let filter = FindingFilter { clusters: vec![cluster(2)], ..FindingFilter::default() };
    for sort in [Sort::Severity, Sort::Changed] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.findings(&filter, sort, after, 90).await.unwrap();
            seen.extend(page.findings.into_iter().map(|finding| finding.id));
            let Some(next) = page.next else { break };
            after = Some(next.to_string().parse().unwrap());
        }
        let unique: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), unique.len()), (700, 700));
    }
    let found = |filter: FindingFilter| async move { store.count_findings(&filter).await.unwrap() };
    let base = || FindingFilter { clusters: vec![cluster(2)], ..FindingFilter::default() };
    assert_eq!(found(FindingFilter { severities: vec![Severity::Critical], ..base() }).await, 140);
    assert_eq!(found(FindingFilter { text: Some("APP-01".into()), ..base() }).await, 10);
    assert_eq!(found(FindingFilter { text: Some("app_01".into()), ..base() }).await, 0);
    assert_eq!(found(FindingFilter { archetype: Some(Archetype::Workload), ..base() }).await, 700);
    assert_eq!(found(FindingFilter { archetype: Some(Archetype::Rbac), ..base() }).await, 0);
    assert_eq!(found(FindingFilter { owner: Some("team-a".into()), ..base() }).await, 700);
    assert_eq!(found(FindingFilter { statuses: vec![Status::Retired], ..base() }).await, 0);
    assert_eq!(found(FindingFilter { unverified: Some(true), ..FindingFilter::default() }).await, 1);
    assert_eq!(found(FindingFilter { pattern: Some(many[0].pattern), ..base() }).await, 1);
}

/// Each filter alone, each with each other, all together: in both orders the pages hold what the count says, once, in order.
async fn every_list_goes_on_where_its_page_ended(store: &Store) {
    let pattern = finding(2, "app-003").pattern;
    type Set = (&'static str, Box<dyn Fn(&mut FindingFilter)>);
    let filters: Vec<Set> = vec![
        ("clusters", Box::new(|filter| filter.clusters = vec![cluster(1), cluster(2)])),
        ("namespace", Box::new(|filter| filter.namespace = Some("shop".into()))),
        ("control", Box::new(|filter| filter.control = Some("workload.privileged".into()))),
        ("severities", Box::new(|filter| filter.severities = vec![Severity::Low, Severity::Critical])),
        ("open", Box::new(|filter| filter.statuses = vec![Status::Open, Status::InProgress])),
        ("past", Box::new(|filter| filter.statuses = vec![Status::Resolved, Status::Retired])),
        ("owner", Box::new(|filter| filter.owner = Some("team-a".into()))),
        ("pattern", Box::new(move |filter| filter.pattern = Some(pattern))),
        ("unverified", Box::new(|filter| filter.unverified = Some(true))),
        ("proved", Box::new(|filter| filter.unverified = Some(false))),
        ("text", Box::new(|filter| filter.text = Some("app-1".into()))),
    ];
    let mut shown = 0;
    for first in 0..filters.len() {
        for second in first..filters.len() {
            let mut filter = FindingFilter::default();
            (filters[first].1)(&mut filter);
            (filters[second].1)(&mut filter);
            for sort in [Sort::Severity, Sort::Changed] {
                let listed = list(store, &filter, sort).await;
                let expected = store.count_findings(&filter).await.unwrap();
                let names = (filters[first].0, filters[second].0, sort);
                assert_eq!(listed.len() as u64, expected, "{names:?}");
                let key = |finding: &Finding| match sort {
                    Sort::Severity => (Some(finding.severity()), finding.state.changed_at, finding.id),
                    Sort::Changed => (None, finding.state.changed_at, finding.id),
                };
                assert!(listed.windows(2).all(|pair| key(&pair[0]) > key(&pair[1])), "{names:?}");
                shown += listed.len();
            }
        }
    }
    assert!(shown > 10_000, "{shown} rows are too few to mean anything");
    assert_eq!(list(store, &FindingFilter::default(), Sort::Changed).await.len(), 701);
}

async fn list(store: &Store, filter: &FindingFilter, sort: Sort) -> Vec<Finding> {
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = store.findings(filter, sort, after, 130).await.unwrap();
        listed.extend(page.findings);
        let Some(next) = page.next else { return listed };
        after = Some(next.to_string().parse().unwrap());
    }
}

async fn counts_and_patterns_follow(store: &Store) {
    let total: u64 = store.counts().await.unwrap().iter().map(|count| count.findings).sum();
    assert_eq!(total, 701);
    let (mut here, there) = (finding(1, "both"), finding(2, "both"));
    write(store, None, &[here.clone(), there]).await;
    let pattern = store.pattern(here.pattern).await.unwrap().unwrap();
    assert_eq!((pattern.active, pattern.band), (2, Band::Isolated));
    let top = store.patterns(&PatternFilter { active_at_least: 2, ..PatternFilter::default() }, 10).await.unwrap();
    assert_eq!(top, std::slice::from_ref(&pattern));

    here.state.phase = verified(Reach::Running);
    write(
        store,
        Some(Counted { status: Status::Open, severity: Severity::High, reach: None }),
        std::slice::from_ref(&here),
    )
    .await;
    let is_marked = async |id| store.marked_patterns(10_000).await.unwrap().iter().any(|marked| marked.id == id);
    assert!(is_marked(pattern.id).await);
    let mut tx = store.begin().await.unwrap();
    let mut pattern = tx.lock_patterns(&[pattern.id]).await.unwrap().pop().unwrap();
    assert_eq!((pattern.active, pattern.mark), (1, Mark::Changed));
    (pattern.band, pattern.mark) = (Band::Several, Mark::Pending);
    pattern.state = Some("{}".into());
    tx.put_band(&pattern).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.pattern(pattern.id).await.unwrap().as_ref(), Some(&pattern));
    assert!(is_marked(pattern.id).await, "its findings are still to follow");
    let members = store.members_of_pattern(pattern.id, None, 9).await.unwrap();
    assert_eq!(members, [(cluster(1), here.id), (cluster(2), members[1].1)]);
    assert_eq!(store.members_of_pattern(pattern.id, Some(cluster(1)), 9).await.unwrap(), members[1..]);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.findings_at(&members).await.unwrap().len(), 2);
    tx.settle_patterns(&[pattern.id]).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!is_marked(pattern.id).await);
    let verified = store.counts().await.unwrap().into_iter().find(|count| count.status == Status::Verified).unwrap();
    assert_eq!((verified.cluster, verified.findings), (cluster(1), 1));
}

fn entry(number: u32, finding: Option<FindingId>) -> Entry {
    let activity = Activity {
        at: 1_000,
        actor: Actor::Holdfast("test".into()),
        event: format!("event-{number}"),
        cluster: finding.map(|_| cluster(1)),
        finding,
        cause: "a\0b".into(),
        detail: json!({ "number": number }),
    };
    Entry::of(activity).unwrap()
}

async fn events_are_sequenced_once(store: &Store) {
    let id = finding(1, "both").id;
    let entries: Vec<_> = (0..100).map(|i| entry(i, (i % 2 == 0).then_some(id))).collect();
    let mut tx = store.begin().await.unwrap();
    let ids = tx.add_events(&entries).await.unwrap();
    assert!(ids.is_sorted());
    let waiting = tx.unsequenced_events(60).await.unwrap();
    assert_eq!(waiting.len(), 60);
    let first: Vec<_> = waiting.iter().map(|(key, _)| *key).collect();
    assert_eq!(first.iter().map(|key| key.id).collect::<Vec<_>>(), ids[..60]);
    tx.sequence_events(0, &first).await.unwrap();
    assert_eq!(tx.log_size().await.unwrap(), 60);
    assert_eq!(tx.unsequenced_events(100).await.unwrap().len(), 40);
    assert!(tx.sequence_events(0, &first[..1]).await.is_err(), "the log has grown since");
    tx.commit().await.unwrap();

    let event = store.event(EventKey { cluster: None, id: ids[3] }).await.unwrap().unwrap();
    assert_eq!((event.log_index, event.leaf), (Some(3), entries[3].leaf));
    assert_eq!(event.activity.as_ref(), Some(&entries[3].activity));
    assert_eq!(event.body.as_ref(), Some(&entries[3].body));
    let filter = EventFilter { finding: Some(id), before: Some(ids[50]), ..EventFilter::default() };
    assert_eq!(store.events(&filter, 1000).await.unwrap().len(), 25);
    let all = store.events(&EventFilter::default(), 1000).await.unwrap();
    assert!(all.len() >= 100 && all.windows(2).all(|pair| pair[0].id > pair[1].id), "latest first");
    let of_kind = EventFilter { event: Some("event-3".into()), ..EventFilter::default() };
    assert_eq!(store.events(&of_kind, 1000).await.unwrap().len(), 1);
    assert_eq!(store.events_from(58, 10).await.unwrap().len(), 2);
    assert_eq!(store.log_size().await.unwrap(), 60);
}

async fn retests_and_receipts(store: &Store) {
    let retest = Retest {
        id: RetestId::from_bytes([9; 16]),
        cluster: cluster(1),
        finding: finding(1, "both").id,
        cause: RetestCause::Claim,
        methods: vec![Method::LiveRead, Method::RuntimeRecheck],
        state: RetestState::Waiting,
        requested_at: 5,
        due_at: 5,
        attempts: 0,
        nonce: None,
        observed: 0,
        sent_at: None,
        answered_at: None,
        verdict: None,
        reason: None,
        reach: None,
    };
    let mut tx = store.begin().await.unwrap();
    tx.write_retests(std::slice::from_ref(&retest)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.due_retests(cluster(1), 5, 10).await.unwrap(), std::slice::from_ref(&retest));
    assert!(store.due_retests(cluster(1), 4, 10).await.unwrap().is_empty());
    assert_eq!(store.next_retest_due(cluster(1)).await.unwrap(), Some(5));

    let sent = Retest {
        state: RetestState::Sent,
        attempts: 1,
        nonce: Some(Nonce::from_bytes([2; 16])),
        due_at: 50,
        sent_at: Some(6),
        ..retest.clone()
    };
    let mut tx = store.begin().await.unwrap();
    tx.write_retests(std::slice::from_ref(&sent)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.retests_out(cluster(1), 6).await.unwrap(), 1);
    assert_eq!(store.retest(retest.id).await.unwrap(), Some(sent.clone()));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.requeue_retests(cluster(1), 7).await.unwrap(), 1);
    let answered = Retest { state: RetestState::Answered, verdict: Some(Verdict::Fixed), ..sent };
    tx.write_retests(std::slice::from_ref(&answered)).await.unwrap();
    tx.end_retests(cluster(1), &[retest.id]).await.unwrap();
    let events = tx.add_events(&[entry(500, Some(retest.finding))]).await.unwrap();
    let event = EventKey { cluster: Some(cluster(1)), id: events[0] };
    let receipt = StoredReceipt {
        cluster: cluster(1),
        retest: retest.id,
        finding: retest.finding,
        attestation: "{}".into(),
        agent_signature: vec![1],
        agent_certificate: vec![2],
        recorded_at: 8,
        event: events[0],
        receipt: None,
    };
    tx.add_receipt(&receipt).await.unwrap();
    assert!(tx.receipts_to_sign(10).await.unwrap().is_empty(), "its event has no place in the log yet");
    let size = tx.log_size().await.unwrap();
    tx.sequence_events(size, &[event]).await.unwrap();
    assert_eq!(tx.receipts_to_sign(10).await.unwrap()[0].1, size);
    tx.put_receipt(cluster(1), retest.id, "signed").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        store.retests(cluster(1), retest.finding, 5).await.unwrap(),
        [answered],
        "what was answered does not end"
    );
    assert_eq!(store.receipt(retest.id).await.unwrap().unwrap().receipt.as_deref(), Some("signed"));
}

async fn coverage_scope_settings_and_log(store: &Store) {
    let seen = |state| Coverage { subject: "pods".into(), state, reason: "r\0".into(), since: 3 };
    let proposal =
        |value: &str| ScopeProposal { namespace: "shop".into(), label: "l".into(), value: value.into(), since: 1 };
    let mut tx = store.begin().await.unwrap();
    tx.put_coverage(cluster(1), 1, &[seen(CoverageState::Starting)]).await.unwrap();
    tx.put_coverage(cluster(1), 1, &[seen(CoverageState::Forbidden)]).await.unwrap();
    tx.put_scope_proposal(cluster(1), &proposal("out")).await.unwrap();
    tx.set_excluded_namespaces(cluster(1), &["a".into(), "b".into()], 1).await.unwrap();
    tx.set_excluded_namespaces(cluster(1), &["b".into()], 2).await.unwrap();
    tx.put_setting("policy", "1", 1).await.unwrap();
    tx.put_setting("policy", "2", 2).await.unwrap();
    tx.put_log_tile(&LogTile { level: 0, number: 1, hashes: vec![1; 64] }).await.unwrap();
    let head = LogHead { size: 3, root: [1; 32], at: 2, signed: "s".into(), signature: vec![1], certificate: vec![2] };
    tx.add_log_head(&head).await.unwrap();
    tx.commit().await.unwrap();
    let coverage = store.coverage(Some(cluster(1))).await.unwrap();
    assert_eq!(store.coverage(None).await.unwrap(), coverage);
    assert_eq!((coverage.len(), &coverage[0].coverage), (1, &seen(CoverageState::Forbidden)));
    assert_eq!(store.scope_proposals(cluster(1)).await.unwrap(), [proposal("out")]);
    assert_eq!(store.excluded_namespaces(cluster(1)).await.unwrap(), ["b"]);
    assert_eq!(store.setting("policy").await.unwrap().as_deref(), Some("2"));
    assert_eq!(store.log_head().await.unwrap(), Some(head));
    assert_eq!(store.log_tiles(0, 0, 9).await.unwrap().len(), 1);
    let mut tx = store.begin().await.unwrap();
    tx.put_scope_proposal(cluster(1), &proposal("")).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.scope_proposals(cluster(1)).await.unwrap().is_empty());
}

async fn the_longest_unchanged_of_the_verified_come_first(store: &Store) {
    let verified = |number, name: &str, changed_at, retest| {
        let mut finding = finding(number, name);
        finding.state.phase = verified(Reach::Running);
        (finding.state.changed_at, finding.state.retest) = (changed_at, retest);
        finding
    };
    let mut tx = store.begin().await.unwrap();
    tx.add_cluster(&Cluster::new(cluster(3), "gone", 1)).await.unwrap();
    tx.revoke_cluster(cluster(3), 1).await.unwrap();
    tx.commit().await.unwrap();
    let names = ["late", "early", "asked", "recent", "revoked"];
    let all = [
        verified(1, names[0], 30, None),
        verified(2, names[1], 20, None),
        verified(1, names[2], 10, Some(RetestId::from_bytes([8; 16]))),
        verified(1, names[3], 31, None),
        verified(3, names[4], 5, None),
    ];
    write(store, None, &all).await;
    let found = async |then, limit| {
        let found = store.verified_unchanged_since(then, limit).await.unwrap();
        let name = |place: &(ClusterId, FindingId)| all.iter().position(|f| (f.key.cluster, f.id) == *place);
        found.iter().filter_map(name).map(|at| names[at]).collect::<Vec<_>>()
    };
    assert_eq!(found(30, 99).await, ["early", "late"]);
    assert_eq!(found(29, 99).await, ["early"]);
    assert_eq!(store.verified_unchanged_since(30, 1).await.unwrap().len(), 1);
}

/// What can be proved further now: of a cluster with a kernel view, by a control that uses it, not proved so far yet.
async fn short_proofs_are_found_once_there_is_a_kernel_view(store: &Store) {
    let proved = |number, name: &str, reach| {
        let mut finding = finding(number, name);
        (finding.state.phase, finding.state.changed_at) = (verified(reach), 40);
        finding
    };
    let all =
        [proved(1, "short", Reach::Config), proved(1, "far", Reach::Running), proved(2, "not-observed", Reach::Config)];
    let of_reach = |reach| store_count(store, reach);
    let before = (of_reach(Reach::Config).await, of_reach(Reach::Running).await);
    write(store, None, &all).await;
    let controls = ["workload.privileged", "workload.host-pid"];
    let found = async || store.verified_without_processes(&controls, 99).await.unwrap();
    let view = |node: &str, state| Coverage {
        subject: holdfast_model::kernel::coverage_subject(node),
        state,
        reason: String::new(),
        since: 1,
    };
    let mut tx = store.begin().await.unwrap();
    assert!(!tx.has_kernel_view(cluster(1)).await.unwrap());
    tx.put_coverage(cluster(1), 1, &[view("a", CoverageState::Failing)]).await.unwrap();
    assert!(!tx.has_kernel_view(cluster(1)).await.unwrap(), "an unavailable view is none");
    tx.commit().await.unwrap();
    assert_eq!(found().await, []);
    let mut tx = store.begin().await.unwrap();
    tx.put_coverage(cluster(1), 1, &[view("b", CoverageState::Seen)]).await.unwrap();
    assert!(tx.has_kernel_view(cluster(1)).await.unwrap() && !tx.has_kernel_view(cluster(2)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(found().await, [(cluster(1), all[0].id)]);
    assert_eq!(store.verified_without_processes(&["rbac.wildcard-verbs"], 99).await.unwrap(), []);
    what_only_the_kernel_shows_is_found_where_there_is_a_kernel_view(store).await;
    let counted = (of_reach(Reach::Config).await, of_reach(Reach::Running).await);
    assert_eq!((counted.0 - before.0, counted.1 - before.1), (2, 1));
}

/// A node counts as looked into where its view and its sensors see; what vanished does not count at all.
async fn observed_nodes_are_counted(store: &Store) {
    use holdfast_model::kernel::{coverage_subject, sensors_subject};
    let row = |subject: String, state| Coverage { subject, state, reason: String::new(), since: 1 };
    let (seen, failing, absent) = (CoverageState::Seen, CoverageState::Failing, CoverageState::Absent);
    let rows = [
        row(coverage_subject("both"), seen),
        row(sensors_subject("both"), seen),
        row(coverage_subject("probe-lost"), seen),
        row(sensors_subject("probe-lost"), failing),
        row(coverage_subject("unavailable"), failing),
        row(sensors_subject("unavailable"), seen),
        row(coverage_subject("of-an-older-agent"), seen),
        row(coverage_subject("gone"), absent),
        row(sensors_subject("gone"), absent),
        row("nodes".to_owned(), seen),
    ];
    let mut tx = store.begin().await.unwrap();
    tx.put_coverage(cluster(7), 1, &rows).await.unwrap();
    tx.put_coverage(cluster(8), 1, &[row(sensors_subject("both"), failing)]).await.unwrap();
    tx.commit().await.unwrap();
    let counted = NodeCoverage { cluster: cluster(7), nodes: 4, available: 2 };
    assert_eq!(store.node_coverage(Some(cluster(7))).await.unwrap(), [counted]);
    assert_eq!(store.node_coverage(Some(cluster(8))).await.unwrap(), []);
    assert!(store.node_coverage(None).await.unwrap().contains(&counted));
}

/// Open, held open by no statement, left alone for a while; the first cluster has a kernel view by now, the second has none.
async fn what_only_the_kernel_shows_is_found_where_there_is_a_kernel_view(store: &Store) {
    let shown = |number, name: &str, statement| {
        let mut finding = finding(number, name);
        (finding.detections[0].statement, finding.state.changed_at) = (statement, 50);
        finding
    };
    let stated = finding(1, "stated").statement();
    let all = [shown(1, "shell", None), shown(1, "stated", stated), shown(2, "no-view", None)];
    write(store, None, &all).await;
    let found = async |then| store.shown_only_unchanged_since(&["workload.privileged"], then, 99).await.unwrap();
    assert_eq!(found(50).await, [(cluster(1), all[0].id)]);
    assert_eq!(found(49).await, [], "shown just now");
    assert_eq!(store.shown_only_unchanged_since(&["rbac.wildcard-verbs"], 99, 99).await.unwrap(), []);
}

async fn store_count(store: &Store, reach: Reach) -> u64 {
    let counts = store.counts().await.unwrap();
    counts.iter().filter(|count| count.reach == Some(reach)).map(|count| count.findings).sum()
}

async fn what_is_not_committed_never_was(store: &Store) {
    let lost = finding(1, "lost");
    let mut tx = store.begin().await.unwrap();
    tx.write_findings(&[Written { before: None, after: &lost, evidence: true }]).await.unwrap();
    drop(tx);
    assert!(store.finding(lost.id).await.unwrap().is_none());
    assert!(store.pattern(lost.pattern).await.unwrap().is_none());
}

async fn a_detection_batch_is_taken_once_and_few_runs_are_kept(store: &Store) {
    const DAY: i64 = 24 * 3_600_000;
    let mut tx = store.begin().await.unwrap();
    let taken = [("a", 1, true), ("a", 1, false), ("a", 3, true), ("a", 2, false), ("b", 1, true), ("a", 3, false)];
    for (number, (run, sequence, is_new)) in taken.into_iter().enumerate() {
        let at = number as i64;
        assert_eq!(tx.take_detection_batch(cluster(1), "node-1", run, sequence, at).await.unwrap(), is_new, "{number}");
    }
    assert!(tx.take_detection_batch(cluster(2), "node-1", "a", 1, 0).await.unwrap(), "another cluster's");
    assert!(tx.take_detection_batch(cluster(1), "node-2", "a", 1, 0).await.unwrap(), "another node's");
    // Two runs that overlap go on; of many that came and went the oldest are deleted, and others' are not touched.
    for number in 0..10 {
        assert!(tx.take_detection_batch(cluster(1), "node-1", &format!("c{number}"), 1, 10 + number).await.unwrap());
    }
    assert!(!tx.take_detection_batch(cluster(1), "node-1", "c8", 1, 20).await.unwrap());
    assert!(tx.take_detection_batch(cluster(1), "node-1", "a", 1, 21).await.unwrap(), "deleted");
    assert!(!tx.take_detection_batch(cluster(1), "node-2", "a", 1, 22).await.unwrap());
    tx.take_detection_batch(cluster(1), "node-3", "new", 1, 60 * DAY).await.unwrap();
    assert!(
        tx.take_detection_batch(cluster(1), "node-2", "a", 1, 60 * DAY).await.unwrap(),
        "without a batch for too long"
    );
    tx.commit().await.unwrap();
}

async fn coverage_that_a_later_session_does_not_repeat_is_dropped(store: &Store) {
    let row = |name: &str| Coverage {
        subject: kernel::coverage_subject(name),
        state: CoverageState::Failing,
        reason: String::new(),
        since: 1,
    };
    let subjects = async || {
        let rows = store.coverage(Some(cluster(3))).await.unwrap();
        rows.into_iter().map(|row| row.coverage.subject).collect::<Vec<_>>()
    };
    let mut tx = store.begin().await.unwrap();
    tx.put_coverage(cluster(3), 1, &[row("a"), row("b"), row("c")]).await.unwrap();
    tx.put_coverage(cluster(3), 2, &[row("b"), row("c")]).await.unwrap();
    tx.drop_coverage(cluster(3), &row("c").subject).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(subjects().await, [row("a").subject, row("b").subject]);
    let mut tx = store.begin().await.unwrap();
    tx.drop_coverage_before(cluster(3), 2).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(subjects().await, [row("b").subject]);
}
