//! The lifecycle as a table, the things that must never close as sentences, and properties over sequences of commands.

use holdfast_model::*;
use proptest::prelude::*;

use super::*;
use crate::calibration::RuntimeRule;
use crate::calibration::tests::policy;
use crate::detection::{Rule, Silence, silence};
use crate::retest::RetestCause;

/// A finding with what the writer keeps between two commands.
struct Harness {
    finding: Option<Finding>,
    on_deletion: OnDeletion,
    in_scope: bool,
    by_processes: bool,
    policy: Policy,
    now: UnixMillis,
    drawn: u8,
    order: Option<(RetestId, Nonce, u64)>,
    /// What the orders count on, and how often the last one was asked in vain before.
    methods: Vec<Method>,
    attempts: u32,
    causes: Vec<RetestCause>,
    events: Vec<String>,
}

impl Harness {
    fn new() -> Self {
        Self {
            finding: None,
            on_deletion: OnDeletion::Retires,
            in_scope: true,
            by_processes: true,
            policy: policy(),
            now: 1_000,
            drawn: 0,
            order: None,
            methods: vec![Method::LiveRead],
            attempts: 0,
            causes: Vec::new(),
            events: Vec::new(),
        }
    }

    fn at(status: Status) -> Self {
        let mut harness = Self::new();
        harness.fail("a");
        match status {
            Status::Open => {}
            Status::InProgress => {
                let _ = harness.run(Command::Start);
            }
            Status::Resolved => {
                let _ = harness.claim();
            }
            Status::Verified => harness.claim_and_answer(Verdict::Fixed),
            Status::Retired => harness.claim_and_answer(Verdict::WorkloadDeleted),
        }
        assert_eq!(harness.status(), status);
        harness.events.clear();
        harness.causes.clear();
        harness
    }

    fn status(&self) -> Status {
        self.finding.as_ref().expect("a finding").status()
    }

    fn run(&mut self, command: Command<'_>) -> Result<bool, Refused> {
        self.now += 1;
        self.drawn = self.drawn.wrapping_add(1);
        let actor = Actor::Holdfast("test".into());
        let context = Context {
            now: self.now,
            actor: &actor,
            on_deletion: self.on_deletion,
            by_processes: self.by_processes,
            in_scope: self.in_scope,
            policy: &self.policy,
            fresh: RetestId::from_bytes([self.drawn; 16]),
        };
        let before = self.finding.clone();
        let decision = match decide(&context, &mut self.finding, command) {
            Ok(Some(decision)) => decision,
            nothing => {
                assert_eq!(self.finding, before, "what is refused or changes nothing leaves no trace");
                return nothing.map(|_| false);
            }
        };
        let evidence = |finding: &Option<Finding>| finding.as_ref().map(|finding| finding.detections.clone());
        assert!(decision.evidence || evidence(&before) == evidence(&self.finding), "changed detections are declared");
        if let RetestChange::Order { cause, attempts, .. } = decision.retest {
            self.attempts = attempts;
            self.causes.push(cause);
        }
        self.events.extend(decision.events.into_iter().map(|event| event.happened.name().to_owned()));
        Ok(true)
    }

    fn claim(&mut self) -> Result<bool, Refused> {
        self.run(Command::Claim { note: "" })
    }

    fn observe(&mut self, version: u32, observation: Observation) -> bool {
        let statement = Statement { control: CONTROL, control_version: version, observation };
        let read = Read { uid: "u".into(), resource_version: "1".into(), hash: Vec::new() };
        let (key, origin) = (key(), Origin::default());
        let observed = Observed { key: &key, origin: &origin, read: &read, statement: &statement };
        self.run(Command::Observe(observed)).expect("statements are never refused")
    }

    fn fail(&mut self, place: &str) -> bool {
        self.observe(1, failing(place))
    }

    /// Sends the outstanding retest, as the dispatcher does.
    fn dispatch(&mut self) {
        let finding = self.finding.as_ref().expect("a finding");
        self.drawn = self.drawn.wrapping_add(1);
        self.order =
            finding.state.retest.map(|retest| (retest, Nonce::from_bytes([self.drawn; 16]), finding.state.observed));
    }

    fn answer(&mut self, verdict: Verdict) -> Result<bool, Refused> {
        self.answer_with(verdict, |_| {})
    }

