//! A receipt is believed as it was made, and refused with a reason once anything about it is not.

use holdfast_model::canonical::text as canonical_text;
use holdfast_model::kernel::{Namespaces, NodeStatement, SignedNodeStatement, ViewMethod};
use holdfast_model::{
    Attestation, ClusterId, ControlId, FindingId, FindingKey, Method, Nonce, ObjectRead, Reach, Resource, RetestId,
    RetestOrder, Verdict,
};
use holdfast_proof::attestation::{check as check_attestation, check_nodes};
use holdfast_proof::receipt::verify;
use holdfast_proof::{AttestationProblem, NodeName, NotCanonical, ReceiptProblem, TrustProblem};
use rcgen::{CertificateParams, KeyPair, SigningKey};

use super::*;
use crate::authority::AuthoritySettings;
use crate::signing_request::SigningRequest;

const NOW: UnixMillis = 1_790_000_000_000;
const DAY: UnixMillis = 24 * 60 * 60 * 1000;

struct Installation {
    _data: tempfile::TempDir,
    authority: Authority,
    agent: KeyPair,
    agent_certificate: Vec<u8>,
}

fn cluster() -> ClusterId {
    ClusterId::from_bytes([5; 16])
}

fn installation() -> Installation {
    let data = tempfile::tempdir().unwrap();
    let authority = Authority::open(data.path(), &AuthoritySettings::default(), NOW).unwrap();
    let agent = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&agent).unwrap();
    let request = SigningRequest::parse(request.der()).unwrap();
    let agent_certificate = authority.issue(cluster(), &request, NOW).unwrap().der;
    Installation { _data: data, authority, agent, agent_certificate }
}

pub(crate) fn attestation() -> Attestation {
    let resource = Resource::namespaced("apps", "Deployment", "shop", "web");
    let control = ControlId::known("workload.privileged");
    let key = FindingKey { cluster: cluster(), resource: resource.clone(), control: control.clone() };
    Attestation {
        form: Attestation::FORM.into(),
        retest: RetestId::from_bytes([1; 16]),
        nonce: Nonce::from_bytes([2; 16]),
        cluster: cluster(),
        finding: key.finding_id(),
        resource,
        uid: "0b5f".into(),
        control,
        control_version: 1,
        verdict: Verdict::Fixed,
        reason: "no container is privileged".into(),
        reach: Reach::Config,
        methods: vec![Method::LiveRead],
        locations: vec![],
        nodes: Vec::new(),
        windows: None,
        reads: vec![ObjectRead {
            path: "/apis/apps/v1/namespaces/shop/deployments/web".into(),
            status: 200,
            uid: "0b5f".into(),
            resource_version: "77".into(),
            hash: vec![9; 32],
        }],
        read_at: NOW,
        agent_version: "0.1.0".into(),
    }
}

impl Installation {
    fn signed(&self, attestation: &Attestation) -> (String, Vec<u8>) {
        let text = canonical_text(attestation).unwrap();
        let signature = self.agent.sign(text.as_bytes()).unwrap();
        (text, signature)
    }

    fn receipt(&self, attestation: &Attestation, recorded_at: UnixMillis) -> Receipt {
        let (text, signature) = self.signed(attestation);
        let recorded = Recorded {
            attestation: &text,
            agent_signature: &signature,
            agent_certificate: &self.agent_certificate,
            recorded_at,
            log_index: 42,
            log_leaf: [7; 32],
        };
        countersign(&self.authority, &recorded).unwrap()
    }
}

/// A node with a certificate and a key of its own.
struct Node {
    key: KeyPair,
    certificate: Vec<u8>,
}

impl Installation {
    fn node(&self, cluster: ClusterId, name: &str) -> Node {
        node(&self.authority, cluster, name, NOW)
    }
}

fn node(authority: &Authority, cluster: ClusterId, name: &str, now: UnixMillis) -> Node {
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let request = SigningRequest::parse(request.der()).unwrap();
    let name = NodeName::parse(name).unwrap();
    let certificate = authority.issue_node(cluster, name, &request, now).unwrap().der;
    Node { key, certificate }
}

