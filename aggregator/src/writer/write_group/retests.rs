//! Retests: orders with a fresh nonce go out, answers come back and may become receipts.

use std::collections::BTreeMap;

use holdfast_controls::Control;
use holdfast_model::{Actor, ClusterId, FindingId, Method, Nonce, RetestId, RetestOrder};
use holdfast_record::lifecycle::Answer;
use holdfast_record::retest::first_due;
use holdfast_record::{Command, Finding, Refused, RetestCause};
use holdfast_store::{Retest, RetestState, StoreError, StoredReceipt};

use super::{FindingRef, WriteGroup};
use crate::live::LiveChange;
use crate::writer::Outcome;
use crate::writer::job::SignedAttestation;

/// How long an answer may take before the question is put again.
const DEADLINE_MILLIS: i64 = 30_000;

impl WriteGroup {
    /// Draws a nonce for each retest that is still wanted. One that was out past its deadline pauses first.
    pub(in crate::writer) async fn dispatch(
        &mut self,
        cluster: ClusterId,
        ids: &[RetestId],
    ) -> Outcome<Vec<RetestOrder>> {
        self.member(cluster)?;
        let rows = self.tx.retests_by_id(cluster, ids).await?;
        let findings: Vec<_> = rows.iter().map(|retest| retest.finding).collect();
        self.load_findings(cluster, &findings).await?;
        let mut orders = Vec::with_capacity(rows.len());
        for retest in rows {
            let open = matches!(retest.state, RetestState::Waiting | RetestState::Sent);
            if !open || retest.due_at > self.now {
                continue;
            }
            if self.finding(cluster, retest.finding).is_none_or(|finding| finding.state.retest != Some(retest.id)) {
                self.ended.entry(cluster).or_default().push(retest.id);
            } else if retest.state == RetestState::Sent {
                self.expire(retest)?;
            } else {
                orders.extend(self.order(retest));
            }
        }
        Ok(orders)
    }

    fn expire(&mut self, retest: Retest) -> Outcome<()> {
        let command = Command::NoAnswer { retest: retest.id, attempts: retest.attempts };
        let place = (retest.cluster, retest.finding);
        self.decide(&Actor::Holdfast("retest".into()), place, command, Some(retest))
    }

    fn order(&mut self, mut retest: Retest) -> Option<RetestOrder> {
        let finding = self.finding(retest.cluster, retest.finding)?;
        let nonce = Nonce::from_bytes(self.environment.draw()?);
        let order = RetestOrder {
            retest: retest.id,
            nonce,
            resource: finding.key.resource.clone(),
            uid: finding.state.read.uid.clone(),
            control: finding.key.control.clone(),
            control_version: finding.state.control_version,
            methods: retest.methods.clone(),
        };
        retest.observed = finding.state.observed;
        retest.state = RetestState::Sent;
        retest.attempts += 1;
        retest.nonce = Some(nonce);
        retest.sent_at = Some(self.now);
        retest.due_at = self.now + DEADLINE_MILLIS;
        self.retests.insert(retest.id, retest);
        Some(order)
    }

    /// Records an answer: the verdict, and the attestation as a receipt if it settles something. One that comes after its
    /// deadline counts as long as no other nonce was drawn: reads that take long must not be asked for again for ever.
    pub(in crate::writer) async fn answer(
        &mut self,
        cluster: ClusterId,
        answer: &SignedAttestation,
    ) -> Outcome<Finding> {
        self.member(cluster)?;
        let attestation = &answer.attestation;
        let row = match self.retests.get(&attestation.retest) {
            Some(row) => Some(row.clone()).filter(|row| row.cluster == cluster),
            None => self.tx.retests_by_id(cluster, &[attestation.retest]).await?.pop(),
        };
        let open = |row: &Retest| matches!(row.state, RetestState::Sent | RetestState::Waiting);
        let mut retest = row.filter(open).ok_or(Refused::NotOutstanding)?;
        // Used up with this answer, whatever comes of it.
        let nonce = retest.nonce.take().ok_or(Refused::NotOutstanding)?;
        let id = retest.finding;
        self.load_findings(cluster, &[id]).await?;
        let (attempts, observed, methods) = (retest.attempts, retest.observed, retest.methods.clone());
        retest.state = RetestState::Answered;
        retest.answered_at = Some(self.now);
        retest.verdict = Some(attestation.verdict);
        retest.reason = Some(attestation.reason.clone());
        retest.reach = Some(attestation.reach);
        let command =
            Command::Answer(Answer { retest: retest.id, nonce, observed, attempts, methods: &methods, attestation });
        self.decide(&Actor::Agent(cluster), (cluster, id), command, Some(retest))?;
        if self.retests.get(&attestation.retest).is_some_and(|row| row.state == RetestState::Answered) {
            self.receipt(cluster, id, answer);
        }
        self.woken.insert(cluster);
        self.notify(LiveChange::Retest { retest: attestation.retest, finding: id, verdict: attestation.verdict });
        Ok(self.finding(cluster, id).cloned().ok_or(Refused::Unknown)?)
    }

