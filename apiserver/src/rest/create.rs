//! Create: a new object, or none.

use bytes::Bytes;
use http::Method;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::body::{self, Decoded};
use super::params::WriteOptions;
use super::{Call, current, managers, respond, system};
use crate::admission::{Attributes, Operation};
use crate::api::Api;
use crate::errors;
use crate::http_body::Response;
use crate::store::{Commit, CommitError, Condition, Write};

/// How often a name is made anew when a generated one is taken (upstream's number).
const GENERATE_NAME_ATTEMPTS: usize = 8;

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    if call.method == Method::POST && call.info.names_object() {
        return Err(super::not_allowed(call));
    }
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let served = &call.served;
    let Decoded { object, warnings } =
        body::decode(&call.body, &call.headers, served.schema, &served.row.gvk(), options.field_validation)?;
    let Created { object, warnings: more } = create_object(api, call, object, &options).await?;
    let response = respond::object(accept, 201, served, &object, api.clock.now().as_second())?;
    Ok(respond::with_warnings(response, &[warnings, more].concat()))
}

/// A stored (or, with dry run, an as good as stored) new object.
pub struct Created {
    pub object: Value,
    pub warnings: Vec<String>,
}

/// Everything between the decoded body and the answer; also the second half of an update that creates.
pub async fn create_object(
    api: &Api,
    call: &Call,
    mut object: Value,
    options: &WriteOptions,
) -> Result<Created, Status> {
    system::ensure_namespace(&mut object, &call.info.namespace)?;
    if !meta::resource_version(&object).is_empty() && meta::resource_version(&object) != "0" {
        return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let attempts = if meta::name(&object).is_empty() { GENERATE_NAME_ATTEMPTS } else { 1 };
    for _ in 1..attempts {
        match attempt(api, call, object.clone(), options).await {
            Err(status) if status.reason == "AlreadyExists" => {}
            outcome => return outcome,
        }
    }
    attempt(api, call, object, options).await
}

async fn attempt(api: &Api, call: &Call, mut object: Value, options: &WriteOptions) -> Result<Created, Status> {
    let served = &call.served;
    let (row, hooks) = (&served.row, served.hooks);
    let resets_managers = machinery::apply::is_reset(&object);
    complete(&mut object, served);
    let generated = meta::name(&object).is_empty();
    let stamp = system::Stamp { uid: api.new_uid(), now: api.now_text(), suffix: api.random.u64() };
    system::stamp_new(&mut object, served, &stamp);
    // Before admission: what a plug-in fills in is nobody's. An applied object brings its owners with it.
    if !options.is_apply {
        managers::track(call, options, None, &mut object, resets_managers, &stamp.now);
    }
    let mut attributes = Attributes::of(call, Operation::Create, options.dry_run);
    api.admission.mutate(api, &mut attributes, &mut object, None).await?;
    complete(&mut object, served);
    (hooks.prepare_create)(&mut object);
    machinery::schema::normalize(served.schema, &mut object);
    let mut invalid = system::validate_new(&object, served);
    invalid.extend((hooks.validate)(&object));
    if !invalid.is_empty() {
        return Err(Status::invalid(&row.group, &row.kind, meta::name(&object), &invalid));
    }
    let companions = api.companions(served, Some(&mut object), None).await?;
    api.admission.validate(api, &attributes, &object, None).await?;
    let warnings = (hooks.warnings)(&object);
    let name = meta::name(&object).to_owned();
    let key = api.catalogue.key(served, &call.info.namespace, &name);
    let taken = || match generated {
        true => Status::generate_name_conflict(row.group_resource(), &name),
        false => Status::already_exists(row.group_resource(), &name),
    };
    let revision = if options.dry_run {
        if api.read(served, &call.info.namespace, &name).await?.is_some() {
            return Err(taken());
        }
        None
    } else {
        let mut commit = Commit {
            conditions: vec![Condition::Absent { key: key.clone() }],
            writes: vec![put(key.clone(), current::encode(&object)?, hooks.time_to_live_seconds)],
        };
        commit.conditions.extend(companions.conditions);
        commit.writes.extend(companions.writes);
        match api.store.commit(commit).await {
            Ok(revision) => Some(revision),
            Err(CommitError::Conflict { key: conflicting, .. }) if conflicting == key => return Err(taken()),
            // A companion was taken by another writer: this attempt's choice is void, the next one chooses anew.
            Err(CommitError::Conflict { .. }) => return Err(Status::server_timeout(row.group_resource(), "create")),
            Err(error) => return Err(errors::commit(&error, row.group_resource(), &name)),
        }
    };
    if let Some(revision) = revision {
        current::set_resource_version(&mut object, revision);
    }
    Ok(Created { object, warnings })
}

/// Defaults and the canonical form: what upstream's decoding does to every body.
pub fn complete(object: &mut Value, served: &crate::catalogue::Served) {
    machinery::schema::normalize(served.schema, object);
    machinery::schema::default_static(served.schema, object);
    (served.hooks.default)(object);
}

pub fn put(key: String, value: Bytes, time_to_live_seconds: Option<u64>) -> Write {
    Write::Put { key, value, ttl: time_to_live_seconds.map(std::time::Duration::from_secs) }
}
