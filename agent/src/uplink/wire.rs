//! Batches and digests as the messages of the uplink.

use holdfast_agent_core::outbox::{ScopeProposal, UplinkBatch};
use holdfast_model::digest::LedgerDigest;
use holdfast_proto::{convert, v1};

pub(super) fn batch(epoch: u64, batch: UplinkBatch) -> v1::Batch {
    v1::Batch {
        epoch,
        sequence: batch.sequence,
        reports: batch.reports.iter().map(convert::report_to_wire).collect(),
        coverage: batch.coverage.iter().map(convert::coverage_to_wire).collect(),
        scope_proposals: batch.proposals.into_iter().map(proposal).collect(),
        detection_batches: batch.detection_batches.iter().map(convert::detection_batch_to_wire).collect(),
        coverage_complete: batch.coverage_complete,
        complete_buckets: batch.complete_buckets,
    }
}

fn proposal(proposal: ScopeProposal) -> v1::ScopeProposal {
    let ScopeProposal { namespace, label, value } = proposal;
    v1::ScopeProposal { namespace, label, value }
}

pub(super) fn buckets(digest: &LedgerDigest) -> v1::Buckets {
    v1::Buckets {
        digests: digest.buckets().iter().map(|bucket| bucket.to_vec()).collect(),
        root_digest: digest.root().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_agent_core::size;
    use holdfast_model::{
        ControlId, Coverage, CoverageState, DetectionBatch, Location, Observation, Occurrences, Origin, Read, Report,
        Resource, RuntimeDetection, Severity, Statement,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), "[a-z]{1,40}", "[a-zä]{100,300}", Just("x".repeat(20_000))]
    }

    fn optional() -> impl Strategy<Value = Option<String>> {
        prop::option::of(text())
    }

    fn resource() -> impl Strategy<Value = Resource> {
        let fields = (text(), text(), optional(), text());
        fields.prop_map(|(group, kind, namespace, name)| Resource { group, kind, namespace, name })
    }

    fn locations() -> impl Strategy<Value = Vec<Location>> {
        let fields = (text(), text(), optional(), optional());
        let location = fields.prop_map(|(path, value, container, object)| Location { path, value, container, object });
        prop::collection::vec(location, 0..4)
    }

    fn origin() -> impl Strategy<Value = Origin> {
        let fields = (optional(), optional(), optional(), optional());
        fields.prop_map(|(owner, manager, release, chart)| Origin { owner, manager, release, chart })
    }

    fn statement() -> impl Strategy<Value = Statement> {
        let observation = prop_oneof![
            locations().prop_map(|locations| Observation::Fail { severity: Severity::Critical, locations }),
            Just(Observation::Pass),
            Just(Observation::Gone),
            Just(Observation::Withdrawn),
            text().prop_map(|reason| Observation::Unknown { reason }),
        ];
        (text(), any::<u32>(), observation).prop_map(|(control, control_version, observation)| Statement {
            control: ControlId::from(control),
            control_version,
            observation,
        })
    }

    prop_compose! {
        fn report()(
            resource in resource(), uid in text(), resource_version in text(), hash in prop::collection::vec(any::<u8>(), 0..33),
            origin in origin(), statements in prop::collection::vec(statement(), 0..4),
        ) -> Report {
            Report { resource, read: Read { uid, resource_version, hash }, origin, statements }
        }
    }

    prop_compose! {
        fn detection()(
            resource in resource(), origin in origin(), control in text(), control_version in any::<u32>(),
            locations in locations(), count in any::<u64>(), at in any::<i64>(),
        ) -> RuntimeDetection {
            let seen = Occurrences { locations, count, first_seen_at: at, last_seen_at: at };
            let (control, severity) = (ControlId::from(control), Severity::Critical);
            RuntimeDetection { resource, origin, control, control_version, severity, seen }
        }
    }

    prop_compose! {
        fn any_batch()(
            reports in prop::collection::vec(report(), 0..3), detections in prop::collection::vec(detection(), 0..3),
            source in text(), run in text(), sequence in any::<u64>(),
            subject in text(), reason in text(), since in any::<i64>(),
            namespace in text(), label in text(), value in text(),
        ) -> UplinkBatch {
            UplinkBatch {
                reports,
                coverage: vec![Coverage { subject, state: CoverageState::Forbidden, reason, since }],
                proposals: vec![ScopeProposal { namespace, label, value }],
                detection_batches: vec![DetectionBatch { source, run, sequence, detections }],
                ..UplinkBatch::default()
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_takes_more_on_the_wire_than_the_core_reckons(whole in any_batch()) {
            let bound = whole.reports.iter().map(size::report).sum::<usize>()
                + whole.coverage.iter().map(size::coverage).sum::<usize>()
                + whole.proposals.iter().map(ScopeProposal::size).sum::<usize>()
                + whole.detection_batches.iter().map(size::detection_batch).sum::<usize>();
            let taken = batch(0, whole).encoded_len();
            prop_assert!(taken <= bound, "{} > {}", taken, bound);
        }
    }
}
