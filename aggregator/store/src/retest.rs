//! Retests: requested, sent with a nonce, answered or no longer wanted.

use std::fmt;
use std::str::FromStr;

use holdfast_model::{ClusterId, FindingId, Method, Nonce, Reach, RetestId, UnixMillis, Verdict};
use holdfast_record::RetestCause;

use crate::error::Result;
use crate::sql::{Bulk, Fields, LIST_ROWS, Sql};
use crate::{Store, Tx};

/// Where a retest stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetestState {
    /// To be sent, at its due time, when the agent is connected.
    Waiting,
    /// Sent; its answer is awaited until its due time.
    Sent,
    /// Answered for good.
    Answered,
    /// No longer wanted.
    Ended,
}

impl RetestState {
    const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::Answered, Self::Ended];

    /// Its stored form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for RetestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RetestState {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is not the state of a retest"))
    }
}

/// One retest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retest {
    /// Drawn when it was requested.
    pub id: RetestId,
    /// The cluster whose agent runs it.
    pub cluster: ClusterId,
    /// About which finding.
    pub finding: FindingId,
    /// Why.
    pub cause: RetestCause,
    /// What its proof needs and the cluster could do when it was requested.
    pub methods: Vec<Method>,
    /// Where it stands.
    pub state: RetestState,
    /// When it was requested.
    pub requested_at: UnixMillis,
    /// Waiting: not sent before. Sent: answered by then, or sent again.
    pub due_at: UnixMillis,
    /// How often it was sent.
    pub attempts: u32,
    /// Drawn at the last dispatch.
    pub nonce: Option<Nonce>,
    /// The finding's count of observations at the last dispatch.
    pub observed: u64,
    /// The last dispatch.
    pub sent_at: Option<UnixMillis>,
    /// The last answer.
    pub answered_at: Option<UnixMillis>,
    /// The last answer.
    pub verdict: Option<Verdict>,
    /// The last answer in one sentence.
    pub reason: Option<String>,
    /// How far the last answer's proof went.
    pub reach: Option<Reach>,
}

const COLUMNS: &str = "SELECT id, cluster, finding, cause, methods, state, requested_at, due_at, attempts, nonce, observed, \
                       sent_at, answered_at, verdict, reason, reach FROM retest";

fn read(row: &Fields<'_>) -> Result<Retest> {
    Ok(Retest {
        id: row.id("id")?,
        cluster: row.id("cluster")?,
        finding: row.id("finding")?,
        cause: row.word("cause")?,
        methods: row.words("methods")?,
        state: row.word("state")?,
        requested_at: row.int("requested_at")?,
        due_at: row.int("due_at")?,
        attempts: row.small("attempts")?,
        nonce: row.optional_id("nonce")?,
        observed: row.count("observed")?,
        sent_at: row.optional_int("sent_at")?,
        answered_at: row.optional_int("answered_at")?,
        verdict: row.optional_word("verdict")?,
        reason: row.optional_text("reason")?,
        reach: row.optional_word("reach")?,
    })
}

/// Their names, separated by spaces.
fn methods(methods: &[Method]) -> String {
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(" ")
}

impl Store {
    /// One retest: its id does not name its cluster, so each is looked into, by the primary key.
    pub async fn retest(&self, id: RetestId) -> Result<Option<Retest>> {
        let sql =
            Sql::new("retest", &format!("{COLUMNS} WHERE id = ? AND cluster IN (SELECT id FROM cluster)")).bind(id);
        sql.optional(&mut self.reader().await?, read).await
    }

    /// The retests of a finding, latest first, at most this many.
    pub async fn retests(&self, cluster: ClusterId, finding: FindingId, limit: u32) -> Result<Vec<Retest>> {
        let text = format!("{COLUMNS} WHERE cluster = ? AND finding = ? ORDER BY requested_at DESC, id DESC LIMIT ?");
        let sql = Sql::new("retests", &text).bind(cluster).bind(finding).bind(limit);
        sql.all(&mut self.reader().await?, read).await
    }

