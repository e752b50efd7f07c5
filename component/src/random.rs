//! The random source, as an argument: seeded in tests, from the operating system otherwise.
//!
//! For jitter, suffixes and tie breaks; not for keys or tokens.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// The characters upstream draws name suffixes from: no vowels and nothing that looks like one.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A shared stream of random numbers. Clones draw from the same stream.
#[derive(Clone)]
pub struct Random(Arc<Mutex<SmallRng>>);

impl Random {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self::seeded(rand::random())
    }

    /// The same numbers for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    fn draw<T>(&self, f: impl FnOnce(&mut SmallRng) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Any number.
    pub fn u64(&self) -> u64 {
        self.draw(|rng| rng.random())
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.draw(|rng| rng.random_range(0..bound)) }
    }

    /// A number in `[0, 1)`.
    pub fn f64(&self) -> f64 {
        self.draw(|rng| rng.random())
    }

    /// `duration` lengthened by up to `factor` of itself, as upstream's `wait.Jitter`.
    pub fn jitter(&self, duration: Duration, factor: f64) -> Duration {
        duration + duration.mul_f64(self.f64() * factor.max(0.0))
    }

    /// A name suffix of `length` characters from upstream's alphabet, such as `x7k2p`.
    pub fn suffix(&self, length: usize) -> String {
        (0..length).map(|_| char::from(SUFFIX_ALPHABET[self.below(SUFFIX_ALPHABET.len() as u64) as usize])).collect()
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert_eq!(a.u64(), b.u64());
        assert_eq!(a.suffix(5), b.suffix(5));
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let random = Random::seeded(1);
        for _ in 0..100 {
            let jittered = random.jitter(Duration::from_secs(10), 0.5);
            assert!((10.0..15.0).contains(&jittered.as_secs_f64()));
        }
    }
}
