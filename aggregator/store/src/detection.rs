//! Detections: the evidence of findings, one row a (finding, source). Written with their finding, in the same transaction.

use std::collections::HashMap;

use holdfast_model::digest::StatementHash;
use holdfast_model::{ClusterId, FindingId};
use holdfast_record::{Detection, Finding};

use crate::error::Result;
use crate::sql::{Bulk, LIST_ROWS, Link, Sql, json_text};
use crate::written::Written;
use crate::{Store, Tx};

/// Gives findings that were just read their detections.
pub(crate) async fn attach(link: &mut Link, findings: &mut [Finding]) -> Result<()> {
    let mut at = HashMap::with_capacity(findings.len());
    at.extend(findings.iter().enumerate().map(|(i, finding)| ((finding.key.cluster, finding.id), i)));
    let places: Vec<_> = findings.iter().map(|finding| (finding.key.cluster, finding.id)).collect();
    for chunk in places.chunks(LIST_ROWS) {
        let mut sql = Sql::new("detections", "SELECT cluster, finding, body FROM detection WHERE ");
        sql.any_pair_of("cluster, finding", chunk.iter().copied());
        let read = |row: &crate::sql::Fields<'_>| Ok(((row.id("cluster")?, row.id("finding")?), row.json("body")?));
        for (place, detection) in sql.all(link, read).await? {
            let _: (ClusterId, FindingId) = place;
            if let Some(finding) = at.get(&place).and_then(|&i| findings.get_mut(i)) {
                finding.detections.push(detection);
            }
        }
    }
    findings.iter_mut().for_each(|finding| finding.detections.sort_unstable_by(|a, b| a.source.cmp(&b.source)));
    Ok(())
}

impl Store {
    /// The failing statements of a cluster, as (finding, hash): what its agent's ledger holds, folded into a digest.
    pub async fn statements(&self, cluster: ClusterId) -> Result<Vec<(FindingId, StatementHash)>> {
        let text = "SELECT finding, statement FROM detection WHERE cluster = ? AND statement IS NOT NULL";
        let sql = Sql::new("statements", text).bind(cluster);
        sql.all(&mut self.reader().await?, |row| Ok((row.id("finding")?, row.array("statement")?))).await
    }
}

impl Store {
    /// Findings with evidence from the kernel, in order, after this one.
    pub async fn kernel_detections(
        &self,
        after: Option<(ClusterId, FindingId)>,
        limit: u32,
    ) -> Result<Vec<(ClusterId, FindingId)>> {
        let mut sql = Sql::new("kernel detections", "SELECT cluster, finding FROM detection WHERE source = 'kernel'");
        if let Some((cluster, finding)) = after {
            sql.push(" AND (cluster, finding) > (").place(cluster).push(", ").place(finding).push(")");
        }
        sql.push(" ORDER BY cluster, finding LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, |row| Ok((row.id("cluster")?, row.id("finding")?))).await
    }
}

impl Tx {
    /// Ids of the findings whose id starts with this byte and which the agent's ledger holds.
    pub async fn failing_in_bucket(&mut self, cluster: ClusterId, bucket: u8) -> Result<Vec<FindingId>> {
        let (mut first, mut last) = ([0; 16], [0xff; 16]);
        (first[0], last[0]) = (bucket, bucket);
        let text = "SELECT finding FROM detection WHERE cluster = ? AND finding BETWEEN ? AND ? \
                    AND statement IS NOT NULL";
        let sql = Sql::new("failing in bucket", text).bind(cluster);
        let sql = sql.bind(FindingId::from_bytes(first)).bind(FindingId::from_bytes(last));
        sql.all(self.connection(), |row| row.id("finding")).await
    }

    pub(crate) async fn write_detections(&mut self, written: &[Written<'_>]) -> Result<()> {
        let changed = written.iter().filter(|item| item.evidence);
        let mut rows: Vec<(ClusterId, FindingId, &Detection)> = changed
            .flat_map(|item| item.after.detections.iter().map(|it| (item.after.key.cluster, item.after.id, it)))
            .collect();
        rows.sort_unstable_by_key(|(cluster, finding, _)| (*cluster, *finding));
        let form = |(.., detection): &(_, _, &Detection)| json_text("write detections", detection);
        let bodies = rows.iter().map(form).collect::<Result<Vec<_>>>()?;
        let rows: Vec<_> = rows.iter().zip(&bodies).collect();
        let bulk = Bulk::new(
            "write detections",
            "INSERT INTO detection (cluster, finding, source, statement, body) ",
            " ON CONFLICT (cluster, finding, source) DO UPDATE SET statement = excluded.statement, body = excluded.body",
        );
        let write = bulk.run(self.connection(), &rows, |row, ((cluster, finding, detection), body)| {
            row.value(*cluster).value(*finding).value(detection.source.to_string());
            row.value(detection.statement.as_ref().map(|hash| hash.as_slice())).value(body.as_str());
        });
        write.await?;
        Ok(())
    }
}
