//! Which of many similar events are told, and how. Pure: the time is an argument.
//!
//! The rules are client-go's `EventCorrelator`: at most 25 events at once from one source about one object, then one in
//! five minutes; more than ten different messages of one reason within ten minutes become one event; the same event
//! again only counts up.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::Hash,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::core::v1::Event, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::{Value, json};

const CACHE_LENGTH: usize = 4096;
const SPAM_BURST: f64 = 25.0;
const SPAM_REFILL_PER_SECOND: f64 = 1.0 / 300.0;
const AGGREGATE_MESSAGES: usize = 10;
const AGGREGATE_INTERVAL: SignedDuration = SignedDuration::from_mins(10);

/// What identifies an event, part by part.
type Id = Vec<String>;

/// What to do with an event.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Too many of them.
    Drop,
    Create(Box<Event>, Id),
    /// It was told before: patch that one, or create `event` if it is gone.
    Patch {
        event: Box<Event>,
        patch: Value,
        id: Id,
    },
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

struct Aggregate {
    messages: HashSet<String>,
    last: Timestamp,
}

/// The last telling of an event, as the server has it.
#[derive(Clone)]
struct Told {
    count: i32,
    first: Option<Time>,
    name: String,
    resource_version: String,
}

pub(super) struct Correlator {
    buckets: Recent<Id, Bucket>,
    aggregates: Recent<Id, Aggregate>,
    told: Recent<Id, Told>,
}

impl Correlator {
    pub(super) fn new() -> Self {
        Self { buckets: Recent::new(), aggregates: Recent::new(), told: Recent::new() }
    }

    pub(super) fn correlate(&mut self, event: Event, now: Timestamp) -> Verdict {
        let subject = subject(&event);
        let (mut event, id) = self.aggregate(event, &subject, now);
        let verdict = match self.told.get(&id).cloned() {
            Some(told) if !told.name.is_empty() => {
                event.metadata.name = Some(told.name);
                event.metadata.resource_version = Some(told.resource_version);
                event.first_timestamp = told.first;
                event.count = Some(told.count.saturating_add(1));
                let patch = json!({
                    "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message,
                });
                Verdict::Patch { event: Box::new(event.clone()), patch, id: id.clone() }
            }
            _ => Verdict::Create(Box::new(event.clone()), id.clone()),
        };
        self.told.insert(id, Told::of(&event));
        if self.is_spam(subject, now) { Verdict::Drop } else { verdict }
    }

    /// Takes note of an event as the server answered it.
    pub(super) fn remember(&mut self, id: Id, event: &Event) {
        self.told.insert(id, Told::of(event));
    }

    fn is_spam(&mut self, subject: Id, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(subject, || Bucket { tokens: SPAM_BURST, filled: now });
        let elapsed = now.duration_since(bucket.filled).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + elapsed * SPAM_REFILL_PER_SECOND).min(SPAM_BURST);
        bucket.filled = now;
        let spam = bucket.tokens < 1.0;
        bucket.tokens -= f64::from(!spam);
        spam
    }

    fn aggregate(&mut self, event: Event, subject: &Id, now: Timestamp) -> (Event, Id) {
        let message = event.message.clone().unwrap_or_default();
        let reason = event.reason.clone().unwrap_or_default();
        let mut group = subject.clone();
        group.push(reason.clone());
        let fresh = || Aggregate { messages: HashSet::new(), last: now };
        let known = self.aggregates.entry(group.clone(), fresh);
        if now.duration_since(known.last) > AGGREGATE_INTERVAL {
            known.messages.clear();
        }
        known.last = now;
        if known.messages.len() < AGGREGATE_MESSAGES {
            known.messages.insert(message.clone());
        }
        if known.messages.len() < AGGREGATE_MESSAGES {
            let field_path = event.involved_object.field_path.clone().unwrap_or_default();
            group.extend([field_path, message]);
            return (event, group);
        }
        // The set stays one short of full, so that every further message is new again.
        if let Some(any) = known.messages.iter().next().cloned() {
            known.messages.remove(&any);
        }
        (combined(event, &message, now), group)
    }
}

