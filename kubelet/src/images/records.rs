//! Which images this kubelet pulled, and with whose credentials: upstream's files in `image_manager/` below `--root-dir`.
//!
//! A pull is noted before it begins (`pulling/`) and becomes a record when it has ended (`pulled/`): an image that came
//! while the kubelet died is never taken for one that somebody loaded by hand. [`super::access`] judges by these.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use component::clock::Clock;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use super::{
    access::{Access, Known},
    name,
};

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Intent {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    image: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    kind: String,
    api_version: String,
    last_updated_time: Timestamp,
    /// CRI's ID of the image.
    image_ref: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    credential_mapping: BTreeMap<String, Access>,
}

/// See the module.
pub struct Records {
    pulling: PathBuf,
    pulled: PathBuf,
    clock: Clock,
    /// How many pulls of an image run; held while files change.
    counts: Mutex<HashMap<String, usize>>,
}

impl Records {
    /// In a kubelet's root folder.
    pub fn new(root: &Path, clock: Clock) -> Self {
        let folder = root.join("image_manager");
        let (pulling, pulled) = (folder.join("pulling"), folder.join("pulled"));
        Self { pulling, pulled, clock, counts: Mutex::default() }
    }

    /// Turns pulls that a dead kubelet had begun into records for nobody, where the image has come.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn recover(&self, images: &[k8s_cri::v1::Image]) -> io::Result<()> {
        for intent in all::<Intent>(&self.pulling)? {
            let is_it = |image: &&k8s_cri::v1::Image| {
                image.repo_tags.iter().chain(&image.repo_digests).any(|name| *name == intent.image)
            };
            if let Some(image) = images.iter().find(is_it) {
                self.note(&intent.image, &image.id, None)?;
                remove(&self.pulling, &intent.image)?;
            }
        }
        Ok(())
    }

    /// What is known of an image that the runtime has.
    pub(super) fn known(&self, image: &str, image_ref: &str) -> io::Result<Known> {
        let counts = self.lock();
        let record = read::<Record>(&self.pulled, image_ref)?.filter(|record| record.image_ref == image_ref);
        let is_pulling = counts.contains_key(image) || read::<Intent>(&self.pulling, image)?.is_some();
        Ok(Known { record: record.map(|record| record.credential_mapping), is_pulling })
    }

    /// A pull is about to begin.
    pub(super) fn begin<'a>(&'a self, image: &'a str) -> io::Result<Begun<'a>> {
        let mut counts = self.lock();
        let intent =
            Intent { kind: "ImagePullIntent".into(), api_version: API_VERSION.into(), image: image.to_owned() };
        write(&self.pulling, image, &intent)?;
        *counts.entry(image.to_owned()).or_default() += 1;
        Ok(Begun { records: self, image, is_counted: true })
    }

    /// Adds who may use an image; None for nobody who is known.
    pub(super) fn note(&self, image: &str, image_ref: &str, access: Option<&Access>) -> io::Result<()> {
        let _counts = self.lock();
        let now = self.clock.now();
        let known = read::<Record>(&self.pulled, image_ref).unwrap_or_else(|error| {
            tracing::warn!(%error, image, image_ref, "the record of an image cannot be read and is made anew");
            None
        });
        let is_new = known.is_none();
        let mut record = known.unwrap_or_else(|| Record {
            kind: "ImagePulledRecord".into(),
            api_version: API_VERSION.into(),
            last_updated_time: now,
            image_ref: image_ref.to_owned(),
            credential_mapping: BTreeMap::new(),
        });
        let name = name::without_tag(image).to_owned();
        let is_more = access.is_some_and(|access| record.credential_mapping.entry(name).or_default().add(access));
        if is_new || is_more {
            record.last_updated_time = now;
            write(&self.pulled, image_ref, &record)?;
        }
        Ok(())
    }

    /// Forgets images that are gone, but for records that are younger than `since`.
    pub(super) fn prune(&self, image_refs: &[&str], since: Timestamp) -> io::Result<()> {
        let _counts = self.lock();
        for record in all::<Record>(&self.pulled)? {
            if record.last_updated_time < since && !image_refs.contains(&record.image_ref.as_str()) {
                remove(&self.pulled, &record.image_ref)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A pull that runs.
pub(super) struct Begun<'a> {
    records: &'a Records,
    image: &'a str,
    is_counted: bool,
}

impl Begun<'_> {
    /// It has ended, with an image (and who may use it) or without.
    pub(super) fn end(mut self, result: Option<(&str, &Access)>) -> io::Result<()> {
        let records = self.records;
        if let Some((image_ref, access)) = result {
            // Where this fails, the intent stays, and the image counts as pulled all the same.
            records.note(self.image, image_ref, Some(access))?;
        }
        // Counted and removed in one go: of two that end together one must see that it is the last.
        let mut counts = records.lock();
        self.is_counted = false;
        match leave(&mut counts, self.image) {
            0 => remove(&records.pulling, self.image),
            _ => Ok(()),
        }
    }
}

impl Drop for Begun<'_> {
    /// Where nobody waits for a pull any more, its image may have come all the same: the intent stays.
    fn drop(&mut self) {
        if self.is_counted {
            leave(&mut self.records.lock(), self.image);
        }
    }
}

