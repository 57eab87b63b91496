//! Findings. A row has the identity in columns and the state as one JSON text; of the state, columns repeat what is searched
//! and joined. The evidence is in [`crate::detection`].

use std::collections::BTreeMap;

use holdfast_model::kernel::coverage_subject;
use holdfast_model::{ClusterId, ControlId, FindingId, FindingKey, Reach, Resource, Severity, Status, UnixMillis};
use holdfast_record::Finding;

use crate::error::Result;
use crate::sql::{Fields, Sql, chunks, json_text};
use crate::{Store, Tx, detection};

/// A finding to write, with what it was before: the counts follow from the difference.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Under what it was counted before; none for a new one.
    pub before: Option<Counted>,
    /// From now on.
    pub after: &'a Finding,
    /// Whether its detections changed.
    pub evidence: bool,
}

/// Under what a finding is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    /// Status.
    pub status: Status,
    /// Severity in force.
    pub severity: Severity,
    /// How far its proof went; proofs of different reach are counted apart.
    pub reach: Option<Reach>,
}

impl Counted {
    /// Under what this finding is counted.
    pub fn of(finding: &Finding) -> Self {
        Self { status: finding.status(), severity: finding.severity(), reach: finding.reach() }
    }
}

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

impl Store {
    /// One finding.
    pub async fn finding(&self, id: FindingId) -> Result<Option<Finding>> {
        let sql = Sql::new("finding by id", &format!("{COLUMNS} WHERE id = $1")).bind(id);
        let mut reader = self.reader().await?;
        let mut found = sql.all(&mut reader, read).await?;
        detection::attach(&mut reader, &mut found).await?;
        Ok(found.pop())
    }

    /// Verified findings that have not changed since then and for which no retest is out, longest unchanged first; of clusters
    /// that were not revoked.
    pub async fn verified_unchanged_since(&self, then: UnixMillis, limit: u32) -> Result<Vec<(ClusterId, FindingId)>> {
        let text = "SELECT cluster, id FROM finding WHERE status = 'verified' AND retest IS NULL AND changed_at <= $1 \
                    AND cluster NOT IN (SELECT id FROM cluster WHERE revoked_at IS NOT NULL) \
                    ORDER BY changed_at, id LIMIT $2";
        let sql = Sql::new("verified unchanged since", text).bind(then).bind(limit);
        sql.all(&mut *self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }

    /// Verified findings of clusters with eyes on a node, by one of these controls, whose proof did not go to the processes
    /// and for which no retest is out: longest unchanged first; of clusters that were not revoked.
    pub async fn verified_without_processes(
        &self,
        controls: &[&str],
        limit: u32,
    ) -> Result<Vec<(ClusterId, FindingId)>> {
        let mut sql = Sql::new(
            "verified without processes",
            "SELECT cluster, id FROM finding WHERE status = 'verified' AND retest IS NULL AND reach <> 'running' \
             AND cluster IN (SELECT cluster FROM coverage WHERE state = 'seen' AND subject LIKE ",
        );
        sql.place(coverage_subject("%").as_str()).push(") AND cluster NOT IN (SELECT id FROM cluster WHERE ");
        sql.push("revoked_at IS NOT NULL) AND control IN (");
        for (i, &control) in controls.iter().enumerate() {
            sql.push(if i == 0 { "" } else { ", " }).place(control);
        }
        sql.push(") ORDER BY changed_at, id LIMIT ").place(limit);
        sql.all(&mut *self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }

    /// Open findings of these controls that no statement holds open and nothing has been asked about since then, in clusters
    /// with an eye on processes; longest unchanged first.
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
        sql.place(then).push(" AND cluster IN (SELECT cluster FROM coverage WHERE state = 'seen' AND subject LIKE ");
        sql.place(coverage_subject("%").as_str()).push(") AND cluster NOT IN (SELECT id FROM cluster WHERE ");
        sql.push("revoked_at IS NOT NULL) AND control IN (");
        for (i, &control) in controls.iter().enumerate() {
            sql.push(if i == 0 { "" } else { ", " }).place(control);
        }
        sql.push(") ORDER BY changed_at, id LIMIT ").place(limit);
        sql.all(&mut *self.reader().await?, |row| Ok((row.id("cluster")?, row.id("id")?))).await
    }
}

impl Tx {
    /// Those of these findings that are on record.
    pub async fn findings_by_id(&mut self, cluster: ClusterId, ids: &[FindingId]) -> Result<Vec<Finding>> {
        let mut found = Vec::with_capacity(ids.len().min(1024));
        for chunk in chunks(ids) {
            let mut sql = Sql::new("findings by ids", COLUMNS);
            sql.push(" WHERE cluster = ").place(cluster).push(" AND id IN (");
            for (i, &id) in chunk.iter().enumerate() {
                sql.push(if i == 0 { "" } else { ", " }).place(id);
            }
            sql.push(")");
            found.extend(sql.all(self.connection(), read).await?);
        }
        detection::attach(self.connection(), &mut found).await?;
        Ok(found)
    }

