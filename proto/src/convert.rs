//! Wire <-> model, one pair of functions a message. To the model: checked, or refused with the field's name.

use std::str::FromStr;

use holdfast_model::statement::{Location, Observation, Read, Report, Statement};
use holdfast_model::{
    ControlId, Coverage, CoverageState, DetectionBatch, Method, Nonce, Occurrences, Origin, Resource, RetestId,
    RetestOrder, RuntimeDetection, Severity,
};

use crate::limits;
use crate::v1;

/// A message with an invalid field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// The field, as `report.resource.kind`.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn malformed<T>(field: &'static str, problem: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed { field, problem: problem.into() })
}

fn text(field: &'static str, value: String) -> Result<String, Malformed> {
    if value.len() > limits::STRING_BYTES {
        return malformed(field, format!("{} bytes, over the limit of {}", value.len(), limits::STRING_BYTES));
    }
    Ok(value)
}

fn name(field: &'static str, value: String) -> Result<String, Malformed> {
    if value.is_empty() {
        return malformed(field, "empty");
    }
    text(field, value)
}

fn parsed<T: FromStr<Err = String>>(field: &'static str, value: &str) -> Result<T, Malformed> {
    value.parse().or_else(|problem: String| malformed(field, problem))
}

/// A number that counts from 1: 0 is a field that was not sent.
fn from_one(field: &'static str, number: u64) -> Result<u64, Malformed> {
    if number == 0 { malformed(field, "missing") } else { Ok(number) }
}

