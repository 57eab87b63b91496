//! The clock and the source of randomness, as arguments: everything below takes them from here, and tests bring their own.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use holdfast_model::UnixMillis;

use crate::clock::{self, Clock};

/// Tells the time and draws what nobody can guess.
pub trait Edge: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixMillis;
    /// 16 unpredictable bytes; none if the system has none to give.
    fn draw(&self) -> Option<[u8; 16]>;
}

/// Whose clock and randomness are used. Cheap to clone.
pub type SharedEdge = Arc<dyn Edge>;

/// The machine's own.
pub struct SystemEdge {
    clock: Clock,
    random: SystemRandom,
}

impl Default for SystemEdge {
    fn default() -> Self {
        Self { clock: clock::system(), random: SystemRandom::new() }
    }
}

impl Edge for SystemEdge {
    fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    fn draw(&self) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).ok().map(|()| bytes)
    }
}
