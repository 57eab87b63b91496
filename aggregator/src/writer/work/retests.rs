//! Retests: orders with a fresh nonce go out, answers come back and may become receipts.

use holdfast_model::{Actor, ClusterId, FindingId, Nonce, RetestId, RetestOrder};
use holdfast_record::lifecycle::Answer;
use holdfast_record::{Command, Finding, Refused, RetestCause};
use holdfast_store::{Retest, RetestState, StoredReceipt};

use super::{Place, Work};
use crate::live::LiveChange;
use crate::writer::Outcome;
use crate::writer::job::SignedTestimony;

/// How long an answer may take before the question is put again.
const DEADLINE_MILLIS: i64 = 30_000;

impl Work {
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
            if self.finding(cluster, retest.finding).is_none_or(|finding| finding.retest != Some(retest.id)) {
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
        let nonce = Nonce::from_bytes(self.edge.draw()?);
        let order = RetestOrder {
            retest: retest.id,
            nonce,
            resource: finding.key.resource.clone(),
            uid: finding.read.uid.clone(),
            control: finding.key.control.clone(),
            control_version: finding.control_version,
        };
        retest.observed = finding.observed;
        retest.state = RetestState::Sent;
        retest.attempts += 1;
        retest.nonce = Some(nonce);
        retest.sent_at = Some(self.now);
        retest.due_at = self.now + DEADLINE_MILLIS;
        self.retests.insert(retest.id, retest);
        Some(order)
    }

    /// Records an answer: the verdict, and the testimony as a receipt if it settles something. One that comes after its
    /// deadline counts as long as no other nonce was drawn: reads that take long must not be asked for again for ever.
    pub(in crate::writer) async fn answer(&mut self, cluster: ClusterId, answer: &SignedTestimony) -> Outcome<Finding> {
        self.member(cluster)?;
        let testimony = &answer.testimony;
        let row = match self.retests.get(&testimony.retest) {
            Some(row) => Some(row.clone()).filter(|row| row.cluster == cluster),
            None => self.tx.retests_by_id(cluster, &[testimony.retest]).await?.pop(),
        };
        let open = |row: &Retest| matches!(row.state, RetestState::Sent | RetestState::Waiting);
        let mut retest = row.filter(open).ok_or(Refused::NotOutstanding)?;
        // Used up with this answer, whatever comes of it.
        let nonce = retest.nonce.take().ok_or(Refused::NotOutstanding)?;
        let id = retest.finding;
        self.load_findings(cluster, &[id]).await?;
        let (attempts, observed) = (retest.attempts, retest.observed);
        retest.state = RetestState::Answered;
        retest.answered_at = Some(self.now);
        retest.verdict = Some(testimony.verdict);
        retest.reason = Some(testimony.reason.clone());
        retest.reach = Some(testimony.reach);
        let command = Command::Answer(Answer { retest: retest.id, nonce, observed, attempts, testimony });
        self.decide(&Actor::Agent(cluster), (cluster, id), command, Some(retest))?;
        if self.retests.get(&testimony.retest).is_some_and(|row| row.state == RetestState::Answered) {
            self.receipt(cluster, id, answer);
        }
        self.woken.insert(cluster);
        self.tell(LiveChange::Retest { retest: testimony.retest, finding: id, verdict: testimony.verdict });
        Ok(self.finding(cluster, id).cloned().ok_or(Refused::Unknown)?)
    }

    /// The receipt belongs to the event that the verdict caused: the last one so far.
    fn receipt(&mut self, cluster: ClusterId, finding: FindingId, answer: &SignedTestimony) {
        let Some(event) = self.entries.len().checked_sub(1) else { return };
        let receipt = StoredReceipt {
            cluster,
            retest: answer.testimony.retest,
            finding,
            testimony: answer.text.clone(),
            agent_signature: answer.signature.clone(),
            agent_certificate: answer.certificate.clone(),
            recorded_at: self.now,
            event: holdfast_store::EventId::default(),
            receipt: None,
        };
        self.receipts.push((event, receipt));
    }
}

/// A retest that was just ordered.
pub(super) fn requested(id: RetestId, place: Place, cause: RetestCause, now: i64) -> Retest {
    Retest {
        id,
        cluster: place.0,
        finding: place.1,
        cause,
        state: RetestState::Waiting,
        requested_at: now,
        due_at: now,
        attempts: 0,
        nonce: None,
        observed: 0,
        sent_at: None,
        answered_at: None,
        verdict: None,
        reason: None,
        reach: None,
    }
}