fn optional(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

/// A resource from the wire.
pub fn resource(wire: Option<v1::Resource>) -> Result<Resource, Malformed> {
    let Some(v1::Resource { group, kind, namespace, name: resource_name }) = wire else {
        return malformed("resource", "missing");
    };
    Ok(Resource {
        group: text("resource.group", group)?,
        kind: name("resource.kind", kind)?,
        namespace: optional(text("resource.namespace", namespace)?),
        name: name("resource.name", resource_name)?,
    })
}

/// A resource to the wire.
pub fn resource_to_wire(resource: &Resource) -> v1::Resource {
    v1::Resource {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: resource.namespace.clone().unwrap_or_default(),
        name: resource.name.clone(),
    }
}

/// A report from the wire.
pub fn report(wire: v1::Report) -> Result<Report, Malformed> {
    Ok(Report {
        resource: resource(wire.resource)?,
        read: read(wire.read)?,
        origin: origin(wire.origin)?,
        statements: wire.statements.into_iter().map(statement).collect::<Result<_, _>>()?,
    })
}

/// A report to the wire.
pub fn report_to_wire(report: &Report) -> v1::Report {
    v1::Report {
        resource: Some(resource_to_wire(&report.resource)),
        read: Some(v1::Read {
            uid: report.read.uid.clone(),
            resource_version: report.read.resource_version.clone(),
            hash: report.read.hash.clone(),
        }),
        origin: Some(origin_to_wire(&report.origin)),
        statements: report.statements.iter().map(statement_to_wire).collect(),
    }
}

/// A detection from the wire.
pub fn detection(wire: v1::Detection) -> Result<RuntimeDetection, Malformed> {
    if wire.locations.len() > Occurrences::LOCATIONS {
        return malformed("detection.locations", format!("more than {}", Occurrences::LOCATIONS));
    }
    Ok(RuntimeDetection {
        resource: resource(wire.resource)?,
        origin: origin(wire.origin)?,
        control: ControlId::from(name("detection.control", wire.control)?),
        control_version: wire.control_version,
        severity: parsed("detection.severity", &wire.severity)?,
        seen: Occurrences {
            locations: locations("detection.locations", wire.locations)?,
            count: from_one("detection.count", wire.count)?,
            first_seen_at: wire.first_seen_at,
            last_seen_at: wire.last_seen_at,
        },
    })
}

/// A detection to the wire.
pub fn detection_to_wire(detection: &RuntimeDetection) -> v1::Detection {
    let seen = &detection.seen;
    v1::Detection {
        resource: Some(resource_to_wire(&detection.resource)),
        origin: Some(origin_to_wire(&detection.origin)),
        control: detection.control.as_str().to_owned(),
        control_version: detection.control_version,
        severity: detection.severity.as_str().to_owned(),
        locations: seen.locations.iter().map(location_to_wire).collect(),
        count: seen.count,
        first_seen_at: seen.first_seen_at,
        last_seen_at: seen.last_seen_at,
    }
}

/// A detection batch from the wire.
pub fn detection_batch(wire: v1::DetectionBatch) -> Result<DetectionBatch, Malformed> {
    let v1::DetectionBatch { source, run, sequence, detections } = wire;
    for (field, name) in [("detection_batch.source", &source), ("detection_batch.run", &run)] {
        if name.len() > limits::NAME_BYTES {
            return malformed(field, format!("{} bytes, over the limit of {}", name.len(), limits::NAME_BYTES));
        }
    }
    let sequence = from_one("detection_batch.sequence", sequence)?;
    let detections = detections.into_iter().map(detection).collect::<Result<_, _>>()?;
    Ok(DetectionBatch { source, run: name("detection_batch.run", run)?, sequence, detections })
}

/// A detection batch to the wire.
pub fn detection_batch_to_wire(detection_batch: &DetectionBatch) -> v1::DetectionBatch {
    v1::DetectionBatch {
        source: detection_batch.source.clone(),
        run: detection_batch.run.clone(),
        sequence: detection_batch.sequence,
        detections: detection_batch.detections.iter().map(detection_to_wire).collect(),
    }
}

fn read(wire: Option<v1::Read>) -> Result<Read, Malformed> {
    let Some(wire) = wire else { return malformed("read", "missing") };
    if !matches!(wire.hash.len(), 0 | 32) {
        return malformed("read.hash", format!("{} bytes, neither 32 nor none", wire.hash.len()));
    }
    Ok(Read {
        uid: text("read.uid", wire.uid)?,
        resource_version: text("read.resource_version", wire.resource_version)?,
        hash: wire.hash,
    })
}

fn origin(wire: Option<v1::Origin>) -> Result<Origin, Malformed> {
    let Some(wire) = wire else { return malformed("origin", "missing") };
    Ok(Origin {
        owner: optional(text("origin.owner", wire.owner)?),
        manager: optional(text("origin.manager", wire.manager)?),
        release: optional(text("origin.release", wire.release)?),
        chart: optional(text("origin.chart", wire.chart)?),
    })
}

fn origin_to_wire(origin: &Origin) -> v1::Origin {
    let Origin { owner, manager, release, chart } = origin.clone();
    v1::Origin {
        owner: owner.unwrap_or_default(),
        manager: manager.unwrap_or_default(),
        release: release.unwrap_or_default(),
        chart: chart.unwrap_or_default(),
    }
}

fn statement(wire: v1::Statement) -> Result<Statement, Malformed> {
    use v1::statement::Observation as Wire;
    let observation = match wire.observation {
        Some(Wire::Fail(fail)) => Observation::Fail {
            severity: parsed::<Severity>("statement.fail.severity", &fail.severity)?,
            locations: locations("statement.fail.locations", fail.locations)?,
        },
        Some(Wire::Pass(_)) => Observation::Pass,
        Some(Wire::Gone(_)) => Observation::Gone,
        Some(Wire::Unknown(unknown)) => {
            Observation::Unknown { reason: text("statement.unknown.reason", unknown.reason)? }
        }
        Some(Wire::Withdrawn(_)) => Observation::Withdrawn,
        None => return malformed("statement.observation", "missing, or of a kind that this version does not know"),
    };
    let control = ControlId::from(name("statement.control", wire.control)?);
    Ok(Statement { control, control_version: wire.control_version, observation })
}

fn statement_to_wire(statement: &Statement) -> v1::Statement {
    use v1::statement::Observation as Wire;
    let observation = match &statement.observation {
        Observation::Fail { severity, locations } => Wire::Fail(v1::Fail {
            severity: severity.as_str().to_owned(),
            locations: locations.iter().map(location_to_wire).collect(),
        }),
        Observation::Pass => Wire::Pass(v1::Pass {}),
        Observation::Gone => Wire::Gone(v1::Gone {}),
        Observation::Unknown { reason } => Wire::Unknown(v1::Unknown { reason: reason.clone() }),
        Observation::Withdrawn => Wire::Withdrawn(v1::Withdrawn {}),
    };
    v1::Statement {
        control: statement.control.as_str().to_owned(),
        control_version: statement.control_version,
        observation: Some(observation),
    }
}

fn locations(field: &'static str, wire: Vec<v1::Location>) -> Result<Vec<Location>, Malformed> {
    if wire.is_empty() || wire.len() > limits::LOCATIONS {
        return malformed(field, format!("{} of them, not 1 to {}", wire.len(), limits::LOCATIONS));
    }
    wire.into_iter().map(location).collect()
}

fn location(wire: v1::Location) -> Result<Location, Malformed> {
    Ok(Location {
        path: text("location.path", wire.path)?,
        value: text("location.value", wire.value)?,
        container: optional(text("location.container", wire.container)?),
        object: optional(text("location.object", wire.object)?),
    })
}

fn location_to_wire(location: &Location) -> v1::Location {
    let Location { path, value, container, object } = location.clone();
    v1::Location { path, value, container: container.unwrap_or_default(), object: object.unwrap_or_default() }
}

/// A coverage state from the wire.
pub fn coverage(wire: v1::Coverage) -> Result<Coverage, Malformed> {
    Ok(Coverage {
        subject: name("coverage.subject", wire.subject)?,
        state: parsed::<CoverageState>("coverage.state", &wire.state)?,
        reason: text("coverage.reason", wire.reason)?,
        since: wire.since,
    })
}

/// A coverage state to the wire.
pub fn coverage_to_wire(coverage: &Coverage) -> v1::Coverage {
    v1::Coverage {
        subject: coverage.subject.clone(),
        state: coverage.state.as_str().to_owned(),
        reason: coverage.reason.clone(),
        since: coverage.since,
    }
}

/// A retest order from the wire.
pub fn retest(wire: v1::RetestOrder) -> Result<RetestOrder, Malformed> {
    let Some(retest) = RetestId::from_slice(&wire.retest_id) else {
        return malformed("retest.retest_id", "not 16 bytes");
    };
    let Some(nonce) = Nonce::from_slice(&wire.nonce) else {
        return malformed("retest.nonce", "not 16 bytes");
    };
    Ok(RetestOrder {
        retest,
        nonce,
        resource: resource(wire.resource)?,
        uid: text("retest.uid", wire.uid)?,
        control: ControlId::from(name("retest.control", wire.control)?),
        control_version: wire.control_version,
        methods: methods(&wire.methods)?,
    })
}

/// An order with a method that this program does not know is malformed as a whole: it could only be answered in part.
fn methods(wire: &[String]) -> Result<Vec<Method>, Malformed> {
    let field = "retest.methods";
    wire.iter().map(|method| method.parse().map_err(|problem| Malformed { field, problem })).collect()
}

/// A retest order to the wire.
pub fn retest_to_wire(order: &RetestOrder) -> v1::RetestOrder {
    v1::RetestOrder {
        retest_id: order.retest.as_bytes().to_vec(),
        nonce: order.nonce.as_bytes().to_vec(),
        resource: Some(resource_to_wire(&order.resource)),
        uid: order.uid.clone(),
        control: order.control.as_str().to_owned(),
        control_version: order.control_version,
        methods: order.methods.iter().map(|method| method.as_str().to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Report {
        let fail = Observation::Fail {
            severity: Severity::High,
            locations: vec![
                Location::field("spec.hostPID", "true"),
                Location::field("a", "").in_container("web").in_object("Pod web-1"),
            ],
        };
        let all = [
            fail,
            Observation::Pass,
            Observation::Gone,
            Observation::Unknown { reason: "403".into() },
            Observation::Withdrawn,
        ];
        Report {
            resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
            read: Read { uid: "u".into(), resource_version: "7".into(), hash: vec![1; 32] },
            origin: Origin { owner: Some("team-a".into()), ..Origin::default() },
            statements: all
                .into_iter()
                .map(|observation| Statement {
                    control: ControlId::known("workload.host-pid"),
                    control_version: 1,
                    observation,
                })
                .collect(),
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        assert_eq!(report(report_to_wire(&example())).unwrap(), example());
    }

    fn batch() -> DetectionBatch {
        let seen = Occurrences::once(vec![Location::field("process sh", "a shell")], 7);
        let detection = RuntimeDetection {
            resource: Resource::namespaced("apps", "Deployment", "shop", "web"),
            origin: Origin::default(),
            control: ControlId::known("workload.unexpected-shell"),
            control_version: 1,
            severity: Severity::High,
            seen,
        };
        DetectionBatch { source: "node-1".into(), run: "boot.1".into(), sequence: 1, detections: vec![detection] }
    }

    #[test]
    fn a_detection_batch_survives_the_wire_and_names_the_field_that_is_missing() {
        assert_eq!(detection_batch(detection_batch_to_wire(&batch())).unwrap(), batch());
        let broken = |break_it: fn(&mut v1::DetectionBatch)| {
            let mut wire = detection_batch_to_wire(&batch());
            break_it(&mut wire);
            detection_batch(wire).unwrap_err().field
        };
        assert_eq!(broken(|b| b.run.clear()), "detection_batch.run");
        assert_eq!(broken(|b| b.source = "x".repeat(513)), "detection_batch.source");
        assert_eq!(broken(|b| b.sequence = 0), "detection_batch.sequence");
        assert_eq!(broken(|b| b.detections[0].origin = None), "origin");
        assert_eq!(broken(|b| b.detections[0].count = 0), "detection.count");
        assert_eq!(broken(|b| b.detections[0].locations.clear()), "detection.locations");
        assert_eq!(broken(|b| b.detections[0].severity.clear()), "detection.severity");
    }

    #[test]
    fn what_is_malformed_is_refused_by_field() {
        let broken = |break_it: fn(&mut v1::Report)| {
            let mut wire = report_to_wire(&example());
            break_it(&mut wire);
            report(wire).unwrap_err().field
        };
        assert_eq!(broken(|r| r.resource = None), "resource");
        assert_eq!(broken(|r| r.read = None), "read");
        assert_eq!(broken(|r| r.origin = None), "origin");
        assert_eq!(broken(|r| r.resource.as_mut().unwrap().kind.clear()), "resource.kind");
        assert_eq!(broken(|r| r.read.as_mut().unwrap().hash.truncate(3)), "read.hash");
        assert_eq!(broken(|r| r.statements[0].observation = None), "statement.observation");
        assert_eq!(broken(|r| r.statements[0].control = "x".repeat(5000)), "statement.control");
        assert_eq!(
            broken(|r| r.statements[0].observation =
                Some(v1::statement::Observation::Fail(v1::Fail { severity: "bad".into(), locations: vec![] }))),
            "statement.fail.severity"
        );
    }
}
