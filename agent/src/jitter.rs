//! Random waits, so that a fleet that lost its server together does not come back together.

use std::time::Duration;

/// A random number; 0 without randomness.
pub fn number() -> u32 {
    u32::from_be_bytes(bytes())
}

/// Random bytes; zeros without randomness.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // What was half filled is as good as what was not: nothing secret is made of it.
    let _filled = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

/// A random duration from nothing up to this one.
pub fn up_to(longest: Duration) -> Duration {
    // Without randomness there is no jitter, and nothing else depends on it.
    longest.mul_f64(f64::from(number()) / f64::from(u32::MAX))
}
