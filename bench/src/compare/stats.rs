//! What may be said about figures that differ from round to round.
//!
//! In each round every server is measured once, in an order drawn by lot, so what
//! the machine does meanwhile happens to all of them alike. Two servers are
//! therefore compared within a round, never across rounds.
//!
//! The rule: one is ahead of another if it was ahead in every round, and there were
//! at least [`MIN_ROUNDS`] of them. Otherwise the spread covers the difference, and
//! there is none that these figures show. It is a sign test that allows no
//! exception. If two servers were equal, each round would be a coin that is tossed,
//! and all of them would fall the same way once in 32 times in six rounds, once in
//! 256 times in nine. It asks nothing of how the figures are distributed, and one
//! round that went wrong can hide a difference but never make one.

use serde::{Deserialize, Serialize};

/// Fewer rounds than this tell nothing: five fall the same way too often.
pub(crate) const MIN_ROUNDS: usize = 6;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    More,
    Less,
}

impl Better {
    fn prefers(self, one: f64, other: f64) -> bool {
        match self {
            Self::More => one > other,
            Self::Less => one < other,
        }
    }

    /// Whether one server is ahead of another, by what each round measured of both.
    pub(crate) fn is_ahead(self, one: &[f64], other: &[f64]) -> bool {
        one.len() >= MIN_ROUNDS
            && one.len() == other.len()
            && one.iter().zip(other).all(|(a, b)| self.prefers(*a, *b))
    }
}

/// The middle of some numbers, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// Nothing of no numbers.
    pub(crate) fn of(numbers: &[f64]) -> Option<Self> {
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
pub(crate) fn share(one: &[f64], other: &[f64]) -> Option<f64> {
    let paired = one.len() == other.len() && other.iter().all(|number| *number > 0.0);
    let ratios: Vec<f64> = one.iter().zip(other).map(|(a, b)| a / b).collect();
    let ratios = Spread::of(&ratios).filter(|_| paired)?;
    Some((ratios.median * 1e3).round() / 1e3)
}

/// The number that so large a share of the others, from 0 to 1, stays below. The
/// numbers are in ascending order.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
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
        let found = (0..10_000).filter(|_| {
            let one = rounds(&mut random, 9, 10_000.0, 0.2);
            let other = rounds(&mut random, 9, 10_000.0, 0.2);
            Better::More.is_ahead(&one, &other) || Better::More.is_ahead(&other, &one)
        });
        // 39 are to be expected.
        let found = found.count();
        assert!((5..120).contains(&found), "{found} of 10,000");
    }

    #[test]
    fn a_machine_that_slows_down_hides_no_difference() {
        let drift = [10.0, 9.0, 8.0, 7.0, 6.0, 5.0];
        let faster = drift.map(|rate| rate * 1.05);
        // Each alone ranges from 5 to 10: only the pairs can tell.
        assert!(Better::More.is_ahead(&faster, &drift));
    }

    #[test]
    fn one_round_that_went_the_other_way_or_was_even_is_no_difference() {
        let base = [10.0; 9];
        for (last, expected, reason) in [
            (11.0, true, "ahead in all nine"),
            (10.0, false, "even in one"),
            (1.0, false, "behind in one"),
        ] {
            let mut other = [11.0; 9];
            other[8] = last;
            assert_eq!(Better::More.is_ahead(&other, &base), expected, "{reason}");
        }
        assert!(!Better::More.is_ahead(&[11.0; 5], &[10.0; 5]), "too few");
        assert!(!Better::More.is_ahead(&[11.0; 9], &[10.0; 8]), "no pairs");
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
