//! Kernel times, which count from boot, as wall clock times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_model::UnixMillis;

/// Nanoseconds since boot: the clock of the kernel's events.
pub fn since_boot() -> u64 {
    u64::try_from(elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn elapsed() -> Duration {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(since_boot.tv_sec.unsigned_abs(), u32::try_from(since_boot.tv_nsec).unwrap_or(0))
}

/// When the node was booted, nanoseconds since 1970.
pub(crate) fn boot_time() -> u64 {
    let since_boot = elapsed();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.saturating_sub(since_boot).as_nanos()).unwrap_or(0)
}

pub(crate) fn millis(since_boot: u64, boot: u64) -> UnixMillis {
    UnixMillis::try_from(boot.saturating_add(since_boot) / 1_000_000).unwrap_or(UnixMillis::MAX)
}
