//! Findings. A row has the identity in columns and the state as one JSON text; of the state, columns repeat what is searched
//! and joined. The evidence is in [`crate::detection`].

use std::collections::BTreeMap;

use holdfast_model::kernel::coverage_subject;
use holdfast_model::{ClusterId, ControlId, FindingId, FindingKey, Reach, Resource, Severity, UnixMillis};
use holdfast_record::Finding;

use crate::error::Result;
use crate::sql::{Bulk, Fields, LIST_ROWS, Sql, json_text};
use crate::written::{Counted, Written};
use crate::{Store, Tx, detection};

pub(crate) const COLUMNS: &str =
    "SELECT cluster, id, pattern, api_group, kind, namespace, name, control, body FROM finding";

/// A finding without its detections, which [`detection::attach`] adds.
pub(crate) fn read(row: &Fields<'_>) -> Result<Finding> {
    let namespace = Some(row.text("namespace")?).filter(|namespace| !namespace.is_empty());
    let resource =
        Resource { group: row.text("api_group")?, kind: row.text("kind")?, namespace, name: row.text("name")? };
    let control = ControlId::from(row.text("control")?);
    Ok(Finding {
        id: row.id("id")?,
        pattern: row.id("pattern")?,
        key: FindingKey { cluster: row.id("cluster")?, resource, control },
        state: row.json("body")?,
        detections: Vec::new(),
    })
}

/// A severity as a number that orders as it does.
pub(crate) fn rank(severity: Severity) -> i64 {
    Severity::ALL.iter().position(|&value| value == severity).map_or(0, |at| at as i64)
}

const UPSERT: Bulk = Bulk::new(
    "write findings",
    "INSERT INTO finding (cluster, id, pattern, api_group, kind, namespace, name, control, status, severity, owner, \
     unverified, reach, retest, changed_at, body) ",
    " ON CONFLICT (cluster, id) DO UPDATE SET status = excluded.status, severity = excluded.severity, \
     owner = excluded.owner, unverified = excluded.unverified, reach = excluded.reach, \
     retest = excluded.retest, changed_at = excluded.changed_at, body = excluded.body",
);

impl Store {
    /// One finding: its id does not name its cluster, so each is looked into, by the primary key.
    pub async fn finding(&self, id: FindingId) -> Result<Option<Finding>> {
        let text = format!("{COLUMNS} WHERE id = ? AND cluster IN (SELECT id FROM cluster)");
        let sql = Sql::new("finding by id", &text).bind(id);
        let mut reader = self.reader().await?;
        let mut found = sql.all(&mut reader, read).await?;
        detection::attach(&mut reader, &mut found).await?;
        Ok(found.pop())
    }