    fn answer_with(&mut self, verdict: Verdict, change: impl FnOnce(&mut Attestation)) -> Result<bool, Refused> {
        let (retest, nonce, observed) = self.order.ok_or(Refused::NotOutstanding)?;
        let finding = self.finding.clone().expect("a finding");
        let mut attestation = Attestation {
            form: Attestation::FORM.into(),
            retest,
            nonce,
            cluster: finding.key.cluster,
            finding: finding.id,
            resource: finding.key.resource.clone(),
            uid: "u".into(),
            control: finding.key.control.clone(),
            control_version: finding.state.control_version,
            verdict,
            reason: verdict.to_string(),
            reach: Reach::Config,
            methods: vec![Method::LiveRead],
            locations: Vec::new(),
            reads: Vec::new(),
            nodes: Vec::new(),
            windows: None,
            read_at: 0,
            agent_version: "0".into(),
        };
        change(&mut attestation);
        let (methods, attempts) = (self.methods.clone(), self.attempts + 1);
        let answer = Answer { retest, nonce, observed, attempts, methods: &methods, attestation: &attestation };
        self.run(Command::Answer(answer))
    }

    fn claim_and_answer(&mut self, verdict: Verdict) {
        self.claim().unwrap();
        self.dispatch();
        self.answer(verdict).unwrap();
    }
}

/// The agent's ledger without the finding.
const LEDGER: Silent<'_> = Silent { source: &Source::Posture, can_judge: true };

const CONTROL: ControlId = ControlId::known("workload.privileged");

fn key() -> FindingKey {
    FindingKey {
        cluster: ClusterId::from_bytes([1; 16]),
        resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
        control: CONTROL,
    }
}

fn failing(place: &str) -> Observation {
    Observation::Fail { severity: Severity::High, locations: vec![Location::field(place, "true")] }
}

type Step = fn(&mut Harness);

/// One row of design.md's table: from, event, to, and why a retest is ordered by it.
fn row(name: &str, from: Status, step: Step, to: Status, retest: &[RetestCause]) {
    let mut harness = Harness::at(from);
    step(&mut harness);
    assert_eq!((harness.status(), harness.causes.as_slice()), (to, retest), "{name}: {:?}", harness.events);
}

#[test]
fn every_arrow_leads_where_the_table_says() {
    use Status::*;
    fn verdict(harness: &mut Harness, verdict: Verdict) {
        harness.dispatch();
        harness.answer(verdict).unwrap();
    }
    row(
        "start",
        Open,
        |w| {
            let _ = w.run(Command::Start);
        },
        InProgress,
        &[],
    );
    row(
        "claim",
        Open,
        |w| {
            let _ = w.claim();
        },
        Resolved,
        &[RetestCause::Claim],
    );
    row(
        "claim in progress",
        InProgress,
        |w| {
            let _ = w.claim();
        },
        Resolved,
        &[RetestCause::Claim],
    );
    row(
        "seen passing",
        Open,
        |w| {
            let _ = w.observe(1, Observation::Pass);
        },
        Resolved,
        &[RetestCause::ObservedPass],
    );
    row(
        "passing",
        InProgress,
        |w| {
            let _ = w.observe(1, Observation::Pass);
        },
        Resolved,
        &[RetestCause::ObservedPass],
    );
    row(
        "seen deleted",
        Open,
        |w| {
            let _ = w.observe(1, Observation::Gone);
        },
        Resolved,
        &[RetestCause::ObservedGone],
    );
    row("fixed", Resolved, |w| verdict(w, Verdict::Fixed), Verified, &[]);
    row("still failing", Resolved, |w| verdict(w, Verdict::StillFailing), Open, &[]);
    row(
        "newer failure",
        Resolved,
        |w| {
            let _ = w.fail("b");
        },
        Open,
        &[],
    );
    row(
        "claim withdrawn",
        Resolved,
        |w| {
            let _ = w.run(Command::WithdrawClaim);
        },
        InProgress,
        &[],
    );
    row("deleted", Resolved, |w| verdict(w, Verdict::WorkloadDeleted), Retired, &[]);
    row("unreachable", Resolved, |w| verdict(w, Verdict::Unreachable), Resolved, &[]);
    row("inconclusive", Resolved, |w| verdict(w, Verdict::Inconclusive), Resolved, &[]);
    row(
        "out of scope",
        Open,
        |w| {
            let _ = w.run(Command::LeaveScope);
        },
        Retired,
        &[],
    );
    row(
        "out of scope, in progress",
        InProgress,
        |w| {
            let _ = w.run(Command::LeaveScope);
        },
        Retired,
        &[],
    );
    row(
        "out of scope, resolved",
        Resolved,
        |w| {
            let _ = w.run(Command::LeaveScope);
        },
        Retired,
        &[],
    );
    row(
        "control withdrawn",
        Resolved,
        |w| {
            let _ = w.observe(1, Observation::Withdrawn);
        },
        Retired,
        &[],
    );
    row(
        "new version fails",
        Resolved,
        |w| {
            let _ = w.observe(2, failing("a"));
        },
        Open,
        &[],
    );
    let version = |w: &mut Harness| {
        let _ = w.observe(2, Observation::Pass);
    };
    row("new version passes", Resolved, version, Resolved, &[RetestCause::ControlChanged]);
    row(
        "detected again",
        Verified,
        |w| {
            let _ = w.fail("a");
        },
        Open,
        &[],
    );
    row(
        "recreated and failing",
        Retired,
        |w| {
            let _ = w.fail("a");
        },
        Open,
        &[],
    );
    let requested = |w: &mut Harness| {
        w.run(Command::RequestRetest(RetestCause::User)).unwrap();
        verdict(w, Verdict::StillFailing);
    };
    row("a requested retest fails", Verified, requested, Open, &[RetestCause::User]);
    row("a requested retest fails later", Retired, requested, Open, &[RetestCause::User]);
    let periodic = |w: &mut Harness| {
        w.run(Command::RequestRetest(RetestCause::Periodic)).unwrap();
    };
    row("a periodic look", Verified, periodic, Verified, &[RetestCause::Periodic]);
    row("no periodic look at what is not verified", Retired, periodic, Retired, &[]);
    row(
        "subject gone later",
        Verified,
        |w| {
            let _ = w.observe(1, Observation::Gone);
        },
        Verified,
        &[],
    );
}

