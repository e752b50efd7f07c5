//! Tokens whose signature was found good. Checking one again costs a curve's arithmetic, more than all the rest of a
//! small request, for an answer that cannot change while the server has the same keys.
//!
//! Times, audiences, and whether the account is still there are not remembered: every request asks them again.

use std::collections::HashSet;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

/// Digests of one generation; two are kept, 128 KiB in all.
const GENERATION_MAX: usize = 2048;

pub(super) type TokenDigest = [u8; 32];

/// A bounded memory: when the young generation is full it becomes the old one, whose digests are forgotten unless used.
#[derive(Default)]
pub(super) struct GoodSignatures(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<TokenDigest>,
    old: HashSet<TokenDigest>,
}

/// The token's name in the memory: tokens themselves are not kept.
pub(super) fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

impl GoodSignatures {
    pub(super) fn knows(&self, token: &TokenDigest) -> bool {
        let mut generations = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if generations.young.contains(token) {
            return true;
        }
        let is_old = generations.old.contains(token);
        if is_old {
            generations.add(*token);
        }
        is_old
    }

    pub(super) fn add(&self, token: TokenDigest) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(token);
    }
}

impl Generations {
    fn add(&mut self, token: TokenDigest) {
        if self.young.len() == GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let memory = GoodSignatures::default();
        let [used, unused] = ["used", "unused"].map(digest);
        memory.add(used);
        memory.add(unused);
        for number in 0..10 * GENERATION_MAX {
            memory.add(digest(&number.to_string()));
            assert!(memory.knows(&used), "forgotten after {number} others");
        }
        assert!(!memory.knows(&unused));
        assert!(!memory.knows(&digest("never seen")));
        let kept = memory.0.lock().unwrap();
        assert!(kept.young.len() <= GENERATION_MAX && kept.old.len() <= GENERATION_MAX);
    }
}