    /// Verified findings that have not changed since then and for which no retest is out, longest unchanged first; of clusters
    /// that were not revoked.
    pub async fn verified_unchanged_since(&self, then: UnixMillis, limit: u32) -> Result<Vec<(ClusterId, FindingId)>> {
        let text = "SELECT cluster, id FROM finding WHERE status = 'verified' AND retest IS NULL AND changed_at <= ? \
                    AND EXISTS (SELECT 1 FROM cluster AS member WHERE member.id = finding.cluster \
                    AND member.revoked_at IS NULL) ORDER BY changed_at, id LIMIT ?";
        let sql = Sql::new("verified unchanged since", text).bind(then).bind(limit);
        sql.all(&mut self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }

    /// Verified findings of clusters with a kernel view of a node, by one of these controls, whose proof did not go to the processes
    /// and for which no retest is out: longest unchanged first; of clusters that were not revoked.
    pub async fn verified_without_processes(
        &self,
        controls: &[&str],
        limit: u32,
    ) -> Result<Vec<(ClusterId, FindingId)>> {
        let mut sql = Sql::new(
            "verified without processes",
            "SELECT cluster, id FROM finding WHERE status = 'verified' AND retest IS NULL AND reach <> 'running' \
             AND ",
        );
        with_kernel_view(&mut sql).push(" AND ").any_of("control", controls.iter().copied());
        sql.push(" ORDER BY changed_at, id LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }

    /// Open findings of these controls that no statement holds open and nothing has been asked about since then, in clusters
    /// with a kernel view; longest unchanged first.
    pub async fn shown_only_unchanged_since(
        &self,
        controls: &[&str],
        then: UnixMillis,
        limit: u32,
    ) -> Result<Vec<(ClusterId, FindingId)>> {
        let mut sql = Sql::new(
            "shown only unchanged since",
            "SELECT cluster, id FROM finding WHERE status IN ('open', 'in-progress') AND NOT EXISTS \
             (SELECT 1 FROM detection WHERE detection.cluster = finding.cluster AND detection.finding = finding.id \
             AND statement IS NOT NULL) AND retest IS NULL AND changed_at <= ",
        );
        with_kernel_view(sql.place(then).push(" AND ")).push(" AND ").any_of("control", controls.iter().copied());
        sql.push(" ORDER BY changed_at, id LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }

    /// The cluster of a finding.
    pub async fn cluster_of(&self, id: FindingId) -> Result<Option<ClusterId>> {
        let text = "SELECT cluster FROM finding WHERE id = ? AND cluster IN (SELECT id FROM cluster)";
        let sql = Sql::new("cluster of a finding", text).bind(id);
        sql.optional(&mut self.reader().await?, |row| row.id("cluster")).await
    }
}

/// A condition on findings: of a cluster that was not revoked and has a node whose kernel can be looked at.
fn with_kernel_view(sql: &mut Sql) -> &mut Sql {
    sql.push(
        "EXISTS (SELECT 1 FROM cluster AS member WHERE member.id = finding.cluster AND member.revoked_at IS NULL)",
    );
    sql.push(
        " AND EXISTS (SELECT 1 FROM coverage AS view WHERE view.cluster = finding.cluster AND view.state = 'seen'",
    );
    sql.push(" AND view.subject LIKE ").place(coverage_subject("%").as_str()).push(")")
}

impl Tx {
    /// Those of these findings that are on record.
    pub async fn findings_by_id(&mut self, cluster: ClusterId, ids: &[FindingId]) -> Result<Vec<Finding>> {
        let mut found = Vec::with_capacity(ids.len().min(1024));
        for chunk in ids.chunks(LIST_ROWS) {
            let mut sql = Sql::new("findings by ids", COLUMNS);
            sql.push(" WHERE cluster = ").place(cluster).push(" AND ").any_of("id", chunk.iter().copied());
            found.extend(sql.all(self.connection(), read).await?);
        }
        detection::attach(self.connection(), &mut found).await?;
        Ok(found)
    }

    /// The findings of one namespace.
    pub async fn findings_in(&mut self, cluster: ClusterId, namespace: &str) -> Result<Vec<Finding>> {
        let sql = Sql::new("findings in namespace", &format!("{COLUMNS} WHERE cluster = ? AND namespace = ?"));
        let mut found = sql.bind(cluster).bind(namespace).all(self.connection(), read).await?;
        detection::attach(self.connection(), &mut found).await?;
        Ok(found)
    }

    /// Those of these findings that are on record, whichever clusters they are of.
    pub async fn findings_at(&mut self, places: &[(ClusterId, FindingId)]) -> Result<Vec<Finding>> {
        let mut found = Vec::with_capacity(places.len());
        for chunk in places.chunks(LIST_ROWS) {
            let mut sql = Sql::new("findings at", COLUMNS);
            sql.push(" WHERE ").any_pair_of("cluster, id", chunk.iter().copied());
            found.extend(sql.all(self.connection(), read).await?);
        }
        detection::attach(self.connection(), &mut found).await?;
        Ok(found)
    }

    /// Writes findings, new and known ones; the counts of clusters and patterns follow.
    pub async fn write_findings(&mut self, written: &[Written<'_>]) -> Result<()> {
        let mut rows = Vec::with_capacity(written.len());
        for item in written {
            rows.push((item.after, json_text("write findings", &item.after.state)?));
        }
        rows.sort_unstable_by_key(|(finding, _)| (finding.key.cluster, finding.id));
        let write = UPSERT.run(self.connection(), &rows, |row, (finding, body)| {
            let Resource { group, kind, namespace, name } = &finding.key.resource;
            row.value(finding.key.cluster).value(finding.id).value(finding.pattern);
            row.value(group.as_str())
                .value(kind.as_str())
                .value(namespace.as_deref().unwrap_or(""))
                .value(name.as_str());
            row.value(finding.key.control.as_str()).value(finding.status().as_str()).value(rank(finding.severity()));
            row.value(finding.state.origin.owner.as_deref()).value(finding.unverified().is_some());
            row.value(finding.reach().map(Reach::as_str)).value(finding.state.retest);
            row.value(finding.state.changed_at).value(body.as_str());
        });
        write.await?;
        self.write_detections(written).await?;
        self.count_findings(written).await?;
        self.count_patterns(written).await
    }

    async fn count_findings(&mut self, written: &[Written<'_>]) -> Result<()> {
        let mut deltas: BTreeMap<(ClusterId, Counted), i64> = BTreeMap::new();
        for Written { before, after, .. } in written {
            if let Some(before) = before {
                *deltas.entry((after.key.cluster, *before)).or_default() -= 1;
            }
            *deltas.entry((after.key.cluster, Counted::of(after))).or_default() += 1;
        }
        deltas.retain(|_, delta| *delta != 0);
        let deltas: Vec<_> = deltas.into_iter().collect();
        let bulk = Bulk::new(
            "count findings",
            "INSERT INTO finding_count (cluster, severity, status, reach, findings) ",
            " ON CONFLICT (cluster, severity, status, reach) \
             DO UPDATE SET findings = finding_count.findings + excluded.findings",
        );
        let write = bulk.run(self.connection(), &deltas, |row, ((cluster, counted), delta)| {
            row.value(*cluster).value(rank(counted.severity)).value(counted.status.as_str());
            row.value(counted.reach.map_or("", Reach::as_str)).value(*delta);
        });
        write.await?;
        Ok(())
    }
}
