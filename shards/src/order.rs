//! The order of samples: pure functions of (seed, epoch, step), without iterator state.
//!
//! A run resumes in the middle of an epoch by its step number alone, and any number of workers or machines sees the
//! same global batches.
//!
//! ```text
//! N units per epoch, P pairs per unit, batch B
//! position p = step * B + i
//! round    k = p / N,  j = p mod N
//! unit     u = permute(j; N, key(seed, epoch, k))       keyed bijection, O(1)
//! random     = counter generator, key(seed, epoch, u, k)  chooses track, frames and augmentation
//! ```

use xxhash_rust::xxh3::xxh3_64;

/// Mixes several numbers into one key.
#[must_use]
pub fn key(parts: &[u64]) -> u64 {
    let mut bytes = Vec::with_capacity(8 * parts.len());
    for part in parts {
        bytes.extend_from_slice(&part.to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// A stable 64-bit hash of a name, for dealing videos to shards.
#[must_use]
pub fn name_key(name: &str, seed: u64) -> u64 {
    key(&[seed, xxh3_64(name.as_bytes())])
}

/// Finaliser of SplitMix64 (Steele, Lea, Flood 2014).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A counter-based random generator (SplitMix64): the same key gives the same numbers on every machine.
#[derive(Debug, Clone)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator for one key.
    #[must_use]
    pub const fn new(key: u64) -> Self {
        Self { state: key }
    }

    /// 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in 0..n; 0 when n is 0. (Lemire's multiplication; the bias is below n / 2^64.)
    pub const fn below(&mut self, n: u64) -> u64 {
        ((self.next_u64() as u128 * n as u128) >> 64) as u64
    }

    /// Uniform in [0, 1), 53 bits.
    pub const fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub const fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Normally distributed, mean 0 and variance 1 (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        let v = self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

/// Rounds of the Feistel network; six pass every bijectivity and spread test on the sizes at hand.
const ROUNDS: u64 = 6;

/// The `j`-th element of a keyed permutation of 0..n: a Feistel network over the next power of four, walked until the
/// value falls below n. Returns `j` unchanged when `j >= n`.
#[must_use]
pub fn permute(j: u64, n: u64, key: u64) -> u64 {
    if j >= n || n < 2 {
        return j;
    }
    let bits = (64 - (n - 1).leading_zeros()).div_ceil(2);
    let mask = (1u64 << bits) - 1;
    let mut value = j;
    loop {
        let (mut left, mut right) = (value >> bits, value & mask);
        for round in 0..ROUNDS {
            let f = mix(key ^ mix(right.wrapping_add(round << 56))) & mask;
            (left, right) = (right, left ^ f);
        }
        value = (left << bits) | right;
        if value < n {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rng, key, permute};
    use proptest::prelude::{any, prop_assert, proptest};

    proptest! {
        #[test]
        fn permutations_are_bijective(n in 1u64..3000, seed in any::<u64>()) {
            let mut seen = vec![false; n as usize];
            for j in 0..n {
                let t = permute(j, n, seed) as usize;
                prop_assert!(!seen[t]);
                seen[t] = true;
            }
        }

        #[test]
        fn below_stays_below(n in 1u64.., seed in any::<u64>()) {
            prop_assert!(Rng::new(seed).below(n) < n);
        }
    }

    #[test]
    fn numbers_are_the_same_everywhere_and_spread() {
        let mut rng = Rng::new(key(&[1, 2, 3]));
        let again: Vec<u64> = {
            let mut r = Rng::new(key(&[1, 2, 3]));
            (0..4).map(|_| r.next_u64()).collect()
        };
        assert_eq!((0..4).map(|_| rng.next_u64()).collect::<Vec<_>>(), again);
        let n = 20_000;
        let mean = (0..n).map(|_| rng.uniform()).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let (mut sum, mut square) = (0.0, 0.0);
        for _ in 0..n {
            let v = rng.normal();
            sum += v;
            square += v * v;
        }
        assert!((sum / f64::from(n)).abs() < 0.03 && (square / f64::from(n) - 1.0).abs() < 0.05);
        assert_eq!(permute(5, 0, 1), 5);
    }
}
