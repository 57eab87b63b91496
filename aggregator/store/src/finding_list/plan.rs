//! Which index a list walks along. Every index of findings ends in severity, time of change and id, so that for one value of
//! its first column (and for one severity, where the order is by time) its rows come in the list's order: the walk ends with
//! the page. Several values are several walks, merged. What no index leads with is compared on the way.

use holdfast_model::{Severity, Status};

use super::{Cursor, FindingFilter, Sort};
use crate::error::Result;
use crate::finding::rank;
use crate::sql::{Argument, Link, Sql, Value};

/// Most walks of one list.
const BRANCHES: usize = 64;
/// Rows that are counted at most to find the column whose values are the rarest.
const PROBED: u32 = 1000;

/// The index that is walked along, and the values of its first column.
pub(super) struct Lead {
    pub(super) index: Option<&'static str>,
    pub(super) column: Option<&'static str>,
    values: Vec<Value>,
}

/// One walk.
pub(super) struct Branch {
    value: Option<Value>,
    severity: Option<i64>,
    after: Option<(Option<i64>, Cursor)>,
}

/// Whether only what is no longer open is wanted.
pub(super) fn is_past(filter: &FindingFilter) -> bool {
    !filter.statuses.is_empty() && !filter.statuses.contains(&Status::Open)
}

/// The filter's column with the rarest values.
pub(super) async fn lead(filter: &FindingFilter, link: &mut Link) -> Result<Lead> {
    let no_column = |index| Lead { index, column: None, values: Vec::new() };
    if filter.pattern.is_some() {
        return Ok(no_column(None));
    }
    if filter.unverified == Some(true) {
        return Ok(no_column(Some("finding_unverified")));
    }
    let mut leads = leads(filter);
    if leads.len() < 2 {
        return Ok(leads.pop().unwrap_or_else(|| no_column(None)));
    }
    let mut best = None;
    for lead in leads {
        let found = lead.probe(link).await?;
        if best.as_ref().is_none_or(|(least, _)| found < *least) {
            best = Some((found, lead));
        }
    }
    Ok(best.map_or_else(|| no_column(None), |(_, lead)| lead))
}

fn leads(filter: &FindingFilter) -> Vec<Lead> {
    let past = if is_past(filter) { &filter.statuses[..] } else { &[] };
    let texts = |value: &Option<String>| value.iter().map(|value| value.as_str().value()).collect::<Vec<_>>();
    let leads = [
        ("finding_cluster", "cluster", filter.clusters.iter().map(|cluster| cluster.value()).collect()),
        ("finding_namespace", "namespace", texts(&filter.namespace)),
        ("finding_control", "control", texts(&filter.control)),
        ("finding_owner", "owner", texts(&filter.owner)),
        ("finding_past", "status", past.iter().map(|status| status.as_str().value()).collect()),
    ];
    let asked = leads.into_iter().filter(|(_, _, values)| !values.is_empty() && values.len() <= BRANCHES / 5);
    asked.map(|(index, column, values)| Lead { index: Some(index), column: Some(column), values }).collect()
}

impl Lead {
    async fn probe(&self, link: &mut Link) -> Result<u64> {
        let mut sql = Sql::new("rows of a list", "SELECT COUNT(*) AS found FROM (SELECT 1 AS one FROM finding WHERE ");
        sql.any_of(self.column.unwrap_or("id"), self.values.iter().cloned());
        if self.column == Some("status") {
            sql.push(" AND status <> 'open'");
        }
        sql.push(" LIMIT ").place(PROBED).push(") AS probed");
        Ok(sql.optional(link, |row| row.count("found")).await?.unwrap_or_default())
    }
}

/// The walks that give this list; none where the page before was the last.
pub(super) fn branches(filter: &FindingFilter, sort: Sort, after: Option<Cursor>, lead: &Lead) -> Vec<Branch> {
    let by_severity = !filter.severities.is_empty() || (sort == Sort::Changed && lead.index.is_some());
    let asked = |severity: &Severity| filter.severities.is_empty() || filter.severities.contains(severity);
    let severities: Vec<_> = match by_severity {
        true => Severity::ALL.iter().filter(|severity| asked(severity)).map(|&severity| Some(rank(severity))).collect(),
        false => vec![None],
    };
    let values: Vec<_> = match lead.values.is_empty() {
        true => vec![None],
        false => lead.values.iter().cloned().map(Some).collect(),
    };
    let mut branches = Vec::new();
    for value in &values {
        for &severity in &severities {
            let past = |cursor: &Cursor| sort == Sort::Severity && severity.is_some_and(|own| own > cursor.severity);
            if after.as_ref().is_some_and(past) {
                continue;
            }
            // A whole severity after the cursor's is walked from its start.
            let starts = |cursor: &Cursor| sort == Sort::Severity && severity.is_some_and(|own| own < cursor.severity);
            let after = after.filter(|cursor| !starts(cursor));
            let by = (sort == Sort::Severity && severity.is_none()).then_some(());
            let after = after.map(|cursor| (by.map(|()| cursor.severity), cursor));
            branches.push(Branch { value: value.clone(), severity, after });
        }
    }
    branches
}

impl Branch {
    /// The conditions of this walk alone.
    pub(super) fn narrow(&self, sql: &mut Sql, lead: &Lead) {
        if let (Some(column), Some(value)) = (lead.column, &self.value) {
            sql.push(&format!(" AND {column} = ")).place(value.clone());
        }
        if let Some(severity) = self.severity {
            sql.push(" AND severity = ").place(severity);
        }
        if let Some((severity, Cursor { changed_at, id, .. })) = self.after {
            match severity {
                Some(severity) => sql.push(" AND (severity, changed_at, id) < (").place(severity).push(", "),
                None => sql.push(" AND (changed_at, id) < ("),
            };
            sql.place(changed_at).push(", ").place(id).push(")");
        }
    }
}
