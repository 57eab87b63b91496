//! Which agents are connected to this process: one stream a cluster, the latest. It knows nothing of what flows on them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_model::ClusterId;
use tokio::sync::{Notify, watch};

/// The streams that are open. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    open: Arc<Mutex<HashMap<ClusterId, OpenStream>>>,
}

#[derive(Debug)]
struct OpenStream {
    epoch: u64,
    ended: watch::Sender<bool>,
    wake: Arc<Notify>,
}

/// One open stream, as its own task sees it. Dropping it closes the entry.
#[derive(Debug)]
pub struct Session {
    sessions: Sessions,
    cluster: ClusterId,
    epoch: u64,
    ended: watch::Receiver<bool>,
    wake: Arc<Notify>,
}

impl Sessions {
    /// Notes a stream of this epoch. The cluster's stream of an earlier epoch, if any, is ended; if a later one came first,
    /// this one ends at once.
    pub fn open(&self, cluster: ClusterId, epoch: u64) -> Session {
        let (sender, ended) = watch::channel(false);
        let wake = Arc::new(Notify::new());
        let stream = OpenStream { epoch, ended: sender, wake: wake.clone() };
        let mut open = self.lock();
        if open.get(&cluster).is_some_and(|known| known.epoch > epoch) {
            stream.ended.send_replace(true);
        } else if let Some(before) = open.insert(cluster, stream) {
            before.ended.send_replace(true);
        }
        drop(open);
        Session { sessions: self.clone(), cluster, epoch, ended, wake }
    }

    /// Ends the stream of a cluster, at once: its credential was revoked.
    pub fn end(&self, cluster: ClusterId) {
        if let Some(stream) = self.lock().remove(&cluster) {
            stream.ended.send_replace(true);
        }
    }

    /// Wakes the dispatcher: there may be a retest to send.
    pub fn wake(&self, cluster: ClusterId) {
        if let Some(stream) = self.lock().get(&cluster) {
            stream.wake.notify_one();
        }
    }

    /// Whether the agent of this cluster is connected.
    pub fn is_connected(&self, cluster: ClusterId) -> bool {
        self.lock().contains_key(&cluster)
    }

    /// Every cluster whose agent is connected.
    pub fn connected(&self) -> HashSet<ClusterId> {
        self.lock().keys().copied().collect()
    }

    /// The map holds no half-made state, so a panic elsewhere leaves it usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<ClusterId, OpenStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// The stream's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns once the stream must end.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // An error means that the sender is gone with the entry, which also ends the stream.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Returns once there may be a retest to send.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut open = self.sessions.lock();
        if open.get(&self.cluster).is_some_and(|stream| stream.epoch == self.epoch) {
            open.remove(&self.cluster);
        }
    }
}
