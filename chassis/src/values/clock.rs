//! The clock by which things expire that people wait minutes for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A clock that the lab can move forward, so that nobody has to wait for what expires in minutes.
/// Time-outs, logs and timestamps do not follow it. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// How far it is ahead, in milliseconds.
    ahead: Arc<AtomicU64>,
}

/// The furthest that the clock can be ahead.
const FURTHEST: Duration = Duration::from_hours(366 * 24);

impl Clock {
    /// Now, on this clock.
    pub fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// How far it is ahead.
    pub(crate) fn ahead(&self) -> Duration {
        Duration::from_millis(self.ahead.load(Ordering::Relaxed))
    }

    /// Moves it forward by `time`. Returns how far it is ahead then, or the furthest that it
    /// can be, if it would be further.
    pub(crate) fn forward(&self, time: Duration) -> Result<Duration, Duration> {
        let more = |ahead: u64| {
            let sum = Duration::from_millis(ahead).checked_add(time)?;
            let milliseconds = u64::try_from(sum.as_millis()).ok()?;
            (sum <= FURTHEST).then_some(milliseconds)
        };
        let moved = self
            .ahead
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        moved.map(|_| self.ahead()).map_err(|_| FURTHEST)
    }

    /// Moves it back to the time of the system.
    pub(crate) fn reset(&self) {
        self.ahead.store(0, Ordering::Relaxed);
    }
}
