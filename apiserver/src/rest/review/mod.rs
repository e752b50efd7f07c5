//! Reviews: questions that are posted as objects and answered in place, never stored.
//!
//! Kubernetes reference: TokenReview, SubjectAccessReview and kin. Enter at [`create`].

mod asked;

use machinery::field::aggregate;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::body::Decoded;
use super::negotiate::{self, Accept, check_routed};
use super::params::WriteOptions;
use super::subresource::bind_named;
use super::{Call, respond, system};
use crate::api::Api;
use crate::authz::rules::Rule;
use crate::authz::{Decision, Mode};
use crate::http_body::Response;
use crate::request::{NODES, User};

pub async fn create(api: &Api, call: Call) -> Result<Response, Status> {
    if call.served.row.plural == "bindings" {
        return bind_named(api, &call).await;
    }
    check_routed(&call.headers, false)?;
    let accept = Accept::without_tables(&call.headers, negotiate::pretty(&call.query))?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let served = &call.served;
    let Decoded { object: mut review, warnings } =
        call.decode(served.schema, &served.row.gvk(), options.field_validation)?;
    machinery::schema::normalize(served.schema, &mut review);
    let namespace = if served.row.namespaced { call.info.namespace.as_str() } else { "" };
    system::ensure_namespace(&mut review, namespace)?;
    // To what only asks, upstream answers with a review of its own.
    review["status"] = match served.row.plural.as_ref() {
        "tokenreviews" => token_review(api, &review).await?,
        "selfsubjectreviews" => {
            let metadata = json!({"creationTimestamp": api.now_text()});
            review = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": metadata});
            json!({"userInfo": user_info(&call.user)})
        }
        "selfsubjectrulesreviews" => {
            let namespace = meta::text(&review, "spec.namespace").to_owned();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            review = json!({"kind": review["kind"], "apiVersion": review["apiVersion"], "metadata": {}, "spec": {}});
            rules_review(api, &call.user, &namespace)
        }
        plural => {
            let errors = asked::validate(plural, &review);
            if !errors.is_empty() {
                // Upstream's form of what was sent has no kind any more.
                return Err(Status::invalid(&served.row.group, "", "", &errors));
            }
            match plural {
                "selfsubjectaccessreviews" => access_review(api, &call.user, &review),
                _ => access_review(api, &asked::subject(&review), &review),
            }
        }
    };
    call.warnings.extend(warnings);
    respond::encoded(accept, 201, &review)
}

async fn token_review(api: &Api, review: &Value) -> Result<Value, Status> {
    let token = meta::text(review, "spec.token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> =
        meta::list(review, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(match api.authenticator.of_token(api, token, &audiences).await {
        Ok(found) => {
            let mut status = json!({"authenticated": true, "user": user_info(&found.user.authenticated())});
            if !found.audiences.is_empty() {
                status["audiences"] = json!(found.audiences);
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    })
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

fn access_review(api: &Api, user: &User, review: &Value) -> Value {
    let (attributes, remark) = asked::attributes(&review["spec"]);
    let mut status = match api.authorizer.authorize(api, user, &attributes) {
        Decision::Allow(reason) => verdict(true, &reason),
        Decision::NoOpinion(reason) => verdict(false, &reason),
    };
    if !remark.is_empty() {
        status["evaluationError"] = json!(remark);
    }
    status
}

fn verdict(allowed: bool, reason: &str) -> Value {
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = json!(reason);
    }
    status
}

/// What the caller may do in a namespace, as far as the modes can list it.
fn rules_review(api: &Api, user: &User, namespace: &str) -> Value {
    let (mut resources, mut paths) = (Vec::new(), Vec::new());
    let (mut errors, mut incomplete) = (Vec::new(), false);
    for mode in api.authorizer.modes() {
        match mode {
            Mode::AlwaysAllow => {
                resources.push(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}));
                paths.push(json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
            Mode::Rbac => {
                let held = api.authorizer.rbac.held_by(user, namespace);
                for rule in &held.rules {
                    if rule.non_resource_urls.is_empty() { resources.push(told(rule)) } else { paths.push(told(rule)) }
                }
                errors.extend(held.missing);
            }
            Mode::Node if user.is_in(NODES) && user.node_name().is_some() => {
                errors.push("node authorizer does not support user rule resolution".to_owned());
                incomplete = true;
            }
            Mode::Node | Mode::AlwaysDeny => {}
        }
    }
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete});
    if !errors.is_empty() {
        status["evaluationError"] = json!(aggregate(errors));
    }
    status
}

fn told(rule: &Rule) -> Value {
    let mut told = json!({"verbs": rule.verbs});
    let lists = [
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
        ("nonResourceURLs", &rule.non_resource_urls),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        told[name] = json!(list);
    }
    told
}
