//! A retry budget: retries are a share of the calls, however many calls fail.
//!
//! A retry helps if a failure is rare. If every call fails, two retries each triple the load
//! of a service that is failing under its load. So each call pays a share of a retry into the
//! budget, and each retry takes a whole one out:
//!
//! ```text
//!   each call   + 0.2 ┐
//!                     ├─▶ balance, at most 50 ──▶ each retry − 1; without it, no retry
//!   each second + 1   ┘
//! ```
//!
//! What comes in by the second is for a service with few calls: their shares alone would allow
//! almost no retry.

use std::time::Instant;

use parking_lot::Mutex;

/// The highest balance, which is also the first one: how many retries a burst of failures
/// may cause after a quiet time.
const MOST: f64 = 50.0;

/// The retries that come in by the second.
const PER_SECOND: f64 = 1.0;

/// The budget for retries to one upstream.
///
/// ```
/// use std::time::Instant;
///
/// use chassis::upstream::budget::RetryBudget;
///
/// let budget = RetryBudget::new(20);
/// let now = Instant::now();
/// while budget.withdraw(now) {}
/// for _ in 0..5 {
///     budget.deposit(now);
/// }
/// assert!(budget.withdraw(now), "a fifth of five calls");
/// assert!(!budget.withdraw(now));
/// ```
#[derive(Debug)]
pub struct RetryBudget {
    /// What each call pays in.
    share: f64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    balance: f64,
    at: Instant,
}

impl RetryBudget {
    /// A budget of `percent` retries per hundred calls.
    pub fn new(percent: u32) -> Self {
        Self {
            share: f64::from(percent) / 100.0,
            account: Mutex::new(Account {
                balance: MOST,
                at: Instant::now(),
            }),
        }
    }

    /// Pays in the share of one call.
    pub fn deposit(&self, now: Instant) {
        self.account.lock().add(self.share, now);
    }

    /// Takes out one retry. Without enough for it, there must be none.
    #[must_use = "without a withdrawal there must be no retry"]
    pub fn withdraw(&self, now: Instant) -> bool {
        let mut account = self.account.lock();
        account.add(0.0, now);
        let enough = account.balance >= 1.0;
        if enough {
            account.balance -= 1.0;
        }
        enough
    }
}

impl Account {
    fn add(&mut self, amount: f64, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.balance = (self.balance + amount + seconds * PER_SECOND).min(MOST);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many retries the budget allows at this moment.
    fn allowed(budget: &RetryBudget, now: Instant) -> u32 {
        let mut times = 0;
        while budget.withdraw(now) {
            times += 1;
        }
        times
    }

    #[test]
    fn retries_are_a_share_of_the_calls() {
        let (budget, now) = (RetryBudget::new(20), Instant::now());
        assert_eq!(allowed(&budget, now), 50, "a burst after a quiet time");
        let mut retries = 0;
        for _ in 0..1000 {
            budget.deposit(now);
            retries += u32::from(budget.withdraw(now));
        }
        assert!((199..=200).contains(&retries), "{retries} for 1000 calls");
    }

    #[test]
    fn a_few_retries_are_allowed_however_few_calls_there_are() {
        let (budget, now) = (RetryBudget::new(1), Instant::now());
        allowed(&budget, now);
        let later = now + Duration::from_secs(3);
        assert_eq!(allowed(&budget, later), 3);
        assert_eq!(allowed(&budget, now), 0, "time does not run backwards");
        let much_later = now + Duration::from_hours(1);
        assert_eq!(allowed(&budget, much_later), 50, "but no more than this");
    }
}
