//! Random ids, and random waits, so that a fleet that lost its server together does not come back together.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;

/// The system gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness(#[from] Unspecified);

/// Random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)?;
    Ok(bytes)
}

/// A random name of so many bytes, in hexadecimal digits.
pub fn name<const N: usize>() -> Result<String, NoRandomness> {
    Ok(data_encoding::HEXLOWER.encode(&bytes::<N>()?))
}

/// A random duration from nothing up to this one; nothing where there is no randomness, which only costs the spread.
pub fn up_to(longest: Duration) -> Duration {
    let number = bytes().map_or(0, u32::from_be_bytes);
    longest.mul_f64(f64::from(number) / f64::from(u32::MAX))
}