#[test]
fn deleting_verifies_only_where_deletion_is_the_fix() {
    let mut harness = Harness::at(Status::Resolved);
    harness.on_deletion = OnDeletion::Fixes;
    harness.dispatch();
    harness.answer(Verdict::WorkloadDeleted).unwrap();
    assert_eq!(harness.status(), Status::Verified);
}

#[test]
fn the_same_identity_reopens_the_same_record_and_counts() {
    let mut harness = Harness::at(Status::Verified);
    let id = harness.finding.as_ref().unwrap().id;
    harness.fail("a");
    harness.claim_and_answer(Verdict::Fixed);
    harness.fail("a");
    let finding = harness.finding.unwrap();
    assert_eq!((finding.id, finding.state.reopened, finding.status()), (id, 2, Status::Open));
    assert_eq!((finding.verified_at(), finding.reach()), (None, None));
}

#[test]
fn a_verdict_older_than_an_observation_orders_another_retest() {
    let mut harness = Harness::at(Status::Resolved);
    harness.dispatch();
    harness.observe(1, Observation::Pass);
    harness.answer(Verdict::Fixed).unwrap();
    assert_eq!(
        (harness.status(), harness.causes.as_slice()),
        (Status::Resolved, [RetestCause::StaleVerdict].as_slice())
    );
    harness.dispatch();
    harness.answer(Verdict::Fixed).unwrap();
    assert_eq!(harness.status(), Status::Verified);
}

#[test]
fn a_verdict_counts_for_its_own_order_only() {
    type Forgery = fn(&mut Attestation);
    let forgeries: [(&str, Forgery, Refused); 6] = [
        ("nonce", |t| t.nonce = Nonce::from_bytes([0xee; 16]), Refused::NotOutstanding),
        ("retest", |t| t.retest = RetestId::from_bytes([0xee; 16]), Refused::NotOutstanding),
        ("cluster", |t| t.cluster = ClusterId::from_bytes([2; 16]), Refused::OtherSubject),
        ("finding", |t| t.finding = FindingId::from_bytes([2; 16]), Refused::OtherSubject),
        ("resource", |t| t.resource.name = "api".into(), Refused::OtherSubject),
        ("version", |t| t.control_version = 9, Refused::OtherSubject),
    ];
    for (what, forge, refused) in forgeries {
        let mut harness = Harness::at(Status::Resolved);
        harness.dispatch();
        assert_eq!(harness.answer_with(Verdict::Fixed, forge), Err(refused), "{what}");
        assert_eq!(harness.status(), Status::Resolved);
    }
    let mut harness = Harness::at(Status::Resolved);
    harness.dispatch();
    harness.run(Command::WithdrawClaim).unwrap();
    assert_eq!(harness.answer(Verdict::Fixed), Err(Refused::NotOutstanding));
}

#[test]
fn an_agent_alone_cannot_take_a_namespace_out_of_scope() {
    let mut harness = Harness::at(Status::Resolved);
    harness.dispatch();
    harness.answer(Verdict::NamespaceOutOfScope).unwrap();
    assert_eq!(harness.status(), Status::Resolved);
    harness.in_scope = false;
    harness.answer(Verdict::NamespaceOutOfScope).unwrap();
    assert_eq!(harness.finding.unwrap().retired_reason(), Some(RetiredReason::OutOfScope));
}

#[test]
fn what_lies_out_of_scope_is_kept_retired_and_retested_on_its_return() {
    let mut harness = Harness::new();
    harness.in_scope = false;
    harness.fail("a");
    assert_eq!(harness.status(), Status::Retired);
    assert!(!harness.fail("a"), "a repeat writes nothing");
    harness.fail("b");
    assert_eq!(harness.status(), Status::Retired);
    harness.in_scope = true;
    harness.run(Command::ReturnToScope).unwrap();
    harness.dispatch();
    harness.answer(Verdict::StillFailing).unwrap();
    assert_eq!(harness.status(), Status::Open);
}

