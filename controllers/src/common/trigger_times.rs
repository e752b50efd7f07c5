//! Since when endpoints that are written now are out of date: what changed first since they were looked at last.
//!
//! Proxies measure by it how long a change takes to reach them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use component::key::Key;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod::Pod;
use super::pods::condition;

pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// What each Service was made of when it was looked at last.
#[derive(Default)]
pub(crate) struct TriggerTimes(Mutex<HashMap<Key, Seen>>);

#[derive(Default)]
struct Seen {
    created: Option<Timestamp>,
    /// When each pod became ready, or unready.
    pods: BTreeMap<String, Timestamp>,
}

impl TriggerTimes {
    /// The first change since the last call; of a Service that is new, when it was made.
    pub(crate) fn look(&self, service: &Service, pods: &[Arc<Pod>]) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
        let time = |pod: &Pod| condition(pod, "Ready")?.last_transition_time.as_ref().map(|t| t.0);
        let named = |pod: &Arc<Pod>| Some((pod.metadata.name.clone().unwrap_or_default(), time(pod)?));
        let now = Seen { created, pods: pods.iter().filter_map(named).collect() };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = all.entry(Key::of(service));
        let is_new = matches!(entry, std::collections::hash_map::Entry::Vacant(_));
        let seen = entry.or_default();
        let changed = now.pods.iter().filter(|(name, time)| seen.pods.get(*name).is_none_or(|before| *time > before));
        let first = changed.map(|(_, time)| *time).chain(created.filter(|_| created > seen.created)).min();
        *seen = now;
        if is_new { created } else { first }
    }

    pub(crate) fn forget(&self, service: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(service);
    }
}

/// Writes the time into what is written anyway; no time takes an older one away.
pub(crate) fn annotate(meta: &mut ObjectMeta, time: Option<Timestamp>) {
    let mut annotations = meta.annotations.take().unwrap_or_default();
    match time {
        Some(time) => drop(annotations.insert(TRIGGER_TIME.into(), time.to_string())),
        None => drop(annotations.remove(TRIGGER_TIME)),
    }
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_change_counts() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap().to_string();
        let service = |created: i64| -> Service {
            serde_json::from_value(
                json!({"metadata": {"name": "s", "namespace": "n", "creationTimestamp": at(created)}}),
            )
            .unwrap()
        };
        let pods = |times: &[(&str, i64)]| -> Vec<Arc<Pod>> {
            let pod = |(name, time): &(&str, i64)| {
                let conditions = match time {
                    0 => json!([]),
                    time => json!([{"type": "Ready", "status": "False", "lastTransitionTime": at(*time)}]),
                };
                let pod = json!({"metadata": {"name": name, "namespace": "n"}, "status": {"conditions": conditions}});
                Arc::new(serde_json::from_value(pod).unwrap())
            };
            times.iter().map(pod).collect()
        };
        let times = TriggerTimes::default();
        type Row<'a> = (i64, &'a [(&'a str, i64)], Option<i64>);
        let rows: [Row; 8] = [
            (100, &[("a", 150)], Some(100)),
            (100, &[("a", 150)], None),
            (100, &[("a", 170), ("b", 0)], Some(170)),
            (100, &[("a", 190), ("b", 180)], Some(180)),
            (100, &[("b", 180)], None),
            (100, &[("a", 120), ("b", 180)], Some(120)),
            (100, &[("a", 110), ("b", 180)], None),
            (200, &[("a", 210), ("b", 180)], Some(200)),
        ];
        for (created, of, want) in rows {
            let got = times.look(&service(created), &pods(of));
            assert_eq!(got.map(|t| t.as_second()), want, "{created} {of:?}");
        }
        times.forget(&Key::new("n", "s"));
        assert_eq!(times.look(&service(200), &pods(&[("a", 300)])).map(|t| t.as_second()), Some(200));
    }
}
