//! What the fleet's job planned: bands of patterns and the severities of their findings.

use holdfast_model::{Actor, ClusterId, FindingId};
use holdfast_record::calibration::{Crossing, FleetReading};
use holdfast_record::{Command, Entry};
use holdfast_store::{Mark, Pattern, StoreError};

use super::WriteGroup;
use crate::fleet::POLICY;
use crate::writer::Outcome;
use crate::writer::job::{FleetWrite, Moved, PatternMove, Recalibration};

impl WriteGroup {
    /// Applies each move whose pattern is as it was read. The band, its event and the mark that its findings are still to follow
    /// are one transaction: what breaks off after it is taken up by the mark.
    pub(in crate::writer) async fn move_patterns(&mut self, moves: &[PatternMove]) -> Outcome<Vec<Moved>> {
        let ids: Vec<_> = moves.iter().map(|planned| planned.read.id).collect();
        let present = self.tx.lock_patterns(&ids).await?;
        let mut moved = Vec::new();
        for planned in moves {
            if let Some(pattern) = present.iter().find(|pattern| **pattern == planned.read) {
                moved.extend(self.move_pattern(pattern.clone(), planned).await?);
            }
        }
        Ok(moved)
    }

    async fn move_pattern(&mut self, mut pattern: Pattern, planned: &PatternMove) -> Outcome<Option<Moved>> {
        let form = |source| StoreError::Form { operation: "pattern state", source };
        let mut fleet = None;
        if let Some(to) = planned.crosses_to {
            let (from, reading, policy) = (pattern.band, planned.reading, self.policy.clone());
            let crossing = Crossing { pattern: pattern.id, from, to, reading, policy: &policy };
            let entry = crossing.event(self.now).and_then(Entry::of).map_err(form)?;
            let cited = crossing.cited(data_encoding::HEXLOWER.encode(&entry.leaf));
            self.entries.push(entry);
            (pattern.band, pattern.band_since) = (to, Some(self.now));
            pattern.state = Some(serde_json::to_string(&cited).map_err(form)?);
            fleet = Some(cited);
        } else if let Some(state) = &pattern.state {
            fleet = Some(serde_json::from_str(state).map_err(form)?);
        }
        pattern.mark = if planned.members { Mark::Pending } else { Mark::Settled };
        self.tx.put_band(&pattern).await?;
        // A pattern that never crossed has no event to cite.
        let never_crossed = || FleetReading {
            band: pattern.band,
            clusters: planned.reading.clusters,
            judging: planned.reading.judging,
            pattern_event: String::new(),
        };
        let has_rule = self.policy.rule(pattern.band).is_some();
        let fleet = has_rule.then(|| fleet.unwrap_or_else(never_crossed));
        Ok(planned.members.then_some(Moved { pattern: pattern.id, fleet }))
    }

    pub(in crate::writer) async fn keep_fleet(&mut self, write: &FleetWrite) -> Outcome<u64> {
        match write {
            FleetWrite::SettleIsolated { at_most_active, limit } => {
                Ok(self.tx.settle_isolated_patterns(*at_most_active, *limit).await?)
            }
            FleetWrite::Settle(patterns) => {
                self.tx.settle_patterns(patterns).await?;
                Ok(patterns.len() as u64)
            }
            FleetWrite::PolicyApplied(policy) => {
                self.tx.put_setting(POLICY, policy, self.now).await?;
                Ok(1)
            }
        }
    }

    /// Calibrates these findings. One that is no longer on record has no severity.
    pub(in crate::writer) fn calibrate(
        &mut self,
        members: &[(ClusterId, FindingId)],
        why: &Recalibration,
    ) -> Outcome<()> {
        let actor = Actor::Holdfast("fleet".into());
        for &(cluster, id) in members {
            if self.finding(cluster, id).is_none() {
                continue;
            }
            let command = match why {
                Recalibration::Fleet(fleet) => Command::Spread(fleet.as_ref()),
                Recalibration::Policy => Command::Recalibrate,
            };
            self.decide(&actor, (cluster, id), command, None)?;
        }
        Ok(())
    }
}