/// Counts one pull of an image less; answers how many are left.
fn leave(counts: &mut HashMap<String, usize>, image: &str) -> usize {
    let left = counts.get(image).map_or(0, |count| count.saturating_sub(1));
    match left {
        0 => counts.remove(image),
        _ => counts.insert(image.to_owned(), left),
    };
    left
}

fn file(folder: &Path, of: &str) -> PathBuf {
    let hash: String = Sha256::digest(of).iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("sha256-{hash}"))
}

fn read<T: DeserializeOwned>(folder: &Path, of: &str) -> io::Result<Option<T>> {
    match fs::read(file(folder, of)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole or not at all.
fn write(folder: &Path, of: &str, value: &impl Serialize) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = file(folder, of);
    let new = path.with_extension("tmp");
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::rename(&new, &path)
}

fn remove(folder: &Path, of: &str) -> io::Result<()> {
    match fs::remove_file(file(folder, of)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Everything in a folder that can be read; a broken file is passed over, as its image is then asked for anew.
fn all<T: DeserializeOwned>(folder: &Path) -> io::Result<Vec<T>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_none()) {
        match serde_json::from_slice(&fs::read(&path)?) {
            Ok(value) => found.push(value),
            Err(error) => tracing::warn!(%error, path = %path.display(), "a record of an image cannot be read"),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulls_leave_records_in_upstreams_form() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path(), Clock::system());
        let open = Access { node_pods_accessible: true, ..Access::default() };
        assert_eq!(records.known("a:1", "sha256:1").expect("reads"), Known::default());
        let (one, other) = (records.begin("a:1").expect("writes"), records.begin("a:1").expect("writes"));
        assert!(records.known("a:1", "sha256:1").expect("reads").is_pulling);
        one.end(None).expect("writes");
        assert!(records.known("a:1", "sha256:1").expect("reads").is_pulling, "the other goes on");
        other.end(Some(("sha256:1", &open))).expect("writes");
        let known = records.known("a:1", "sha256:1").expect("reads");
        assert_eq!((known.is_pulling, known.record), (false, Some(BTreeMap::from([("a".to_owned(), open)]))));
        let path = file(&folder.path().join("image_manager/pulled"), "sha256:1");
        let mut text: serde_json::Value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
        text["lastUpdatedTime"] = "then".into();
        let wanted = serde_json::json!({"kind": "ImagePulledRecord", "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "lastUpdatedTime": "then", "imageRef": "sha256:1", "credentialMapping": {"a": {"nodePodsAccessible": true}}});
        assert_eq!(text, wanted);
        records.prune(&["sha256:1"], Timestamp::MAX).expect("prunes");
        assert!(records.known("a:1", "sha256:1").expect("reads").record.is_some());
        records.prune(&[], Timestamp::MAX).expect("prunes");
        assert!(records.known("a:1", "sha256:1").expect("reads").record.is_none());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path(), Clock::system());
        let pulled = folder.path().join("image_manager/pulled");
        fs::create_dir_all(&pulled).expect("a folder");
        fs::write(file(&pulled, "sha256:1"), "{").expect("a file");
        assert!(records.known("a:1", "sha256:1").is_err());
        let open = Access { node_pods_accessible: true, ..Access::default() };
        records.begin("a:1").expect("writes").end(Some(("sha256:1", &open))).expect("writes");
        let known = records.known("a:1", "sha256:1").expect("reads");
        assert_eq!((known.is_pulling, known.record), (false, Some(BTreeMap::from([("a".to_owned(), open)]))));
    }

    #[test]
    fn of_pulls_that_end_together_the_last_clears_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path(), Clock::system());
        for _ in 0..200 {
            let both = [records.begin("a:1").expect("writes"), records.begin("a:1").expect("writes")];
            let start = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                for one in both {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        one.end(None).expect("removes");
                    });
                }
            });
            assert!(!records.known("a:1", "sha256:1").expect("reads").is_pulling);
        }
    }

    #[test]
    fn what_came_while_the_kubelet_died_is_nobodys() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Records::new(folder.path(), Clock::system()).begin("docker.io/library/a:1").expect("writes"));
        let records = Records::new(folder.path(), Clock::system());
        assert!(records.known("docker.io/library/a:1", "sha256:1").expect("reads").is_pulling);
        let image = k8s_cri::v1::Image {
            id: "sha256:1".into(),
            repo_tags: vec!["docker.io/library/a:1".into()],
            ..k8s_cri::v1::Image::default()
        };
        records.recover(&[image]).expect("recovers");
        let known = records.known("docker.io/library/a:1", "sha256:1").expect("reads");
        assert_eq!(known, Known { record: Some(BTreeMap::new()), is_pulling: false });
    }
}
