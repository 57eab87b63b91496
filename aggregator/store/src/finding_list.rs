//! Lists of findings: filters, an order, and pages that go on where the last one ended, whatever was written meanwhile.

use std::fmt;
use std::str::FromStr;

use holdfast_model::{Archetype, ClusterId, FindingId, PatternId, Severity, Status};
use holdfast_record::Finding;

use crate::error::Result;
use crate::finding::{COLUMNS, rank, read};
use crate::sql::{Argument, Sql};
use crate::{Store, detection};

/// Which findings are wanted. An empty list asks for nothing in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FindingFilter {
    /// Of one of these clusters.
    pub clusters: Vec<ClusterId>,
    /// In this namespace.
    pub namespace: Option<String>,
    /// Of this control.
    pub control: Option<String>,
    /// Of this archetype.
    pub archetype: Option<Archetype>,
    /// Of one of these severities.
    pub severities: Vec<Severity>,
    /// Of one of these statuses.
    pub statuses: Vec<Status>,
    /// Of this owner.
    pub owner: Option<String>,
    /// Of this pattern.
    pub pattern: Option<PatternId>,
    /// Resolved without a proof so far, for a stated reason.
    pub unverified: Option<bool>,
    /// Whose kind, namespace, name or control contains this, letter case aside.
    pub text: Option<String>,
}

/// In which order. Ties go by id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Worst first.
    #[default]
    Severity,
    /// Latest change first.
    Changed,
}

/// Where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    key: i64,
    id: FindingId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.key, self.id)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('.').and_then(|(key, id)| Some((key.parse().ok()?, id.parse().ok()?)));
        parts.map(|(key, id)| Self { key, id }).ok_or_else(|| "this is no cursor of a findings list".to_owned())
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindingPage {
    /// At most as many as were asked for.
    pub findings: Vec<Finding>,
    /// Where the next page starts; none at the end.
    pub next: Option<Cursor>,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Self::Severity => "severity",
            Self::Changed => "changed_at",
        }
    }

    fn key(self, finding: &Finding) -> i64 {
        match self {
            Self::Severity => rank(finding.severity()),
            Self::Changed => finding.state.changed_at,
        }
    }
}

impl Store {
    /// A page of findings.
    pub async fn findings(
        &self,
        filter: &FindingFilter,
        sort: Sort,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<FindingPage> {
        let column = sort.column();
        let mut sql = Sql::new("findings", COLUMNS);
        sql.push(" WHERE 1 = 1");
        narrow(&mut sql, filter);
        if let Some(Cursor { key, id }) = after {
            sql.push(&format!(" AND ({column}, id) < (")).place(key).push(", ").place(id).push(")");
        }
        sql.push(&format!(" ORDER BY {column} DESC, id DESC LIMIT ")).place(u64::from(limit) + 1);
        let mut reader = self.reader().await?;
        let mut findings = sql.all(&mut reader, read).await?;
        let more = findings.len() > limit as usize;
        findings.truncate(limit as usize);
        detection::attach(&mut reader, &mut findings).await?;
        let last = findings.last().filter(|_| more);
        let next = last.map(|finding| Cursor { key: sort.key(finding), id: finding.id });
        Ok(FindingPage { findings, next })
    }

    /// How many findings pass this filter.
    pub async fn count_findings(&self, filter: &FindingFilter) -> Result<u64> {
        let mut sql = Sql::new("count findings", "SELECT COUNT(*) AS found FROM finding WHERE 1 = 1");
        narrow(&mut sql, filter);
        let found = sql.optional(&mut *self.reader().await?, |row| row.count("found")).await?;
        Ok(found.unwrap_or_default())
    }
}

fn narrow(sql: &mut Sql, filter: &FindingFilter) {
    any_of(sql, "cluster", &filter.clusters, |&cluster| cluster);
    any_of(sql, "severity", &filter.severities, |&severity| rank(severity));
    any_of(sql, "status", &filter.statuses, |status| status.as_str());
    let texts = [("namespace", &filter.namespace), ("control", &filter.control), ("owner", &filter.owner)];
    for (column, value) in texts {
        if let Some(value) = value {
            sql.push(&format!(" AND {column} = ")).place(value.as_str());
        }
    }
    if let Some(archetype) = filter.archetype {
        sql.push(" AND control >= ").place(format!("{archetype}."));
        sql.push(" AND control < ").place(format!("{archetype}/"));
    }
    if let Some(pattern) = filter.pattern {
        sql.push(" AND pattern = ").place(pattern);
    }
    if let Some(unverified) = filter.unverified {
        sql.push(" AND unverified = ").place(unverified);
    }
    if let Some(text) = &filter.text {
        containing(sql, text);
    }
}

fn any_of<T, A: Argument>(sql: &mut Sql, column: &str, values: &[T], argument: impl Fn(&T) -> A) {
    if values.is_empty() {
        return;
    }
    sql.push(&format!(" AND {column} IN ("));
    for (i, value) in values.iter().enumerate() {
        sql.push(if i == 0 { "" } else { ", " }).place(argument(value));
    }
    sql.push(")");
}

/// Both sides in lower case, wildcards taken literally: the engines' LIKE differ in nothing else.
fn containing(sql: &mut Sql, text: &str) {
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    sql.push(" AND (");
    for (i, column) in ["kind", "namespace", "name", "control"].into_iter().enumerate() {
        sql.push(if i == 0 { "" } else { " OR " });
        sql.push(&format!("LOWER({column}) LIKE ")).place(pattern.as_str()).push(" ESCAPE '\\'");
    }
    sql.push(")");
}
