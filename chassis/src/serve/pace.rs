//! How fast a client must send a body or read a response.

use std::time::Duration;

use tokio::time::Instant;

/// The slowest average, in bytes a second, at which a client may send a body or read a
/// response: slower than any network of today, and fast enough that 64 KiB take 16 s.
pub(crate) const SLOWEST: u64 = 4 * 1024;

/// A transfer that waits for its client.
///
/// For a while the client may do nothing, as after a lost packet. Then the average since the
/// beginning must be [`SLOWEST`] or more, and the whole has a time-out.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    patience: Duration,
    most: Duration,
    bytes: u64,
}

impl Pace {
    /// A transfer that begins to wait now. `patience` is how long its client may do nothing,
    /// and `most` is how long all of it may take.
    pub(crate) fn begin(patience: Duration, most: Duration) -> Self {
        Self {
            since: Instant::now(),
            patience,
            most,
            bytes: 0,
        }
    }

    /// The client has sent or read `bytes`.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// When the client is too slow if it does nothing until then.
    pub(crate) fn due(&self) -> Instant {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / SLOWEST);
        self.since + self.most.min(self.patience.saturating_add(earned))
    }

    /// Whether its client was fast enough for all of the time that it may take.
    pub(crate) fn is_kept(&self) -> bool {
        self.due() >= self.since + self.most
    }

    /// How long it has waited.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_earned_by_bytes_up_to_the_time_out() {
        let (patience, most) = (Duration::from_secs(5), Duration::from_secs(10));
        for (bytes, seconds, reason) in [
            (0, 5, "nothing"),
            (SLOWEST * 2, 7, "two seconds' worth"),
            (u64::MAX, 10, "more than the time-out allows"),
        ] {
            let mut pace = Pace::begin(patience, most);
            pace.add(bytes);
            assert_eq!(
                pace.due() - pace.since,
                Duration::from_secs(seconds),
                "{reason}"
            );
        }
    }
}
