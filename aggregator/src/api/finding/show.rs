//! From a stored finding to what the API shows of it: the catalog's words, the fix for these places, the reason it stands so.

use holdfast_api_types::{Calibration, Evidence, Finding, FindingRow, Fix, History, RuntimeEvidence, Time};
use holdfast_controls::catalog::Control;
use holdfast_controls::{fix, kubectl};
use holdfast_model as model;
use holdfast_record as record;
use holdfast_record::calibration::{Factor, Step};
use holdfast_store::{Retest, StoredEvent};

use super::ClusterNames;
use crate::api::retest;

/// A row of a list.
pub fn row(finding: &record::Finding, names: &ClusterNames) -> FindingRow {
    let control = finding.key.control.as_str();
    FindingRow {
        id: finding.id,
        pattern_id: finding.pattern,
        cluster_id: finding.key.cluster,
        cluster: names.get(&finding.key.cluster).cloned().unwrap_or_default(),
        resource: finding.key.resource.clone().into(),
        control_id: control.to_owned(),
        title: Control::find(control).map_or(control, |control| control.title).to_owned(),
        severity: finding.severity(),
        base_severity: finding.state.base_severity,
        status: finding.status(),
        reach: finding.reach(),
        owner: finding.state.origin.owner.clone(),
        first_seen_at: Time(finding.state.first_seen_at),
        status_at: Time(finding.state.status_at),
        reopened: finding.state.reopened,
    }
}

/// The whole record.
pub fn whole(
    finding: &record::Finding,
    names: &ClusterNames,
    events: Vec<StoredEvent>,
    retests: Vec<Retest>,
) -> Finding {
    let control = Control::find(finding.key.control.as_str());
    let history: Vec<_> = events.into_iter().filter_map(history).collect();
    let words = |of: fn(&Control) -> &'static str| control.map(of).unwrap_or_default().to_owned();
    Finding {
        row: row(finding, names),
        description: words(|control| control.description),
        remediation: words(|control| control.remediation),
        reason: reason(finding, &history),
        evidence: evidence(finding),
        origin: finding.state.origin.clone().into(),
        resolved_at: finding.resolved_at().map(Time),
        verified_at: finding.verified_at().map(Time),
        retired_reason: finding.retired_reason(),
        unverified: finding.unverified().map(str::to_owned),
        unjudged: finding.state.unjudged.clone(),
        current: finding.is_current(),
        refuted: finding.state.refuted,
        calibration: calibration(finding),
        check_again: kubectl::get_line(&finding.key.resource, finding.locations()),
        fix: control.and_then(|control| fix(control, finding)),
        retests: retests.into_iter().map(retest::view).collect(),
        history,
    }
}

/// What keeps it from being proved or judged comes first; else what happened to it last.
fn reason(finding: &record::Finding, history: &[History]) -> String {
    let waiting = finding.unverified().or(finding.state.unjudged.as_deref());
    waiting.or(history.first().map(|event| event.cause.as_str())).unwrap_or_default().to_owned()
}

fn evidence(finding: &record::Finding) -> Evidence {
    Evidence {
        locations: finding.locations().iter().cloned().map(Into::into).collect(),
        uid: finding.state.read.uid.clone(),
        resource_version: finding.state.read.resource_version.clone(),
        control_version: finding.state.control_version,
        observed_at: Time(finding.state.changed_at),
        runtime: finding.kernel().map(|kernel| runtime(finding, kernel)),
    }
}

fn runtime(finding: &record::Finding, kernel: &record::Detection) -> RuntimeEvidence {
    let model::Occurrences { locations, count, first_seen_at, last_seen_at } = kernel.seen.clone();
    let calibration = finding.state.calibration.as_ref();
    let is_runtime = |step: &&Step| matches!(step.reading, Factor::Runtime { .. });
    let step = calibration.and_then(|calibration| calibration.steps.iter().find(is_runtime));
    RuntimeEvidence {
        locations: locations.into_iter().map(Into::into).collect(),
        count,
        first_seen_at: Time(first_seen_at),
        last_seen_at: Time(last_seen_at),
        raise: step.map_or(0, |step| u8::try_from(step.raise).unwrap_or_default()),
        rule: step.map(|step| step.rule.clone()),
        rationale: step.map(|step| step.rationale.clone()),
        approver: step.and(calibration).map(|calibration| calibration.approver.clone()),
    }
}

/// Shown as long as the severity is another than the catalog's. The sentence and the rule are those of the last step.
fn calibration(finding: &record::Finding) -> Option<Calibration> {
    let moved = finding.state.calibration.as_ref().filter(|moved| moved.severity != moved.base)?;
    let step = moved.steps.last()?;
    Some(Calibration {
        from: moved.base,
        to: moved.severity,
        rationale: step.cause(),
        rule: Some(step.rule.clone()),
        approver: Some(moved.approver.clone()),
        reading: serde_json::to_value(&step.reading).ok()?,
        at: Time(finding.state.calibrated_at.unwrap_or(finding.state.changed_at)),
    })
}

/// The patch for the places where it fails, or what to create where something is missing; as long as it fails.
fn fix(control: &Control, finding: &record::Finding) -> Option<Fix> {
    if !finding.status().is_active() {
        return None;
    }
    let warning = warning(&finding.state.origin);
    if let Some(patch) = fix::patch(control, finding.locations()) {
        let kubectl = kubectl::patch_line(&finding.key.resource, &patch);
        return Some(Fix { json_patch: serde_json::to_value(patch).ok(), manifest: None, kubectl, warning });
    }
    let manifest = fix::manifest(control, &finding.key.resource)?;
    Some(Fix { json_patch: None, kubectl: kubectl::create_line(&manifest), manifest: Some(manifest), warning })
}

fn warning(origin: &model::Origin) -> Option<String> {
    let manager = origin.manager.as_deref()?;
    let release = origin.release.as_deref().map_or(String::new(), |release| format!(" ({release})"));
    Some(format!("{manager}{release} manages this object and will revert a live change: make the fix at its source"))
}

fn history(event: StoredEvent) -> Option<History> {
    let activity = event.activity?;
    Some(History {
        at: Time(activity.at),
        event: activity.event,
        actor: activity.actor.into(),
        cause: activity.cause,
        log_index: event.log_index,
    })
}
