//! A writer: the only one who writes its objects, one write at a time, each bound to the revision that it read.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use std::sync::atomic::Ordering;

use super::{LABEL, PAUSE, SERIAL, Shared, patiently, version};
use crate::chaos::record::{Outcome, Records, Refusal, Seen, Version, Write};

/// Objects of one writer.
const OBJECTS: u64 = 12;
/// One write in so many deletes.
const DELETE_EVERY: u64 = 6;
/// Between two writes.
const PACE: Duration = Duration::from_millis(10);
/// Bytes of a large object's ballast: a store's disk is to fill.
const BALLAST_MAX: u64 = 8 << 10;

struct Writer {
    shared: Shared,
    /// What each object holds; one that is not in here has to be read.
    known: BTreeMap<String, Option<Version>>,
    objects: BTreeMap<String, Vec<Seen>>,
}

pub(super) async fn run(shared: Shared, number: usize) -> Records {
    let mut writer = Writer::new(shared);
    while !writer.shared.is_ending() {
        let name = format!("writer-{number}-{}", writer.shared.random.below(OBJECTS));
        if writer.shared.random.below(DELETE_EVERY) == 0 {
            writer.delete(&name).await;
        } else {
            writer.put(&name).await;
        }
        writer.shared.pause(PACE).await;
    }
    writer.records()
}

/// The last write of a run, tried until it is acknowledged; its revision.
pub(super) async fn end(shared: Shared) -> (u64, Records) {
    let mut writer = Writer::new(shared);
    loop {
        writer.put("end").await;
        if let Some(Some(version)) = writer.known.get("end") {
            return (version.revision, writer.records());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Writer {
    fn new(shared: Shared) -> Self {
        Self { shared, known: BTreeMap::new(), objects: BTreeMap::new() }
    }

    fn records(self) -> Records {
        Records { objects: self.objects, ..Records::default() }
    }

    fn saw(&mut self, name: &str, seen: Seen) {
        self.objects.entry(name.to_owned()).or_default().push(seen);
    }

    /// What the object holds, read when it is not known; `None` when it cannot be read now.
    async fn read(&mut self, name: &str) -> Option<Option<Version>> {
        // Nobody else writes these names, and before the first write nothing is there.
        if !self.objects.contains_key(name) {
            return Some(None);
        }
        if let Some(known) = self.known.get(name) {
            return Some(*known);
        }
        let answer = patiently(self.shared.objects().get_opt(name)).await.ok()?.ok()?;
        let found = answer.as_ref().and_then(version);
        self.saw(name, Seen::Read { found });
        self.known.insert(name.to_owned(), found);
        Some(found)
    }

    async fn put(&mut self, name: &str) {
        let Some(before) = self.read(name).await else { return };
        let serial = self.shared.serials.fetch_add(1, Ordering::SeqCst) + 1;
        let object = self.object(name, serial, before);
        let api = self.shared.objects();
        let answer = match before {
            None => patiently(api.create(&PostParams::default(), &object)).await,
            Some(_) => patiently(api.replace(name, &PostParams::default(), &object)).await,
        };
        let outcome = outcome(answer, |object| version(&object).map(|version| version.revision));
        self.wrote(name, Write::Put { serial }, outcome);
    }

    async fn delete(&mut self, name: &str) {
        let Some(Some(before)) = self.read(name).await else { return };
        let bound = Preconditions { resource_version: Some(before.revision.to_string()), uid: None };
        let parameters = DeleteParams { preconditions: Some(bound), ..DeleteParams::default() };
        let answer = patiently(self.shared.objects().delete(name, &parameters)).await;
        self.wrote(name, Write::Delete, outcome(answer, |_| None));
    }

    fn wrote(&mut self, name: &str, write: Write, outcome: Outcome) {
        self.known.remove(name);
        if let Outcome::Done { revision } = outcome {
            self.shared.acknowledge(revision.unwrap_or_default());
            match (write, revision) {
                (Write::Put { serial }, Some(revision)) => {
                    self.known.insert(name.to_owned(), Some(Version { revision, serial }));
                }
                (Write::Delete, _) => drop(self.known.insert(name.to_owned(), None)),
                (Write::Put { .. }, None) => {}
            }
        }
        self.saw(name, Seen::Wrote { write, outcome });
    }

    fn object(&self, name: &str, serial: u64, before: Option<Version>) -> ConfigMap {
        let ballast = "x".repeat(self.shared.random.below(BALLAST_MAX) as usize);
        let data = [(SERIAL.to_owned(), serial.to_string()), ("ballast".to_owned(), ballast)];
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                labels: Some(BTreeMap::from([(LABEL.0.to_owned(), LABEL.1.to_owned())])),
                resource_version: before.map(|version| version.revision.to_string()),
                ..ObjectMeta::default()
            },
            data: Some(data.into()),
            ..ConfigMap::default()
        }
    }
}

fn refused(found: Refusal, message: &str) -> Outcome {
    Outcome::Refused { found, message: message.to_owned() }
}

fn outcome<T>(answer: anyhow::Result<kube::Result<T>>, revision: impl FnOnce(T) -> Option<u64>) -> Outcome {
    match answer {
        Ok(Ok(object)) => Outcome::Done { revision: revision(object) },
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => refused(Refusal::Gone, &status.message),
        Ok(Err(kube::Error::Api(status))) if status.code == 409 => refused(Refusal::Changed, &status.message),
        // Whatever else is said, or not said, may have been done, or may yet be.
        Ok(Err(_)) | Err(_) => Outcome::Unknown,
    }
}
