//! `/scale`: the number of replicas of anything that has one, as `autoscaling/v1` `Scale`.

use machinery::field::{Error, Path};
use machinery::gvk::Gvk;
use machinery::meta;
use machinery::schema::{self, Schema};
use machinery::selector::Selector;
use machinery::status::{GroupResource, Status};
use serde_json::{Value, json};

use crate::api::Api;
use crate::http_body::Response;
use crate::kinds::Column;
use crate::rest::apply::Configuration;
use crate::rest::body::Decoded;
use crate::rest::params::WriteOptions;
use crate::rest::patch::{self, Patch, check_name};
use crate::rest::table::Include;
use crate::rest::update::{Part, change, check_identity};
use crate::rest::{Call, list, managers, not_allowed, respond, system, table};

const COLUMNS: &[Column] = &[
    table::NAME,
    Column {
        name: "Desired",
        kind: "integer",
        priority: 0,
        description: "replicas is the desired number of instances for the scaled object.",
    },
    Column {
        name: "Available",
        kind: "integer",
        priority: 0,
        description: "replicas is the actual number of observed instances of the scaled object.",
    },
    table::AGE,
];

const VERSION: &str = "autoscaling/v1";

fn kind() -> Gvk {
    Gvk::new("autoscaling", "v1", "Scale")
}

fn scale_schema() -> Result<&'static Schema, Status> {
    schema::builtin(&kind()).ok_or_else(|| Status::internal_error("no schema for Scale"))
}

pub async fn dispatch(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = if call.info.verb == "patch" { patch::accept(call)? } else { call.accept()? };
    let scale = match call.info.verb.as_str() {
        "get" => {
            list::refuse_export(&call.query)?;
            let found = api.read(&call.served, &call.info.namespace, call.name()).await?;
            scale_of(&found.ok_or_else(|| call.not_found())?.object)
        }
        "update" => update(api, call).await?,
        "patch" => patch(api, call).await?,
        _ => return Err(not_allowed(call)),
    };
    let now = api.clock.now().as_second();
    respond::view(accept, &kind(), &scale, || {
        Ok(table::of_view(COLUMNS, &scale, cells(&scale, now), Include::of(&call.query)?))
    })
}

fn cells(scale: &Value, now: i64) -> Vec<Value> {
    let count = |path| meta::at(scale, path).as_i64().unwrap_or(0).into();
    vec![meta::name(scale).into(), count("spec.replicas"), count("status.replicas"), table::age(scale, now).into()]
}

async fn update(api: &Api, call: &Call) -> Result<Value, Status> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let Decoded { object: mut scale, warnings } = call.decode(scale_schema()?, &kind(), options.field_validation)?;
    call.warnings.extend(warnings);
    system::ensure_namespace(&mut scale, &call.info.namespace)?;
    check_name(&scale, call.name())?;
    let schema = scale_schema()?;
    let now = api.now_text();
    let make = |old: &Value| {
        check_identity(&scale, old, api, call, options.dry_run)?;
        let mut scale = scale.clone();
        machinery::schema::normalize(schema, &mut scale);
        managers::track_view(call, (schema, VERSION), &options, Some(&owned_scale_of(old)), &mut scale, &now);
        check_rules(&scale, call)?;
        Ok(scaled(&scale, old, call))
    };
    let changed = change(api, call, Part::Raw, &options, make).await?;
    Ok(scale_of(&changed.object))
}

async fn patch(api: &Api, call: &Call) -> Result<Value, Status> {
    let (patch, options) = patch::parse(call)?;
    let schema = scale_schema()?;
    let now = api.now_text();
    let make = |old: &Value| {
        let live = owned_scale_of(old);
        let mut scale = match &patch {
            Patch::Change(made) => made.decoded((&kind(), schema), &live, call, &options)?,
            Patch::Apply(configuration) => applied(configuration, schema, &live, call, &options, &now)?,
        };
        system::ensure_namespace(&mut scale, &call.info.namespace)?;
        check_name(&scale, call.name())?;
        machinery::schema::normalize(schema, &mut scale);
        if matches!(patch, Patch::Change(_)) {
            managers::track_view(call, (schema, VERSION), &options, Some(&live), &mut scale, &now);
        }
        check_rules(&scale, call)?;
        check_uid(&scale, old, call)?;
        patch::release_version(&mut scale, old);
        Ok(scaled(&scale, old, call))
    };
    let changed = change(api, call, Part::Raw, &options, make);
    Ok(scale_of(&changed.await?.object))
}

