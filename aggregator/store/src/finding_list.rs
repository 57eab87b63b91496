//! Lists of findings: filters, an order, and pages that go on where the last one ended, whatever was written meanwhile.

use std::fmt;
use std::str::FromStr;

use holdfast_model::{Archetype, ClusterId, FindingId, PatternId, Severity, Status};
use holdfast_record::Finding;

use crate::error::Result;
use crate::finding::{COLUMNS, rank, read};
use crate::pattern::by_id;
use crate::pattern::keys_of;
use crate::sql::{Argument, Link, Sql};
use crate::{Engine, Store, detection};

mod plan;
use plan::{Branch, Lead};

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

/// In which order. Ties go by the time of the last change, latest first, then by id.
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
    severity: i64,
    changed_at: i64,
    id: FindingId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.severity, self.changed_at, self.id)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let mut parts = text.splitn(3, '.');
        let mut cursor = || {
            let (severity, changed_at) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Self { severity, changed_at, id: parts.next()?.parse().ok()? })
        };
        cursor().ok_or_else(|| "this is no cursor of a findings list".to_owned())
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
    fn order(self) -> &'static str {
        match self {
            Self::Severity => " ORDER BY severity DESC, changed_at DESC, id DESC LIMIT ",
            Self::Changed => " ORDER BY changed_at DESC, id DESC LIMIT ",
        }
    }
}

impl Cursor {
    fn of(finding: &Finding) -> Self {
        Self { severity: rank(finding.severity()), changed_at: finding.state.changed_at, id: finding.id }
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
        let mut reader = self.reader().await?;
        let lead = plan::lead(filter, &mut reader).await?;
        let branches = plan::branches(filter, sort, after, &lead);
        let keys = pattern_keys(filter, &mut reader).await?;
        let mut findings = match branches.is_empty() {
            true => Vec::new(),
            false => self.page(filter, sort, &lead, &branches, keys, limit).all(&mut reader, read).await?,
        };
        let more = findings.len() > limit as usize;
        findings.truncate(limit as usize);
        detection::attach(&mut reader, &mut findings).await?;
        let last = findings.last().filter(|_| more);
        let next = last.map(Cursor::of);
        Ok(FindingPage { findings, next })
    }

    /// Each branch is a walk along one index, in order and as far as the page; the branches are merged.
    fn page(
        &self,
        filter: &FindingFilter,
        sort: Sort,
        lead: &Lead,
        branches: &[Branch],
        keys: Option<Vec<(ClusterId, FindingId)>>,
        limit: u32,
    ) -> Sql {
        let limit = u64::from(limit) + 1;
        // What the merge is sorted by is read as well.
        let columns = COLUMNS.replacen("SELECT ", "SELECT severity, changed_at, ", 1);
        let mut sql = Sql::new("findings", "");
        for (i, branch) in branches.iter().enumerate() {
            sql.push(if i == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" }).push(&columns);
            if let Some(index) = lead.index.filter(|_| self.engine() == Engine::Sqlite) {
                sql.push(" INDEXED BY ").push(index);
            }
            sql.push(" WHERE 1 = 1");
            branch.narrow(&mut sql, lead);
            narrow(&mut sql, filter, lead.column, keys.as_deref());
            sql.push(sort.order()).place(limit).push(&format!(") AS branch{i}"));
        }
        sql.push(sort.order()).place(limit);
        sql
    }

    /// How many findings pass this filter.
    pub async fn count_findings(&self, filter: &FindingFilter) -> Result<u64> {
        let mut sql = Sql::new("count findings", "SELECT COUNT(*) AS found FROM finding WHERE 1 = 1");
        let mut reader = self.reader().await?;
        let keys = pattern_keys(filter, &mut reader).await?;
        any_of(&mut sql, "severity", &filter.severities, |&severity| rank(severity));
        narrow(&mut sql, filter, None, keys.as_deref());
        let found = sql.optional(&mut reader, |row| row.count("found")).await?;
        Ok(found.unwrap_or_default())
    }
}

/// The keys that a pattern's findings have in the clusters that are asked for; none if no pattern is.
async fn pattern_keys(filter: &FindingFilter, link: &mut Link) -> Result<Option<Vec<(ClusterId, FindingId)>>> {
    let Some(pattern) = filter.pattern else { return Ok(None) };
    let mut keys = match by_id(link, pattern).await? {
        Some(pattern) => keys_of(link, &pattern).await?,
        None => Vec::new(),
    };
    keys.retain(|(cluster, _)| filter.clusters.is_empty() || filter.clusters.contains(cluster));
    Ok(Some(keys))
}

/// Every condition but on the severity and on the column that leads.
fn narrow(sql: &mut Sql, filter: &FindingFilter, lead: Option<&'static str>, keys: Option<&[(ClusterId, FindingId)]>) {
    if lead != Some("cluster") {
        any_of(sql, "cluster", &filter.clusters, |&cluster| cluster);
    }
    if lead != Some("status") {
        any_of(sql, "status", &filter.statuses, |status| status.as_str());
    }
    if plan::is_past(filter) {
        // Implied, and written out for the index of what is no longer open.
        sql.push(" AND status <> 'open'");
    }
    let texts = [("namespace", &filter.namespace), ("control", &filter.control), ("owner", &filter.owner)];
    for (column, value) in texts {
        if let Some(value) = value.as_deref().filter(|_| lead != Some(column)) {
            sql.push(&format!(" AND {column} = ")).place(value);
        }
    }
    if let Some(archetype) = filter.archetype {
        sql.push(" AND control >= ").place(format!("{archetype}."));
        sql.push(" AND control < ").place(format!("{archetype}/"));
    }
    if let Some(keys) = keys {
        sql.push(" AND ").any_pair_of("cluster, id", keys.iter().copied());
    }
    match filter.unverified {
        // Literals, as in the index.
        Some(true) => sql.push(" AND unverified = 1"),
        Some(false) => sql.push(" AND unverified = 0"),
        None => sql,
    };
    if let Some(text) = &filter.text {
        containing(sql, text);
    }
}

fn any_of<T, A: Argument>(sql: &mut Sql, column: &str, values: &[T], argument: impl Fn(&T) -> A) {
    if values.is_empty() {
        return;
    }
    sql.push(" AND ").any_of(column, values.iter().map(argument));
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
