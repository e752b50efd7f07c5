//! The part of `metadata` that is the server's: set on a create, carried over and checked on an update.
//!
//! Kubernetes API conventions: "Metadata"; concept: "Finalizers", "Owners and Dependents".

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::names::{self, NameCheck};
use machinery::status::Status;
use serde_json::{Value, json};

use super::generation::{self, Counting};
use super::owners;
use crate::catalogue::Served;
use crate::kinds::MetadataRounds;

/// Characters of generated suffixes: no vowels, so that no word appears.
const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
pub const SUFFIX_LENGTH: usize = 5;
const GENERATED_PREFIX_MAX: usize = names::LABEL_LENGTH_MAX - SUFFIX_LENGTH;

/// What the server adds to a new object.
pub struct Stamp {
    pub uid: String,
    /// RFC 3339, whole seconds.
    pub now: String,
    /// Random number from which a `generateName`'s suffix is made.
    pub suffix: u64,
}

/// Puts the request's namespace in and checks that the body does not name another. What stands in no namespace loses the
/// one it names.
pub fn ensure_namespace(object: &mut Value, namespace: &str) -> Result<(), Status> {
    let given = meta::namespace(object);
    if !given.is_empty() && !namespace.is_empty() && given != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let metadata = meta::metadata_mut(object);
    if namespace.is_empty() {
        metadata.remove("namespace");
    } else {
        metadata.insert("namespace".into(), namespace.into());
    }
    Ok(())
}

/// Fills the system fields of a new object and gives it its generated name.
pub fn stamp_new(object: &mut Value, served: &Served, stamp: &Stamp) {
    let generated = generated_name(object, stamp);
    let metadata = meta::metadata_mut(object);
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        metadata.remove(name);
    }
    metadata.insert("uid".into(), stamp.uid.clone().into());
    metadata.insert("creationTimestamp".into(), stamp.now.clone().into());
    if let Some(name) = generated {
        metadata.insert("name".into(), name.into());
    }
    // Kinds that do not count from the beginning keep what they were sent.
    if served.hooks.has_generation && served.hooks.first_generation > 0 {
        metadata.insert("generation".into(), json!(served.hooks.first_generation));
    }
}

fn generated_name(object: &Value, stamp: &Stamp) -> Option<String> {
    let prefix = meta::text(object, "metadata.generateName");
    if prefix.is_empty() || !meta::name(object).is_empty() {
        return None;
    }
    let base: String = prefix.chars().take(GENERATED_PREFIX_MAX).collect();
    Some(base + &suffix(stamp.suffix))
}

pub fn suffix(mut random: u64) -> String {
    (0..SUFFIX_LENGTH)
        .map(|_| {
            let letter = SUFFIX_ALPHABET[(random % SUFFIX_ALPHABET.len() as u64) as usize];
            random /= SUFFIX_ALPHABET.len() as u64;
            char::from(letter)
        })
        .collect()
}

/// Carries over what no client changes, and counts the generation.
pub fn stamp_update(new: &mut Value, old: &Value, served: &Served, counting: Counting) {
    let metadata = meta::metadata_mut(new);
    let before = &old["metadata"];
    for name in ["creationTimestamp", "selfLink", "generation"] {
        match before.get(name) {
            Some(value) => metadata.insert(name.into(), value.clone()),
            None => metadata.remove(name),
        };
    }
    // What the client says of an end that has not begun is for the rules to refuse.
    if let Some(time) = before.get("deletionTimestamp") {
        metadata.insert("deletionTimestamp".into(), time.clone());
    }
    if let (None, Some(seconds)) =
        (metadata.get("deletionGracePeriodSeconds"), before.get("deletionGracePeriodSeconds"))
    {
        metadata.insert("deletionGracePeriodSeconds".into(), seconds.clone());
    }
    if meta::text(new, "metadata.uid").is_empty() {
        meta::metadata_mut(new).insert("uid".into(), old["metadata"]["uid"].clone());
    }
    if generation::is_counted(new, old, served.hooks, counting) {
        let next = meta::generation(old) + 1;
        meta::metadata_mut(new).insert("generation".into(), json!(next));
    }
}

/// Rules of `metadata` on a create, for kinds whose own rules begin with them.
pub fn validate_new(object: &Value, served: &Served) -> ErrorList {
    if served.hooks.judges_metadata_last {
        return ErrorList::new();
    }
    let mut errors = validate_own_metadata(object, served);
    errors.extend(validate_standard_finalizers(object, served));
    errors
}

/// What holds for every kind once nothing else is wrong: a name can stand in a path.
pub fn validate_last(object: &Value, served: &Served) -> ErrorList {
    match served.hooks.judges_metadata_last {
        true => validate_metadata(object, served.row.namespaced, names::path_segment, names::path_segment),
        // The rest was judged with the kind's own rule of names.
        false => validate_name(object, names::path_segment, names::path_segment),
    }
}