/// What a new node of this cluster attests to in answer to this order: nothing runs there.
pub(crate) fn attested(
    authority: &Authority,
    cluster: ClusterId,
    order: &RetestOrder,
    now: UnixMillis,
) -> SignedNodeStatement {
    let (retest, nonce) = (order.retest, order.nonce);
    node(authority, cluster, "a", now).attests(&NodeStatement { retest, nonce, cluster, ..statement("a") })
}

impl Node {
    fn attests(&self, statement: &NodeStatement) -> SignedNodeStatement {
        let statement = canonical_text(statement).unwrap();
        let signature = self.key.sign(statement.as_bytes()).unwrap();
        SignedNodeStatement { statement, signature, certificate: self.certificate.clone() }
    }
}

fn statement(node: &str) -> NodeStatement {
    NodeStatement {
        form: NodeStatement::FORM.into(),
        retest: RetestId::from_bytes([1; 16]),
        nonce: Nonce::from_bytes([2; 16]),
        cluster: cluster(),
        node: node.into(),
        boot: "boot".into(),
        method: ViewMethod::TaskIterator,
        pods: vec!["uid-a".into()],
        containers: Vec::new(),
        host: Namespaces::default(),
        process_count: 1,
        incomplete: None,
        read_at: NOW,
        agent_version: "0.1.0".into(),
    }
}

fn to_the_processes(nodes: Vec<SignedNodeStatement>) -> Attestation {
    let methods = vec![Method::LiveRead, Method::RuntimeRecheck];
    Attestation { reach: Reach::Running, methods, nodes, ..attestation() }
}

#[test]
fn what_nodes_attest_to_is_believed_from_the_fingerprint_alone() {
    let here = installation();
    let nodes = ["a", "b"].map(|name| here.node(cluster(), name).attests(&statement(name)));
    let attestation = to_the_processes(nodes.to_vec());
    let verified = verify(&here.receipt(&attestation, NOW), &here.authority.fingerprint()).unwrap();
    assert_eq!(verified.attestation, attestation);
    check_nodes(&attestation, here.authority.root(), NOW).unwrap();
}

#[test]
fn a_statement_that_no_node_of_the_cluster_made_for_this_order_proves_nothing() {
    let (here, elsewhere) = (installation(), installation());
    let node = here.node(cluster(), "a");
    let stated = || statement("a");
    let mut forged = node.attests(&stated());
    forged.statement = forged.statement.replace("\"process_count\":1", "\"process_count\":2");
    let mut spaced = node.attests(&stated());
    spaced.statement.push(' ');
    spaced.signature = node.key.sign(spaced.statement.as_bytes()).unwrap();
    let agents = SignedNodeStatement {
        signature: here.agent.sign(node.attests(&stated()).statement.as_bytes()).unwrap(),
        certificate: here.agent_certificate.clone(),
        ..node.attests(&stated())
    };
    let refused = [
        ("is not signed by the key", forged),
        ("not in canonical form", spaced),
        ("who may not sign this", agents),
        ("who may not sign this", here.node(ClusterId::from_bytes([6; 16]), "a").attests(&stated())),
        ("does not lead to the root", elsewhere.node(cluster(), "a").attests(&stated())),
        ("its node is another", here.node(cluster(), "b").attests(&stated())),
        ("its nonce is another", node.attests(&NodeStatement { nonce: Nonce::from_bytes([3; 16]), ..stated() })),
        ("its retest is another", node.attests(&NodeStatement { retest: RetestId::from_bytes([3; 16]), ..stated() })),
        (
            "its cluster is another",
            node.attests(&NodeStatement { cluster: ClusterId::from_bytes([3; 16]), ..stated() }),
        ),
        ("not whole", node.attests(&NodeStatement { incomplete: Some("no BTF".into()), ..stated() })),
        ("its form is \"x\"", node.attests(&NodeStatement { form: "x".into(), ..stated() })),
    ];
    let root = here.authority.fingerprint();
    for (why, signed) in refused {
        let attestation = to_the_processes(vec![signed]);
        let problem = verify(&here.receipt(&attestation, NOW), &root).unwrap_err();
        assert!(problem.to_string().contains(why), "{why}: {problem}");
        assert_eq!(ReceiptProblem::from(check_nodes(&attestation, here.authority.root(), NOW).unwrap_err()), problem);
    }
    let twice = to_the_processes(vec![node.attests(&stated()), node.attests(&stated())]);
    let problem = verify(&here.receipt(&twice, NOW), &root).unwrap_err();
    assert!(problem.to_string().contains("there twice"), "{problem}");
    let unlooked = Attestation { methods: vec![Method::LiveRead], ..to_the_processes(vec![node.attests(&stated())]) };
    assert_eq!(check_nodes(&unlooked, here.authority.root(), NOW), Err(AttestationProblem::NoNodeLooked));
    let nobody = to_the_processes(Vec::new());
    assert_eq!(check_nodes(&nobody, here.authority.root(), NOW), Err(AttestationProblem::NoNodeLooked));
}