/// Of a patched Scale; upstream's words differ from those about a whole one.
fn check_uid(scale: &Value, old: &Value, call: &Call) -> Result<(), Status> {
    let (asked, stored) = (meta::uid(scale), meta::uid(old));
    if asked.is_empty() || asked == stored {
        return Ok(());
    }
    let resource = format!("{}/scale", call.served.row.plural);
    let of = GroupResource { group: &call.served.row.group, resource: &resource };
    let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stored}");
    Err(Status::conflict(of, call.name(), &why))
}

/// The Scale with a configuration applied.
fn applied(
    configuration: &Configuration,
    schema: &Schema,
    live: &Value,
    call: &Call,
    options: &WriteOptions,
    now: &str,
) -> Result<Value, Status> {
    configuration.check_kind(&kind())?;
    let applied = managers::apply_to_view(call, (schema, VERSION), options, live, &configuration.tree, now)?;
    configuration.judge(call, options)?;
    configuration.typed(schema, &kind(), applied)
}

fn replicas(scale: &Value) -> i64 {
    meta::at(scale, "spec.replicas").as_i64().unwrap_or(0)
}

fn check_rules(scale: &Value, call: &Call) -> Result<(), Status> {
    let mut errors = system::validate_view_metadata(scale);
    let replicas = replicas(scale);
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        errors.push(Error::invalid(&path, replicas, "must be greater than or equal to 0"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("autoscaling", "Scale", call.name(), &errors))
}

/// The object with the replicas that the scale wants, and their owners.
fn scaled(scale: &Value, old: &Value, call: &Call) -> Value {
    let mut new = old.clone();
    let version = meta::resource_version(scale);
    let metadata = meta::metadata_mut(&mut new);
    if version.is_empty() {
        metadata.remove("resourceVersion");
    } else {
        metadata.insert("resourceVersion".into(), version.into());
    }
    let uid = meta::uid(scale);
    if !uid.is_empty() {
        metadata.insert("uid".into(), uid.into());
    }
    meta::object_mut(&mut new, "spec").insert("replicas".into(), json!(replicas(scale)));
    machinery::apply::owners_from_scale(old, scale, &call.served.row.api_version(), &mut new);
    new
}

/// With the owners of the object's replicas as its own, which a Scale does not show.
fn owned_scale_of(object: &Value) -> Value {
    let mut scale = scale_of(object);
    machinery::apply::owners_to_scale(object, &mut scale);
    scale
}

fn scale_of(object: &Value) -> Value {
    let from = &object["metadata"];
    let mut metadata = serde_json::Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !from[name].is_null() {
            metadata.insert(name.into(), from[name].clone());
        }
    }
    let mut status = json!({"replicas": meta::at(object, "status.replicas").as_i64().unwrap_or(0)});
    let selector = selector_text(meta::at(object, "spec.selector"));
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    let spec = match meta::at(object, "spec.replicas").as_i64().unwrap_or(0) {
        0 => json!({}),
        replicas => json!({"replicas": replicas}),
    };
    json!({"kind": "Scale", "apiVersion": VERSION, "metadata": metadata, "spec": spec, "status": status})
}

/// The selector as a query writes it; a plain map of labels (ReplicationController) as well.
fn selector_text(selector: &Value) -> String {
    let has_parts = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let parsed = match selector.as_object() {
        None => return String::new(),
        Some(labels) if !has_parts => {
            Selector::from_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
        }
        Some(_) => Selector::from_label_selector(Some(selector)).unwrap_or_else(|_| Selector::nothing()),
    };
    parsed.to_string()
}
