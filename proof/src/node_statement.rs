//! What a node attests to about its running processes: an answer to this question, about this node, signed by its key.
//!
//! The one check of node statements: the relay runs it on what a node sends, the aggregator on what an agent attests to, an auditor
//! on what a receipt holds. They know different parts of the question; what is left out is not compared. That the certificate leads
//! to the root is checked by TLS at the relay, and by `attestation` elsewhere.

use holdfast_model::kernel::{NodeStatement, SignedNodeStatement};
use holdfast_model::{ClusterId, Nonce, RetestId};

use crate::canonical::{self, NotCanonical};
use crate::trust;

/// Which node was asked, and what.
#[derive(Debug, Clone, Copy)]
pub struct NodeQuestion<'a> {
    /// The retest.
    pub retest: RetestId,
    /// Its nonce.
    pub nonce: Nonce,
    /// The node's cluster, as its certificate names it.
    pub cluster: ClusterId,
    /// The node, as its certificate names it.
    pub node: &'a str,
    /// The boot that the node has named when it connected, where that is known.
    pub boot: Option<&'a str>,
    /// uids of the Pods, sorted, each once, where they are known.
    pub pods: Option<&'a [String]>,
}

/// Why a statement proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementProblem {
    /// Not signed by the key of the node's certificate.
    #[error("it is not signed by the key of the node's certificate")]
    Signature,
    /// Not the one byte form.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// It is of a form that this program does not know.
    #[error("its form is {0:?}, not {known:?}", known = NodeStatement::FORM)]
    Form(String),
    /// It answers something else.
    #[error("its {0} is another than was asked for")]
    Other(&'static str),
    /// The node could not see everything.
    #[error("its view is not whole: {0}")]
    NotWhole(String),
}

/// Checks a statement's signature and what it says.
pub fn check(question: &NodeQuestion<'_>, signed: &SignedNodeStatement) -> Result<NodeStatement, StatementProblem> {
    let SignedNodeStatement { statement, signature, certificate } = signed;
    trust::check_signature("node's", certificate, statement.as_bytes(), signature)
        .map_err(|_| StatementProblem::Signature)?;
    read(question, statement)
}

/// Reads a statement whose signature has been checked, and compares it with the question.
pub fn read(question: &NodeQuestion<'_>, text: &str) -> Result<NodeStatement, StatementProblem> {
    let statement: NodeStatement = canonical::parse("node's statement", text)?;
    if statement.form != NodeStatement::FORM {
        return Err(StatementProblem::Form(statement.form));
    }
    let same = [
        ("retest", statement.retest == question.retest),
        ("nonce", statement.nonce == question.nonce),
        ("cluster", statement.cluster == question.cluster),
        ("node", statement.node == question.node),
        ("boot", question.boot.is_none_or(|boot| statement.boot == boot)),
        ("set of Pods", question.pods.is_none_or(|pods| statement.pods == pods)),
        ("containers' Pod", statement.containers.iter().all(|container| statement.pods.contains(&container.pod))),
    ];
    match same.into_iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(StatementProblem::Other(what)),
        None => Ok(statement),
    }
}

