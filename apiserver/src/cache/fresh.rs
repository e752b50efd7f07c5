//! What this server is about to write, indexed from the object at hand: reading labels and fields out of the bytes once
//! more, in the one task that feeds the cache, costs several times as much.
//!
//! A value is known again by where its bytes lie, so only a store whose watch hands on the very bytes of a commit
//! ([`crate::store::Store::hands_on_bytes`]) finds any here. What is not found is indexed by reading: nothing depends on it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use super::item::Indexed;

/// More than commits are under way at a time.
const COUNT_MAX: usize = 256;
/// Of a larger value the room matters, for commits that fail leave theirs behind.
const BYTES_MAX: usize = 16 << 10;

/// The newest last.
#[derive(Debug, Default)]
pub(super) struct Fresh(Mutex<VecDeque<(Bytes, Indexed)>>);

impl Fresh {
    pub(super) fn takes(value: &Bytes) -> bool {
        value.len() <= BYTES_MAX
    }

    /// Holds on to the value until it is taken, so that no other one comes to lie there.
    pub(super) fn put(&self, value: Bytes, indexed: Indexed) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= COUNT_MAX {
            known.pop_front();
        }
        known.push_back((value, indexed));
    }

    pub(super) fn take(&self, value: &Bytes) -> Option<Indexed> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(other, _): &(Bytes, Indexed)| other.as_ptr() == value.as_ptr() && other.len() == value.len();
        let at = known.iter().position(is_it)?;
        known.remove(at).map(|(_, indexed)| indexed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Fields, Labels};

    fn indexed(name: &str) -> Indexed {
        Indexed { body: Bytes::new(), labels: Labels::default(), fields: [name].into_iter().collect::<Fields>() }
    }

    #[test]
    fn a_value_is_found_by_its_place_and_once() {
        let fresh = Fresh::default();
        let (a, b) = (Bytes::from(b"same".to_vec()), Bytes::from(b"same".to_vec()));
        fresh.put(a.clone(), indexed("a"));
        fresh.put(b.clone(), indexed("b"));
        let found = |value: &Bytes| fresh.take(value).and_then(|found| found.fields.get(0).map(str::to_owned));
        assert_eq!(found(&Bytes::from(b"same".to_vec())), None);
        assert_eq!(found(&b.slice(..3)), None);
        assert_eq!((found(&b).as_deref(), found(&b), found(&a).as_deref()), (Some("b"), None, Some("a")));
    }

    #[test]
    fn what_nobody_takes_goes() {
        let fresh = Fresh::default();
        let first = Bytes::from(vec![0; 8]);
        fresh.put(first.clone(), indexed("first"));
        for _ in 0..COUNT_MAX {
            fresh.put(Bytes::from(vec![0; 8]), indexed("other"));
        }
        assert!(fresh.take(&first).is_none());
        assert!(!Fresh::takes(&Bytes::from(vec![0; BYTES_MAX + 1])));
    }
}
