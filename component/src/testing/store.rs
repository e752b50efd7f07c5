//! Objects, revisions and watchers.

use std::collections::BTreeMap;

use futures::channel::mpsc;
use serde_json::{Value, json};

use super::select;

/// Where an object is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Place {
    /// Of an object that says its kind.
    pub(super) fn of(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        assert!(!kind.is_empty(), "an object without kind: {object}");
        let group = version.split_once('/').map(|(group, _)| group.to_owned()).unwrap_or_default();
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        Self { group, resource: plural(&kind), namespace, name }
    }

    pub(super) fn of_kind<K: kube::Resource<DynamicType = ()>>(namespace: &str, name: &str) -> Self {
        Self {
            group: K::group(&()).into_owned(),
            resource: K::plural(&()).into_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// Upstream's rule (`meta.UnsafeGuessKindToResource`) with its one exception.
fn plural(kind: &str) -> String {
    let singular = kind.to_lowercase();
    if singular == "endpoints" {
        singular
    } else if singular.ends_with('s') || singular.ends_with("ch") {
        format!("{singular}es")
    } else if let Some(stem) = singular.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o'])) {
        format!("{stem}ies")
    } else {
        format!("{singular}s")
    }
}

/// What a watcher wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) namespace: String,
    pub(super) labels: String,
    pub(super) fields: String,
}

impl Filter {
    fn covers(&self, place: &Place) -> bool {
        self.group == place.group
            && self.resource == place.resource
            && (self.namespace.is_empty() || self.namespace == place.namespace)
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        select::matches(object, &self.labels, &self.fields)
    }
}

/// A change: the object before and after it.
#[derive(Clone)]
struct Change {
    revision: u64,
    place: Place,
    old: Option<Value>,
    new: Option<Value>,
}

struct Watcher {
    filter: Filter,
    events: mpsc::UnboundedSender<Value>,
}

#[derive(Default)]
pub(super) struct Store {
    objects: BTreeMap<Place, Value>,
    pub(super) revision: u64,
    uids: u64,
    history: Vec<Change>,
    compacted: u64,
    watchers: Vec<Watcher>,
}

impl Store {
    pub(super) fn get(&self, place: &Place) -> Option<Value> {
        self.objects.get(place).cloned()
    }

    pub(super) fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Value> {
        let filter =
            Filter { group: group.into(), resource: resource.into(), namespace: namespace.into(), ..Filter::default() };
        self.objects.iter().filter(|(place, _)| filter.covers(place)).map(|(_, object)| object.clone()).collect()
    }

    /// Stores an object under the next revision; a new one gets its UID and time.
    pub(super) fn put(&mut self, place: Place, mut object: Value) -> Value {
        self.revision += 1;
        let old = self.objects.get(&place).cloned();
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(self.revision.to_string());
        match &old {
            Some(old) => {
                for kept in ["uid", "creationTimestamp", "deletionTimestamp"] {
                    if let Some(value) = old["metadata"].get(kept) {
                        meta[kept] = value.clone();
                    }
                }
            }
            None => {
                self.uids += 1;
                if meta["uid"].is_null() {
                    meta["uid"] = json!(format!("00000000-0000-0000-0000-{:012x}", self.uids));
                }
                if meta["generation"].is_null() {
                    meta["generation"] = json!(1);
                }
                if meta["creationTimestamp"].is_null() {
                    meta["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
                }
            }
        }
        if object["metadata"]["deletionTimestamp"].is_string() && finalizers(&object) == 0 {
            return self.remove(&place).unwrap_or(object);
        }
        self.objects.insert(place.clone(), object.clone());
        self.tell(Change { revision: self.revision, place, old, new: Some(object.clone()) });
        object
    }

    pub(super) fn remove(&mut self, place: &Place) -> Option<Value> {
        let mut old = self.objects.remove(place)?;
        self.revision += 1;
        old["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.tell(Change { revision: self.revision, place: place.clone(), old: Some(old.clone()), new: None });
        Some(old)
    }

    /// Deletes as the API does: an object with finalizers, and a pod with a grace period, is only marked.
    pub(super) fn delete(&mut self, place: &Place, grace_period_seconds: Option<i64>) -> Option<Value> {
        let mut object = self.get(place)?;
        let bound_pod = place.resource == "pods" && object["spec"]["nodeName"].is_string();
        let waits = bound_pod && grace_period_seconds != Some(0);
        if finalizers(&object) == 0 && !waits {
            return self.remove(place);
        }
        if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:01:00Z");
            if waits {
                object["metadata"]["deletionGracePeriodSeconds"] = json!(grace_period_seconds.unwrap_or(30));
            }
            self.revision += 1;
            object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
            let old = self.objects.insert(place.clone(), object.clone());
            self.tell(Change { revision: self.revision, place: place.clone(), old, new: Some(object.clone()) });
        }
        Some(object)
    }

    /// Events after `since`; `None` when they are forgotten.
    pub(super) fn watch(&mut self, filter: Filter, since: u64) -> Option<mpsc::UnboundedReceiver<Value>> {
        if since < self.compacted {
            return None;
        }
        let (events, receiver) = mpsc::unbounded();
        let later = self.history.iter().filter(|change| change.revision > since);
        later.filter_map(|change| event(&filter, change)).for_each(|event| drop(events.unbounded_send(event)));
        self.watchers.push(Watcher { filter, events });
        Some(receiver)
    }

    pub(super) fn break_watches(&mut self) {
        self.watchers.clear();
    }

    pub(super) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    fn tell(&mut self, change: Change) {
        self.watchers.retain(|watcher| match event(&watcher.filter, &change) {
            Some(event) => watcher.events.unbounded_send(event).is_ok(),
            None => !watcher.events.is_closed(),
        });
        self.history.push(change);
    }
}

/// What a watcher learns: an object that enters its selection was added, one that leaves it was deleted.
fn event(filter: &Filter, change: &Change) -> Option<Value> {
    let seen = |object: &Option<Value>| object.as_ref().filter(|object| filter.matches(object)).cloned();
    if !filter.covers(&change.place) {
        return None;
    }
    let (kind, object) = match (seen(&change.old), seen(&change.new)) {
        (None, None) => return None,
        (None, Some(new)) => ("ADDED", new),
        (Some(_), Some(new)) => ("MODIFIED", new),
        (Some(mut old), None) => {
            old["metadata"]["resourceVersion"] = json!(change.revision.to_string());
            ("DELETED", old)
        }
    };
    Some(json!({"type": kind, "object": object}))
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}
