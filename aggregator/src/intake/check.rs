//! Messages of an agent, checked and turned into jobs. What is malformed ends the stream with the name of the field.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_model::digest::BUCKETS;
use holdfast_model::{Attestation, ClusterId, FindingKey, Location, Method, Observation, Resource};
use holdfast_proof::attestation;
use holdfast_proto::limits::{LOCATIONS, STRING_BYTES};
use holdfast_proto::{Malformed, convert, v1};
use holdfast_store::{Connected, ScopeProposal};
use tonic::Status;

use crate::writer::{Batch, SignedAttestation, Stated};

/// The most controls that an agent may name.
const CONTROLS: usize = 4096;
/// The most reads that one attestation may list.
const READS: usize = 4096;
/// The most memory for the identities of one batch. Each of its statements has its own, so that a report with a long name
/// and many short statements would cost two thousand times its bytes.
const KEY_BYTES: usize = 32 * 1024 * 1024;
/// The longest text that is part of a key of the record: an index of PostgreSQL takes no more than 2704 bytes.
const INDEXED_BYTES: usize = 1024;

/// A Hello, as the record keeps it.
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
    let mut batch = Batch {
        epoch: wire.epoch,
        sequence: wire.sequence,
        coverage_complete: wire.coverage_complete,
        ..Batch::default()
    };
    let mut key_bytes = 0;
    for report in wire.reports {
        let report = convert::report(report).map_err(malformed)?;
        let index = batch.reports.len();
        key_bytes += report.statements.len() * key_size(&report.resource);
        if key_bytes > KEY_BYTES {
            return Err(Status::invalid_argument("batch.reports: too many statements with too long names"));
        }
        for statement in report.statements {
            let key = FindingKey { cluster, resource: report.resource.clone(), control: statement.control.clone() };
            batch.stated.push(Stated { id: key.finding_id(), key, statement, report: index });
        }
        batch.reports.push((report.read, report.origin));
    }
    for detection_batch in wire.detection_batches {
        let detection_batch = convert::detection_batch(detection_batch).map_err(malformed)?;
        key_bytes += detection_batch.detections.iter().map(|detection| key_size(&detection.resource)).sum::<usize>();
        if key_bytes > KEY_BYTES {
            return Err(Status::invalid_argument("batch.detection_batches: too many detections with too long names"));
        }
        batch.detection_batches.push(detection_batch);
    }
    let mut coverage = BTreeMap::new();
    for state in wire.coverage {
        let state = convert::coverage(state).map_err(malformed)?;
        indexed("coverage.subject", &state.subject)?;
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
    indexed("scope.namespace", &namespace)?;
    indexed("scope.label", &label)?;
    short("scope.value", &value)?;
    Ok(ScopeProposal { namespace, label, value, since })
}

/// The bytes that one statement's identity takes.
fn key_size(resource: &Resource) -> usize {
    let Resource { group, kind, namespace, name } = resource;
    size_of::<FindingKey>() + group.len() + kind.len() + namespace.as_deref().map_or(0, str::len) + name.len()
}

/// Buckets that a batch declares complete: each once.
pub(super) fn complete_buckets(wire: Vec<u8>) -> Result<Vec<u8>, Status> {
    if wire.len() > BUCKETS {
        return Err(Status::invalid_argument(format!("batch.complete_buckets: more than {BUCKETS}")));
    }
    Ok(wire.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
}

/// Whether a statement is a failing one.
pub(super) fn fails(stated: &Stated) -> bool {
    matches!(stated.statement.observation, Observation::Fail { .. })
}

/// A retest's answer: signed by this certificate's key about its own cluster, with statements of that cluster's nodes under
/// this root, within the limits of the protocol.
pub(super) fn attestation(
    wire: v1::RetestAnswer,
    certificate: &[u8],
    root: &[u8],
    now: i64,
) -> Result<SignedAttestation, String> {
    let checked = attestation::check(&wire.attestation, &wire.signature, certificate);
    let attestation = checked.map_err(|problem| problem.to_string())?;
    attestation::check_nodes(&attestation, root, now).map_err(|problem| problem.to_string())?;
    if !within_limits(&attestation) {
        return Err("it is over a limit of the protocol".to_owned());
    }
    let text = String::from_utf8(wire.attestation).map_err(|_| "it is no text".to_owned())?;
    Ok(SignedAttestation { attestation, text, signature: wire.signature, certificate: certificate.to_vec() })
}

fn within_limits(attestation: &Attestation) -> bool {
    let fits = |text: &str| text.len() <= STRING_BYTES;
    let location = |Location { path, value, container, object }: &Location| {
        fits(path) && fits(value) && container.as_deref().is_none_or(fits) && object.as_deref().is_none_or(fits)
    };
    fits(&attestation.reason)
        && fits(&attestation.uid)
        && fits(&attestation.agent_version)
        && attestation.methods.len() <= Method::ALL.len()
        && attestation.locations.len() <= LOCATIONS
        && attestation.locations.iter().all(location)
        && attestation.reads.len() <= READS
}

fn indexed(field: &str, value: &str) -> Result<(), Status> {
    if value.len() > INDEXED_BYTES {
        return Err(Status::invalid_argument(format!("{field}: over {INDEXED_BYTES} bytes")));
    }
    Ok(())
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