#[test]
fn the_agent_having_another_version_asks_again_with_that_one() {
    let mut harness = Harness::at(Status::Resolved);
    harness.dispatch();
    harness.answer_with(Verdict::ControlChanged, |attestation| attestation.control_version = 2).unwrap();
    let finding = harness.finding.as_ref().unwrap();
    assert_eq!((finding.status(), finding.state.control_version), (Status::Resolved, 2));
    assert!(finding.unverified().is_some());
    assert_eq!(harness.causes, [RetestCause::ControlChanged]);
}

#[test]
fn still_there_writes_nothing() {
    let mut harness = Harness::at(Status::Open);
    assert!(!harness.fail("a"));
    assert!(harness.fail("b"));
    assert_eq!(harness.events, ["finding-changed"]);
}

#[test]
fn a_repeat_of_what_was_known_before_the_claim_refutes_nothing() {
    let mut harness = Harness::at(Status::Resolved);
    assert!(!harness.fail("a"));
    assert_eq!(harness.status(), Status::Resolved);
}

#[test]
fn a_claim_that_nobody_made_cannot_be_withdrawn() {
    let mut harness = Harness::at(Status::Open);
    harness.observe(1, Observation::Pass);
    assert_eq!(harness.run(Command::WithdrawClaim), Err(Refused::NothingClaimed));
}

fn spread(band: Band) -> FleetReading {
    FleetReading { band, clusters: 4, judging: 10, pattern_event: "ab12".into() }
}

#[test]
fn a_calibration_moves_the_severity_and_back() {
    let mut harness = Harness::at(Status::Open);
    let severity = |harness: &Harness| harness.finding.as_ref().unwrap().severity();
    assert!(harness.run(Command::Spread(Some(&spread(Band::Systemic)))).unwrap());
    assert!(!harness.run(Command::Spread(Some(&spread(Band::Systemic)))).unwrap());
    assert_eq!(severity(&harness), Severity::Critical);
    assert!(harness.run(Command::Spread(None)).unwrap());
    assert_eq!((severity(&harness), harness.events.len()), (Severity::High, 2));
}

#[test]
fn the_kernels_raise_follows_the_policy_in_force_and_the_posture_that_joins_it() {
    let mut harness = Harness::new();
    detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    let severity = |harness: &Harness| harness.finding.as_ref().unwrap().severity();
    assert_eq!(severity(&harness), Severity::High, "the kernel alone raises nothing");
    harness.fail("a");
    assert_eq!(severity(&harness), Severity::Critical);
    harness.policy.runtime = None;
    assert!(harness.run(Command::Recalibrate).unwrap());
    assert!(!harness.run(Command::Recalibrate).unwrap());
    assert_eq!(severity(&harness), Severity::High);
    harness.policy = policy();
    detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    assert_eq!(severity(&harness), Severity::Critical, "whatever touches it brings it up to date");
}

/// Every status that a finding may have while it is not closed.
const ACTIVE: [Status; 3] = [Status::Open, Status::InProgress, Status::Resolved];

fn never_closes(step: impl Fn(&mut Harness)) {
    for status in ACTIVE {
        let mut harness = Harness::at(status);
        step(&mut harness);
        assert!(harness.status().is_active(), "{status} became {}", harness.status());
    }
}

#[test]
fn a_permission_lost_never_closes() {
    never_closes(|harness| {
        harness.observe(1, Observation::Unknown { reason: "403".into() });
        harness.dispatch();
        let _ = harness.answer(Verdict::Inconclusive);
    });
}

#[test]
fn an_agent_that_no_longer_repeats_it_never_closes() {
    never_closes(|harness| {
        let _ = harness.run(Command::Silent(LEDGER));
    });
}

#[test]
fn a_rule_deleted_or_downgraded_never_closes_what_is_open() {
    for status in [Status::Open, Status::InProgress] {
        let mut harness = Harness::at(status);
        harness.observe(1, Observation::Withdrawn);
        harness.observe(0, Observation::Unknown { reason: "older rules".into() });
        assert_eq!(harness.status(), status);
    }
}

#[test]
fn stale_state_replayed_after_a_reconnect_never_closes() {
    never_closes(|harness| {
        for _ in 0..3 {
            harness.fail("a");
            let _ = harness.run(Command::Silent(LEDGER));
        }
    });
}

#[test]
fn an_agent_that_never_answers_never_closes() {
    never_closes(|harness| {
        if let Some(retest) = harness.finding.as_ref().unwrap().state.retest {
            harness.run(Command::NoAnswer { retest, attempts: 7 }).unwrap();
            assert_eq!(harness.finding.as_ref().unwrap().unverified(), Some("the agent did not answer in time"));
        }
    });
}

