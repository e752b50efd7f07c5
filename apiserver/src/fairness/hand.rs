//! Shuffle sharding: a flow is dealt a hand of queues, the same one every time.
//!
//! Two flows may share a queue, hardly ever a whole hand; so a flow that fills its hand leaves others some queue.

use sha2::{Digest, Sha256};

/// Tells a flow: requests of one schema that are alike to its distinguisher.
pub fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let digest = Sha256::new().chain_update(schema).chain_update([0]).chain_update(distinguisher).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// `size` different numbers below `deck`, drawn from the hash: each card takes its share of the hash's bits.
pub fn deal(hash: u64, deck: usize, size: usize) -> Vec<usize> {
    let mut rest = hash;
    let mut hand: Vec<usize> = Vec::with_capacity(size);
    for drawn in 0..size.min(deck) {
        let left = (deck - drawn) as u64;
        let mut card = (rest % left) as usize;
        rest /= left;
        // The card counts among those that are still in the deck.
        let mut taken = hand.clone();
        taken.sort_unstable();
        for earlier in taken {
            if card >= earlier {
                card += 1;
            }
        }
        hand.push(card);
    }
    hand
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_has_different_cards_and_stays_the_same() {
        for hash in (0..1000).map(|seed: u64| flow_hash("s", &seed.to_string())) {
            let hand = deal(hash, 16, 4);
            let mut sorted = hand.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!((hand.len(), sorted.len()), (4, 4), "{hand:?}");
            assert!(hand.iter().all(|card| *card < 16));
            assert_eq!(hand, deal(hash, 16, 4));
        }
        assert_eq!(deal(7, 3, 8).len(), 3);
    }

    #[test]
    fn hands_differ() {
        let hands: std::collections::HashSet<Vec<usize>> =
            (0..200).map(|seed: u64| deal(flow_hash("s", &seed.to_string()), 128, 6)).collect();
        assert!(hands.len() > 195, "{}", hands.len());
    }
}
