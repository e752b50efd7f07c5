//! An event as it is written: `audit.k8s.io/v1` Event, one JSON object a line.

use std::collections::BTreeMap;

use machinery::field::quote;
use serde::Serialize;
use serde_json::Value;

use super::policy::{Level, Stage};
use crate::request::{RequestInfo, User};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub api_version: &'static str,
    pub level: Level,
    #[serde(rename = "auditID")]
    pub audit_id: String,
    pub stage: Stage,
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    pub verb: String,
    pub user: UserInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<UserInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_metadata: Option<AuthenticationMetadata>,
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_object: Option<Value>,
    pub request_received_timestamp: String,
    pub stage_timestamp: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Event {
    /// As it stands in a list, which says of what kind its items are.
    pub fn of_a_list(&self) -> Self {
        Self { kind: "", api_version: "", ..self.clone() }
    }

    /// A line of text, as upstream's first format has it.
    pub fn legacy(&self) -> String {
        let or = |text: &str, none: &str| quote(if text.is_empty() { none } else { text });
        let list = |groups: &[String], none: &str| match groups {
            [] => quote(none),
            groups => quote(&groups.iter().map(|group| quote(group)).collect::<Vec<_>>().join(",")),
        };
        let (name, groups) = (self.user.username.as_str(), self.user.groups.as_slice());
        let (acting, acting_groups) = match &self.impersonated_user {
            Some(user) => (quote(&user.username), list(&user.groups, "<lookup>")),
            None => (quote("<self>"), quote("<lookup>")),
        };
        let namespace = self.object_ref.as_ref().map_or("", |own| own.namespace.as_str());
        let code = self.response_status.as_ref().map_or_else(|| "<deferred>".to_owned(), |own| own["code"].to_string());
        format!(
            "{} AUDIT: id={} stage={} ip={} method={} user={} groups={} as={acting} asgroups={acting_groups} user-agent={} namespace={} uri={} response=\"{code}\"",
            self.request_received_timestamp,
            quote(&self.audit_id),
            quote(&format!("{:?}", self.stage)),
            or(self.source_ips.first().map_or("", String::as_str), "<unknown>"),
            quote(&self.verb),
            or(name, "<none>"),
            list(if name.is_empty() { &[] } else { groups }, "<none>"),
            quote(&self.user_agent),
            or(namespace, "<none>"),
            quote(&self.request_uri),
        )
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct UserInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for UserInfo {
    fn from(user: &User) -> Self {
        let User { name, uid, groups, extra } = user.clone();
        Self { username: name, uid, groups, extra }
    }
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationMetadata {
    pub impersonation_constraint: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

impl ObjectRef {
    pub fn of(info: &RequestInfo) -> Option<Self> {
        info.is_resource.then(|| Self {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..Self::default()
        })
    }

    /// What the path does not say and the object in the body does.
    pub fn complete(&mut self, object: &Value) {
        let metadata = &object["metadata"];
        let fields = [
            (&mut self.namespace, "namespace"),
            (&mut self.name, "name"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ];
        for (own, field) in fields {
            if own.is_empty() {
                *own = metadata[field].as_str().unwrap_or_default().to_owned();
            }
        }
    }
}

/// Takes the managers of fields out of an object, of a list's items, of a table's rows.
pub fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    for list in ["items", "rows"] {
        for item in object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            match item.get_mut("object") {
                Some(inner) if list == "rows" => drop_managed_fields(inner),
                _ => drop_managed_fields(item),
            }
        }
    }
}

/// What the answer's status is told as: a Status whole, of all else the code.
pub fn response_status(code: u16, body: Option<&Value>) -> Value {
    let mut status = serde_json::json!({"metadata": {}});
    if let Some(body) = body.filter(|body| body["kind"] == "Status") {
        for field in ["status", "message", "reason", "details"] {
            if let Some(value) = body.get(field).filter(|value| !value.is_null()) {
                status[field] = value.clone();
            }
        }
    }
    status["code"] = code.into();
    status
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub fn event(level: Level) -> Event {
        Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level,
            audit_id: "id".to_owned(),
            stage: Stage::ResponseComplete,
            request_uri: "/api/v1/pods?x=1".to_owned(),
            verb: "list".to_owned(),
            user: UserInfo { username: "anna".to_owned(), groups: vec!["a".into(), "b".into()], ..UserInfo::default() },
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: vec!["192.0.2.1".to_owned()],
            user_agent: "kubectl".to_owned(),
            object_ref: None,
            response_status: Some(json!({"code": 200})),
            request_object: None,
            response_object: None,
            request_received_timestamp: "2026-01-02T03:04:05.000006Z".to_owned(),
            stage_timestamp: "2026-01-02T03:04:05.000006Z".to_owned(),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn the_first_format_is_a_line_of_text() {
        let line = "2026-01-02T03:04:05.000006Z AUDIT: id=\"id\" stage=\"ResponseComplete\" ip=\"192.0.2.1\" method=\"list\" user=\"anna\" groups=\"\\\"a\\\",\\\"b\\\"\" as=\"<self>\" asgroups=\"<lookup>\" user-agent=\"kubectl\" namespace=\"<none>\" uri=\"/api/v1/pods?x=1\" response=\"200\"";
        assert_eq!(event(Level::Metadata).legacy(), line);
        let listed = serde_json::to_value(event(Level::Metadata).of_a_list()).unwrap();
        assert_eq!((listed.get("kind"), &listed["auditID"]), (None, &json!("id")));
    }

    #[test]
    fn what_is_told_of_answers() {
        assert_eq!(response_status(201, Some(&json!({"kind": "Pod"}))), json!({"metadata": {}, "code": 201}));
        let failure =
            json!({"kind": "Status", "status": "Failure", "reason": "NotFound", "message": "no", "code": 404});
        let wanted = json!({"metadata": {}, "status": "Failure", "message": "no", "reason": "NotFound", "code": 404});
        assert_eq!(response_status(404, Some(&failure)), wanted);
    }

    #[test]
    fn managers_are_taken_out_everywhere() {
        let managed = || json!({"metadata": {"name": "a", "managedFields": [{}]}});
        let clean = || json!({"metadata": {"name": "a"}});
        let mut list = json!({"items": [managed()], "metadata": {}});
        drop_managed_fields(&mut list);
        assert_eq!(list, json!({"items": [clean()], "metadata": {}}));
        let mut table = json!({"rows": [{"cells": [], "object": managed()}]});
        drop_managed_fields(&mut table);
        assert_eq!(table["rows"][0]["object"], clean());
    }
}