/// What was signed before nodes could attest is read, and written, as it was.
#[test]
fn an_attestation_without_nodes_keeps_its_bytes() {
    assert!(!canonical_text(&attestation()).unwrap().contains("nodes"));
}

#[test]
fn a_receipt_is_believed_from_the_fingerprint_alone() {
    let here = installation();
    let receipt = here.receipt(&attestation(), NOW);
    let sent: Receipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
    let verified = verify(&sent, &here.authority.fingerprint()).unwrap();
    assert_eq!(verified.attestation, attestation());
    assert_eq!((verified.countersigned.recorded_at, verified.countersigned.log_index), (NOW, 42));
    assert_eq!(verified.trust_domain, here.authority.trust_domain());
}

#[test]
fn a_receipt_of_another_installation_is_recognised() {
    let (here, elsewhere) = (installation(), installation());
    let problem = verify(&elsewhere.receipt(&attestation(), NOW), &here.authority.fingerprint()).unwrap_err();
    assert_eq!(problem, TrustProblem::OtherRoot { found: elsewhere.authority.fingerprint() }.into());
}

#[test]
fn certificates_are_judged_at_the_recording() {
    let here = installation();
    let root = here.authority.fingerprint();
    assert!(verify(&here.receipt(&attestation(), NOW + DAY - 1), &root).is_ok());
    let late = verify(&here.receipt(&attestation(), NOW + DAY + 2000), &root).unwrap_err();
    assert!(matches!(late, ReceiptProblem::Trust(TrustProblem::Chain { whose: "agent's", .. })), "{late}");
    let early = verify(&here.receipt(&attestation(), NOW - DAY), &root).unwrap_err();
    assert!(matches!(early, ReceiptProblem::Trust(TrustProblem::Chain { whose: "root", .. })), "{early}");
}

/// Every byte of every field, each bit of it: nothing may be changed without being noticed.
#[test]
fn a_receipt_changed_in_any_byte_of_any_field_is_refused() {
    let here = installation();
    let (receipt, root) = (here.receipt(&attestation(), NOW), here.authority.fingerprint());
    let whole = serde_json::to_value(&receipt).unwrap();
    let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 8);
    for field in fields {
        let text = whole[&field].as_str().unwrap().to_owned();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            // Another hexadecimal digit, or another letter.
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let mut changed = whole.clone();
            changed[&field] = String::from_utf8(bytes).unwrap().into();
            let changed: Receipt = serde_json::from_value(changed).unwrap();
            assert!(verify(&changed, &root).is_err(), "{field}, byte {at}");
        }
        let mut cut = whole.clone();
        cut[&field] = text[..text.len() - 2].into();
        assert!(verify(&serde_json::from_value(cut).unwrap(), &root).is_err(), "{field} cut short");
    }
}

#[test]
fn every_fact_of_an_attestation_is_covered_by_the_signature() {
    let here = installation();
    let (text, signature) = here.signed(&attestation());
    let whole = serde_json::to_value(attestation()).unwrap();
    for (field, value) in whole.as_object().unwrap() {
        let mut changed = whole.clone();
        changed[field] = match value {
            serde_json::Value::String(text) => format!("{text}x").into(),
            serde_json::Value::Number(number) => (number.as_i64().unwrap() + 1).into(),
            _ => serde_json::Value::Array(vec![]),
        };
        if changed[field] == *value {
            changed[field] = serde_json::json!(["live-read"]);
        }
        let changed = canonical_text(&changed).unwrap();
        assert_ne!(changed, text);
        let problem = check_attestation(changed.as_bytes(), &signature, &here.agent_certificate).unwrap_err();
        assert_eq!(problem, TrustProblem::Signature { whose: "agent's" }.into(), "{field}");
    }
}

