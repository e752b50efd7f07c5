//! Reviews: questions that are posted as objects and answered in place, never stored.
//!
//! Kubernetes reference: TokenReview, SubjectAccessReview and kin. Enter at [`create`].

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::selector::{FieldSelector, FieldTerm};
use machinery::status::Status;
use serde_json::{Value, json};

use super::body::{self, Decoded};
use super::negotiate::Accept;
use super::params::WriteOptions;
use super::subresource::bind_named;
use super::{Call, respond};
use crate::api::Api;
use crate::authz::rules::Rule;
use crate::authz::{Attributes, Decision};
use crate::http_body::Response;
use crate::request::{RequestInfo, User};

pub async fn create(api: &Api, call: Call) -> Result<Response, Status> {
    if call.served.row.plural == "bindings" {
        return bind_named(api, &call).await;
    }
    let accept = Accept::without_tables(&call.headers, call.query.is_true("pretty"))?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let served = &call.served;
    let Decoded { object: mut review, warnings } =
        body::decode(&call.body, &call.headers, served.schema, &served.row.gvk(), options.field_validation)?;
    machinery::schema::normalize(served.schema, &mut review);
    review["status"] = match served.row.plural.as_ref() {
        "tokenreviews" => token_review(api, &review).await,
        "selfsubjectreviews" => json!({"userInfo": user_info(&call.user)}),
        "selfsubjectrulesreviews" => rules_review(api, &call.user, &review),
        "selfsubjectaccessreviews" => access_review(api, &call.user, &review, &call)?,
        _ => {
            let user = subject(&review, &call)?;
            access_review(api, &user, &review, &call)?
        }
    };
    call.warnings.extend(warnings);
    respond::encoded(accept, 201, &review)
}

async fn token_review(api: &Api, review: &Value) -> Value {
    let token = meta::text(review, "spec.token");
    let audiences: Vec<String> =
        meta::list(review, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    match api.authenticator.of_token(api, token, &audiences).await {
        Ok(found) => {
            let mut status = json!({"authenticated": true, "user": user_info(&found.user.authenticated())});
            if !found.audiences.is_empty() {
                status["audiences"] = json!(found.audiences);
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    }
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// Whom a SubjectAccessReview asks about.
fn subject(review: &Value, call: &Call) -> Result<User, Status> {
    let spec = &review["spec"];
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let name = meta::text(review, "spec.user");
    let groups = strings(&spec["groups"]);
    if name.is_empty() && groups.is_empty() {
        let path = Path::new("spec").child("user");
        let errors: ErrorList = vec![Error::required(&path, "at least one of user or group must be specified")];
        return Err(refusal(call, &errors));
    }
    let extra = meta::map(review, "spec.extra");
    Ok(User {
        name: name.to_owned(),
        uid: meta::text(review, "spec.uid").to_owned(),
        groups,
        extra: extra.iter().map(|(key, values)| (key.to_lowercase(), strings(values))).collect(),
    })
}

fn refusal(call: &Call, errors: &ErrorList) -> Status {
    Status::invalid(&call.served.row.group, &call.served.row.kind, "", errors)
}

fn access_review(api: &Api, user: &User, review: &Value, call: &Call) -> Result<Value, Status> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    if resource.is_null() == path.is_null() {
        let (field, why) = match resource.is_null() {
            true => {
                ("resourceAttributes", "exactly one of nonResourceAttributes or resourceAttributes must be specified")
            }
            false => ("nonResourceAttributes", "cannot be specified in combination with resourceAttributes"),
        };
        let error = Error::invalid(&Path::new("spec").child(field), path.clone(), why);
        return Err(refusal(call, &vec![error]));
    }
    let attributes = attributes_of(resource, path);
    if call.served.row.namespaced && attributes.info.namespace != call.info.namespace {
        let path = Path::new("spec").child("resourceAttributes").child("namespace");
        let why = "must match metadata.namespace";
        return Err(refusal(call, &vec![Error::invalid(&path, attributes.info.namespace, why)]));
    }
    Ok(match api.authorizer.authorize(api, user, &attributes) {
        Decision::Allow(reason) => verdict(true, &reason),
        Decision::NoOpinion(reason) => verdict(false, &reason),
    })
}

fn verdict(allowed: bool, reason: &str) -> Value {
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

fn attributes_of(resource: &Value, path: &Value) -> Attributes {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    if resource.is_null() {
        let info = RequestInfo { verb: text(path, "verb"), path: text(path, "path"), ..RequestInfo::default() };
        return Attributes { info, ..Attributes::default() };
    }
    let info = RequestInfo {
        verb: text(resource, "verb"),
        is_resource: true,
        group: text(resource, "group"),
        version: text(resource, "version"),
        namespace: text(resource, "namespace"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        name: text(resource, "name"),
        ..RequestInfo::default()
    };
    Attributes { info, fields: fields_of(&resource["fieldSelector"]) }
}

/// Requirements that say `In` one value; others widen what is asked, so they are left out.
fn fields_of(selector: &Value) -> FieldSelector {
    if let Some(raw) = selector["rawSelector"].as_str() {
        return FieldSelector::parse(raw).unwrap_or_else(|_| FieldSelector::everything());
    }
    let terms = meta::list(selector, "requirements").iter().filter_map(|requirement| {
        let [value] = meta::list(requirement, "values") else { return None };
        (requirement["operator"] == "In").then(|| FieldTerm {
            field: requirement["key"].as_str().unwrap_or_default().to_owned(),
            value: value.as_str().unwrap_or_default().to_owned(),
            equal: true,
        })
    });
    FieldSelector::new(terms.collect())
}

fn rules_review(api: &Api, user: &User, review: &Value) -> Value {
    let rules = api.authorizer.rbac.rules_of(user, meta::text(review, "spec.namespace"));
    let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
        rules.iter().partition(|rule| !rule.non_resource_urls.is_empty());
    let with = |mut value: Value, name: &str, list: &[String]| {
        if !list.is_empty() {
            value[name] = json!(list);
        }
        value
    };
    let resources: Vec<Value> = resources
        .into_iter()
        .map(|rule| {
            let value = with(json!({"verbs": rule.verbs}), "apiGroups", &rule.api_groups);
            with(with(value, "resources", &rule.resources), "resourceNames", &rule.resource_names)
        })
        .collect();
    let paths: Vec<Value> = paths
        .into_iter()
        .map(|rule| with(json!({"verbs": rule.verbs}), "nonResourceURLs", &rule.non_resource_urls))
        .collect();
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}
