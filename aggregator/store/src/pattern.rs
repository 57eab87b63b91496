//! Patterns: in how many clusters a problem is active, kept with every write, and the band that follows from it.

use std::collections::BTreeMap;

use holdfast_model::{Band, ClusterId, ControlId, FindingId, FindingKey, PatternId, Resource, UnixMillis};
use holdfast_record::Finding;

use crate::error::Result;
use crate::sql::{Bulk, Fields, LIST_ROWS, Link, Sql};
use crate::written::Written;
use crate::{Store, Tx};

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Derived from what follows.
    pub id: PatternId,
    /// The resource, the same in every cluster.
    pub resource: Resource,
    /// The control that fails.
    pub control: ControlId,
    /// In how many clusters its finding is active.
    pub active: u64,
    /// The band that it is in.
    pub band: Band,
    /// Since when.
    pub band_since: Option<UnixMillis>,
    /// What was read when it last changed its band; the fleet job's own form.
    pub state: Option<String>,
    /// What is left to do about it.
    pub mark: Mark,
}

/// Which patterns are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PatternFilter {
    /// Of this control.
    pub control: Option<String>,
    /// In this band.
    pub band: Option<Band>,
    /// Active in at least this many clusters.
    pub active_at_least: u64,
    /// After this one: its count and id.
    pub after: Option<(u64, PatternId)>,
}

const COLUMNS: &str =
    "SELECT id, api_group, kind, namespace, name, control, active, band, band_since, state, changed FROM pattern";

fn read(row: &Fields<'_>) -> Result<Pattern> {
    let namespace = Some(row.text("namespace")?).filter(|namespace| !namespace.is_empty());
    Ok(Pattern {
        id: row.id("id")?,
        resource: Resource {
            group: row.text("api_group")?,
            kind: row.text("kind")?,
            namespace,
            name: row.text("name")?,
        },
        control: ControlId::from(row.text("control")?),
        active: row.count("active")?,
        band: row.word("band")?,
        band_since: row.optional_int("band_since")?,
        state: row.optional_text("state")?,
        mark: match row.int("changed")? {
            0 => Mark::Settled,
            2 => Mark::Pending,
            // A count that changes marks its pattern so, whatever it was.
            _ => Mark::Changed,
        },
    })
}

/// The keys that the findings of a pattern have, or would have: in each cluster one, and the cluster is all that differs.
pub(crate) async fn keys_of(link: &mut Link, pattern: &Pattern) -> Result<Vec<(ClusterId, FindingId)>> {
    let (resource, control) = (&pattern.resource, &pattern.control);
    let clusters = Sql::new("members", "SELECT id FROM cluster ORDER BY id").all(link, |row| row.id("id")).await?;
    let id = |cluster| FindingKey { cluster, resource: resource.clone(), control: control.clone() }.finding_id();
    Ok(clusters.into_iter().map(|cluster| (cluster, id(cluster))).collect())
}

impl Store {
    /// Patterns, most clusters first, at most this many.
    pub async fn patterns(&self, filter: &PatternFilter, limit: u32) -> Result<Vec<Pattern>> {
        let mut sql = Sql::new("patterns", COLUMNS);
        sql.push(" WHERE active >= ").place(filter.active_at_least);
        if let Some(control) = &filter.control {
            sql.push(" AND control = ").place(control.as_str());
        }
        if let Some(band) = filter.band {
            sql.push(" AND band = ").place(band.as_str());
        }
        if let Some((active, id)) = filter.after {
            sql.push(" AND (active, id) < (").place(active).push(", ").place(id).push(")");
        }
        sql.push(" ORDER BY active DESC, id DESC LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, read).await
    }

    /// Patterns that something is left to do about.
    pub async fn marked_patterns(&self, limit: u32) -> Result<Vec<Pattern>> {
        let mut sql = Sql::new("marked patterns", COLUMNS);
        sql.push(" WHERE changed <> 0 ORDER BY id LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, read).await
    }

    /// Patterns that spread: a change of the fleet may move them without a finding.
    pub async fn spread_patterns(&self, after: Option<PatternId>, limit: u32) -> Result<Vec<Pattern>> {
        let mut sql = Sql::new("spread patterns", COLUMNS);
        sql.push(" WHERE (active > 1 OR band <> 'isolated')");
        if let Some(after) = after {
            sql.push(" AND id > ").place(after);
        }
        sql.push(" ORDER BY id LIMIT ").place(limit);
        sql.all(&mut self.reader().await?, read).await
    }

    /// The findings of a pattern, one a cluster, by cluster.
    pub async fn members_of_pattern(
        &self,
        pattern: PatternId,
        after: Option<ClusterId>,
        limit: u32,
    ) -> Result<Vec<(ClusterId, FindingId)>> {
        let mut reader = self.reader().await?;
        let Some(pattern) = by_id(&mut reader, pattern).await? else { return Ok(Vec::new()) };
        let mut keys = keys_of(&mut reader, &pattern).await?;
        keys.retain(|(cluster, _)| after.is_none_or(|after| *cluster > after));
        let mut found = Vec::new();
        for chunk in keys.chunks(LIST_ROWS) {
            let mut sql = Sql::new("members of pattern", "SELECT cluster, id FROM finding WHERE ");
            sql.any_pair_of("cluster, id", chunk.iter().copied()).push(" ORDER BY cluster LIMIT ").place(limit);
            found.extend(sql.all(&mut reader, |row| Ok((row.id("cluster")?, row.id("id")?))).await?);
            if found.len() >= limit as usize {
                break;
            }
        }
        found.truncate(limit as usize);
        Ok(found)
    }

    /// One pattern.
    pub async fn pattern(&self, id: PatternId) -> Result<Option<Pattern>> {
        by_id(&mut self.reader().await?, id).await
    }
}

/// What is left to do about a pattern, as its row is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nothing.
    Settled,
    /// Its count has changed since it was looked at.
    Changed,
    /// Its band is decided, and its findings are not calibrated yet.
    Pending,
}

impl Mark {
    fn number(self) -> i64 {
        match self {
            Self::Settled => 0,
            Self::Changed => 1,
            Self::Pending => 2,
        }
    }
}

pub(crate) async fn by_id(link: &mut Link, id: PatternId) -> Result<Option<Pattern>> {
    Sql::new("pattern", &format!("{COLUMNS} WHERE id = ?")).bind(id).optional(link, read).await
}

impl Tx {
    /// These patterns, held until the commit: one by one, in the order of their ids, since Citus locks rows of one node a
    /// statement. SQLite has one writer.
    pub async fn lock_patterns(&mut self, ids: &[PatternId]) -> Result<Vec<Pattern>> {
        let mut found = Vec::with_capacity(ids.len());
        let for_update = self.for_update();
        if for_update.is_empty() {
            for chunk in ids.chunks(LIST_ROWS) {
                let mut sql = Sql::new("patterns by id", COLUMNS);
                sql.push(" WHERE ").any_of("id", chunk.iter().copied()).push(" ORDER BY id");
                found.extend(sql.all(self.connection(), read).await?);
            }
            return Ok(found);
        }
        let mut sorted = ids.to_vec();
        sorted.sort_unstable();
        for id in sorted {
            let sql = Sql::new("lock pattern", &format!("{COLUMNS} WHERE id = ?{for_update}")).bind(id);
            found.extend(sql.optional(self.connection(), read).await?);
        }
        Ok(found)
    }

