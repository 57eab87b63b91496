//! Which namespaces are left out of a cluster's scope, and what becomes of their findings.

use std::collections::HashSet;

use holdfast_model::{Activity, Actor, ClusterId, Resource};
use holdfast_record::Command;

use super::WriteGroup;
use crate::live::LiveChange;
use crate::writer::Outcome;

impl WriteGroup {
    /// Replaces the scope; the findings of every namespace that left or came back follow.
    pub(in crate::writer) async fn set_scope(
        &mut self,
        actor: &Actor,
        cluster: ClusterId,
        excluded: &[String],
    ) -> Outcome<()> {
        let after: HashSet<String> = excluded.iter().cloned().collect();
        let before = self.excluded.insert(cluster, after.clone()).unwrap_or_default();
        let mut sorted: Vec<_> = after.iter().cloned().collect();
        sorted.sort_unstable();
        self.tx.set_excluded_namespaces(cluster, &sorted, self.now).await?;
        let mut moved: Vec<_> = before.symmetric_difference(&after).collect();
        moved.sort_unstable();
        for namespace in moved {
            let left = after.contains(namespace);
            for finding in self.tx.findings_in(cluster, namespace).await? {
                let id = finding.id;
                self.keep(finding);
                let command = if left { Command::LeaveScope } else { Command::ReturnToScope };
                self.decide(actor, (cluster, id), command, None)?;
            }
        }
        self.record(Activity {
            at: self.now,
            actor: actor.clone(),
            event: "scope-set".into(),
            cluster: Some(cluster),
            finding: None,
            cause: "the platform owner set which namespaces are left out".into(),
            detail: serde_json::json!({ "excluded": sorted }),
        })?;
        self.notify(LiveChange::Cluster { cluster });
        Ok(())
    }

    /// Whether the engagement looks at this resource.
    pub(super) fn in_scope(&self, cluster: ClusterId, resource: &Resource) -> bool {
        let namespace = match &resource.namespace {
            Some(namespace) => Some(namespace),
            None if resource.group.is_empty() && resource.kind == "Namespace" => Some(&resource.name),
            None => None,
        };
        let excluded = self.excluded.get(&cluster);
        !namespace.is_some_and(|namespace| excluded.is_some_and(|excluded| excluded.contains(namespace)))
    }
}
