//! Where the time comes from: the system in a running aggregator, the test in a test.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_model::UnixMillis;

/// Answers the present time.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// The system's clock.
pub fn system() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
    })
}