#[derive(Debug, Clone)]
enum Move {
    Fail(u8, u8),
    Pass,
    Gone,
    Unknown,
    Withdrawn,
    NotRepeated,
    Start,
    Claim,
    WithdrawClaim,
    LeaveScope,
    ReturnToScope,
    Retest,
    Dispatch,
    Answer(Verdict),
    Kernel(bool),
    Tool(bool),
    NotReported(bool),
    Spread(Option<Band>),
    Policy(Option<u8>),
}

fn statements() -> impl Strategy<Value = Move> {
    prop_oneof![
        (0u8..3, 1u8..3).prop_map(|(place, version)| Move::Fail(place, version)),
        Just(Move::Pass),
        Just(Move::Gone),
        Just(Move::Unknown),
        Just(Move::Withdrawn),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        5 => statements(),
        1 => Just(Move::NotRepeated),
        1 => Just(Move::Start),
        1 => Just(Move::Claim),
        1 => Just(Move::WithdrawClaim),
        1 => Just(Move::LeaveScope),
        1 => Just(Move::ReturnToScope),
        1 => Just(Move::Retest),
        1 => Just(Move::Dispatch),
        1 => proptest::sample::select(Verdict::ALL).prop_map(Move::Answer),
        1 => any::<bool>().prop_map(Move::Kernel),
        1 => any::<bool>().prop_map(Move::Tool),
        1 => any::<bool>().prop_map(Move::NotReported),
        1 => prop::option::of(prop::sample::select(Band::ALL)).prop_map(Move::Spread),
        1 => prop::option::of(0u8..3).prop_map(Move::Policy),
    ]
}

fn play(harness: &mut Harness, step: &Move) {
    let _ = match step {
        Move::Fail(place, version) => Ok(harness.observe(u32::from(*version), failing(&place.to_string()))),
        Move::Pass => Ok(harness.observe(1, Observation::Pass)),
        Move::Gone => Ok(harness.observe(1, Observation::Gone)),
        Move::Unknown => Ok(harness.observe(1, Observation::Unknown { reason: "403".into() })),
        Move::Withdrawn => Ok(harness.observe(1, Observation::Withdrawn)),
        Move::Kernel(can_look) => {
            detect(harness, "a shell", *can_look);
            Ok(true)
        }
        Move::Tool(can_look) => {
            let at = harness.now;
            detected(harness, tool(at), *can_look);
            Ok(true)
        }
        _ if harness.finding.is_none() => Ok(false),
        Move::Spread(band) => {
            let reading = band.map(spread);
            harness.run(Command::Spread(reading.as_ref()))
        }
        Move::Policy(raise) => {
            harness.policy = policy();
            harness.policy.runtime =
                harness.policy.runtime.take().zip(*raise).map(|(rule, raise)| RuntimeRule { raise, ..rule });
            harness.run(Command::Recalibrate)
        }
        Move::NotReported(can_judge) => Ok(not_reported(harness, *can_judge)),
        Move::NotRepeated => harness.run(Command::Silent(LEDGER)),
        Move::Start => harness.run(Command::Start),
        Move::Claim => harness.claim(),
        Move::WithdrawClaim => harness.run(Command::WithdrawClaim),
        Move::LeaveScope => {
            harness.in_scope = false;
            harness.run(Command::LeaveScope)
        }
        Move::ReturnToScope => {
            harness.in_scope = true;
            harness.run(Command::ReturnToScope)
        }
        Move::Retest => harness.run(Command::RequestRetest(RetestCause::User)),
        Move::Dispatch => {
            harness.dispatch();
            Ok(false)
        }
        Move::Answer(verdict) => harness.answer(*verdict),
    };
}

/// An attestation whose proof goes to the processes.
fn running(attestation: &mut Attestation) {
    attestation.reach = Reach::Running;
    attestation.methods = vec![Method::LiveRead, Method::RuntimeRecheck];
}

#[test]
fn a_pass_without_a_method_that_the_claim_counted_on_verifies_nothing() {
    let mut harness = Harness::at(Status::Open);
    harness.methods = vec![Method::LiveRead, Method::RuntimeRecheck];
    harness.claim_and_answer(Verdict::Fixed);
    assert_eq!(harness.status(), Status::Resolved);
    assert_eq!(
        harness.finding.as_ref().and_then(Finding::unverified),
        Some("the answer lacks runtime-recheck, which the cluster could do when the claim was made")
    );
    assert!(harness.finding.as_ref().is_some_and(|finding| finding.state.retest.is_some()), "it is asked again");
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!(harness.status(), Status::Verified);
    assert_eq!(harness.finding.unwrap().reach(), Some(Reach::Running));
}

