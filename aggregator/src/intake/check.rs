//! Messages of an agent, checked and turned into jobs. What is malformed ends the stream with the name of the field.

use std::collections::BTreeMap;

use holdfast_model::{ClusterId, FindingKey, Observation};
use holdfast_proto::limits::{LOCATIONS, STRING_BYTES};
use holdfast_proto::{Malformed, convert, v1};
use holdfast_store::{Connected, ScopeProposal};
use tonic::Status;

use crate::receipts;
use crate::writer::{Batch, SignedTestimony, Stated};

/// The most controls that an agent may name.
const CONTROLS: usize = 4096;
/// The most reads that one testimony may list.
const READS: usize = 4096;

/// What a Hello says, as the record keeps it.
pub(super) fn hello(wire: &v1::Hello, now: i64) -> Result<Connected, Status> {
    let texts = [
        ("hello.agent_version", &wire.agent_version),
        ("hello.fingerprint", &wire.fingerprint),
        ("hello.server_version", &wire.server_version),
    ];
    for (field, value) in texts.into_iter().chain(wire.controls.iter().map(|control| ("hello.controls", control))) {
        short(field, value)?;
    }
    if wire.fingerprint.is_empty() {
        return Err(Status::invalid_argument("hello.fingerprint: empty"));
    }
    if wire.controls.len() > CONTROLS {
        return Err(Status::invalid_argument(format!("hello.controls: more than {CONTROLS}")));
    }
    Ok(Connected {
        fingerprint: wire.fingerprint.clone(),
        server_version: wire.server_version.clone(),
        agent_version: wire.agent_version.clone(),
        controls: wire.controls.clone(),
        clock_offset: wire.clock.saturating_sub(now),
    })
}

/// A batch as a job. Identities are derived here, under the certificate's cluster.
pub(super) fn batch(cluster: ClusterId, wire: v1::Batch, now: i64) -> Result<Batch, Status> {
    let mut batch = Batch { epoch: wire.epoch, sequence: wire.sequence, ..Batch::default() };
    for report in wire.reports {
        let report = convert::report(report).map_err(malformed)?;
        let index = batch.reports.len();
        for statement in report.statements {
            let key = FindingKey { cluster, resource: report.resource.clone(), control: statement.control.clone() };
            batch.stated.push(Stated { id: key.finding_id(), key, statement, report: index });
        }
        batch.reports.push((report.read, report.origin));
    }
    let mut coverage = BTreeMap::new();
    for state in wire.coverage {
        let state = convert::coverage(state).map_err(malformed)?;
        coverage.insert(state.subject.clone(), state);
    }
    batch.coverage = coverage.into_values().collect();
    for proposal in wire.scope_proposals {
        batch.proposals.push(scope_proposal(proposal, now)?);
    }
    Ok(batch)
}

fn scope_proposal(wire: v1::ScopeProposal, since: i64) -> Result<ScopeProposal, Status> {
    let v1::ScopeProposal { namespace, label, value } = wire;
    for (field, text) in [("scope.namespace", &namespace), ("scope.label", &label), ("scope.value", &value)] {
        short(field, text)?;
    }
    Ok(ScopeProposal { namespace, label, value, since })
}

/// Whether a statement says that a control fails.
pub(super) fn fails(stated: &Stated) -> bool {
    matches!(stated.statement.observation, Observation::Fail { .. })
}

/// A retest's answer: signed by this certificate's key about its own cluster, within the limits of the protocol.
pub(super) fn testimony(wire: v1::RetestAnswer, certificate: &[u8]) -> Result<SignedTestimony, String> {
    let testimony = receipts::check_testimony(&wire.testimony, &wire.signature, certificate)
        .map_err(|problem| problem.to_string())?;
    let within = testimony.reason.len() <= STRING_BYTES
        && testimony.locations.len() <= LOCATIONS
        && testimony.reads.len() <= READS;
    if !within {
        return Err("it is over a limit of the protocol".to_owned());
    }
    let text = String::from_utf8(wire.testimony).map_err(|_| "it is no text".to_owned())?;
    Ok(SignedTestimony { testimony, text, signature: wire.signature, certificate: certificate.to_vec() })
}

fn short(field: &str, value: &str) -> Result<(), Status> {
    if value.len() > STRING_BYTES {
        return Err(Status::invalid_argument(format!("{field}: over {STRING_BYTES} bytes")));
    }
    Ok(())
}

fn malformed(problem: Malformed) -> Status {
    Status::invalid_argument(problem.to_string())
}
