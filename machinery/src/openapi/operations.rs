//! One operation on a path: parameters, body, responses, in both dialects.

use serde_json::{Map, Value, json};

use super::Dialect;
use crate::gvk::Gvk;

const MEDIA_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
const STREAM_TYPES: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// A query or path parameter.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    ty: &'static str,
    description: &'static str,
}

const fn parameter(name: &'static str, ty: &'static str, description: &'static str) -> Parameter {
    Parameter { name, ty, description }
}

const DRY_RUN: Parameter = parameter("dryRun", "string", "Do not persist the change. Valid value: All.");
const FIELD_MANAGER: Parameter = parameter("fieldManager", "string", "Name of the actor that makes the change.");
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
);
const FORCE: Parameter =
    parameter("force", "boolean", "Take over fields that other managers own. Apply requests only.");
const CONTINUE: Parameter = parameter("continue", "string", "Where to go on: the token of a list's previous part.");
const FIELD_SELECTOR: Parameter = parameter("fieldSelector", "string", "Restricts the objects by their fields.");
const LABEL_SELECTOR: Parameter = parameter("labelSelector", "string", "Restricts the objects by their labels.");
const LIMIT: Parameter = parameter("limit", "integer", "Most objects to return in one part of a list.");
const RESOURCE_VERSION: Parameter =
    parameter("resourceVersion", "string", "Constrains from which resource version on a request may be served.");
const RESOURCE_VERSION_MATCH: Parameter =
    parameter("resourceVersionMatch", "string", "How resourceVersion applies to a list: NotOlderThan or Exact.");
const SEND_INITIAL_EVENTS: Parameter =
    parameter("sendInitialEvents", "boolean", "Begin a watch with the present state, ended by a bookmark.");
const TIMEOUT_SECONDS: Parameter = parameter("timeoutSeconds", "integer", "How long the call may last.");

/// What a write may be given.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
pub(super) const PATCH: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
pub(super) const LIST: &[Parameter] = &[
    parameter("allowWatchBookmarks", "boolean", "Bookmark events may be sent."),
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
    parameter("watch", "boolean", "Stream changes instead of listing."),
];
const GRACE_PERIOD_SECONDS: Parameter =
    parameter("gracePeriodSeconds", "integer", "Seconds before the object is deleted; zero is at once.");
const ORPHAN_DEPENDENTS: Parameter =
    parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Leave the dependents.");
const PROPAGATION_POLICY: Parameter =
    parameter("propagationPolicy", "string", "What becomes of the dependents: Orphan, Background or Foreground.");
const UNSAFE_DELETE: Parameter = parameter(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Delete an object that cannot be read from the store.",
);
pub(super) const DELETE: &[Parameter] =
    &[DRY_RUN, GRACE_PERIOD_SECONDS, UNSAFE_DELETE, ORPHAN_DEPENDENTS, PROPAGATION_POLICY];
pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE_PERIOD_SECONDS,
    UNSAFE_DELETE,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN_DEPENDENTS,
    PROPAGATION_POLICY,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL_EVENTS,
    TIMEOUT_SECONDS,
];
pub(super) const PRETTY: Parameter = parameter("pretty", "string", "If 'true', the output is indented.");
pub(super) const NAME: Parameter = parameter("name", "string", "name of the object");
pub(super) const NAMESPACE: Parameter =
    parameter("namespace", "string", "object name and auth scope, such as for teams and projects");
pub(super) const PATH: Parameter = parameter("path", "string", "path to the resource");

/// What the body of a request is.
#[derive(Clone)]
pub(super) enum Body {
    None,
    Object(String),
    Options(String),
    Patch(String),
}

pub(super) struct Operation {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) action: &'static str,
    pub(super) gvk: Option<Gvk>,
    pub(super) tag: String,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Body,
    /// Definition of the answer; `None` for text.
    pub(super) answer: Option<String>,
    /// Codes beside 200.
    pub(super) codes: &'static [u16],
    pub(super) streams: bool,
}

