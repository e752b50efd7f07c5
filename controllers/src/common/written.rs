//! What a controller has written and not yet seen come back through its watch: the objects by name, for each owner's key.
//!
//! A conflict protects one object from a decision by an old copy of it. It does not protect two objects whose sum matters:
//! of them one may be new in the cache and the other old. So whoever decides by several asks [`Written::is_seen`] first.
//! All of it may be lost at any time: a controller that starts reads a list as new as all writes before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use component::key::Key;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// After this long an event is taken to be lost, or the object to be gone, and the cache is believed.
pub(crate) const EXPIRY: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(crate) struct Written {
    of: Mutex<HashMap<Key, BTreeMap<String, Note>>>,
}

enum Note {
    /// The object's UID and the version that the write made, or that a later look found.
    At { uid: String, version: u64, since: Timestamp },
    /// A write without a clear answer: it may have happened or not.
    Doubtful,
}

impl Written {
    /// The object as the server answered it.
    pub(crate) fn wrote(&self, owner: &Key, object: &ObjectMeta, now: Timestamp) {
        if let (Some(name), Some(uid), Some(version)) = (&object.name, &object.uid, version(object)) {
            let note = Note::At { uid: uid.clone(), version, since: now };
            self.lock().entry(owner.clone()).or_default().insert(name.clone(), note);
        }
    }

    /// Nobody answered, or not clearly.
    pub(crate) fn doubt(&self, owner: &Key, name: &str) {
        self.lock().entry(owner.clone()).or_default().insert(name.to_owned(), Note::Doubtful);
    }

    /// The objects that have to be looked up at the server, each to be told by [`Written::wrote`] or [`Written::gone`].
    pub(crate) fn doubtful(&self, owner: &Key) -> Vec<String> {
        let lock = self.lock();
        let notes = lock.get(owner).into_iter().flatten();
        notes.filter(|(_, note)| matches!(note, Note::Doubtful)).map(|(name, _)| name.clone()).collect()
    }

    /// The object was seen to go, or is known not to be there.
    pub(crate) fn gone(&self, owner: &Key, name: &str) {
        if let Some(notes) = self.lock().get_mut(owner) {
            notes.remove(name);
        }
    }

    pub(crate) fn forget(&self, owner: &Key) {
        self.lock().remove(owner);
    }

    /// Whether the cache shows all that was written; `cached` is its copy of an object. What it shows is forgotten.
    pub(crate) fn is_seen(&self, owner: &Key, cached: impl Fn(&str) -> Option<ObjectMeta>, now: Timestamp) -> bool {
        let mut lock = self.lock();
        let Some(notes) = lock.get_mut(owner) else { return true };
        notes.retain(|name, note| match note {
            Note::Doubtful => true,
            Note::At { since, .. } if now.duration_since(*since).unsigned_abs() > EXPIRY => false,
            Note::At { uid, version: written, .. } => match cached(name) {
                // Another of the same name came after it.
                Some(object) if object.uid.as_ref() != Some(uid) => false,
                Some(object) => version(&object).is_some_and(|version| version < *written),
                None => true,
            },
        });
        if notes.is_empty() {
            lock.remove(owner);
            return true;
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, BTreeMap<String, Note>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Versions of one resource can be compared as numbers (API concepts, "Resource versions").
pub(crate) fn version(object: &ObjectMeta) -> Option<u64> {
    object.resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, version: u64) -> ObjectMeta {
        ObjectMeta {
            name: Some("rs".into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_cache_is_behind_until_it_shows_what_was_written() {
        let (written, key) = (Written::default(), Key::new("n", "web"));
        let now = Timestamp::from_second(1_000_000).unwrap();
        let is_seen = |cached: Option<ObjectMeta>| written.is_seen(&key, |_| cached.clone(), now);
        assert!(is_seen(None), "nothing was written");
        written.wrote(&key, &object("a", 7), now);
        assert!(!is_seen(None), "not there yet");
        assert!(!is_seen(Some(object("a", 6))));
        assert!(is_seen(Some(object("a", 7))));
        assert!(is_seen(None), "what was seen once is forgotten");
        written.wrote(&key, &object("a", 7), now);
        assert!(is_seen(Some(object("b", 5))), "its successor is seen");
        written.wrote(&key, &object("a", 7), now);
        written.gone(&key, "rs");
        assert!(is_seen(None));
        written.wrote(&key, &object("a", 7), now);
        let late = Timestamp::from_second(1_000_301).unwrap();
        assert!(written.is_seen(&key, |_| None, late), "a lost event is not waited for for ever");
    }

    #[test]
    fn what_nobody_answered_has_to_be_looked_up() {
        let (written, key) = (Written::default(), Key::new("n", "web"));
        let now = Timestamp::from_second(1_000_000).unwrap();
        written.doubt(&key, "rs");
        assert!(!written.is_seen(&key, |_| Some(object("a", 7)), now));
        assert_eq!(written.doubtful(&key), ["rs"]);
        written.wrote(&key, &object("a", 8), now);
        assert!(written.doubtful(&key).is_empty() && !written.is_seen(&key, |_| Some(object("a", 7)), now));
        written.doubt(&key, "rs");
        written.gone(&key, "rs");
        assert!(written.is_seen(&key, |_| None, now));
    }
}