/// With the kind's own rule of names.
fn validate_own_metadata(object: &Value, served: &Served) -> ErrorList {
    const ANY: NameCheck = |_| Vec::new();
    let name = served.hooks.name;
    let check_prefix = if served.hooks.takes_any_prefix { ANY } else { name };
    validate_metadata(object, served.row.namespaced, name, check_prefix)
}

/// Of an object by which a part of a namespaced one is shown and changed, such as its Scale.
pub fn validate_view_metadata(view: &Value) -> ErrorList {
    let mut errors = validate_metadata(view, true, names::dns_subdomain, names::dns_subdomain);
    errors.extend(standard_finalizers(view));
    errors
}

fn validate_metadata(object: &Value, namespaced: bool, check: NameCheck, check_prefix: NameCheck) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = validate_name(object, check, check_prefix);
    validate_namespace(object, namespaced, &path, &mut errors);
    errors.extend(validate_common(object, &path));
    errors
}

fn validate_name(object: &Value, check: NameCheck, check_prefix: NameCheck) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = ErrorList::new();
    let name = meta::name(object);
    let prefix = meta::text(object, "metadata.generateName");
    if !prefix.is_empty() {
        let masked = names::mask_trailing_dash(prefix);
        let child = path.child("generateName");
        errors.extend(check_prefix(&masked).into_iter().map(|words| Error::invalid(&child, prefix, words)));
    }
    if name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        let child = path.child("name");
        errors.extend(check(name).into_iter().map(|words| Error::invalid(&child, name, words)));
    }
    errors
}

fn validate_namespace(object: &Value, namespaced: bool, path: &Path, errors: &mut ErrorList) {
    let namespace = meta::namespace(object);
    let path = path.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.push(Error::required(&path, "")),
        (true, false) => {
            errors.extend(names::dns_label(namespace).into_iter().map(|words| Error::invalid(&path, namespace, words)));
        }
        (false, false) => errors.push(Error::forbidden(&path, "not allowed on this type")),
        (false, true) => {}
    }
}

/// Generation, labels, annotations, owner references and finalizers: the same on create and update.
fn validate_common(object: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let generation = meta::generation(object);
    if generation < 0 {
        errors.push(Error::invalid(&path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    errors.extend(validate_notes(object, path));
    errors.extend(validate_finalizers(object, &path.child("finalizers")));
    errors
}

/// What people and controllers note on an object.
fn validate_notes(object: &Value, path: &Path) -> ErrorList {
    let mut errors = validate_labels(meta::at(object, "metadata.labels"), &path.child("labels"));
    errors.extend(validate_annotations(meta::at(object, "metadata.annotations"), &path.child("annotations")));
    errors.extend(validate_owners(meta::list(object, "metadata.ownerReferences"), &path.child("ownerReferences")));
    errors
}

pub fn validate_labels(labels: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::qualified_name(key).into_iter().map(|words| Error::invalid(path, key.as_str(), words)));
        errors.extend(names::label_value(value).into_iter().map(|words| Error::invalid(path, value, words)));
    }
    errors
}

const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

pub fn validate_annotations(annotations: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut bytes = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        bytes += key.len() + value.as_str().unwrap_or_default().len();
        let lower = key.to_lowercase();
        errors.extend(names::qualified_name(&lower).into_iter().map(|words| Error::invalid(path, key.as_str(), words)));
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(Error::too_long(path, ANNOTATIONS_BYTES_MAX));
    }
    errors
}

fn validate_owners(owners: &[Value], path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<String> = None;
    for owner in owners {
        let text = |name: &str| owner[name].as_str().unwrap_or_default();
        let version = text("apiVersion");
        // `group/version`; more parts are none.
        if version.rsplit('/').next().unwrap_or_default().is_empty() || version.matches('/').count() > 1 {
            errors.push(Error::invalid(&path.child("apiVersion"), version, "version must not be empty"));
        }
        for name in ["kind", "name", "uid"] {
            if text(name).is_empty() {
                errors.push(Error::invalid(&path.child(name), "", "must not be empty"));
            }
        }
        if version == "v1" && text("kind") == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(Error::invalid(path, owner.clone(), why).showing(owners::shown(owner)));
        }
        if owner["controller"].as_bool() == Some(true) {
            let named = format!("{}/{}", text("kind"), text("name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {named}"
                    );
                    let shown: Vec<String> = owners.iter().map(owners::shown).collect();
                    errors.push(Error::invalid(path, owners.to_vec(), why).showing(format!("[{}]", shown.join(","))));
                }
                None => controller = Some(named),
            }
        }
    }
    errors
}

