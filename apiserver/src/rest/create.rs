//! Create: a new object, or none.

use bytes::Bytes;
use http::Method;
use machinery::field::ErrorList;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::body::Decoded;
use super::current::Current;
use super::params::WriteOptions;
use super::written::Written;
use super::{Call, managers, owners, system};
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::catalogue::Served;
use crate::errors;
use crate::http_body::Response;
use crate::kinds::remove_disabled;
use crate::store::{Commit, CommitError, Condition, Write};

/// How often a name is made anew when a generated one is taken (upstream's number).
const GENERATE_NAME_ATTEMPTS: usize = 8;
/// How often addresses and ports are chosen anew when another writer was faster.
const COMPANION_ATTEMPTS: usize = 64;

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    if call.method == Method::POST && call.info.names_object() {
        return Err(super::not_allowed(call));
    }
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let served = &call.served;
    let Decoded { object, warnings } = call.decode(served.schema, &served.row.gvk(), options.field_validation)?;
    call.warnings.extend(warnings);
    let created = create_object(api, call, object, &options).await?;
    created.answer(call, accept, 201, api.clock.now().as_second())
}

/// Everything between the decoded body and the answer; also the second half of an update that creates.
pub async fn create_object(
    api: &Api,
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Written, Status> {
    system::ensure_namespace(&mut object, &call.info.namespace)?;
    let generates = meta::name(&object).is_empty();
    for attempt_number in 1.. {
        match attempt(api, call, &object, options).await {
            Err(Refused::NameTaken(_)) if generates && attempt_number < GENERATE_NAME_ATTEMPTS => {}
            Err(Refused::CompanionTaken) if attempt_number < COMPANION_ATTEMPTS => {}
            Err(Refused::NameTaken(status) | Refused::Told(status)) => return Err(status),
            Err(Refused::CompanionTaken) => {
                return Err(Status::server_timeout(call.served.group_resource(), "create"));
            }
            Ok(created) => return Ok(created),
        }
    }
    unreachable!("the loop ends by its own counts")
}

/// Why one attempt made nothing.
enum Refused {
    NameTaken(Status),
    /// An address or port that this attempt chose went to another writer: the next one chooses anew.
    CompanionTaken,
    Told(Status),
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Told(status)
    }
}

async fn attempt(api: &Api, call: &Call, sent: &Value, options: &WriteOptions) -> Result<Written, Refused> {
    let mut object = sent.clone();
    let served = &call.served;
    let (home, hooks) = (served.home(), served.hooks);
    owners::dedup(&mut object, &call.warnings, owners::DUPLICATES);
    let resets_managers = machinery::apply::is_reset(&object);
    complete(&mut object, served);
    let stamp = system::Stamp { uid: api.new_uid(), now: api.now_text(), suffix: api.random.u64() };
    system::stamp_new(&mut object, served, &stamp);
    // Before admission: what a plug-in fills in is nobody's. An applied object brings its owners with it.
    if !options.is_apply {
        served.settle(&mut object);
        managers::keep_empty_lists(Some(sent), &mut object);
        managers::track(call, options, None, &mut object, resets_managers, &stamp.now);
    }
    complete_stored(&mut object, served);
    let request = Request::new(api, call, Operation::Create, options.dry_run, None);
    api.admission.mutate(&request, &mut object).await?;
    call.warnings.extend((hooks.warnings_of_sent)(&object));
    (hooks.prepare_create)(&mut object);
    (hooks.prepare_create_as_sent)(&mut object, sent);
    remove_disabled(&mut object, hooks);
    machinery::schema::normalize(home.schema, &mut object);
    // Upstream allocates before it judges the rest, and tells of what cannot be had alone.
    let mut invalid = (hooks.validate_asked)(&object, None);
    let mut companions = Commit::default();
    if invalid.is_empty() {
        api.complete_service(served, &mut object, None, options.dry_run)?;
        companions = api.companions(served, Some(&mut object), None, options.dry_run).await?;
        invalid = api.admission.against_place(&request, &object);
        invalid.extend(judge(&object, served));
        invalid.extend(api.admission.against_policy(&request, &object));
    }
    if !invalid.is_empty() {
        show_empty(&mut invalid, sent);
        return Err(Status::invalid(&home.row.group, &home.row.kind, meta::name(&object), &invalid).into());
    }
    // Who is refused by policy hears them, too.
    call.warnings.extend((hooks.warnings)(&object));
    api.admission.validate(&request, &object).await?;
    // Upstream does this when it reads what it stored.
    (hooks.complete_created)(&mut object);
    if !options.dry_run && meta::resource_version(sent).parse::<u64>().is_ok_and(|version| version != 0) {
        return Err(Status::unexplained("resourceVersion should not be set on objects to be created").into());
    }
    // Nothing is stored that had a version of its own.
    if options.dry_run && !meta::resource_version(sent).is_empty() {
        let version = sent["metadata"]["resourceVersion"].clone();
        meta::metadata_mut(&mut object).insert("resourceVersion".into(), version);
    }
    // Lives until the commit is over.
    let mut beside = request.beside();
    beside.join(&mut companions);
    commit_new(api, call, object, companions, options.dry_run).await
}

