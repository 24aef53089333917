//! Draws that are the same on every machine: integers only.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of draws decides; streams of one date are independent of each other.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(super) enum Purpose {
    /// The visits of one block of a date.
    Visits = 1,
    /// What else arrives in the file of a date, and when.
    Arrivals = 2,
}

/// A stream of draws, told apart by seed, date, part of the date and purpose.
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64, epoch_day: i64, part: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&epoch_day.to_le_bytes());
        key[16..24].copy_from_slice(&part.to_le_bytes());
        key[24..].copy_from_slice(&(purpose as u64).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let scaled = u64::from(self.0.next_u32()) * u64::from(bound);
        (scaled >> 32) as u32
    }

    /// Uniform in `0..bound`, for bounds beyond 32 bits; 0 when `bound` is 0.
    pub(super) fn below_u64(&mut self, bound: u64) -> u64 {
        let scaled = u128::from(self.0.next_u64()) * u128::from(bound);
        (scaled >> 64) as u64
    }

    /// Uniform index into a slice of `len` elements; 0 when it is empty.
    pub(super) fn index(&mut self, len: usize) -> usize {
        // Slices drawn from hold a few hundred elements.
        self.below(u32::try_from(len).unwrap_or(u32::MAX)) as usize
    }

    /// Uniform in `0..bound` milliseconds.
    pub(super) fn millis_below(&mut self, bound: u32) -> i64 {
        i64::from(self.below(bound))
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// Exponential-like with this mean, at most 14 times as long.
    ///
    /// The number of leading zeros of a random word is geometric with ratio 1/2; the bits behind
    /// them, linear within each octave, make it continuous. That is `-log2(u)` with straight
    /// pieces, whose mean is 1.5, and needs no float.
    pub(super) fn exponential(&mut self, mean: i64) -> i64 {
        let word = self.0.next_u64() | 1;
        let zeros = word.leading_zeros();
        let fraction = i64::from(((word << zeros << 1) >> 48) as u16);
        let octaves = i64::from(zeros.min(20) + 1);
        mean * (octaves * 65_536 - fraction) / 98_304
    }
}
