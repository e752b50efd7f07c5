//! Update: the whole object, or the part that a subresource owns, by compare-and-swap.
//!
//! [`change`] is the loop behind every change of a stored object: update, patch, scale, binding, approval, graceful
//! deletion. It reads the object, lets the caller say what it becomes, checks, and commits against the revision read.

use http::Method;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::body::Decoded;
use super::carried::carry_over;
use super::create::{complete, complete_stored, create_object, put, show_empty};
use super::current::{self, Current};
use super::generation::{self, Counting};
use super::params::WriteOptions;
use super::written::Written;
use super::{Call, managers, owners, patch, subresource, system};
use crate::admission::{Operation, Request};
use crate::api::Api;
use crate::errors::{self, MODIFIED};
use crate::http_body::Response;
use crate::kinds::Portion;
use crate::store::{Commit, CommitError, Condition, Write};

/// How often a change that names no resource version is tried against a moving object.
const ATTEMPTS_MAX: usize = 64;

/// Which part of the object a request may change.
#[derive(Clone, Copy)]
pub enum Part {
    /// All but the status.
    Main,
    /// The status alone.
    Status,
    /// The fields at these dotted paths, which a subresource owns.
    Owned(&'static [&'static str]),
    /// What a subresource with rules of its own changes.
    Portion(&'static Portion),
    /// What the caller decided; nothing is carried over.
    Raw,
}

impl Part {
    pub fn of(call: &Call) -> Self {
        match call.info.subresource.as_str() {
            "" => Self::Main,
            "status" => Self::Status,
            subresource => match call.served.hooks.portions.iter().find(|own| own.subresource == subresource) {
                Some(portion) => Self::Portion(portion),
                None => Self::Owned(subresource::owned_fields(subresource)),
            },
        }
    }
}

pub async fn update(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let served = &call.served;
    let Decoded { mut object, warnings } = call.decode(served.schema, &served.row.gvk(), options.field_validation)?;
    call.warnings.extend(warnings);
    // The path of a Namespace names it as a namespace too; it is in none.
    let namespace = if served.row.namespaced { call.info.namespace.as_str() } else { "" };
    system::ensure_namespace(&mut object, namespace)?;
    patch::check_name(&object, call.name())?;
    owners::dedup(&mut object, &call.warnings, owners::DUPLICATES);
    let part = Part::of(call);
    if matches!(part, Part::Main) && served.hooks.creates_on_update && is_absent(api, call).await? {
        check_identity(&object, &Value::Null, api, call, options.dry_run)?;
        current::forget_version(&mut object)?;
        super::apply::authorize_create(api, call)?;
        let created = create_object(api, call, object, &options).await?;
        return created.answer(call, accept, 201, api.clock.now().as_second());
    }
    let make = |old: &Value| {
        check_identity(&object, old, api, call, options.dry_run)?;
        check_versioned(&object, call).map(|()| object.clone())
    };
    let changed = change(api, call, part, &options, make).await?;
    changed.answer(call, accept, 200, api.clock.now().as_second())
}

async fn is_absent(api: &Api, call: &Call) -> Result<bool, Status> {
    Ok(api.read(&call.served, &call.info.namespace, call.name()).await?.is_none())
}

/// Whose word it is what an object becomes.
#[derive(Clone, Copy)]
enum Author {
    Client(Part),
    Server,
}

/// Changes a stored object and returns it in the shape that it is stored in: `make` says what it becomes from what it is
/// (both in the row's own shape), and may be called again when another writer was faster. A `resourceVersion` in what it
/// returns must be the stored one; none means any.
pub fn change(
    api: &Api,
    call: &Call,
    part: Part,
    options: &WriteOptions,
    make: impl Fn(&Value) -> Result<Value, Status>,
) -> impl Future<Output = Result<Written, Status>> {
    change_until_made(api, call, Author::Client(part), options, make)
}

