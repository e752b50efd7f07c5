//! `EventRateLimit`: how many Events a second are taken, of all, of a namespace, a user, or a source and its object
//! (`eventratelimit.admission.k8s.io/v1alpha1` Configuration). Without a configuration it does nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde::Deserialize;
use serde_json::Value;

use super::configuration::Configuration;
use super::{Operation, Plugin, Request};

const TYPES: [&str; 4] = ["Namespace", "Server", "SourceAndObject", "User"];
const CACHE_SIZE_DEFAULT: usize = 4096;

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    #[serde(rename = "type", default)]
    kind: String,
    /// Events a second.
    #[serde(default)]
    qps: i32,
    #[serde(default)]
    burst: i32,
    /// Buckets kept; 0 stands for the default.
    #[serde(default)]
    cache_size: i32,
}

pub struct EventRateLimit {
    limits: Vec<(Limit, Mutex<HashMap<String, Bucket>>)>,
}

impl EventRateLimit {
    pub fn configured(configuration: &Configuration) -> Result<Self, String> {
        let versions = ["eventratelimit.admission.k8s.io/v1alpha1"];
        let file: Option<File> = configuration.of("EventRateLimit", "Configuration", &versions)?;
        let Some(File { limits }) = file else { return Ok(Self { limits: Vec::new() }) };
        let wrong: Vec<String> = check(&limits).iter().map(ToString::to_string).collect();
        match wrong.is_empty() {
            true => Ok(Self { limits: limits.into_iter().map(|limit| (limit, Mutex::default())).collect() }),
            false => Err(format!("configuration of admission plugin EventRateLimit: {}", wrong.join(", "))),
        }
    }
}

fn check(limits: &[Limit]) -> ErrorList {
    let path = Path::new("limits");
    let mut errors = ErrorList::new();
    if limits.is_empty() {
        errors.push(Error::invalid(&path, Value::Array(Vec::new()), "must not be empty"));
    }
    for (position, limit) in limits.iter().enumerate() {
        let at = path.index(position);
        if !TYPES.contains(&limit.kind.as_str()) {
            errors.push(Error::not_supported(&at.child("type"), limit.kind.as_str(), &TYPES));
        }
        for (field, number) in [("burst", limit.burst), ("qps", limit.qps)] {
            if number <= 0 {
                errors.push(Error::invalid(&at.child(field), number, "must be positive"));
            }
        }
        if limit.kind != "Server" && limit.cache_size < 0 {
            errors.push(Error::invalid(&at.child("cacheSize"), limit.cache_size, "must not be negative"));
        }
    }
    errors
}

#[async_trait]
impl Plugin for EventRateLimit {
    async fn validate(&self, request: &Request<'_>, event: &Value) -> Result<(), Status> {
        let row = &request.served().row;
        let is_event = row.plural == "events" && matches!(row.group.as_ref(), "" | "events.k8s.io");
        if !is_event || request.dry_run || !matches!(request.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let now = request.api.clock.now();
        let mut reached = Vec::new();
        for (limit, buckets) in &self.limits {
            let key = key(&limit.kind, &request.user().name, request.namespace(), event);
            let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
            if !take(&mut buckets, limit, &key, now) {
                reached.push(format!("limit reached on type {} for key {key}", limit.kind));
            }
        }
        match reached.as_slice() {
            [] => Ok(()),
            [one] => Err(Status::too_many_requests(format!("Too many requests: {one}"), 0)),
            many => Err(Status::too_many_requests(format!("Too many requests: [{}]", many.join(", ")), 0)),
        }
    }
}

/// Whose bucket an Event is taken from.
fn key(kind: &str, user: &str, namespace: &str, event: &Value) -> String {
    match kind {
        "Namespace" => namespace.to_owned(),
        "User" => user.to_owned(),
        "SourceAndObject" => {
            let fields = ["source.component", "source.host"];
            let of_object = ["kind", "namespace", "name", "uid", "apiVersion"];
            let source = fields.iter().map(|field| meta::text(event, field));
            let object = of_object.iter().map(|field| meta::text(&event["involvedObject"], field));
            source.chain(object).collect::<Vec<_>>().concat()
        }
        _ => String::new(),
    }
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    as_of: Timestamp,
}

fn take(buckets: &mut HashMap<String, Bucket>, limit: &Limit, key: &str, now: Timestamp) -> bool {
    let burst = f64::from(limit.burst);
    let kept = usize::try_from(limit.cache_size).ok().filter(|size| *size > 0).unwrap_or(CACHE_SIZE_DEFAULT);
    if !buckets.contains_key(key) && buckets.len() >= kept {
        // The one that was asked least recently is the fullest by now.
        let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.as_of).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            buckets.remove(&oldest);
        }
    }
    let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: burst, as_of: now });
    let passed = now.duration_since(bucket.as_of).as_secs_f64().max(0.0);
    bucket.tokens = (bucket.tokens + passed * f64::from(limit.qps)).min(burst);
    bucket.as_of = now;
    let has_one = bucket.tokens >= 1.0;
    if has_one {
        bucket.tokens -= 1.0;
    }
    has_one
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limit(kind: &str) -> Limit {
        Limit { kind: kind.to_owned(), qps: 2, burst: 3, cache_size: 2 }
    }

    #[test]
    fn a_bucket_is_filled_again_and_belongs_to_its_key() {
        let limit = limit("Namespace");
        let mut buckets = HashMap::new();
        let at = |second: i64| Timestamp::from_second(1000 + second).expect("a time");
        let taken = |buckets: &mut HashMap<_, _>, key, second| {
            (0..5).filter(|_| take(buckets, &limit, key, at(second))).count()
        };
        assert_eq!(taken(&mut buckets, "a", 0), 3);
        assert_eq!(taken(&mut buckets, "b", 0), 3);
        assert_eq!(taken(&mut buckets, "a", 1), 2);
        assert_eq!(taken(&mut buckets, "c", 2), 3);
        // "b" had to go for "c".
        assert_eq!((buckets.len(), taken(&mut buckets, "b", 2)), (2, 3));
    }

    #[test]
    fn keys_are_of_their_type() {
        let event = json!({"source": {"component": "c"}, "involvedObject": {"kind": "Pod", "name": "p"}});
        assert_eq!(key("Server", "u", "n", &event), "");
        assert_eq!(key("User", "u", "n", &event), "u");
        assert_eq!(key("SourceAndObject", "u", "n", &event), "cPodp");
    }

    #[test]
    fn limits_are_checked() {
        let told = |limits: &[Limit]| check(limits).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(&[limit("Server")]), [""; 0]);
        assert_eq!(told(&[]), ["limits: Invalid value: []: must not be empty"]);
        let wrong = Limit { kind: "X".into(), qps: 0, burst: -1, cache_size: -1 };
        assert_eq!(told(&[wrong]).len(), 4);
    }
}