#[test]
fn an_agent_that_signs_a_false_identity_is_refused_by_what_is_false() {
    let here = installation();
    let problem = |change: fn(&mut Attestation)| {
        let mut forged = attestation();
        change(&mut forged);
        let (text, signature) = here.signed(&forged);
        check_attestation(text.as_bytes(), &signature, &here.agent_certificate).unwrap_err()
    };
    let other = ClusterId::from_bytes([6; 16]);
    let foreign = problem(|forged| forged.cluster = ClusterId::from_bytes([6; 16]));
    assert_eq!(foreign, AttestationProblem::ForeignCluster { signer: cluster(), attested: other });
    assert_eq!(problem(|forged| forged.finding = FindingId::from_bytes([1; 16])), AttestationProblem::OtherFinding);
    assert_eq!(problem(|forged| forged.resource.name = "other".into()), AttestationProblem::OtherFinding);
    assert_eq!(problem(|forged| forged.form = "x".into()), AttestationProblem::Form("x".into()));
}

#[test]
fn text_that_reads_like_the_attestation_but_is_written_differently_is_refused() {
    let here = installation();
    let text = canonical_text(&attestation()).unwrap();
    for other in [
        text.replacen(",", ", ", 1),
        text.replacen('{', r#"{"zzz":1,"#, 1),
        text.replacen("\"uid\":\"0b5f\"}", "\"uid\":\"0b5f\",\"uid\":\"0b5f\"}", 1),
        format!("{text}\n"),
        "null".into(),
    ] {
        if other == text {
            continue;
        }
        let signature = here.agent.sign(other.as_bytes()).unwrap();
        let problem = check_attestation(other.as_bytes(), &signature, &here.agent_certificate).unwrap_err();
        assert!(
            matches!(problem, AttestationProblem::NotCanonical(NotCanonical { what: "attestation", .. })),
            "{problem}"
        );
    }
    let signature = here.agent.sign(&[0xff, 0xfe]).unwrap();
    let problem = check_attestation(&[0xff, 0xfe], &signature, &here.agent_certificate).unwrap_err();
    assert!(matches!(problem, AttestationProblem::NotCanonical(_)));
}

#[test]
fn nobody_signs_in_anothers_place() {
    let here = installation();
    let root = here.authority.fingerprint();
    let honest = here.receipt(&attestation(), NOW);
    let (text, _) = here.signed(&attestation());

    // The agent in the aggregator's place.
    let mut forged = honest.clone();
    forged.aggregator_signature = here.agent.sign(forged.countersigned.as_bytes()).unwrap();
    forged.aggregator_certificate = here.agent_certificate.clone();
    assert!(matches!(
        verify(&forged, &root),
        Err(ReceiptProblem::Trust(TrustProblem::Name { whose: "aggregator's", .. }))
    ));

    // The aggregator in the agent's place.
    let signature = here.authority.sign(text.as_bytes()).unwrap();
    let signer = here.authority.signing_certificate();
    let problem = check_attestation(text.as_bytes(), &signature, signer).unwrap_err();
    assert!(matches!(problem, AttestationProblem::Trust(TrustProblem::Name { whose: "agent's", .. })));

    // A stranger's certificate with the right names, beside the right root.
    let elsewhere = installation();
    let mut forged = elsewhere.receipt(&attestation(), NOW);
    forged.root_certificate = here.authority.root().to_vec();
    assert!(matches!(verify(&forged, &root), Err(ReceiptProblem::Trust(TrustProblem::Chain { .. }))));

    // Another agent's signature under this countersignature.
    let mut swapped = honest;
    swapped.agent_signature = here.agent.sign(text.as_bytes()).unwrap();
    assert_eq!(verify(&swapped, &root).unwrap_err(), ReceiptProblem::OtherSubject("agent's signature"));
}
