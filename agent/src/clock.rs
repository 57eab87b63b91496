//! The one place that reads the time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_model::UnixMillis;

/// Now, in Unix milliseconds. A clock before 1970 reads as 1970.
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
