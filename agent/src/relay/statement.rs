//! What a node attests to, checked: it answers this question, about this node, signed by the key of its certificate. PURE.

use holdfast_model::kernel::{NodeStatement, SignedNodeStatement};
use holdfast_model::{ClusterId, Nonce, RetestId, canonical};

use crate::x509;

/// Who was asked, and what.
#[derive(Debug, Clone)]
pub struct Question {
    /// The retest.
    pub retest: RetestId,
    /// Its nonce.
    pub nonce: Nonce,
    /// The node's cluster, as its certificate names it.
    pub cluster: ClusterId,
    /// The node, as its certificate names it.
    pub node: String,
    /// The boot that the node has named when it connected.
    pub boot: String,
    /// uids of the Pods, sorted, each once.
    pub pods: Vec<String>,
}

/// Why a statement proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not signed by the key of the node's certificate.
    #[error("it is not signed by the node's key")]
    Signature,
    /// Not the one byte form.
    #[error("it is not in canonical form")]
    Form,
    /// It answers something else.
    #[error("its {0} is another than was asked for")]
    Other(&'static str),
}

/// Checks a statement and gives it with what it takes to check it again.
pub fn check(
    question: &Question,
    bytes: Vec<u8>,
    signature: Vec<u8>,
    certificate: &[u8],
) -> Result<SignedNodeStatement, Unfit> {
    if !x509::has_signed(certificate, &bytes, &signature) {
        return Err(Unfit::Signature);
    }
    let said: NodeStatement = serde_json::from_slice(&bytes).map_err(|_| Unfit::Form)?;
    if said.form != NodeStatement::FORM || canonical::bytes(&said).ok().as_ref() != Some(&bytes) {
        return Err(Unfit::Form);
    }
    let same = [
        ("retest", said.retest == question.retest),
        ("nonce", said.nonce == question.nonce),
        ("cluster", said.cluster == question.cluster),
        ("node", said.node == question.node),
        ("boot", said.boot == question.boot),
        ("set of Pods", said.pods == question.pods),
    ];
    if let Some((what, _)) = same.into_iter().find(|(_, same)| !same) {
        return Err(Unfit::Other(what));
    }
    if said.containers.iter().any(|container| question.pods.binary_search(&container.pod).is_err()) {
        return Err(Unfit::Other("containers' Pod"));
    }
    let statement = String::from_utf8(bytes).map_err(|_| Unfit::Form)?;
    Ok(SignedNodeStatement { statement, signature, certificate: certificate.to_vec() })
}

#[cfg(test)]
mod tests {
    use holdfast_model::kernel::{Namespaces, ViewMethod};
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

    fn question() -> Question {
        Question {
            retest: RetestId::from_bytes([1; 16]),
            nonce: Nonce::from_bytes([2; 16]),
            cluster: ClusterId::from_bytes([3; 16]),
            node: "worker-1".into(),
            boot: "boot-1".into(),
            pods: vec!["u1".into(), "u2".into()],
        }
    }

    fn statement() -> NodeStatement {
        let Question { retest, nonce, cluster, node, boot, pods } = question();
        NodeStatement {
            form: NodeStatement::FORM.into(),
            retest,
            nonce,
            cluster,
            node,
            boot,
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

    fn checked(node: &Node, said: &NodeStatement) -> Result<SignedNodeStatement, Unfit> {
        let bytes = canonical::bytes(said).unwrap();
        let signature = node.key.sign(&bytes).unwrap();
        check(&question(), bytes, signature, &node.certificate)
    }

    #[test]
    fn what_was_asked_and_is_signed_by_the_nodes_key_is_believed() {
        let node = node();
        let signed = checked(&node, &statement()).unwrap();
        assert_eq!(signed.certificate, node.certificate);
        assert!(signed.statement.contains("worker-1"));
    }

    #[test]
    fn another_nodes_key_or_name_is_refused() {
        let (one, other) = (node(), node());
        let bytes = canonical::bytes(&statement()).unwrap();
        let foreign = other.key.sign(&bytes).unwrap();
        assert_eq!(check(&question(), bytes, foreign, &one.certificate), Err(Unfit::Signature));
        let named = NodeStatement { node: "worker-2".into(), ..statement() };
        assert_eq!(checked(&one, &named), Err(Unfit::Other("node")));
    }

    #[test]
    fn an_answer_to_another_question_is_refused() {
        let node = node();
        let others = [
            ("retest", NodeStatement { retest: RetestId::from_bytes([9; 16]), ..statement() }),
            ("nonce", NodeStatement { nonce: Nonce::from_bytes([9; 16]), ..statement() }),
            ("cluster", NodeStatement { cluster: ClusterId::from_bytes([9; 16]), ..statement() }),
            ("boot", NodeStatement { boot: "boot-2".into(), ..statement() }),
            ("set of Pods", NodeStatement { pods: vec!["u1".into()], ..statement() }),
        ];
        for (what, said) in others {
            assert_eq!(checked(&node, &said), Err(Unfit::Other(what)));
        }
        assert_eq!(checked(&node, &NodeStatement { form: "x".into(), ..statement() }), Err(Unfit::Form));
        let mut padded = canonical::bytes(&statement()).unwrap();
        padded.push(b' ');
        let signature = node.key.sign(&padded).unwrap();
        assert_eq!(check(&question(), padded, signature, &node.certificate), Err(Unfit::Form));
    }
}