#[test]
fn a_process_that_disagrees_refutes_the_claim_and_is_looked_at_until_it_has_gone() {
    let mut harness = Harness::at(Status::Resolved);
    harness.dispatch();
    harness.answer_with(Verdict::StillFailing, running).unwrap();
    assert_eq!(harness.status(), Status::Open);
    assert_eq!((harness.causes.last(), harness.attempts), (Some(&RetestCause::ProcessDisagreed), 1));
    harness.dispatch();
    harness.answer_with(Verdict::StillFailing, running).unwrap();
    assert_eq!((harness.status(), harness.attempts), (Status::Open, 2), "each time after a longer pause");
    // The last such process ends, and nothing reports it.
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!((harness.status(), harness.causes.last()), (Status::Resolved, Some(&RetestCause::ObservedPass)));
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!(harness.status(), Status::Verified);
}

#[test]
fn a_further_proof_replaces_a_shorter_one_and_never_the_other_way_round() {
    let mut harness = Harness::at(Status::Verified);
    for (cause, go, reach) in [
        (RetestCause::MethodGained, Reach::Running, Reach::Running),
        (RetestCause::Periodic, Reach::Config, Reach::Running),
    ] {
        harness.run(Command::RequestRetest(cause)).unwrap();
        assert!(!harness.run(Command::RequestRetest(RetestCause::MethodGained)).unwrap(), "one at a time");
        harness.dispatch();
        harness.answer_with(Verdict::Fixed, |attestation| attestation.reach = go).unwrap();
        assert_eq!(harness.finding.as_ref().and_then(Finding::reach), Some(reach));
    }
    assert_eq!(harness.events.iter().filter(|event| *event == "proof-extended").count(), 1);
    assert!(!Harness::at(Status::Open).run(Command::RequestRetest(RetestCause::MethodGained)).unwrap());
}

/// What the kernel shows: this fact, once.
fn detect(harness: &mut Harness, fact: &str, can_look: bool) {
    let seen = Occurrences::once(vec![Location::field("process sh (pid 7)", fact)], harness.now);
    detected(harness, Detection::kernel(Severity::High, 1, seen), can_look);
}

fn detected(harness: &mut Harness, detection: Detection, can_look: bool) {
    let (key, origin) = (key(), Origin::default());
    let detected = Detected { key: &key, origin: &origin, control_version: 1, detection, can_look };
    harness.run(Command::Detect(detected)).unwrap();
}

#[test]
fn posture_and_kernel_are_two_pieces_of_evidence_on_one_finding_and_the_second_raises_it() {
    let mut harness = Harness::at(Status::Open);
    let before = harness.finding.clone().unwrap();
    detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    assert_eq!(harness.events, ["runtime-evidence", "severity-recalibrated"]);
    for _ in 0..6 {
        detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    }
    assert_eq!(harness.events.len(), 2, "more of the same is a count, not seven alerts");
    let now = harness.finding.clone().unwrap();
    assert_eq!((now.id, now.locations(), now.statement()), (before.id, before.locations(), before.statement()));
    let (evidence, step) = (now.kernel().unwrap(), &now.state.calibration.as_ref().unwrap().steps[0]);
    assert_eq!((evidence.seen.count, evidence.seen.locations.len(), step.raise), (7, 1, 1));
    assert_eq!(step.rule, "seen");
    assert!(now.severity() > before.severity() || before.severity() == Severity::Critical);
    detect(&mut harness, "no_new_privs is not set", true);
    assert_eq!(harness.events.last().map(String::as_str), Some("runtime-evidence"), "another fact is news");
}

#[test]
fn the_use_of_something_open_is_evidence_and_raises_nothing() {
    let mut harness = Harness::at(Status::Open);
    harness.by_processes = false;
    let before = harness.finding.clone().unwrap();
    detect(&mut harness, "a connection to 203.0.113.7:443, outside the cluster", false);
    let now = harness.finding.clone().unwrap();
    assert_eq!(harness.events, ["runtime-evidence"]);
    assert_eq!((now.severity(), now.kernel().unwrap().seen.count), (before.severity(), 1));
}

#[test]
fn what_only_the_kernel_shows_opens_a_finding_with_the_catalogs_severity() {
    let mut harness = Harness::new();
    detect(&mut harness, "a shell", false);
    let finding = harness.finding.clone().unwrap();
    assert_eq!((finding.status(), finding.severity(), finding.statement()), (Status::Open, Severity::High, None));
    assert_eq!(harness.events, ["finding-opened"]);
}

#[test]
fn what_only_the_kernel_shows_closes_by_a_retest_that_nobody_claimed_and_never_by_silence() {
    let mut harness = Harness::new();
    detect(&mut harness, "a shell", false);
    assert!(!harness.run(Command::Silent(LEDGER)).unwrap(), "the ledger of the posture never held it");
    harness.run(Command::RequestRetest(RetestCause::RuntimeEvidence)).unwrap();
    harness.dispatch();
    harness.answer_with(Verdict::StillFailing, running).unwrap();
    assert_eq!((harness.status(), harness.causes.last()), (Status::Open, Some(&RetestCause::ProcessDisagreed)));
    harness.dispatch();
    harness.answer(Verdict::Inconclusive).unwrap();
    assert_eq!(harness.status(), Status::Open, "not watched for long enough");
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!((harness.status(), harness.causes.last()), (Status::Resolved, Some(&RetestCause::ObservedPass)));
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!(harness.status(), Status::Verified);
    detect(&mut harness, "a shell", false);
    assert_eq!(harness.status(), Status::Open, "and what is done again opens it");
}

