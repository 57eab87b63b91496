//! Random waits, so that a fleet that lost its server together does not come back together.

use std::time::Duration;

/// A random duration from nothing up to this one.
pub fn up_to(longest: Duration) -> Duration {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, and nothing else depends on it.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return Duration::ZERO;
    }
    longest.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
