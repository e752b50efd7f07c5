//! One copy of what many objects have in common: the pods of an owner come from one template. Knows no kind.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};

use super::lock;

/// The last value of each owner, which the next is compared with.
#[derive(Debug)]
pub struct Alike<T>(Mutex<HashMap<String, Weak<T>>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Alike<T> {
    /// The copy that the owner's last object has, if it is the same. Without an owner, a copy of its own.
    pub fn share(&self, owner: Option<&str>, value: T) -> Arc<T> {
        let Some(owner) = owner else { return Arc::new(value) };
        let mut last = lock(&self.0);
        if let Some(same) = last.get(owner).and_then(Weak::upgrade).filter(|known| **known == value) {
            return same;
        }
        let fresh = Arc::new(value);
        if last.len() == last.capacity() && !last.contains_key(owner) {
            // Before it grows: owners that have no objects any more go. The room made is twice that of the rest: else
            // each new owner would walk through all.
            last.retain(|_, known| known.strong_count() > 0);
            let live = last.len();
            last.reserve(live + 1);
        }
        last.insert(owner.to_owned(), Arc::downgrade(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_there_once() {
        let alike = Alike::default();
        let first = alike.share(Some("a"), 1);
        assert!(Arc::ptr_eq(&first, &alike.share(Some("a"), 1)));
        assert!(!Arc::ptr_eq(&first, &alike.share(Some("b"), 1)), "another owner's");
        assert!(!Arc::ptr_eq(&alike.share(None, 1), &alike.share(None, 1)));
        let newer = alike.share(Some("a"), 2);
        assert!(Arc::ptr_eq(&newer, &alike.share(Some("a"), 2)));
        drop((first, newer));
        (0..100).for_each(|owner| drop(alike.share(Some(&owner.to_string()), owner)));
        assert!(lock(&alike.0).len() < 20, "owners without objects are forgotten");
    }
}