#[test]
fn what_was_closed_and_is_seen_again_is_looked_at_or_reopened_if_nothing_is_left_to_look_at() {
    let mut harness = Harness::at(Status::Verified);
    detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    assert_eq!((harness.status(), harness.causes.last()), (Status::Verified, Some(&RetestCause::RuntimeEvidence)));
    let mut harness = Harness::at(Status::Verified);
    detect(&mut harness, "a shell", false);
    assert_eq!(harness.status(), Status::Open);
    // Between claim and answer it makes the answer stale.
    let mut harness = Harness::at(Status::Open);
    harness.claim().unwrap();
    harness.dispatch();
    detect(&mut harness, "CapEff has CAP_SYS_ADMIN", true);
    harness.answer(Verdict::Fixed).unwrap();
    assert_eq!((harness.status(), harness.causes.last()), (Status::Resolved, Some(&RetestCause::StaleVerdict)));
    harness.dispatch();
    harness.answer_with(Verdict::Fixed, running).unwrap();
    assert_eq!(
        (harness.status(), harness.finding.unwrap().kernel()),
        (Status::Verified, None),
        "proved to the processes"
    );
}

/// Another tool's report, observed by it at this moment.
fn tool(at: UnixMillis) -> Detection {
    let rule = Rule::Foreign { id: "KSV-0017".into(), edition: "0.58".into(), message: "Privileged".into() };
    let seen = Occurrences::once(vec![Location::field("containers[0]", "privileged")], at);
    Detection::new(Source::Tool("trivy".into()), rule, Severity::High, seen)
}

fn trivy(harness: &Harness) -> Standing {
    harness.finding.as_ref().unwrap().detection(&Source::Tool("trivy".into())).unwrap().standing
}

fn not_reported(harness: &mut Harness, can_judge: bool) -> bool {
    let source = Source::Tool("trivy".into());
    harness.run(Command::Silent(Silent { source: &source, can_judge })).unwrap()
}

#[test]
fn a_tool_opens_what_nobody_had_reported_and_joins_what_the_posture_states() {
    let mut harness = Harness::new();
    detected(&mut harness, tool(900), true);
    let finding = harness.finding.clone().unwrap();
    assert_eq!((finding.status(), finding.statement()), (Status::Open, None), "no ledger of an agent holds it");
    harness.fail("a");
    let finding = harness.finding.clone().unwrap();
    assert_eq!(
        finding.detections.iter().map(|it| it.source.to_string()).collect::<Vec<_>>(),
        ["posture", "tool:trivy"]
    );
    assert_eq!(finding.locations()[0].path, "a", "what Holdfast read comes first");
    assert_eq!(harness.events, ["finding-opened", "finding-changed"]);
}

#[test]
fn older_statements_by_others_do_not_block() {
    let mut harness = Harness::at(Status::Open);
    detected(&mut harness, tool(900), true);
    harness.observe(1, Observation::Pass);
    assert_eq!(
        (harness.status(), harness.causes.as_slice()),
        (Status::Resolved, [RetestCause::ObservedPass].as_slice())
    );
    harness.dispatch();
    detected(&mut harness, tool(950), true);
    harness.answer(Verdict::Fixed).unwrap();
    assert_eq!((harness.status(), trivy(&harness)), (Status::Verified, Standing::Stands));
    detected(&mut harness, tool(980), true);
    assert_eq!(
        (harness.status(), harness.finding.as_ref().unwrap().state.retest),
        (Status::Verified, None),
        "an old import"
    );
}

#[test]
fn what_a_tool_reports_later_on_a_closed_record_is_retested_first_and_reopened_or_disputed() {
    let cases: [(Verdict, bool, Status, Standing); 3] = [
        (Verdict::StillFailing, true, Status::Open, Standing::Stands),
        (Verdict::Fixed, true, Status::Verified, Standing::Disputed),
        (Verdict::Fixed, false, Status::Open, Standing::Stands),
    ];
    for (verdict, can_look, status, standing) in cases {
        let mut harness = Harness::at(Status::Verified);
        let later = harness.now + 100;
        detected(&mut harness, tool(later), can_look);
        if can_look {
            let asked = (Status::Verified, [RetestCause::ToolEvidence].as_slice());
            assert_eq!((harness.status(), harness.causes.as_slice()), asked, "retested first");
            harness.dispatch();
            harness.answer(verdict).unwrap();
        }
        assert_eq!((harness.status(), trivy(&harness)), (status, standing), "{verdict}, {can_look}");
    }
}

