//! Whether the record can be spread over many machines by cluster: every key of a table that grows leads with the cluster, and
//! every statement names it or is listed here with a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use sqlx::{AssertSqlSafe, Connection, Row};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

const TABLES: &str = include_str!("../../migrations/postgres/1_record.sql");
const LAYOUT: &str = include_str!("../../migrations/citus.sql");

/// Statements about tables spread by cluster that name none, and why they may.
const OF_THE_FLEET: &[(&str, &str)] = &[
    ("clusters", "the list of clusters"),
    ("members", "the list of clusters"),
    ("cluster by name", "asked by people, of ten thousand rows"),
    ("cluster by fingerprint", "once a connection, of ten thousand rows"),
    ("counts", "a few rows for each cluster"),
    ("coverage", "what the fleet's worker folds"),
    ("findings", "each node sorts its own by index, one page is merged"),
    ("count findings", "each node counts its own"),
    ("rows of a list", "each node counts its own, a thousand at most"),
    ("events", "each node sorts its own by index, one page is merged"),
    ("events from", "each node sorts its own by index, one page is merged"),
    ("unsequenced events", "each node sorts its own by index, one page is merged"),
];

/// A table, and the column by which its rows are spread; none if every node has a copy.
fn layout() -> BTreeMap<&'static str, Option<(&'static str, bool)>> {
    let lines = LAYOUT.lines().map(str::trim).filter(|line| line.starts_with("('"));
    let parse = |line: &'static str| {
        let mut parts = line.trim_matches(['(', ')', ',']).split(", ").map(|part| part.trim_matches('\''));
        let (table, column, beside) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        (table, (column != "NULL").then_some((column, beside != "none")))
    };
    lines.map(parse).collect()
}

/// Name and columns of each table, of its primary key and its unique indexes.
fn keys() -> BTreeMap<&'static str, Vec<Vec<&'static str>>> {
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut table = "";
    let columns = |text: &'static str| {
        let (_, inside) = text.rsplit_once('(').unwrap();
        inside.split(')').next().unwrap().split(", ").collect::<Vec<_>>()
    };
    for line in TABLES.lines() {
        if let Some(name) = line.strip_prefix("CREATE TABLE ") {
            table = name.trim_end_matches(" (");
            keys.entry(table).or_default();
        } else if line.trim_start().starts_with("PRIMARY KEY (") {
            keys.entry(table).or_default().push(columns(line));
        } else if line.contains("PRIMARY KEY") || line.contains(" UNIQUE,") {
            keys.entry(table).or_default().push(vec![line.split_whitespace().next().unwrap()]);
        } else if let Some(index) = line.strip_prefix("CREATE UNIQUE INDEX ") {
            let on = index.split(" ON ").nth(1).unwrap().split(' ').next().unwrap();
            keys.entry(on).or_default().push(columns(index.split(" WHERE ").next().unwrap()));
        }
    }
    keys
}

#[test]
fn every_table_has_its_place_and_every_unique_key_leads_with_what_it_is_spread_by() {
    let layout = layout();
    let keys = keys();
    assert_eq!(layout.keys().collect::<Vec<_>>(), keys.keys().collect::<Vec<_>>(), "tables and the layout on Citus");
    for (table, keys) in keys {
        assert!(!keys.is_empty(), "{table} has a primary key");
        for key in keys {
            match layout[table] {
                Some((column, true)) => assert_eq!(key[0], column, "a key of {table}"),
                Some((column, false)) => assert!(key.contains(&column), "a key of {table}"),
                None => {}
            }
        }
    }
}

/// The statements that ran on this thread, by operation.
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>);

impl Statements {
    /// Records from now on until the guard is dropped.
    pub fn record(&self) -> DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    /// Each statement about a table that is spread by cluster names one, joins by it, or is listed above; and what is listed
    /// above has run.
    pub fn name_the_cluster(&self) {
        let statements = self.0.lock().unwrap();
        assert!(statements.len() > 40, "only {} operations were recorded", statements.len());
        let layout = layout();
        let by_cluster: Vec<_> =
            layout.into_iter().filter(|(_, by)| by.is_some_and(|(_, beside)| beside)).map(|(table, _)| table).collect();
        let mut unlisted: BTreeSet<&str> = OF_THE_FLEET.iter().map(|(operation, _)| *operation).collect();
        for (operation, texts) in &*statements {
            for text in texts {
                if !names_cluster(text, &by_cluster) {
                    let listed = OF_THE_FLEET.iter().find(|(listed, _)| listed == operation);
                    let (listed, _) = listed.unwrap_or_else(|| panic!("{operation} leaves the cluster out: {text}"));
                    unlisted.remove(listed);
                }
            }
        }
        assert_eq!(unlisted, BTreeSet::new(), "listed, but no such statement leaves the cluster out");
    }

    /// Every SELECT that ran.
    fn selects(&self) -> Vec<(String, String)> {
        let statements = self.0.lock().unwrap();
        let all = statements.iter().flat_map(|(operation, texts)| texts.iter().map(move |text| (operation, text)));
        let selects = all.filter(|(_, text)| text.starts_with("SELECT"));
        selects.map(|(operation, text)| (operation.clone(), text.clone())).collect()
    }
}

