//! Which clusters can judge which control: the whole that a pattern's share is a part of.
//!
//! A cluster counts if it is a member, its agent evaluates the control, and it sees the subject's kind and every kind that
//! the control reads. One that cannot look is no evidence of being clean.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use holdfast_controls::catalog::Control;
use holdfast_controls::facts::Kind;
use holdfast_model::{ClusterId, ControlId, CoverageState, Resource};
use holdfast_store::{Store, StoreError};

/// What each member of the fleet can judge.
#[derive(Debug, Clone, Default)]
pub struct Judges {
    clusters: BTreeMap<ClusterId, Judge>,
    /// Counts that were asked for: every pattern of one control and kind has the same.
    counted: HashMap<(ControlId, Option<&'static Kind>), u32>,
}

impl PartialEq for Judges {
    fn eq(&self, other: &Self) -> bool {
        self.clusters == other.clusters
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Judge {
    controls: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl Judges {
    /// Reads clusters and coverage.
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let mut clusters = BTreeMap::new();
        for cluster in store.clusters().await?.into_iter().filter(|cluster| cluster.revoked_at.is_none()) {
            let id = |entry: &String| entry.split_once('@').map_or(entry.clone(), |(id, _)| id.to_owned());
            let controls = cluster.controls.iter().map(id).collect();
            clusters.insert(cluster.id, Judge { controls, seen: BTreeSet::new() });
        }
        for row in store.coverage(None).await? {
            if let Some(judge) = clusters.get_mut(&row.cluster).filter(|_| row.coverage.state == CoverageState::Seen) {
                judge.seen.insert(row.coverage.subject);
            }
        }
        Ok(Self { clusters, counted: HashMap::new() })
    }

    /// How many clusters can judge this control on this resource.
    pub fn count(&mut self, control: &ControlId, resource: &Resource) -> u32 {
        let kind = Kind::find(&resource.group, &resource.kind);
        let clusters = &self.clusters;
        *self.counted.entry((control.clone(), kind)).or_insert_with(|| {
            let reads = Control::find(control.as_str()).into_iter().flat_map(Control::kinds);
            let needs: Vec<_> = reads.chain(kind).map(Kind::subject).collect();
            let sees = |judge: &&Judge| needs.iter().all(|need| judge.seen.contains(need));
            let evaluates = |judge: &&Judge| judge.controls.contains(control.as_str());
            u32::try_from(clusters.values().filter(evaluates).filter(sees).count()).unwrap_or(u32::MAX)
        })
    }
}
