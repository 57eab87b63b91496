//! What just changed, for whoever watches: sent after the commit, kept nowhere, never waited for.
//!
//! A watcher that is too slow misses changes, is notified of that, and then reads the present state from the API. The record is
//! what counts, this is a notification.

use holdfast_model::{ClusterId, FindingId, RetestId, Severity, Status, Verdict};
use tokio::sync::broadcast;

/// How many changes a slow watcher may be behind before it misses some.
const BACKLOG: usize = 1024;

/// One change that has been committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveChange {
    /// A finding is new or not as it was.
    Finding {
        /// Which.
        finding: FindingId,
        /// Of which cluster.
        cluster: ClusterId,
        /// Where it stands now.
        status: Status,
        /// Its severity in force.
        severity: Severity,
    },
    /// An agent connected, left, or was revoked; or the cluster's coverage or scope changed.
    Cluster {
        /// Which.
        cluster: ClusterId,
    },
    /// A retest was answered.
    Retest {
        /// Which.
        retest: RetestId,
        /// Of which finding.
        finding: FindingId,
        /// The answer.
        verdict: Verdict,
    },
}

/// Where changes are sent and watched. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Live {
    sender: broadcast::Sender<LiveChange>,
    revoked: broadcast::Sender<String>,
}

impl Default for Live {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG), revoked: broadcast::Sender::new(BACKLOG) }
    }
}

impl Live {
    /// Sends to everybody who watches now. Nobody watching is no error.
    pub fn send(&self, change: LiveChange) {
        let _ = self.sender.send(change);
    }

    /// An API token is revoked: whoever watches by it is shown nothing more.
    pub fn revoke(&self, token: &str) {
        let _ = self.revoked.send(token.to_owned());
    }

    /// Ends when this API token is revoked from now on, or when that could have been missed.
    pub fn revocation(&self, token: String) -> impl Future<Output = ()> + Send + use<> {
        let mut revoked = self.revoked.subscribe();
        async move { while revoked.recv().await.is_ok_and(|other| other != token) {} }
    }

    /// Watches from now on.
    pub fn watch(&self) -> broadcast::Receiver<LiveChange> {
        self.sender.subscribe()
    }
}