/// What may read a whole table: nothing that is asked for by a person or in a loop.
const WHOLE: &[&str] = &["count findings"];

/// No SELECT reads findings or events from one end to the other.
pub fn sqlite_walks_along_indexes(path: PathBuf, statements: &Statements) {
    let connection = rusqlite::Connection::open(path).unwrap();
    for (operation, text) in statements.selects() {
        let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let mut rows = explained.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get("detail").unwrap();
            let is_scan =
                ["SCAN finding", "SCAN event", "SCAN e ", "SCAN r "].iter().any(|scan| step.starts_with(scan));
            let whole = is_scan && !step.contains("USING");
            assert!(!whole || WHOLE.contains(&&*operation), "{operation}: {step}: {text}");
        }
    }
}

/// As SQLite, where an index is preferred to the scan of a table that is small in this test.
pub async fn postgres_walks_along_indexes(address: &str, statements: &Statements) {
    let mut connection = sqlx::PgConnection::connect(address).await.unwrap();
    let settings = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
    sqlx::raw_sql(settings).execute(&mut connection).await.unwrap();
    for (number, (operation, text)) in statements.selects().into_iter().enumerate() {
        let prepare = format!("PREPARE s{number} AS {text}");
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let parameters = (1..).take_while(|i| text.contains(&format!("${i}"))).map(|_| "NULL").collect::<Vec<_>>();
        let arguments = if parameters.is_empty() { String::new() } else { format!("({})", parameters.join(", ")) };
        let explain = format!("EXPLAIN EXECUTE s{number}{arguments}");
        let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let whole =
            plan.iter().any(|step| step.contains("Seq Scan on finding ") || step.contains("Seq Scan on event "));
        assert!(!whole || WHOLE.contains(&&*operation), "{operation}: {text}\n{}", plan.join("\n"));
    }
}

fn names_cluster(text: &str, by_cluster: &[&str]) -> bool {
    let words: Vec<_> = text.split([' ', '(', ')', ',']).filter(|word| !word.is_empty()).collect();
    let is_table =
        |pair: &&[&str]| ["FROM", "JOIN", "UPDATE", "INTO"].contains(&pair[0]) && by_cluster.contains(&pair[1]);
    let tables: Vec<_> = words.windows(2).filter(is_table).map(|pair| pair[1]).collect();
    let column = |table: &str| if table == "cluster" { "id" } else { "cluster" };
    let Some(&first) = tables.first() else { return true };
    if text.starts_with("INSERT INTO") {
        return text.contains(&format!("INSERT INTO {first} ({},", column(first)));
    }
    let is_bound = |triple: &[&str]| {
        triple[0].trim_start_matches(|letter| letter != '.').trim_start_matches('.') == column(first)
            || triple[0] == column(first)
    };
    let binds = |triple: &[&str]| {
        is_bound(triple)
            && (triple[1] == "="
                && (triple[2].starts_with(['?', '$', '\'']) || triple[2] == "ANY" || triple[2].contains(".column"))
                || triple[1] == "IN" && triple[2] == "?")
    };
    let pairs = text.contains("(cluster, id) IN") || text.contains("(cluster, finding) IN");
    let joined = words.windows(3).filter(|triple| {
        let of = |word: &str, name: &str| word.rsplit_once('.').is_some_and(|(_, column)| column == name);
        triple[1] == "=" && of(triple[2], "cluster") && (of(triple[0], "cluster") || of(triple[0], "id"))
    });
    let within = text.matches("cluster IN (SELECT id FROM cluster").count();
    let joins = joined.count() + within;
    joins + 1 >= tables.len() && (tables.len() > 1 || pairs || words.windows(3).any(binds))
}

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "holdfast_store::statement"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut statement = Statement::default();
        event.record(&mut statement);
        self.0.lock().unwrap().entry(statement.operation).or_default().insert(statement.text);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Statement {
    operation: String,
    text: String,
}

impl Visit for Statement {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "operation" => self.operation = value.to_owned(),
            "text" => self.text = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

#[test]
fn a_statement_or_a_join_without_the_cluster_is_noticed() {
    let tables = ["cluster", "event", "finding", "receipt"];
    for text in [
        "SELECT id FROM finding WHERE cluster = ? AND id = ?",
        "SELECT id FROM finding WHERE (cluster, id) IN (VALUES (?, ?))",
        "SELECT r.id FROM receipt r JOIN event e ON e.cluster = r.cluster AND e.id = r.event",
        "SELECT id FROM finding WHERE id = ? AND cluster IN (SELECT id FROM cluster)",
        "INSERT INTO event (cluster, id) VALUES (?, ?)",
        "SELECT value FROM setting WHERE name = ?",
    ] {
        assert!(names_cluster(text, &tables), "{text}");
    }
    for text in [
        "SELECT id FROM finding WHERE id = ?",
        "SELECT r.id FROM receipt r JOIN event e ON e.id = r.event",
        "INSERT INTO event (id, cluster) VALUES (?, ?)",
        "UPDATE finding SET status = ? WHERE id = ?",
    ] {
        assert!(!names_cluster(text, &tables), "{text}");
    }
}
