//! An event as it is written: `audit.k8s.io/v1` Event, one JSON object a line.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::policy::{Level, Stage};
use crate::request::{RequestInfo, User};

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    pub kind: &'static str,
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
    if let Some(metadata) = object["metadata"].as_object_mut() {
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
mod tests {
    use super::*;
    use serde_json::json;

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