impl Told {
    fn of(event: &Event) -> Self {
        Self {
            count: event.count.unwrap_or(1),
            first: event.first_timestamp.clone(),
            name: event.metadata.name.clone().unwrap_or_default(),
            resource_version: event.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

fn combined(event: Event, message: &str, now: Timestamp) -> Event {
    Event {
        message: Some(format!("(combined from similar events): {message}")),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        ..event
    }
}

/// Who tells about what, and whether it is trouble.
fn subject(event: &Event) -> Id {
    let (source, object) = (event.source.clone().unwrap_or_default(), event.involved_object.clone());
    let parts = [
        source.component,
        source.host,
        object.kind,
        object.namespace,
        object.name,
        object.uid,
        object.api_version,
        event.type_.clone(),
    ];
    parts.into_iter().map(Option::unwrap_or_default).collect()
}

/// A map that forgets the entry that came first when it is full.
struct Recent<K, V> {
    map: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn new() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
            if self.order.len() > CACHE_LENGTH
                && let Some(oldest) = self.order.pop_front()
            {
                self.map.remove(&oldest);
            }
        }
    }

    fn entry(&mut self, key: K, fresh: impl FnOnce() -> V) -> &mut V {
        if !self.map.contains_key(&key) {
            self.insert(key.clone(), fresh());
        }
        self.map.entry(key).or_insert_with(|| unreachable!("inserted above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn event(number: usize, reason: &str, message: &str) -> Event {
        let event = json!({
            "metadata": {"name": format!("a.{number}"), "namespace": "ns"},
            "involvedObject": {"kind": "Pod", "namespace": "ns", "name": "a"},
            "reason": reason, "message": message, "type": "Normal", "count": 1, "source": {"component": "c"},
        });
        serde_json::from_value(event).unwrap()
    }

    /// `create`, `patch N` with the count, or `drop`.
    fn told(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Drop => "drop".to_owned(),
            Verdict::Create(event, _) if event.message.as_deref().unwrap().starts_with("(combined") => {
                "combine".to_owned()
            }
            Verdict::Create(..) => "create".to_owned(),
            Verdict::Patch { patch, .. } => format!("patch {}", patch["count"]),
        }
    }

    #[test]
    fn the_same_again_counts_up_under_its_first_name() {
        let mut correlator = Correlator::new();
        let first = correlator.correlate(event(1, "R", "m"), at(0));
        let again = correlator.correlate(event(2, "R", "m"), at(1));
        assert_eq!((told(&first), told(&again)), ("create".to_owned(), "patch 2".to_owned()));
        let Verdict::Patch { event: again, .. } = again else { unreachable!() };
        assert_eq!(again.metadata.name.as_deref(), Some("a.1"));
        assert_eq!(told(&correlator.correlate(event(3, "R", "other"), at(2))), "create");
    }

    #[test]
    fn one_subject_has_a_burst_and_then_one_in_five_minutes() {
        let mut correlator = Correlator::new();
        let mut tell =
            |number, seconds| told(&correlator.correlate(event(number, &format!("R{number}"), "m"), at(seconds)));
        assert!((0..25).all(|number| tell(number, 0) == "create"));
        assert_eq!(tell(25, 0), "drop");
        assert_eq!(tell(26, 299), "drop");
        assert_eq!(tell(27, 301), "create");
        assert_eq!(tell(28, 302), "drop");
    }

    #[test]
    fn many_messages_combine_until_ten_quiet_minutes_have_passed() {
        let mut correlator = Correlator::new();
        let mut tell = |number: usize, seconds| {
            told(&correlator.correlate(event(number, "R", &format!("m{number}")), at(seconds)))
        };
        assert!((0..9).all(|number| tell(number, 0) == "create"));
        assert_eq!((tell(9, 1), tell(10, 2), tell(11, 3)), ("combine".into(), "patch 2".into(), "patch 3".into()));
        assert_eq!(tell(12, 3 + 601), "create");
    }

    #[test]
    fn what_was_told_long_ago_is_forgotten_first() {
        let mut recent = Recent::new();
        (0..=CACHE_LENGTH).for_each(|number| recent.insert(number, number));
        assert!(recent.get(&0).is_none() && recent.get(&1).is_some() && recent.map.len() == CACHE_LENGTH);
    }
}
