//! The clock and the source of randomness, as arguments: everything below takes them from here, and tests bring their own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use holdfast_model::UnixMillis;

/// The time, and bytes that cannot be guessed.
pub trait Environment: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixMillis;
    /// 16 unpredictable bytes; none if the system has none to give.
    fn draw(&self) -> Option<[u8; 16]>;
}

/// Whose clock and randomness are used. Cheap to clone.
pub type SharedEnvironment = Arc<dyn Environment>;

/// The machine's own.
#[derive(Default)]
pub struct SystemEnvironment {
    random: SystemRandom,
}

impl Environment for SystemEnvironment {
    fn now(&self) -> UnixMillis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
    }

    fn draw(&self) -> Option<[u8; 16]> {
        let mut bytes = [0; 16];
        self.random.fill(&mut bytes).ok().map(|()| bytes)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A clock that is moved by hand, and draws that count.

    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

    use super::*;

    /// A test's own.
    pub(crate) struct TestEnvironment {
        now: AtomicI64,
        drawn: AtomicU64,
    }

    impl TestEnvironment {
        /// It is this moment.
        pub(crate) fn at(now: UnixMillis) -> Arc<Self> {
            Arc::new(Self { now: AtomicI64::new(now), drawn: AtomicU64::new(0) })
        }

        /// It is later by this much.
        pub(crate) fn pass(&self, millis: UnixMillis) {
            self.now.fetch_add(millis, Ordering::SeqCst);
        }
    }

    impl Environment for TestEnvironment {
        fn now(&self) -> UnixMillis {
            self.now.load(Ordering::SeqCst)
        }

        fn draw(&self) -> Option<[u8; 16]> {
            Some((u128::from(self.drawn.fetch_add(1, Ordering::SeqCst)) + 1).to_be_bytes())
        }
    }
}
