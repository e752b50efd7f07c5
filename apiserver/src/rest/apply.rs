//! Server-side apply: a patch that is the part of an object which its manager wants (Kubernetes concept: "Server-Side
//! Apply"). Who owns what is [`super::managers`]' and `machinery::apply`'s to say.

use machinery::gvk::{Gvk, split_api_version};
use machinery::meta;
use machinery::schema::{self, Schema};
use machinery::status::Status;
use serde_json::Value;

use super::create::create_object;
use super::params::{FieldValidation, WriteOptions};
use super::written::Written;
use super::{Call, current, managers, patch};
use crate::api::Api;
use crate::authz;

/// An applied configuration, as it was sent.
pub struct Configuration {
    pub tree: Value,
    /// The keys that it gives twice, in upstream's words.
    twice: Vec<String>,
}

impl Configuration {
    /// Reads YAML, of which JSON is a part.
    pub fn parse(body: &[u8]) -> Result<Self, Status> {
        let refuse = |error: &dyn std::fmt::Display| {
            Status::bad_request(format!("error decoding YAML: error converting YAML to JSON: yaml: {error}"))
        };
        let tree: Value = serde_yaml_ng::from_slice(body).map_err(|error| refuse(&error))?;
        // An empty text is an empty map to Go.
        let tree = if tree.is_null() { Value::Object(serde_json::Map::new()) } else { tree };
        if !tree.is_object() {
            let what = if tree.is_array() { "array" } else { "string" };
            return Err(Status::bad_request(format!(
                "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"
            )));
        }
        Ok(Self { tree, twice: schema::given_twice(body) })
    }

    /// Whether it says that it is of the kind.
    pub fn check_kind(&self, expected: &Gvk) -> Result<(), Status> {
        let text = |name: &str| self.tree[name].as_str().unwrap_or_default();
        let (group, version) = split_api_version(text("apiVersion")).unwrap_or_default();
        let given = Gvk::new(group, version, text("kind"));
        if given == *expected {
            return Ok(());
        }
        Err(Status::bad_request(format!("invalid object type: {}/{}, Kind={}", given.group, given.version, given.kind)))
    }

    /// What `fieldValidation` makes of keys that are given twice. Unknown fields are never taken, whatever it says.
    pub fn judge(&self, call: &Call, options: &WriteOptions) -> Result<(), Status> {
        match options.field_validation {
            FieldValidation::Strict if !self.twice.is_empty() => {
                let why = schema::unmarshal_errors(&self.twice);
                return Err(Status::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: {why}"
                )));
            }
            FieldValidation::Warn => call.warnings.extend(self.twice.iter().cloned()),
            FieldValidation::Strict | FieldValidation::Ignore => {}
        }
        Ok(())
    }

    /// The object that the configuration was applied to, with values in the form that the schema gives them. What does not
    /// fit it was refused before, but for texts of a form (times, quantities); a number too large for its field is cut.
    pub fn typed(&self, schema: &Schema, gvk: &Gvk, applied: Value) -> Result<Value, Status> {
        let Gvk { group, version, kind } = gvk;
        let kind = format!("{group}/{version}, Kind={kind}");
        let decoded = schema::restore(schema, applied).map_err(|error| {
            let (namespace, name) = (meta::namespace(&self.tree), meta::name(&self.tree));
            Status::unexplained(format!(
                "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured object to {kind}: {error}"
            ))
        })?;
        Ok(decoded.object)
    }
}

/// The stored object with the configuration applied.
pub fn to(
    old: &Value,
    configuration: &Configuration,
    call: &Call,
    options: &WriteOptions,
    now: &str,
) -> Result<Value, Status> {
    let gvk = call.served.row.gvk();
    configuration.check_kind(&gvk)?;
    let applied = managers::apply_configuration(call, options, Some(old), &configuration.tree, now)?;
    configuration.judge(call, options)?;
    let mut object = configuration.typed(call.served.schema, &gvk, applied)?;
    patch::keep_identity(&mut object, old, &gvk)?;
    patch::release_version(&mut object, old);
    Ok(object)
}

/// The new object that a configuration makes where there is none.
pub async fn create(
    api: &Api,
    call: &Call,
    configuration: &Configuration,
    options: &WriteOptions,
) -> Result<Written, Status> {
    let gvk = call.served.row.gvk();
    configuration.check_kind(&gvk)?;
    let applied = managers::apply_configuration(call, options, None, &configuration.tree, &api.now_text())?;
    configuration.judge(call, options)?;
    let mut object = configuration.typed(call.served.schema, &gvk, applied)?;
    check_new(&object, call)?;
    patch::check_name(&object, call.name())?;
    current::forget_version(&mut object)?;
    authorize_create(api, call)?;
    create_object(api, call, object, options).await
}

/// An object that is to be made by a request that could have found it cannot have an identity already.
fn check_new(object: &Value, call: &Call) -> Result<(), Status> {
    let uid = meta::uid(object);
    if uid.is_empty() {
        return Ok(());
    }
    let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
    Err(Status::conflict(call.served.row.group_resource(), call.name(), &why))
}

/// Who may change objects may not thereby make them.
pub fn authorize_create(api: &Api, call: &Call) -> Result<(), Status> {
    api.authorizer.check(api, &call.user, &to_create(call))
}

/// The same request, as if it were a create.
pub fn to_create(call: &Call) -> authz::Attributes {
    let info = crate::request::RequestInfo { verb: "create".to_owned(), ..call.info.clone() };
    authz::Attributes { info, ..authz::Attributes::default() }
}
