//! New findings into the store, committed, at 1, 10 and 30 findings a workload, beside bare inserts of the same rows into
//! a bare table of the same form, with the same pragmas and the same number of rows a transaction.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use holdfast_model::{ClusterId, ControlId, FindingKey, Location, Read, Resource, Severity};
use holdfast_record::Finding;
use holdfast_store::Store;
use holdfast_store::written::Written;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::figure::{Effort, Figure, Peer, Samples};

const PER_TRANSACTION: usize = 1_000;

/// Measures the rate for each number of findings a workload, and how the time grows with the number of workloads.
pub fn measure(effort: &Effort) -> Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    [1, 10, 30].into_iter().map(|each| runtime.block_on(measure_each(effort, each))).collect()
}

async fn measure_each(effort: &Effort, each: usize) -> Result<Figure> {
    let mut curve = Vec::new();
    let mut last = None;
    for workloads in effort.sizes(1_000) {
        let findings = findings(workloads, each);
        let (mut ours, mut bare, mut seconds) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..effort.rounds() {
            let took = insert_ours(&findings).await?;
            seconds.push(took);
            ours.push(findings.len() as f64 / took);
            bare.push(findings.len() as f64 / insert_bare(&findings).await?);
        }
        curve.push((findings.len(), seconds.median()));
        last = Some((findings.len(), ours, bare));
    }
    let (n, samples, bare) = last.context("there is at least one size")?;
    let peers = vec![Peer { name: "bare SQLite inserts", samples: bare }];
    let name = format!("store new findings, {each} a workload");
    Ok(Figure {
        name,
        unit: "findings/s",
        n,
        samples,
        cpu: None,
        peak: None,
        peers,
        curve,
        aim: "share of the bare rate",
    })
}

async fn insert_ours(findings: &[Finding]) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("store.db");
    let store = Store::open(&format!("sqlite:{}", path.display())).await?;
    let start = Instant::now();
    for chunk in findings.chunks(PER_TRANSACTION) {
        let written: Vec<_> = chunk.iter().map(|after| Written { before: None, after, evidence: true }).collect();
        let mut tx = store.begin().await?;
        tx.write_findings(&written).await?;
        tx.commit().await?;
    }
    let took = start.elapsed().as_secs_f64();
    store.close().await;
    Ok(took)
}

/// Rows a second of bare inserts of this many findings.
pub async fn bare_rate(workloads: usize, each: usize) -> Result<f64> {
    let findings = findings(workloads, each);
    Ok(findings.len() as f64 / insert_bare(&findings).await?)
}

const TABLE: &str = "CREATE TABLE finding (cluster BLOB NOT NULL, id BLOB NOT NULL, pattern BLOB NOT NULL, api_group TEXT NOT \
                     NULL, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, control TEXT NOT NULL, status \
                     TEXT NOT NULL, severity BIGINT NOT NULL, changed_at BIGINT NOT NULL, body TEXT NOT NULL, PRIMARY KEY \
                     (cluster, id)); CREATE UNIQUE INDEX finding_id ON finding (id); CREATE INDEX finding_pattern ON \
                     finding (pattern); CREATE INDEX finding_severity ON finding (severity, id)";

async fn insert_bare(findings: &[Finding]) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut connection = open_bare(&folder.path().join("bare.db")).await?;
    let bodies: Vec<String> =
        findings.iter().map(|finding| serde_json::to_string(&finding.state)).collect::<Result<_, _>>()?;
    let rows: Vec<_> = findings.iter().zip(&bodies).collect();
    let start = Instant::now();
    for chunk in rows.chunks(PER_TRANSACTION) {
        let mut tx = connection.begin().await?;
        for (finding, body) in chunk {
            let Resource { group, kind, namespace, name } = &finding.key.resource;
            sqlx::query("INSERT INTO finding VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(finding.key.cluster.as_bytes().as_slice())
                .bind(finding.id.as_bytes().as_slice())
                .bind(finding.pattern.as_bytes().as_slice())
                .bind(group.as_str())
                .bind(kind.as_str())
                .bind(namespace.as_deref().unwrap_or(""))
                .bind(name.as_str())
                .bind(finding.key.control.as_str())
                .bind(finding.status().as_str())
                .bind(4_i64)
                .bind(0_i64)
                .bind(body.as_str())
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
    }
    let took = start.elapsed().as_secs_f64();
    connection.close().await?;
    Ok(took)
}

async fn open_bare(path: &Path) -> Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let options = options.pragma("cache_size", "-65536").pragma("wal_autocheckpoint", "4000");
    let mut connection = options.connect().await?;
    sqlx::raw_sql(TABLE).execute(&mut connection).await?;
    Ok(connection)
}

fn findings(workloads: usize, each: usize) -> Vec<Finding> {
    (0..workloads).flat_map(|workload| (0..each).map(move |control| finding(workload, control))).collect()
}

fn finding(workload: usize, control: usize) -> Finding {
    let resource = Resource::namespaced(
        "apps",
        "Deployment",
        &format!("team-{:02}", workload % 97),
        &format!("svc-{workload:05}"),
    );
    let control = ControlId::from(format!("workload.benchmark-{control:02}"));
    let key = FindingKey { cluster: ClusterId::from_bytes([7; 16]), resource, control };
    let path = "spec.template.spec.containers[0].securityContext.privileged";
    let locations = vec![Location::field(path, "true").in_container("web")];
    let mut finding = Finding::opened(key, Severity::Critical, 1, locations, 0);
    finding.state.read = Read { uid: "1f0c".repeat(9), resource_version: "123456".to_owned(), hash: vec![9; 32] };
    finding
}