    /// Clears the mark of changed patterns that can only be isolated, as they were: most patterns, in one statement.
    pub async fn settle_isolated_patterns(&mut self, at_most_active: u64, limit: u32) -> Result<u64> {
        let text = "UPDATE pattern SET changed = 0 WHERE id IN (SELECT id FROM pattern WHERE changed <> 0 AND changed = 1 AND active <= ? \
                    AND band = ? ORDER BY id LIMIT ?)";
        let sql = Sql::new("settle isolated patterns", text).bind(at_most_active).bind(Band::Isolated.as_str());
        sql.bind(limit).run(self.connection()).await
    }

    /// Keeps the band that was decided, and what is left to do about the pattern.
    pub async fn put_band(&mut self, pattern: &Pattern) -> Result<()> {
        let mut sql = Sql::new("put band", "UPDATE pattern SET band = ");
        sql.place(pattern.band.as_str()).push(", band_since = ").place(pattern.band_since).push(", state = ");
        sql.place(pattern.state.as_deref()).push(", changed = ").place(pattern.mark.number());
        sql.push(" WHERE id = ").place(pattern.id);
        sql.run_one(self.connection()).await
    }

    /// The findings of these patterns have been calibrated. One whose count has changed meanwhile stays marked.
    pub async fn settle_patterns(&mut self, ids: &[PatternId]) -> Result<()> {
        for chunk in ids.chunks(LIST_ROWS) {
            let mut sql = Sql::new("settle patterns", "UPDATE pattern SET changed = 0 WHERE changed = ");
            sql.place(Mark::Pending.number()).push(" AND ").any_of("id", chunk.iter().copied());
            sql.run(self.connection()).await?;
        }
        Ok(())
    }

    /// Folds what was written into the counts; in the order of ids, so that two writers never wait for each other.
    pub(crate) async fn count_patterns(&mut self, written: &[Written<'_>]) -> Result<()> {
        let mut deltas: BTreeMap<PatternId, (i64, &Finding)> = BTreeMap::new();
        for Written { before, after, .. } in written {
            let was = i64::from(before.is_some_and(|before| before.status.is_active()));
            let delta = i64::from(after.status().is_active()) - was;
            deltas.entry(after.pattern).or_insert((0, after)).0 += delta;
        }
        let deltas: Vec<_> = deltas.into_iter().filter(|(_, (delta, _))| *delta != 0).collect();
        let bulk = Bulk::new(
            "count patterns",
            "INSERT INTO pattern (id, api_group, kind, namespace, name, control, active, band, changed) ",
            " ON CONFLICT (id) DO UPDATE SET active = pattern.active + excluded.active, changed = 1",
        );
        let write = bulk.run(self.connection(), &deltas, |row, (id, (delta, finding))| {
            let Resource { group, kind, namespace, name } = &finding.key.resource;
            row.value(*id).value(group.as_str()).value(kind.as_str());
            row.value(namespace.as_deref().unwrap_or("")).value(name.as_str());
            row.value(finding.key.control.as_str()).value(*delta).value(Band::Isolated.as_str()).value(true);
        });
        write.await?;
        Ok(())
    }
}
