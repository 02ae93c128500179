//! A histogram, and the quantiles that follow from it.

use super::increase;

/// The most buckets of a histogram. Those of the shop have 15.
const MAX_BUCKETS: usize = 64;

/// How many durations were up to which bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// In ascending bound.
    buckets: Vec<Bucket>,
}

/// How many took `bound` seconds or less.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    bound: f64,
    count: f64,
}

impl Histogram {
    /// Adds `count` to the bucket `le`. `None` if there is no such bound, or one too many.
    pub(super) fn add(&mut self, le: &str, count: f64) -> Option<()> {
        let bound: f64 = le.parse().ok().filter(|bound| *bound > 0.0)?;
        let found = self
            .buckets
            .binary_search_by(|one| one.bound.total_cmp(&bound));
        match found {
            Ok(place) => self.buckets[place].count += count,
            Err(_) if self.buckets.len() == MAX_BUCKETS => return None,
            Err(place) => self.buckets.insert(place, Bucket { bound, count }),
        }
        Some(())
    }

    /// The increase since `before`; `None` if a counter went down.
    pub(super) fn since(&self, before: &Self) -> Option<Self> {
        let buckets = self.buckets.iter().map(|now| {
            let before = before
                .buckets
                .iter()
                .find(|before| before.bound.total_cmp(&now.bound).is_eq())
                .map_or(0.0, |before| before.count);
            let count = increase(before, now.count)?;
            Some(Bucket { count, ..*now })
        });
        let buckets = buckets.collect::<Option<_>>()?;
        Some(Self { buckets })
    }

    /// The quantile `q`, in seconds, computed like `histogram_quantile` in
    /// Prometheus: durations are assumed to be spread evenly over their bucket, and none to
    /// be longer than the last bound. `None` if there were none.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let all = self
            .buckets
            .last()
            .filter(|last| last.bound.is_infinite() && last.count > 0.0)?;
        let rank = q * all.count;
        let (mut start, mut below) = (0.0, 0.0);
        for Bucket { bound, count } in &self.buckets {
            if *count >= rank && *count > below {
                return Some(if bound.is_finite() {
                    start + (bound - start) * (rank - below) / (count - below)
                } else {
                    start
                });
            }
            (start, below) = (*bound, count.max(below));
        }
        None
    }
}