/// All that is wrong with a new object.
fn judge(object: &Value, served: &Served) -> ErrorList {
    let mut invalid = system::validate_new(object, served);
    invalid.extend((served.hooks.validate)(object));
    invalid.extend((served.hooks.validate_against)(object, None));
    match invalid.is_empty() {
        true => system::validate_last(object, served),
        false => invalid,
    }
}

/// An empty list or map is kept as none at all, but messages show what the client sent.
pub fn show_empty(errors: &mut ErrorList, sent: &Value) {
    for error in errors.iter_mut().filter(|error| error.value == Some(Value::Null)) {
        let found = error.value_at.as_ref().unwrap_or(&error.field).split('.').try_fold(sent, step);
        let is_empty = |value: &&Value| match value {
            Value::Object(fields) => fields.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if let Some(empty) = found.filter(is_empty) {
            error.value = Some(empty.clone());
        }
    }
}

/// One step of a path as messages have it: `containers[0]`.
fn step<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    let (name, indexes) = step.split_once('[').unwrap_or((step, ""));
    let indexes = indexes.split(['[', ']']).filter(|index| !index.is_empty());
    indexes.fold(value.get(name), |value, index| match value? {
        Value::Array(items) => items.get(index.parse::<usize>().ok()?),
        other => other.get(index),
    })
}

/// Writes the object and its companions, or finds out whether they could be written.
async fn commit_new(
    api: &Api,
    call: &Call,
    object: Value,
    companions: Commit,
    dry_run: bool,
) -> Result<Written, Refused> {
    let (served, name) = (&call.served, meta::name(&object));
    let of = served.group_resource();
    let taken = |by: Option<&Current>| {
        // Upstream says so even of a name that the client chose.
        let mut status = match meta::text(&object, "metadata.generateName") {
            "" => Status::already_exists(of, name),
            _ => Status::generate_name_conflict(of, name),
        };
        if by.is_some_and(|by| meta::is_deleting(&by.object)) {
            status.message = format!("object is being deleted: {}", status.message);
        }
        Refused::NameTaken(status)
    };
    if dry_run {
        let found = api.read(served, &call.info.namespace, name).await?;
        return if found.is_some() { Err(taken(found.as_ref())) } else { Ok(Written::not_stored(object)) };
    }
    let key = api.catalogue.key(served, &call.info.namespace, name);
    let value = api.encode_stored(&object)?;
    api.cache.expect(served.home().id, &object, &value);
    let mut commit = Commit {
        conditions: vec![Condition::Absent { key: key.clone() }],
        writes: vec![put(api, served, key.clone(), value.clone())],
    };
    commit.conditions.extend(companions.conditions);
    commit.writes.extend(companions.writes);
    match api.store.commit(commit).await {
        Ok(revision) => Ok(Written::stored(object, &value, revision)),
        Err(CommitError::Conflict { key: conflicting, current }) if conflicting == key => {
            let by = current.as_ref().map(Current::from_entry).transpose()?;
            Err(taken(by.as_ref()))
        }
        Err(CommitError::Conflict { .. }) => Err(Refused::CompanionTaken),
        Err(error) => Err(errors::commit(&error, of, name).into()),
    }
}

/// Defaults and the canonical form: what upstream's decoding does to every body.
pub fn complete(object: &mut Value, served: &Served) {
    machinery::schema::normalize(served.schema, object);
    machinery::schema::default_static(served.schema, object);
    (served.hooks.default)(object);
}

/// An object of one version in the version that is stored, complete in that one as well.
pub fn complete_stored(object: &mut Value, served: &Served) {
    if served.is_view() {
        served.to_stored(object);
        complete(object, served.home());
    }
}

/// The write of an object, which the store forgets in time where its kind says so.
pub fn put(api: &Api, served: &crate::catalogue::Served, key: String, value: Bytes) -> Write {
    let forgotten = served.hooks.is_forgotten && !api.event_ttl.is_zero();
    Write::Put { key, value, ttl: forgotten.then_some(api.event_ttl) }
}

#[cfg(test)]
mod tests {
    use machinery::field::{Error, Path};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_sent_empty_is_shown_so() {
        let sent = json!({"spec": {"rules": [{"values": []}], "labels": {}, "full": [1]}});
        let at = |path: Path| Error::invalid(&path, Value::Null, "");
        let spec = Path::new("spec");
        let mut errors = vec![
            at(spec.child("rules").index(0).child("values")),
            at(spec.child("labels")),
            at(spec.child("full")),
            at(spec.child("none")),
        ];
        show_empty(&mut errors, &sent);
        let shown: Vec<Option<Value>> = errors.into_iter().map(|error| error.value).collect();
        assert_eq!(shown, [Some(json!([])), Some(json!({})), Some(Value::Null), Some(Value::Null)]);
    }
}
