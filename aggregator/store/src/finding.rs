//! Findings. Columns hold what is searched and joined; the rest of the state is one JSON text.

use std::collections::BTreeMap;

use holdfast_model::digest::StatementHash;
use holdfast_model::kernel::coverage_subject;
use holdfast_model::{
    Actor, ClusterId, ControlId, FindingId, FindingKey, Location, Origin, PatternId, Reach, Read, Resource,
    RetiredReason, Severity, Status, UnixMillis,
};
use holdfast_record::finding::Runtime;
use holdfast_record::{Calibration, Finding};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::sql::{Fields, Sql, chunks, json_text};
use crate::{Store, Tx};

/// A finding to write, with what it was before: the counts follow from the difference.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// Under what it was counted before; none for a new one.
    pub before: Option<Counted>,
    /// From now on.
    pub after: &'a Finding,
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
        Self { status: finding.status, severity: finding.severity(), reach: finding.reach }
    }
}

/// What no query asks for.
#[derive(Serialize, Deserialize)]
struct Body {
    base_severity: Severity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    control_version: u32,
    locations: Vec<Location>,
    origin: Origin,
    read: Read,
    observed: u64,
    opened_at: UnixMillis,
    first_seen_at: UnixMillis,
    status_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resolved_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claimed_by: Option<Actor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verified_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reach: Option<Reach>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retired_reason: Option<RetiredReason>,
    reopened: u32,
    refuted: u32,
    current: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unverified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unjudged: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<Runtime>,
}

impl Body {
    fn of(finding: &Finding) -> Self {
        let finding = finding.clone();
        Self {
            base_severity: finding.base_severity,
            calibration: finding.calibration,
            control_version: finding.control_version,
            locations: finding.locations,
            origin: finding.origin,
            read: finding.read,
            observed: finding.observed,
            opened_at: finding.opened_at,
            first_seen_at: finding.first_seen_at,
            status_at: finding.status_at,
            resolved_at: finding.resolved_at,
            claimed_by: finding.claimed_by,
            verified_at: finding.verified_at,
            reach: finding.reach,
            retired_at: finding.retired_at,
            retired_reason: finding.retired_reason,
            reopened: finding.reopened,
            refuted: finding.refuted,
            current: finding.current,
            unverified: finding.unverified,
            unjudged: finding.unjudged,
            runtime: finding.runtime,
        }
    }
}

pub(crate) const COLUMNS: &str = "SELECT cluster, id, pattern, api_group, kind, namespace, name, control, status, \
                                  statement, retest, changed_at, body FROM finding";