/// Changes what the server alone changes of a stored object, which has its form and was admitted and judged before.
pub fn change_own(
    api: &Api,
    call: &Call,
    options: &WriteOptions,
    make: impl Fn(&Value) -> Result<Value, Status>,
) -> impl Future<Output = Result<Written, Status>> {
    change_until_made(api, call, Author::Server, options, make)
}

async fn change_until_made(
    api: &Api,
    call: &Call,
    author: Author,
    options: &WriteOptions,
    make: impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Written, Status> {
    let served = &call.served;
    let mut found = match api.peek(served, &call.info.namespace, call.name())? {
        Some(current) => Some(current),
        None => api.read(served, &call.info.namespace, call.name()).await?,
    };
    for _ in 0..ATTEMPTS_MAX {
        let Some(current) = found else { return Err(call.not_found()) };
        let shown = served.is_view().then(|| served.shown(&current.object));
        let shown = shown.as_ref().unwrap_or(&current.object);
        let attempted = match author {
            Author::Client(part) => attempt(api, call, part, options, &current, shown, &make).await,
            Author::Server => attempt_own(api, call, options, &current, shown, &make).await,
        };
        let outcome = match attempted {
            Ok(Attempt::Done(changed)) => return Ok(changed),
            Ok(Attempt::Moved(newer)) => {
                found = newer;
                continue;
            }
            Ok(Attempt::Failed(status)) => return Err(status),
            Ok(Attempt::Unchanged) => Ok(Written::not_stored(current.object)),
            Err(status) => Err(status),
        };
        // The cache may be behind: that nothing is to do, or that it must not be done, counts only of the newest state.
        let newest = api.read(served, &call.info.namespace, call.name()).await?;
        if newest.as_ref().is_some_and(|newest| newest.revision == current.revision) {
            return outcome;
        }
        found = newest;
    }
    Err(Status::conflict(served.group_resource(), call.name(), MODIFIED))
}

enum Attempt {
    Done(Written),
    /// The object is already as it was to become.
    Unchanged,
    /// Another writer was faster: what the object is now.
    Moved(Option<Current>),
    /// The store failed. The object may have been written: another attempt would meet this one, and call it another writer.
    Failed(Status),
}

async fn attempt_own(
    api: &Api,
    call: &Call,
    options: &WriteOptions,
    current: &Current,
    shown: &Value,
    make: &impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Attempt, Status> {
    let new = make(shown)?;
    if options.dry_run {
        return Ok(Attempt::Done(Written::not_stored(new)));
    }
    let request = Request::new(api, call, Operation::Update, options.dry_run, Some(&current.object));
    write(current, Made { request, new, companions: Commit::default(), named_version: false }).await
}

async fn attempt(
    api: &Api,
    call: &Call,
    part: Part,
    options: &WriteOptions,
    current: &Current,
    shown: &Value,
    make: &impl Fn(&Value) -> Result<Value, Status>,
) -> Result<Attempt, Status> {
    let (served, old) = (&call.served, &current.object);
    let home = served.home();
    let mut new = make(shown)?;
    let request = Request::new(api, call, Operation::Update, options.dry_run, Some(old));
    if call.method == Method::PATCH {
        owners::dedup(&mut new, &call.warnings, owners::DUPLICATES_PATCHED);
    }
    let named_version = check_preconditions(&new, current, call)?;
    let resets_managers = machinery::apply::is_reset(&new);
    let (sent, asked) = (managers::with_empty_lists(&new), generation::asked(&new, served.hooks));
    complete(&mut new, served);
    let counting = Counting::of(matches!(part, Part::Status), asked.as_ref(), &new);
    if !options.is_apply && !matches!(part, Part::Raw) {
        served.settle(&mut new);
        managers::keep_empty_lists(sent.as_ref(), &mut new);
        managers::track(call, options, Some(shown), &mut new, resets_managers, &api.now_text());
    }
    // Who writes a part by its subresource owns all that it was sent with, put back or not, as upstream has it.
    if let Part::Portion(portion) = part {
        (portion.prepare)(&mut new, old);
    }
    complete_stored(&mut new, served);
    carry_over(&mut new, old, call, part, &api.now_text());
    system::stamp_update(&mut new, old, served, counting);
    api.admission.mutate(&request, &mut new).await?;
    machinery::schema::normalize(home.schema, &mut new);
    if served.hooks.has_generation {
        system::stamp_update(&mut new, old, served, counting);
    }
    let mut invalid = match part {
        Part::Main => (served.hooks.validate_asked)(&new, Some(old)),
        _ => ErrorList::new(),
    };
    if invalid.is_empty() {
        if matches!(part, Part::Main) {
            api.complete_service(served, &mut new, Some(old), options.dry_run)?;
        }
        invalid = api.admission.against_place(&request, &new);
        invalid.extend(judge(&new, old, call, part));
        invalid.extend(api.admission.against_policy(&request, &new));
    }
    if !invalid.is_empty() {
        show_empty(&mut invalid, &make(shown)?);
        return Err(Status::invalid(&home.row.group, &home.row.kind, call.name(), &invalid));
    }
    let companions = match part {
        Part::Status => Commit::default(),
        _ => api.companions(served, Some(&mut new), Some(old), options.dry_run).await?,
    };
    warn(&new, old, call, part);
    api.admission.validate(&request, &new).await?;
    if current::is_same(&new, old) {
        return Ok(Attempt::Unchanged);
    }
    if options.dry_run {
        return Ok(Attempt::Done(Written::not_stored(new)));
    }
    write(current, Made { request, new, companions, named_version }).await
}

/// What a client is told of an object that is taken nevertheless.
fn warn(new: &Value, old: &Value, call: &Call, part: Part) {
    let hooks = call.served.hooks;
    let is_judged = !hooks.has_generation || meta::generation(new) != meta::generation(old);
    let is_whole = matches!(part, Part::Main) || call.info.subresource == "scale";
    if is_whole && is_judged && (hooks.is_worth_warning)(new, old) {
        call.warnings.extend((hooks.warnings)(new));
    }
    if matches!(part, Part::Status) {
        call.warnings.extend((hooks.status_warnings)(new));
    }
}

/// What an attempt makes of an object, ready to be written.
struct Made<'a> {
    request: Request<'a>,
    new: Value,
    /// Of an object that stays.
    companions: Commit,
    /// The client said which version it was made from.
    named_version: bool,
}

/// Writes the object, or ends one whose time has come, if it is still what it was made from.
async fn write(current: &Current, made: Made<'_>) -> Result<Attempt, Status> {
    let Made { request, new, companions, named_version } = made;
    let (api, call, old) = (request.api, request.call, &current.object);
    let served = &call.served;
    let removed = is_finished(&new) && !(served.hooks.is_held)(&new);
    let key = api.catalogue.key(served, &call.info.namespace, call.name());
    let value = api.encode_stored(&new)?;
    let write = match removed {
        true => Write::Delete { key: key.clone() },
        false => {
            api.cache.expect(served.home().id, &new, &value);
            put(api, served, key.clone(), value.clone())
        }
    };
    let mut commit = Commit {
        conditions: vec![Condition::Modified { key: key.clone(), revision: current.revision }],
        writes: vec![write],
    };
    let companions = match removed {
        true => api.companions(served, None, Some(old), false).await?,
        false => companions,
    };
    commit.conditions.extend(companions.conditions);
    commit.writes.extend(companions.writes);
    // Lives until the commit is over.
    let mut beside = request.beside();
    beside.join(&mut commit);
    match api.store.commit(commit).await {
        Ok(_) if removed => Ok(Attempt::Done(Written::removed(new, current.revision))),
        Ok(revision) => Ok(Attempt::Done(Written::stored(new, &value, revision))),
        Err(CommitError::Conflict { key: conflicting, current: newer }) if conflicting == key => {
            if named_version {
                return Err(Status::conflict(served.group_resource(), call.name(), MODIFIED));
            }
            Ok(Attempt::Moved(newer.as_ref().map(Current::from_entry).transpose()?))
        }
        Err(CommitError::Conflict { .. }) => Ok(Attempt::Moved(Some(current.clone()))),
        Err(error) => Ok(Attempt::Failed(errors::commit(&error, served.group_resource(), call.name()))),
    }
}

/// An update of a deleted object without finalizers, whose grace is over, is its end.
fn is_finished(object: &Value) -> bool {
    meta::is_deleting(object)
        && meta::finalizers(object).next().is_none()
        && meta::at(object, "metadata.deletionGracePeriodSeconds").as_i64().unwrap_or(0) == 0
}

/// A whole object that names a uid is an update of that object only, not of another by its name.
pub fn check_identity(new: &Value, old: &Value, api: &Api, call: &Call, dry_run: bool) -> Result<(), Status> {
    check_stored("UID", [meta::uid(new), meta::uid(old)], api, call, dry_run)
}

/// Whether what a client gave, if anything, is what is stored.
pub fn check_stored(what: &str, pair: [&str; 2], api: &Api, call: &Call, dry_run: bool) -> Result<(), Status> {
    let [given, stored] = pair;
    if given.is_empty() || given == stored {
        return Ok(());
    }
    let key = api.catalogue.key(&call.served, &call.info.namespace, call.name());
    // Without a store to write to upstream knows the key without its prefix.
    let key = if dry_run { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {given}, {what} in object meta: {stored}"
    );
    Err(Status::conflict(call.served.group_resource(), call.name(), &why))
}

/// Whether the new object names the version it was made from. It must then be the stored one.
fn check_preconditions(new: &Value, current: &Current, call: &Call) -> Result<bool, Status> {
    let version = current::named_version(new)?;
    let named = !version.is_empty() && version != "0";
    if named && version != current.revision.to_string() {
        return Err(Status::conflict(call.served.group_resource(), call.name(), MODIFIED));
    }
    Ok(named)
}

/// Where only an update that says what it was made from is taken, of the object or of a part of it, one that does not is
/// refused before anything else is judged.
pub fn check_versioned(object: &Value, call: &Call) -> Result<(), Status> {
    let is_named = !matches!(meta::resource_version(object), "" | "0");
    if is_named || call.served.hooks.updates_unconditionally {
        return Ok(());
    }
    let path = Path::new("metadata").child("resourceVersion");
    let error = Error::invalid(&path, 0, "must be specified for an update");
    // Upstream names the resource here, where it names the kind of what is invalid otherwise.
    let of = call.served.group_resource();
    Err(Status::invalid(of.group, of.resource, call.name(), &vec![error]))
}

/// All that is wrong with a changed object.
fn judge(new: &Value, old: &Value, call: &Call, part: Part) -> ErrorList {
    let hooks = call.served.hooks;
    let rounds = match part {
        Part::Main | Part::Raw => hooks.metadata,
        Part::Status | Part::Owned(_) => hooks.status_metadata,
        Part::Portion(portion) => portion.metadata,
    };
    let mut invalid = system::validate_update(new, old, &call.served, rounds);
    match part {
        Part::Main => {
            invalid.extend((hooks.validate)(new));
            invalid.extend((hooks.validate_against)(new, Some(old)));
            invalid.extend((hooks.validate_update)(new, old));
        }
        // These change what the main resource may not; what they may change is theirs to say.
        Part::Portion(portion) => {
            invalid.extend((hooks.validate)(new));
            invalid.extend((portion.validate)(new, old));
        }
        Part::Raw | Part::Owned(_) => {
            invalid.extend((hooks.validate)(new));
            invalid.extend((hooks.validate_against)(new, Some(old)));
        }
        Part::Status => invalid.extend((hooks.validate_status)(new, old)),
    }
    invalid
}
