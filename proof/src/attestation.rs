//! What an agent attests to in answer to a retest: signed by the agent of the cluster that it is about, and, where it reaches the
//! running processes, backed by a signed statement of every node that it names.

use std::collections::BTreeSet;

use holdfast_model::kernel::SignedNodeStatement;
use holdfast_model::{Attestation, ClusterId, FindingKey, Method, Reach, RootFingerprint, UnixMillis};

use crate::canonical::{self, NotCanonical};
use crate::node_statement::{self, NodeQuestion, StatementProblem};
use crate::spiffe::Party;
use crate::trust::{self, TrustProblem, TrustedRoot};

/// Why an attestation is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestationProblem {
    /// A certificate or a signature.
    #[error(transparent)]
    Trust(#[from] TrustProblem),
    /// Its bytes.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// It is of a form that this program does not know.
    #[error("the attestation's form is {0:?}, not {known:?}", known = Attestation::FORM)]
    Form(String),
    /// It is about another cluster than its signer's.
    #[error("the agent of cluster {signer} attests to cluster {attested}")]
    ForeignCluster {
        /// Whose certificate signed.
        signer: ClusterId,
        /// Which cluster the attestation is about.
        attested: ClusterId,
    },
    /// What a node attests to belongs to another question, or is not whole.
    #[error("the statement of node {node} proves nothing here: {problem}")]
    Node {
        /// The node, as its certificate names it.
        node: String,
        /// What is wrong.
        problem: StatementProblem,
    },
    /// Two statements of one node.
    #[error("the statement of node {0} is there twice")]
    NodeTwice(String),
    /// A proof that goes to the processes without having looked at them.
    #[error("the attestation reaches the running processes, and names no method or no node that looked at them")]
    NoNodeLooked,
    /// The finding's id does not follow from cluster, resource and control.
    #[error("the finding's id does not follow from the attestation's cluster, resource and control")]
    OtherFinding,
}

/// Checks an agent's signature, the form, and that the attestation is about the agent's own cluster. The certificate's chain has
/// been checked by TLS or by `receipt`; the nodes are checked by [`check_nodes`].
pub fn check(bytes: &[u8], signature: &[u8], certificate: &[u8]) -> Result<Attestation, AttestationProblem> {
    let name = trust::facts("agent's", certificate)?.name;
    let Party::Cluster(signer) = name.party else {
        return Err(TrustProblem::Name { whose: "agent's", name: name.to_string() }.into());
    };
    trust::check_signature("agent's", certificate, bytes, signature)?;
    let text =
        std::str::from_utf8(bytes).map_err(|error| NotCanonical { what: "attestation", problem: error.to_string() })?;
    let attestation: Attestation = canonical::parse("attestation", text)?;
    if attestation.form != Attestation::FORM {
        return Err(AttestationProblem::Form(attestation.form));
    }
    if attestation.cluster != signer {
        return Err(AttestationProblem::ForeignCluster { signer, attested: attestation.cluster });
    }
    let Attestation { cluster, resource, control, .. } = attestation.clone();
    if (FindingKey { cluster, resource, control }).finding_id() != attestation.finding {
        return Err(AttestationProblem::OtherFinding);
    }
    Ok(attestation)
}

/// Checks the nodes of an attestation that comes in now, under the installation's own root.
pub fn check_nodes(attestation: &Attestation, root: &[u8], now: UnixMillis) -> Result<(), AttestationProblem> {
    if attestation.nodes.is_empty() && attestation.reach != Reach::Running {
        return Ok(());
    }
    check_nodes_under(&TrustedRoot::recognise(root, &RootFingerprint::of(root), now)?, attestation)
}

/// Checks every node's statement: signed by a certificate of this installation that names a node of the attestation's cluster,
/// one a node, and an answer to the attestation's own order.
pub fn check_nodes_under(trusted: &TrustedRoot<'_>, attestation: &Attestation) -> Result<(), AttestationProblem> {
    let looked = attestation.methods.contains(&Method::RuntimeRecheck) && !attestation.nodes.is_empty();
    if attestation.reach == Reach::Running && !looked {
        return Err(AttestationProblem::NoNodeLooked);
    }
    let mut seen = BTreeSet::new();
    for signed in &attestation.nodes {
        let node = check_node(trusted, attestation, signed)?;
        if let Some(twice) = seen.replace(node) {
            return Err(AttestationProblem::NodeTwice(twice));
        }
    }
    Ok(())
}

/// Checks one, and answers which node it is.
fn check_node(
    trusted: &TrustedRoot<'_>,
    attestation: &Attestation,
    signed: &SignedNodeStatement,
) -> Result<String, AttestationProblem> {
    let name = trusted.name_in("node's", &signed.certificate)?;
    let node = match &name.party {
        Party::Node(cluster, node) if *cluster == attestation.cluster => node.as_str().to_owned(),
        _ => return Err(TrustProblem::Name { whose: "node's", name: name.to_string() }.into()),
    };
    let Attestation { retest, nonce, cluster, .. } = *attestation;
    let question = NodeQuestion { retest, nonce, cluster, node: &node, boot: None, pods: None };
    let statement = node_statement::check(&question, signed);
    match statement.and_then(|statement| node_statement::check_whole(&statement)) {
        Ok(()) => Ok(node),
        Err(problem) => Err(AttestationProblem::Node { node, problem }),
    }
}