pub(crate) fn read(row: &Fields<'_>) -> Result<Finding> {
    let body: Body = row.json("body")?;
    let namespace = Some(row.text("namespace")?).filter(|namespace| !namespace.is_empty());
    let resource =
        Resource { group: row.text("api_group")?, kind: row.text("kind")?, namespace, name: row.text("name")? };
    let control = ControlId::from(row.text("control")?);
    Ok(Finding {
        id: row.id("id")?,
        pattern: row.id("pattern")?,
        key: FindingKey { cluster: row.id("cluster")?, resource, control },
        status: row.word("status")?,
        base_severity: body.base_severity,
        calibration: body.calibration,
        control_version: body.control_version,
        locations: body.locations,
        origin: body.origin,
        read: body.read,
        statement: row.optional_array("statement")?,
        observed: body.observed,
        opened_at: body.opened_at,
        first_seen_at: body.first_seen_at,
        changed_at: row.int("changed_at")?,
        status_at: body.status_at,
        resolved_at: body.resolved_at,
        claimed_by: body.claimed_by,
        verified_at: body.verified_at,
        reach: body.reach,
        retired_at: body.retired_at,
        retired_reason: body.retired_reason,
        reopened: body.reopened,
        refuted: body.refuted,
        current: body.current,
        unverified: body.unverified,
        unjudged: body.unjudged,
        retest: row.optional_id("retest")?,
        runtime: body.runtime,
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
        sql.optional(&mut *self.reader().await?, read).await
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
            "SELECT cluster, id FROM finding WHERE status IN ('open', 'in-progress') AND statement IS NULL \
             AND retest IS NULL AND changed_at <= ",
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

    /// The failing statements of a cluster, as (finding, hash): what its agent last said, folded into a digest.
    pub async fn statements(&self, cluster: ClusterId) -> Result<Vec<(FindingId, StatementHash)>> {
        let text = "SELECT id, statement FROM finding WHERE cluster = $1 AND statement IS NOT NULL";
        let sql = Sql::new("statements", text).bind(cluster);
        sql.all(&mut *self.reader().await?, |row| Ok((row.id("id")?, row.array("statement")?))).await
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
        Ok(found)
    }

    /// The findings of one namespace.
    pub async fn findings_in(&mut self, cluster: ClusterId, namespace: &str) -> Result<Vec<Finding>> {
        let sql = Sql::new("findings in namespace", &format!("{COLUMNS} WHERE cluster = $1 AND namespace = $2"));
        sql.bind(cluster).bind(namespace).all(self.connection(), read).await
    }

    /// Ids of the findings whose id starts with this byte and whose last statement was a failing one.
    pub async fn failing_in_bucket(&mut self, cluster: ClusterId, bucket: u8) -> Result<Vec<FindingId>> {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        (first[0], last[0]) = (bucket, bucket);
        let text = "SELECT id FROM finding WHERE cluster = $1 AND id BETWEEN $2 AND $3 AND statement IS NOT NULL";
        let sql = Sql::new("failing in bucket", text).bind(cluster);
        let sql = sql.bind(FindingId::from_bytes(first)).bind(FindingId::from_bytes(last));
        sql.all(self.connection(), |row| row.id("id")).await
    }

    /// The findings of one pattern, one a cluster.
    pub async fn findings_of_pattern(&mut self, pattern: PatternId) -> Result<Vec<Finding>> {
        let sql = Sql::new("findings of pattern", &format!("{COLUMNS} WHERE pattern = $1 ORDER BY cluster"));
        sql.bind(pattern).all(self.connection(), read).await
    }

    /// Writes findings, new and known ones; the counts of clusters and patterns follow.
    pub async fn write_findings(&mut self, written: &[Written<'_>]) -> Result<()> {
        let mut rows = Vec::with_capacity(written.len());
        for item in written {
            rows.push((item.after, json_text("write findings", &Body::of(item.after))?));
        }
        rows.sort_unstable_by_key(|(finding, _)| (finding.key.cluster, finding.id));
        for chunk in chunks(&rows) {
            upsert(chunk).run(self.connection()).await?;
        }
        self.count_findings(written).await?;
        self.count_patterns(written).await
    }

    async fn count_findings(&mut self, written: &[Written<'_>]) -> Result<()> {
        let mut deltas: BTreeMap<(ClusterId, Counted), i64> = BTreeMap::new();
        for Written { before, after } in written {
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
         unverified, reach, statement, retest, changed_at, body) VALUES ",
    );
    sql.rows(rows, |row, (finding, body)| {
        let Resource { group, kind, namespace, name } = &finding.key.resource;
        row.value(finding.key.cluster).value(finding.id).value(finding.pattern);
        row.value(group.as_str()).value(kind.as_str()).value(namespace.as_deref().unwrap_or("")).value(name.as_str());
        row.value(finding.key.control.as_str()).value(finding.status.as_str()).value(rank(finding.severity()));
        row.value(finding.origin.owner.as_deref()).value(finding.unverified.is_some());
        row.value(finding.reach.map(Reach::as_str));
        row.value(finding.statement.as_ref().map(|hash| hash.as_slice())).value(finding.retest);
        row.value(finding.changed_at).value(body.as_str());
    });
    sql.push(
        " ON CONFLICT (cluster, id) DO UPDATE SET status = excluded.status, severity = excluded.severity, \
         owner = excluded.owner, unverified = excluded.unverified, reach = excluded.reach, \
         statement = excluded.statement, \
         retest = excluded.retest, changed_at = excluded.changed_at, body = excluded.body",
    );
    sql
}