    /// Gives each retest that was just requested its methods: what the control's proof needs, as far as the cluster can do
    /// it now or could when the retest before it was requested. Written once, so that a capability lost later makes no easier
    /// pass.
    pub(super) async fn settle_methods(&mut self) -> Result<(), StoreError> {
        let mut views: BTreeMap<ClusterId, bool> = BTreeMap::new();
        let requested: Vec<_> = self.retests.values().filter(|retest| retest.methods.is_empty()).cloned().collect();
        for mut retest in requested {
            let before = self.methods_before(&retest).await?;
            let control = self.finding(retest.cluster, retest.finding).map(|finding| &finding.key.control);
            let needed = control.and_then(|id| Control::find(id.as_str())).map_or(&[][..], |control| control.methods);
            let view = match views.get(&retest.cluster) {
                Some(&view) => view,
                None => {
                    let view = self.tx.has_kernel_view(retest.cluster).await?;
                    *views.entry(retest.cluster).or_insert(view)
                }
            };
            let can = |method: Method| match method {
                Method::LiveRead => true,
                Method::RuntimeRecheck => view,
                Method::FollowUpImport => false,
            };
            let could = |method: &Method| can(*method) || before.contains(method);
            retest.methods = needed.iter().copied().filter(could).collect();
            if retest.methods.is_empty() {
                retest.methods.push(Method::LiveRead);
            }
            self.retests.insert(retest.id, retest);
        }
        Ok(())
    }

    /// The methods of the retest that this one follows on the same claim.
    async fn methods_before(&mut self, retest: &Retest) -> Result<Vec<Method>, StoreError> {
        let Some(&before) = self.follows.get(&retest.id).filter(|_| !begins_anew(retest.cause)) else {
            return Ok(Vec::new());
        };
        if let Some(row) = self.retests.get(&before) {
            return Ok(row.methods.clone());
        }
        let rows = self.tx.retests_by_id(retest.cluster, &[before]).await?;
        Ok(rows.into_iter().next().map(|row| row.methods).unwrap_or_default())
    }

    /// The receipt belongs to the event that the verdict caused: the last one so far.
    fn receipt(&mut self, cluster: ClusterId, finding: FindingId, answer: &SignedAttestation) {
        let Some(event) = self.entries.len().checked_sub(1) else { return };
        let receipt = StoredReceipt {
            cluster,
            retest: answer.attestation.retest,
            finding,
            attestation: answer.text.clone(),
            agent_signature: answer.signature.clone(),
            agent_certificate: answer.certificate.clone(),
            recorded_at: self.now,
            event: holdfast_store::EventId::default(),
            receipt: None,
        };
        self.receipts.push((event, receipt));
    }
}

/// Whether a retest of this cause is about another claim than the one before it: what the cluster can do is asked anew.
fn begins_anew(cause: RetestCause) -> bool {
    use RetestCause::{Claim, MethodGained, Periodic, ReturnedToScope};
    matches!(cause, Claim | MethodGained | Periodic | ReturnedToScope)
}

/// A retest that was just ordered; its methods are settled before it is written.
pub(super) fn requested(id: RetestId, place: FindingRef, cause: RetestCause, attempts: u32, now: i64) -> Retest {
    Retest {
        id,
        cluster: place.0,
        finding: place.1,
        cause,
        methods: Vec::new(),
        state: RetestState::Waiting,
        requested_at: now,
        due_at: first_due(now, attempts),
        attempts,
        nonce: None,
        observed: 0,
        sent_at: None,
        answered_at: None,
        verdict: None,
        reason: None,
        reach: None,
    }
}