    /// Retests of a cluster that are due: to be sent, or sent and not answered in time. Oldest first.
    pub async fn due_retests(&self, cluster: ClusterId, now: UnixMillis, limit: u32) -> Result<Vec<Retest>> {
        let text = format!(
            "{COLUMNS} WHERE cluster = ? AND due_at <= ? AND state IN ('waiting', 'sent') ORDER BY due_at, id LIMIT ?"
        );
        let sql = Sql::new("due retests", &text).bind(cluster).bind(now).bind(limit);
        sql.all(&mut self.reader().await?, read).await
    }

    /// When the next retest of a cluster is due.
    pub async fn next_retest_due(&self, cluster: ClusterId) -> Result<Option<UnixMillis>> {
        let text =
            "SELECT due_at FROM retest WHERE cluster = ? AND state IN ('waiting', 'sent') ORDER BY due_at LIMIT 1";
        let sql = Sql::new("next retest due", text).bind(cluster);
        sql.optional(&mut self.reader().await?, |row| row.int("due_at")).await
    }

    /// How many retests of a cluster are out and may still be answered in time.
    pub async fn retests_out(&self, cluster: ClusterId, now: UnixMillis) -> Result<u64> {
        let text = "SELECT COUNT(*) AS sent FROM retest WHERE cluster = ? AND due_at > ? AND state = 'sent'";
        let sql = Sql::new("retests out", text).bind(cluster).bind(now);
        Ok(sql.optional(&mut self.reader().await?, |row| row.count("sent")).await?.unwrap_or_default())
    }
}

impl Tx {
    /// Those of these retests that are on record.
    pub async fn retests_by_id(&mut self, cluster: ClusterId, ids: &[RetestId]) -> Result<Vec<Retest>> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(LIST_ROWS) {
            let mut sql = Sql::new("retests by id", COLUMNS);
            sql.push(" WHERE cluster = ").place(cluster).push(" AND ").any_of("id", chunk.iter().copied());
            found.extend(sql.all(self.connection(), read).await?);
        }
        Ok(found)
    }

    /// Writes retests, new and known ones.
    pub async fn write_retests(&mut self, retests: &[Retest]) -> Result<()> {
        let bulk = Bulk::new(
            "write retests",
            "INSERT INTO retest (cluster, id, finding, cause, methods, state, requested_at, due_at, attempts, nonce, \
             observed, sent_at, answered_at, verdict, reason, reach) ",
            " ON CONFLICT (cluster, id) DO UPDATE SET state = excluded.state, due_at = excluded.due_at, \
             attempts = excluded.attempts, nonce = excluded.nonce, observed = excluded.observed, \
             sent_at = excluded.sent_at, answered_at = excluded.answered_at, verdict = excluded.verdict, \
             reason = excluded.reason, reach = excluded.reach",
        );
        let write = bulk.run(self.connection(), retests, |row, retest| {
            row.value(retest.cluster).value(retest.id).value(retest.finding).value(retest.cause.as_str());
            row.value(methods(&retest.methods).as_str());
            row.value(retest.state.as_str()).value(retest.requested_at).value(retest.due_at);
            row.value(retest.attempts).value(retest.nonce).value(retest.observed);
            row.value(retest.sent_at).value(retest.answered_at).value(retest.verdict.map(Verdict::as_str));
            row.value(retest.reason.as_deref()).value(retest.reach.map(Reach::as_str));
        });
        write.await?;
        Ok(())
    }

    /// Ends retests that are no longer wanted; one that was answered stays answered.
    pub async fn end_retests(&mut self, cluster: ClusterId, ids: &[RetestId]) -> Result<()> {
        for chunk in ids.chunks(LIST_ROWS) {
            let mut sql = Sql::new("end retests", "UPDATE retest SET state = 'ended' WHERE cluster = ");
            sql.place(cluster).push(" AND state IN ('waiting', 'sent') AND ").any_of("id", chunk.iter().copied());
            sql.run(self.connection()).await?;
        }
        Ok(())
    }

    /// Puts what was sent on a stream that is gone back to waiting: its answer may have been lost with the stream.
    pub async fn requeue_retests(&mut self, cluster: ClusterId, now: UnixMillis) -> Result<u64> {
        let text = "UPDATE retest SET state = 'waiting', due_at = ? WHERE cluster = ? AND state = 'sent'";
        Sql::new("requeue retests", text).bind(now).bind(cluster).run(self.connection()).await
    }
}