/// Checks that the node could see every process of what it was asked about.
pub fn check_whole(statement: &NodeStatement) -> Result<(), StatementProblem> {
    match &statement.incomplete {
        Some(reason) => Err(StatementProblem::NotWhole(reason.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_model::canonical;
    use holdfast_model::kernel::{Namespaces, RunningContainer, ViewMethod};
    use rcgen::{CertificateParams, KeyPair, SigningKey};

    use super::*;

    struct Node {
        key: KeyPair,
        certificate: Vec<u8>,
    }

    fn node() -> Node {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap().der().to_vec();
        Node { key, certificate }
    }

    const PODS: &[&str] = &["u1", "u2"];

    fn pods() -> Vec<String> {
        PODS.iter().map(|&pod| pod.to_owned()).collect()
    }

    fn question(pods: &[String]) -> NodeQuestion<'_> {
        NodeQuestion {
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            cluster: ClusterId::from_bytes([3; 16]),
            node: "worker-1",
            boot: Some("boot-1"),
            pods: Some(pods),
        }
    }

    fn statement() -> NodeStatement {
        let pods = pods();
        let NodeQuestion { retest, nonce, cluster, node, .. } = question(&pods);
        NodeStatement {
            form: NodeStatement::FORM.into(),
            retest,
            nonce,
            cluster,
            node: node.to_owned(),
            boot: "boot-1".to_owned(),
            method: ViewMethod::TaskIterator,
            pods,
            containers: Vec::new(),
            host: Namespaces::default(),
            process_count: 7,
            incomplete: None,
            read_at: 0,
            agent_version: "0".into(),
        }
    }

    fn signed_bytes(node: &Node, bytes: Vec<u8>) -> SignedNodeStatement {
        let signature = node.key.sign(&bytes).unwrap();
        let statement = String::from_utf8(bytes).unwrap();
        SignedNodeStatement { statement, signature, certificate: node.certificate.clone() }
    }

    fn signed(node: &Node, statement: &NodeStatement) -> SignedNodeStatement {
        signed_bytes(node, canonical::bytes(statement).unwrap())
    }

    fn problem(signed: &SignedNodeStatement) -> StatementProblem {
        check(&question(&pods()), signed).unwrap_err()
    }

    #[test]
    fn what_was_asked_and_is_signed_by_the_nodes_key_is_believed() {
        let checked = check(&question(&pods()), &signed(&node(), &statement())).unwrap();
        assert_eq!(checked, statement());
        assert_eq!(check_whole(&checked), Ok(()));
    }

    #[test]
    fn what_the_asker_does_not_know_is_not_compared() {
        let question = NodeQuestion { boot: None, pods: None, ..question(&[]) };
        assert!(check(&question, &signed(&node(), &statement())).is_ok());
    }

    #[test]
    fn another_nodes_key_or_name_is_refused() {
        let (one, other) = (node(), node());
        let foreign = SignedNodeStatement { certificate: one.certificate.clone(), ..signed(&other, &statement()) };
        assert_eq!(problem(&foreign), StatementProblem::Signature);
        let named = NodeStatement { node: "worker-2".into(), ..statement() };
        assert_eq!(problem(&signed(&one, &named)), StatementProblem::Other("node"));
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let node = node();
        let stranger = RunningContainer { pod: "u3".into(), ..RunningContainer::default() };
        let others = [
            ("retest", NodeStatement { retest: RetestId::from_bytes([9; 16]), ..statement() }),
            ("nonce", NodeStatement { nonce: Nonce::from_bytes([9; 16]), ..statement() }),
            ("cluster", NodeStatement { cluster: ClusterId::from_bytes([9; 16]), ..statement() }),
            ("boot", NodeStatement { boot: "boot-2".into(), ..statement() }),
            ("set of Pods", NodeStatement { pods: vec!["u1".into()], ..statement() }),
            ("containers' Pod", NodeStatement { containers: vec![stranger], ..statement() }),
        ];
        for (what, other) in others {
            assert_eq!(problem(&signed(&node, &other)), StatementProblem::Other(what));
        }
        let form = NodeStatement { form: "x".into(), ..statement() };
        assert_eq!(problem(&signed(&node, &form)), StatementProblem::Form("x".into()));
        let mut padded = canonical::bytes(&statement()).unwrap();
        padded.push(b' ');
        assert!(matches!(problem(&signed_bytes(&node, padded)), StatementProblem::NotCanonical(_)));
    }

    #[test]
    fn a_view_with_a_gap_is_read_and_is_not_whole() {
        let gap = NodeStatement { incomplete: Some("no BTF".into()), ..statement() };
        let checked = check(&question(&pods()), &signed(&node(), &gap)).unwrap();
        assert_eq!(check_whole(&checked), Err(StatementProblem::NotWhole("no BTF".into())));
    }
}
