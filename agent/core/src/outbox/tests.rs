use holdfast_controls::evaluate::Answer;
use holdfast_controls::{Outcome, catalog};
use holdfast_model::{CoverageState, Location, Observation, Origin, Read};

use super::*;

fn web() -> Resource {
    Resource::namespaced("apps", "Deployment", "shop", "web")
}

fn control() -> &'static Control {
    catalog::all().next().unwrap()
}

fn report(observation: Observation) -> Report {
    let statements = vec![crate::ledger::statement(control(), observation)];
    Report { resource: web(), read: Read::default(), origin: Origin::default(), statements }
}

fn fail() -> Observation {
    Observation::Fail { severity: control().severity, locations: Vec::new() }
}

/// The next batch of a cluster in which the control fails wherever it is asked.
fn send(outbox: &mut Outbox) -> Option<UplinkBatch> {
    let judge = |resource: &Resource| {
        let answer = Answer::Fail(vec![Location::field("spec", "x")]);
        let outcomes = vec![Outcome { control: control(), answer }];
        Some(Judgement { resource: resource.clone(), read: Read::default(), origin: Origin::default(), outcomes })
    };
    outbox.next_batch(judge, |_, _| true)
}

fn observations(batch: Option<UplinkBatch>) -> Vec<Observation> {
    let reports = batch.into_iter().flat_map(|batch| batch.reports);
    reports.flat_map(|report| report.statements).map(|statement| statement.observation).collect()
}

#[test]
fn what_ended_is_kept_until_it_is_acknowledged() {
    let mut outbox = Outbox::default();
    outbox.add_report(report(Observation::Pass));
    assert_eq!(send(&mut outbox).unwrap().sequence, 1);
    outbox.restart(|_, _| false);
    let batch = send(&mut outbox).unwrap();
    assert_eq!((batch.sequence, observations(Some(batch))), (1, vec![Observation::Pass]));
    outbox.acknowledge(1);
    outbox.restart(|_, _| false);
    assert!(outbox.is_empty());
    assert_eq!(outbox.counts(), (2, 1));
}

#[test]
fn a_failure_is_left_to_the_digests_and_supersedes_what_ended_before() {
    let mut outbox = Outbox::default();
    outbox.add_report(report(fail()));
    outbox.restart(|_, _| true);
    assert!(outbox.is_empty());
    outbox.add_report(report(Observation::Pass));
    send(&mut outbox);
    outbox.restart(|_, _| true);
    assert!(outbox.is_empty(), "it fails again: an old pass must not follow");
}

#[test]
fn the_later_of_two_unsent_statements_is_sent() {
    let mut outbox = Outbox::default();
    outbox.add_report(report(Observation::Pass));
    send(&mut outbox);
    outbox.add_report(report(Observation::Gone));
    outbox.restart(|_, _| false);
    assert_eq!(observations(send(&mut outbox)), [Observation::Gone]);
}

#[test]
fn buckets_are_complete_with_the_batch_that_empties_them_even_an_empty_one() {
    let mut outbox = Outbox::default();
    outbox.resync(vec![7], vec![(web(), vec![control()])]);
    let batch = send(&mut outbox).unwrap();
    assert_eq!(batch.complete_buckets, [7]);
    assert!(matches!(observations(Some(batch))[..], [Observation::Fail { .. }]));
    outbox.resync(vec![8], Vec::new());
    assert_eq!(send(&mut outbox).unwrap().complete_buckets, [8]);
    assert!(send(&mut outbox).is_none());
}

#[test]
fn only_the_last_coverage_of_a_subject_is_sent_and_sent_again_if_it_was_lost() {
    let mut outbox = Outbox::default();
    for state in [CoverageState::Starting, CoverageState::Seen] {
        outbox.add_coverage(Coverage { subject: "pods".into(), state, reason: String::new(), since: 0 });
    }
    let states = |batch: Option<UplinkBatch>| batch.unwrap().coverage.into_iter().map(|c| c.state).collect::<Vec<_>>();
    assert_eq!(states(send(&mut outbox)), [CoverageState::Seen]);
    outbox.restart(|_, _| false);
    assert_eq!(states(send(&mut outbox)), [CoverageState::Seen]);
}

#[test]
fn a_subject_that_fills_a_message_is_sent_in_parts_and_its_buckets_are_complete_with_the_last() {
    let mut outbox = Outbox::default();
    let controls: Vec<_> = catalog::all().take(40).collect();
    outbox.resync(vec![7], vec![(web(), controls.clone())]);
    let judge = |resource: &Resource| {
        let many: Vec<_> = (0..60).map(|n| Location::field(format!("{n}"), "v".repeat(1000))).collect();
        let outcomes =
            controls.iter().map(|&control| Outcome { control, answer: Answer::Fail(many.clone()) }).collect();
        Some(Judgement { resource: resource.clone(), read: Read::default(), origin: Origin::default(), outcomes })
    };
    let mut sent = Vec::new();
    while let Some(batch) = outbox.next_batch(judge, |_, _| true) {
        assert!(size_of(&batch.reports) <= MESSAGE_BYTES, "{}", size_of(&batch.reports));
        let statements = batch.reports.iter().map(|report| report.statements.len()).sum::<usize>();
        sent.push((statements, batch.complete_buckets.clone()));
    }
    assert_eq!(sent.iter().map(|(statements, _)| statements).sum::<usize>(), controls.len());
    assert!(sent.len() > 1 && sent.iter().rev().skip(1).all(|(_, buckets)| buckets.is_empty()), "{sent:?}");
    assert_eq!(sent.last().unwrap().1, [7]);
}