    /// The findings of one namespace.
    pub async fn findings_in(&mut self, cluster: ClusterId, namespace: &str) -> Result<Vec<Finding>> {
        let sql = Sql::new("findings in namespace", &format!("{COLUMNS} WHERE cluster = $1 AND namespace = $2"));
        let mut found = sql.bind(cluster).bind(namespace).all(self.connection(), read).await?;
        detection::attach(self.connection(), &mut found).await?;
        Ok(found)
    }

    /// Those of these findings that are on record, whichever clusters they are of.
    pub async fn findings_at(&mut self, places: &[(ClusterId, FindingId)]) -> Result<Vec<Finding>> {
        let mut found = Vec::with_capacity(places.len());
        for chunk in chunks(places) {
            let mut sql = Sql::new("findings at", COLUMNS);
            sql.push(" WHERE (cluster, id) IN (VALUES ");
            for (i, &(cluster, id)) in chunk.iter().enumerate() {
                sql.push(if i == 0 { "(" } else { ", (" }).place(cluster).push(", ").place(id).push(")");
            }
            sql.push(")");
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
        for chunk in chunks(&rows) {
            upsert(chunk).run(self.connection()).await?;
        }
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
        for chunk in chunks(&deltas) {
            let text = "INSERT INTO finding_count (cluster, severity, status, reach, findings) VALUES ";
            let mut sql = Sql::new("count findings", text);
            sql.rows(chunk, |row, ((cluster, counted), delta)| {
                row.value(*cluster).value(rank(counted.severity)).value(counted.status.as_str());
                row.value(counted.reach.map_or("", Reach::as_str)).value(*delta);
            });
            sql.push(
                " ON CONFLICT (cluster, severity, status, reach) \
                 DO UPDATE SET findings = finding_count.findings + excluded.findings",
            );
            sql.run(self.connection()).await?;
        }
        Ok(())
    }
}

fn upsert(rows: &[(&Finding, String)]) -> Sql {
    let mut sql = Sql::new(
        "write findings",
        "INSERT INTO finding (cluster, id, pattern, api_group, kind, namespace, name, control, status, severity, owner, \
         unverified, reach, retest, changed_at, body) VALUES ",
    );
    sql.rows(rows, |row, (finding, body)| {
        let Resource { group, kind, namespace, name } = &finding.key.resource;
        row.value(finding.key.cluster).value(finding.id).value(finding.pattern);
        row.value(group.as_str()).value(kind.as_str()).value(namespace.as_deref().unwrap_or("")).value(name.as_str());
        row.value(finding.key.control.as_str()).value(finding.status().as_str()).value(rank(finding.severity()));
        row.value(finding.state.origin.owner.as_deref()).value(finding.unverified().is_some());
        row.value(finding.reach().map(Reach::as_str)).value(finding.state.retest);
        row.value(finding.state.changed_at).value(body.as_str());
    });
    sql.push(
        " ON CONFLICT (cluster, id) DO UPDATE SET status = excluded.status, severity = excluded.severity, \
         owner = excluded.owner, unverified = excluded.unverified, reach = excluded.reach, \
         retest = excluded.retest, changed_at = excluded.changed_at, body = excluded.body",
    );
    sql
}