fn validate_finalizers(object: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for finalizer in meta::finalizers(object) {
        errors.extend(names::qualified_name(finalizer).into_iter().map(|words| Error::invalid(path, finalizer, words)));
    }
    let has = |wanted: &str| meta::finalizers(object).any(|finalizer| finalizer == wanted);
    if has(ORPHAN_FINALIZER) && has(FOREGROUND_FINALIZER) {
        let why = format!("finalizer {ORPHAN_FINALIZER} and {FOREGROUND_FINALIZER} cannot be both set");
        errors.push(Error::invalid(path, object["metadata"]["finalizers"].clone(), why));
    }
    errors
}

fn validate_standard_finalizers(object: &Value, served: &Served) -> ErrorList {
    if served.hooks.takes_bare_finalizers { ErrorList::new() } else { standard_finalizers(object) }
}

fn standard_finalizers(object: &Value) -> ErrorList {
    let path = Path::new("metadata").child("finalizers");
    let names = meta::finalizers(object).enumerate();
    names.filter_map(|(position, name)| standard_finalizer(name, &path.index(position))).collect()
}

/// A finalizer without a group is one of Kubernetes' own.
pub fn standard_finalizer(name: &str, path: &Path) -> Option<Error> {
    let is_known = name.contains('/') || [KUBERNETES_FINALIZER, ORPHAN_FINALIZER, FOREGROUND_FINALIZER].contains(&name);
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    (!is_known).then(|| Error::invalid(path, name, why))
}

const KUBERNETES_FINALIZER: &str = "kubernetes";
pub const ORPHAN_FINALIZER: &str = "orphan";
pub const FOREGROUND_FINALIZER: &str = "foregroundDeletion";

/// Rules of `metadata` on an update: those of all kinds, and the rounds that the kind's own rules make.
pub fn validate_update(new: &Value, old: &Value, served: &Served, rounds: MetadataRounds) -> ErrorList {
    let path = Path::new("metadata");
    let mut errors = validate_metadata(new, served.row.namespaced, names::path_segment, names::path_segment);
    errors.extend(validate_change(new, old, &path));
    for _ in 0..rounds.whole {
        errors.extend(validate_own_metadata(new, served));
        errors.extend(validate_standard_finalizers(new, served));
    }
    for _ in 0..rounds.change {
        errors.extend(validate_change(new, old, &path));
        errors.extend(validate_standard_finalizers(new, served));
    }
    errors
}

fn validate_change(new: &Value, old: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if meta::is_deleting(old) {
        errors.extend(refuse_new_finalizers(new, old, &path.child("finalizers")));
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, before) = (&new["metadata"][name], &old["metadata"][name]);
        let zero = |value: &Value| value.is_null() || value == "";
        if now != before && !(zero(now) && zero(before)) {
            errors.push(Error::invalid(&path.child(name), now.clone(), "field is immutable"));
        }
    }
    errors.extend(validate_notes(new, path));
    errors
}

fn refuse_new_finalizers(new: &Value, old: &Value, path: &Path) -> Option<Error> {
    let added: BTreeSet<&str> =
        meta::finalizers(new).filter(|finalizer| !meta::finalizers(old).any(|known| known == *finalizer)).collect();
    if added.is_empty() {
        return None;
    }
    let shown: Vec<String> = added.iter().map(|name| machinery::field::quote(name)).collect();
    let why = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        shown.join(", ")
    );
    Some(Error::forbidden(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_five_safe_letters() {
        assert_eq!(suffix(0), "bbbbb");
        assert_eq!(suffix(u64::MAX).len(), SUFFIX_LENGTH);
    }

    #[test]
    fn finalizers_without_a_group_are_kubernetes_own() {
        let told = |name: &str| standard_finalizer(name, &Path::new("f").index(0)).map(|error| error.to_string());
        assert_eq!(["orphan", "foregroundDeletion", "kubernetes", "x.io/mine"].map(told), [const { None }; 4]);
        let why = "f[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(told("mine").as_deref(), Some(why));
    }

    #[test]
    fn owners_have_a_version_and_are_told_without_their_place() {
        let told = |version: &str| {
            let owner = json!({"apiVersion": version, "kind": "K", "name": "n", "uid": "u"});
            validate_owners(&[owner], &Path::new("o")).into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(["v1", "apps/v1"].map(told), [const { Vec::<String>::new() }; 2]);
        assert_eq!(["", "apps/", "a/b/c"].map(told), [["o.apiVersion"]; 3]);
    }

    #[test]
    fn what_stands_in_no_namespace_loses_the_one_it_names() {
        let mut object = json!({"metadata": {"namespace": "a"}});
        ensure_namespace(&mut object, "").unwrap();
        assert_eq!(object, json!({"metadata": {}}));
        assert!(ensure_namespace(&mut json!({"metadata": {"namespace": "a"}}), "b").is_err());
    }
}