#[test]
fn a_complete_import_without_it_resolves_only_what_nobody_else_states_or_can_judge() {
    let mut harness = Harness::new();
    detected(&mut harness, tool(900), true);
    assert!(not_reported(&mut harness, false));
    assert_eq!((harness.status(), trivy(&harness)), (Status::Resolved, Standing::Ended));
    assert!(!not_reported(&mut harness, false), "the same import twice changes nothing");

    let mut harness = Harness::new();
    detected(&mut harness, tool(900), true);
    not_reported(&mut harness, true);
    assert_eq!((harness.status(), harness.causes.as_slice()), (Status::Open, [RetestCause::NotReported].as_slice()));

    let mut harness = Harness::at(Status::Open);
    detected(&mut harness, tool(900), true);
    not_reported(&mut harness, false);
    assert_eq!((harness.status(), harness.causes.len()), (Status::Open, 0), "the posture states it still");
}

#[test]
fn silence_has_one_meaning_for_each_source() {
    let tool = Source::Tool("trivy".into());
    let meanings = [&Source::Posture, &Source::Kernel, &tool].map(silence);
    assert_eq!(meanings, [Silence::Asks, Silence::MeansNothing, Silence::EndsDetection]);
    let mut harness = Harness::new();
    detect(&mut harness, "a shell", false);
    assert!(!harness.run(Command::Silent(Silent { source: &Source::Kernel, can_judge: true })).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn only_a_proving_verdict_ever_verifies(steps in prop::collection::vec(moves(), 1..60), fixes: bool) {
        let mut harness = Harness::new();
        harness.on_deletion = if fixes { OnDeletion::Fixes } else { OnDeletion::Retires };
        for step in &steps {
            let before = harness.finding.as_ref().map(Finding::status);
            play(&mut harness, step);
            let after = harness.finding.as_ref().map(Finding::status);
            if after == Some(Status::Verified) && before != after {
                let proves = matches!(step, Move::Answer(Verdict::Fixed))
                    || fixes && matches!(step, Move::Answer(Verdict::WorkloadDeleted));
                prop_assert!(proves && before == Some(Status::Resolved), "{before:?} by {step:?}");
            }
        }
    }

    #[test]
    fn nothing_closes_on_what_could_not_be_looked_at(steps in prop::collection::vec(moves(), 1..60)) {
        let mut harness = Harness::new();
        for step in &steps {
            let before = harness.finding.as_ref().map(Finding::status);
            play(&mut harness, step);
            let is_unobserved = matches!(
                step,
                Move::Unknown | Move::NotRepeated | Move::Answer(Verdict::Unreachable | Verdict::Inconclusive)
            );
            if is_unobserved && !matches!(step, Move::Answer(_)) {
                prop_assert_eq!(before, harness.finding.as_ref().map(Finding::status));
            } else if is_unobserved && before.is_some_and(Status::is_active) {
                prop_assert!(harness.status().is_active());
            }
        }
    }

    #[test]
    fn a_resolved_finding_always_has_its_retest(steps in prop::collection::vec(moves(), 1..60)) {
        let mut harness = Harness::new();
        for step in &steps {
            play(&mut harness, step);
            if let Some(finding) = &harness.finding {
                prop_assert!(finding.status() != Status::Resolved || finding.state.retest.is_some(), "{step:?}");
                prop_assert_eq!(finding.status() == Status::Verified, finding.verified_at().is_some(), "{:?}", step);
                prop_assert_eq!(finding.status() == Status::Retired, finding.retired_reason().is_some(), "{:?}", step);
            }
        }
    }

    #[test]
    fn a_stored_calibration_is_the_fresh_one(steps in prop::collection::vec(moves(), 1..60), by_processes: bool) {
        let mut harness = Harness::new();
        harness.by_processes = by_processes;
        for step in &steps {
            play(&mut harness, step);
            let Some(finding) = &harness.finding else { continue };
            let fresh = calibrate(finding.state.base_severity, &finding.readings(by_processes), &harness.policy);
            prop_assert_eq!(finding.severity(), fresh.severity, "{:?}", step);
            let fresh = Some(fresh).filter(|fresh| !fresh.steps.is_empty());
            prop_assert_eq!(&finding.state.calibration, &fresh, "{:?}", step);
        }
    }

    #[test]
    fn a_statement_said_twice_is_said_once(steps in prop::collection::vec(moves(), 0..40), last in statements()) {
        let mut harness = Harness::new();
        steps.iter().for_each(|step| play(&mut harness, step));
        play(&mut harness, &last);
        let (after, events) = (harness.finding.clone(), harness.events.len());
        play(&mut harness, &last);
        prop_assert_eq!(&harness.finding, &after);
        prop_assert_eq!(harness.events.len(), events);
    }
}
