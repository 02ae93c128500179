//! Comparing figures that differ from round to round.
//!
//! In each round every server is measured once, in random order, so that other activity of the
//! machine favours none of them.
//!
//! Two servers are compared by the rank test of Mann and Whitney: of all pairs of a round of one and
//! a round of the other, in how many was the one better? It is ahead if equal servers would reach
//! this number, in either direction, less than once in `CHANCE` times. With six rounds, each round
//! of one must be better than each round of the other, so that their spreads do not touch; with
//! ten, one round may be an exception. Otherwise the figures show no difference. The test assumes
//! no distribution of the figures.
//!
//! A run compares about a hundred pairs of servers. If all of them were equal, it would report a
//! difference in less than one of `CHANCE` pairs. A test at the usual one in twenty would report
//! about five.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// The odds against a false difference: at most one in this number.
const CHANCE: f64 = 400.0;

/// Whether a higher or a lower figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Higher is better, as for throughput.
    More,
    /// Lower is better, as for latency.
    Less,
}

impl Better {
    /// Whether `one` server is ahead of the `other`, by the figures of their rounds.
    pub fn is_ahead(self, one: &[f64], other: &[f64]) -> bool {
        let rounds = one.len();
        let Some(allowed) = allowed(rounds).filter(|_| rounds == other.len()) else {
            return false;
        };
        let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
        // A tie is half a loss. Losses count double, to stay whole.
        let lost: usize = pairs
            .map(|(a, b)| match a.total_cmp(b) {
                Ordering::Equal => 1,
                Ordering::Greater if self == Self::Less => 2,
                Ordering::Less if self == Self::More => 2,
                _ => 0,
            })
            .sum();
        lost <= 2 * allowed
    }
}

/// Whether this number of rounds can show a difference.
pub fn can_tell(rounds: usize) -> bool {
    allowed(rounds).is_some()
}

/// The number of pairs of rounds that a server may lose and still be ahead; none if there are too
/// few rounds to show a difference.
fn allowed(rounds: usize) -> Option<usize> {
    // The number of ways in which equal servers lose this many pairs: the coefficients of a
    // Gaussian binomial, computed a factor at a time.
    let mut ways = vec![0.0; rounds * rounds + 1];
    ways[0] = 1.0;
    for i in 1..=rounds {
        for lost in (rounds + i..ways.len()).rev() {
            ways[lost] -= ways[lost - rounds - i];
        }
        for lost in i..ways.len() {
            ways[lost] += ways[lost - i];
        }
    }
    let all: f64 = ways.iter().sum();
    let mut so_far = 0.0;
    let seldom = ways.iter().take_while(|ways| {
        so_far += **ways;
        // Either of the two may be the better one.
        2.0 * so_far / all < 1.0 / CHANCE
    });
    seldom.count().checked_sub(1)
}

/// The median of some numbers, and their range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one, or the mean of the middle two.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub greatest: f64,
}

impl Spread {
    /// Nothing of no numbers.
    pub fn of(numbers: &[f64]) -> Option<Self> {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(low, high),
            least,
            greatest,
        })
    }
}

/// The median of what `one` is of `other` in each round, to three decimals.
pub fn share(one: &[f64], other: &[f64]) -> Option<f64> {
    let paired = one.len() == other.len() && other.iter().all(|number| *number > 0.0);
    let ratios: Vec<f64> = one.iter().zip(other).map(|(a, b)| a / b).collect();
    let ratios = Spread::of(&ratios).filter(|_| paired)?;
    Some((ratios.median * 1e3).round() / 1e3)
}

/// The number that so large a share of the others, from 0 to 1, stays below. The
/// numbers are in ascending order.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
    let rank = (share * sorted.len() as f64).ceil();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    let rank = rank as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many rounds of figures around `middle`, apart by up to `noise` of it.
    fn rounds(random: &mut fastrand::Rng, count: usize, middle: f64, noise: f64) -> Vec<f64> {
        let mut one = || middle * (1.0 + noise * (random.f64() * 2.0 - 1.0));
        (0..count).map(|_| one()).collect()
    }

    #[test]
    fn a_difference_larger_than_the_noise_is_found() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let slow = rounds(&mut random, 9, 10_000.0, 0.05);
            let fast = rounds(&mut random, 9, 11_200.0, 0.05);
            assert!(Better::More.is_ahead(&fast, &slow));
            assert!(!Better::More.is_ahead(&slow, &fast));
            assert!(Better::Less.is_ahead(&slow, &fast), "a latency, say");
        }
    }

    #[test]
    fn a_difference_that_is_not_there_is_seldom_found() {
        let mut random = fastrand::Rng::with_seed(2);
        for count in [6, 10] {
            let found = (0..10_000).filter(|_| {
                let one = rounds(&mut random, count, 10_000.0, 0.2);
                let other = rounds(&mut random, count, 10_000.0, 0.2);
                Better::More.is_ahead(&one, &other) || Better::More.is_ahead(&other, &one)
            });
            // At most 25 are to be expected.
            let found = found.count();
            assert!(
                (3..50).contains(&found),
                "{found} of 10,000 at {count} rounds"
            );
        }
    }

    #[test]
    fn what_may_be_lost_is_what_tables_of_the_test_say() {
        for (rounds, expected) in [
            (0, None),
            (1, None),
            (5, None),
            (6, Some(0)),
            (7, Some(2)),
            (8, Some(4)),
            (9, Some(7)),
            (10, Some(11)),
        ] {
            assert_eq!(allowed(rounds), expected, "{rounds} rounds");
        }
        assert!(allowed(50).is_some_and(|lost| (700..1000).contains(&lost)));
    }

    #[test]
    fn spreads_that_touch_are_no_difference_but_one_of_ten_rounds_may_go_astray() {
        let slow = [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 10.7, 10.8, 10.9];
        let fast = slow.map(|rate| rate + 1.0);
        let more = |fast: &[f64], slow: &[f64]| Better::More.is_ahead(fast, slow);
        assert!(more(&fast[..6], &slow[..6]));
        let mut astray = fast;
        astray[0] = 1.0;
        assert!(more(&astray, &slow), "one of ten is behind all");
        assert!(!more(&astray[..6], &slow[..6]), "one of six is");
        astray[1] = 2.0;
        assert!(!more(&astray, &slow), "two of ten are");
        assert!(!more(&fast[..5], &slow[..5]), "too few");
        assert!(!more(&slow, &slow), "the same");
    }

    #[test]
    fn the_middle_and_the_ends_of_some_numbers() {
        let spread = |median, least, greatest| Spread {
            median,
            least,
            greatest,
        };
        for (numbers, expected) in [
            (&[][..], None),
            (&[3.0], Some(spread(3.0, 3.0, 3.0))),
            (&[4.0, 1.0, 2.0], Some(spread(2.0, 1.0, 4.0))),
            (&[4.0, 1.0, 2.0, 3.0], Some(spread(2.5, 1.0, 4.0))),
        ] {
            assert_eq!(Spread::of(numbers), expected, "{numbers:?}");
        }
        assert_eq!(share(&[1.0, 6.0, 4.0], &[2.0, 8.0, 4.0]), Some(0.75));
        assert_eq!(share(&[1.0], &[0.0]), None);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        for (share, expected) in [(0.5, 50.0), (0.99, 99.0), (0.999, 100.0), (0.0, 1.0)] {
            assert_eq!(percentile(&hundred, share), Some(expected), "{share}");
        }
        assert_eq!(percentile(&[], 0.5), None);
    }
}