impl Operation {
    pub(super) fn to_value(&self, dialect: Dialect) -> Value {
        let mut parameters: Vec<Value> = self.parameters.iter().map(|parameter| query(parameter, dialect)).collect();
        let mut operation = Map::new();
        let mut set = |name: &str, value: Value| drop(operation.insert(name.to_owned(), value));
        set("description", self.description.as_str().into());
        set("operationId", self.id.as_str().into());
        set("tags", json!([self.tag]));
        if !self.action.is_empty() {
            set("x-kubernetes-action", self.action.into());
        }
        if let Some(gvk) = &self.gvk {
            set(
                "x-kubernetes-group-version-kind",
                json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version}),
            );
        }
        set("responses", self.responses(dialect));
        if dialect == Dialect::V2 {
            set("schemes", json!(["https"]));
            set("consumes", self.consumes().into());
            set("produces", self.produces().into());
            parameters.extend(self.body_parameter());
        } else if let Some(body) = self.request_body() {
            set("requestBody", body);
        }
        if !parameters.is_empty() {
            set("parameters", parameters.into());
        }
        Value::Object(operation)
    }

    fn consumes(&self) -> Vec<&'static str> {
        if matches!(self.body, Body::Patch(_)) { PATCH_TYPES.to_vec() } else { vec!["*/*"] }
    }

    fn produces(&self) -> Vec<&'static str> {
        match &self.answer {
            None if self.action == "connect" => vec!["*/*"],
            None => MEDIA_TYPES.iter().copied().chain(["text/plain"]).collect(),
            Some(_) if self.streams => MEDIA_TYPES.iter().chain(STREAM_TYPES).copied().collect(),
            Some(_) => MEDIA_TYPES.to_vec(),
        }
    }

    fn body_parameter(&self) -> Option<Value> {
        let (name, required) = match &self.body {
            Body::None => return None,
            Body::Options(name) => (name, false),
            Body::Object(name) | Body::Patch(name) => (name, true),
        };
        let schema = Dialect::V2.reference(name);
        Some(match required {
            true => json!({"name": "body", "in": "body", "required": true, "schema": schema}),
            false => json!({"name": "body", "in": "body", "schema": schema}),
        })
    }

    fn request_body(&self) -> Option<Value> {
        let (name, required) = match &self.body {
            Body::None => return None,
            Body::Options(name) => (name, false),
            Body::Object(name) | Body::Patch(name) => (name, true),
        };
        let content = self.consumes().into_iter();
        let content: Map<String, Value> =
            content.map(|media| (media.to_owned(), json!({"schema": Dialect::V3.reference(name)}))).collect();
        Some(if required { json!({"content": content, "required": true}) } else { json!({ "content": content }) })
    }

    fn responses(&self, dialect: Dialect) -> Value {
        let words = |code: u16| match code {
            201 => "Created",
            202 => "Accepted",
            _ => "OK",
        };
        let schema = match &self.answer {
            Some(name) => dialect.reference(name),
            None => json!({"type": "string"}),
        };
        let mut responses = Map::new();
        for code in [200].iter().chain(self.codes) {
            let response = match dialect {
                Dialect::V2 => json!({"description": words(*code), "schema": schema}),
                Dialect::V3 => {
                    let produces = self.produces().into_iter();
                    let content: Map<String, Value> =
                        produces.map(|media| (media.to_owned(), json!({ "schema": schema }))).collect();
                    json!({"description": words(*code), "content": content})
                }
            };
            responses.insert(code.to_string(), response);
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        Value::Object(responses)
    }
}

pub(super) fn query(parameter: &Parameter, dialect: Dialect) -> Value {
    located(parameter, "query", dialect)
}

pub(super) fn in_path(parameter: &Parameter, dialect: Dialect) -> Value {
    located(parameter, "path", dialect)
}

fn located(parameter: &Parameter, place: &str, dialect: Dialect) -> Value {
    let Parameter { name, ty, description } = parameter;
    let mut value = json!({"name": name, "in": place, "description": description});
    if place == "path" {
        value["required"] = true.into();
    }
    match dialect {
        Dialect::V2 => {
            value["type"] = (*ty).into();
            value["uniqueItems"] = true.into();
        }
        Dialect::V3 => value["schema"] = json!({"type": ty, "uniqueItems": true}),
    }
    value
}
