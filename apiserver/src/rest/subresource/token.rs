//! `/token`: a ServiceAccount's token, bound to what asked for it (Kubernetes reference: TokenRequest).

use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::{Gvk, split_api_version};
use machinery::meta;
use machinery::schema;
use machinery::status::{GroupResource, Status};
use serde_json::{Value, json};

use crate::admission::{self, Operation};
use crate::api::Api;
use crate::authn::tokens::{Claims, ObjectRef, Private, Tokens};
use crate::http_body::Response;
use crate::rest::body::Decoded;
use crate::rest::params::WriteOptions;
use crate::rest::{Call, managers, owners, respond, system};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const EXPIRATION_SECONDS: i64 = 3600;
const EXPIRATION_SECONDS_MIN: i64 = 600;
const EXPIRATION_SECONDS_MAX: i64 = 1 << 32;
/// Upstream's mark of tokens that the admission plug-in asked for: they live a year, and warn after an hour.
const WARN_ONLY_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 24 * 3600;

pub async fn create(api: &Api, call: &Call) -> Result<Response, Status> {
    let accept = call.accept()?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let kind = Gvk::new(GROUP, "v1", KIND);
    let schema = schema::builtin(&kind).ok_or_else(|| Status::internal_error("no schema for TokenRequest"))?;
    let Decoded { object: mut request, warnings } = call.decode(schema, &kind, options.field_validation)?;
    call.warnings.extend(warnings);
    owners::dedup(&mut request, &call.warnings, owners::DUPLICATES);
    system::ensure_namespace(&mut request, &call.info.namespace)?;
    let tokens = api.tokens.as_ref().ok_or_else(|| {
        Status::service_unavailable("no service account signing key: start with --service-account-signing-key-file")
    })?;
    schema::normalize(schema, &mut request);
    default(&mut request);
    let now = api.clock.now().as_second();
    managers::track_view(call, (schema, &kind.api_version()), &options, None, &mut request, &time_text(now));
    let admitted = admission::Request::new(api, call, Operation::Create, options.dry_run, None);
    // As it was sent: whom the server's own audiences are filled in for has asked for none.
    api.admission.mutate(&admitted, &mut request).await?;
    api.admission.validate(&admitted, &request).await?;
    check_names(&request, call)?;
    let account = api.read(&call.served, &call.info.namespace, call.name()).await?.ok_or_else(|| call.not_found())?;
    check_account(&request, &account.object, call)?;
    complete(&mut request, tokens);
    check(&request)?;
    shorten(&mut request, tokens, call);
    let claims = claims(api, call, &request, &account.object, now).await?;
    let token = tokens.sign(&claims).map_err(Status::internal_error)?;
    let asked = request["spec"]["expirationSeconds"].as_i64().unwrap_or(EXPIRATION_SECONDS);
    request["status"] = json!({"token": token, "expirationTimestamp": time_text(now + asked)});
    meta::metadata_mut(&mut request).extend([
        ("uid".to_owned(), json!(meta::uid(&account.object))),
        ("name".to_owned(), json!(call.name())),
        ("namespace".to_owned(), json!(call.info.namespace)),
        ("creationTimestamp".to_owned(), json!(time_text(now))),
    ]);
    respond::encoded(accept, 201, &request)
}

/// What the request says of its account must be what the path says.
fn check_names(request: &Value, call: &Call) -> Result<(), Status> {
    for (field, of_path) in [("name", call.name()), ("namespace", call.info.namespace.as_str())] {
        let given = meta::text(&request["metadata"], field);
        if !given.is_empty() && given != of_path {
            let why = format!("must match the service account {field} if specified");
            let error = Error::invalid(&Path::new("metadata").child(field), given, why);
            return Err(Status::invalid(GROUP, KIND, call.name(), &vec![error]));
        }
    }
    Ok(())
}

/// Whoever says which account it means gets no token of another one of that name.
fn check_account(request: &Value, account: &Value, call: &Call) -> Result<(), Status> {
    let (asked, stored) = (meta::uid(request), meta::uid(account));
    if asked.is_empty() || asked == stored {
        return Ok(());
    }
    let of = GroupResource { group: GROUP, resource: KIND };
    let why =
        format!("the UID in the token request ({asked}) does not match the UID of the service account ({stored})");
    Err(Status::conflict(of, call.name(), &why))
}

fn time_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

fn default(request: &mut Value) {
    let spec = meta::object_mut(request, "spec");
    if spec.get("expirationSeconds").is_none_or(Value::is_null) {
        spec.insert("expirationSeconds".into(), json!(EXPIRATION_SECONDS));
    }
    // An answer shows that there is none.
    spec.entry("boundObjectRef").or_insert(Value::Null);
}

fn complete(request: &mut Value, tokens: &Tokens) {
    let spec = meta::object_mut(request, "spec");
    if spec.get("audiences").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("audiences".into(), json!(tokens.audiences));
    }
}

fn check(request: &Value) -> Result<(), Status> {
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = meta::at(request, "spec.expirationSeconds").as_i64().unwrap_or(0);
    let mut errors = ErrorList::new();
    if seconds < EXPIRATION_SECONDS_MIN {
        errors.push(Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > EXPIRATION_SECONDS_MAX {
        errors.push(Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    if errors.is_empty() {
        return Ok(());
    }
    // The request's own name, which it need not have: upstream leaves it out here.
    Err(Status::invalid(GROUP, KIND, "", &errors))
}

/// No token lives longer than the server allows.
fn shorten(request: &mut Value, tokens: &Tokens, call: &Call) {
    let asked = meta::at(request, "spec.expirationSeconds").as_i64().unwrap_or(EXPIRATION_SECONDS);
    if let Some(longest) = tokens.lives.seconds_max.filter(|longest| asked > *longest) {
        call.warnings.add(format!("requested expiration of {asked} seconds shortened to {longest} seconds"));
        request["spec"]["expirationSeconds"] = json!(longest);
    }
}

async fn claims(api: &Api, call: &Call, request: &Value, account: &Value, now: i64) -> Result<Claims, Status> {
    let namespace = &call.info.namespace;
    let mut private = Private {
        namespace: namespace.clone(),
        serviceaccount: ObjectRef { name: call.name().to_owned(), uid: meta::uid(account).to_owned() },
        ..Private::default()
    };
    bind(api, call, request, &mut private).await?;
    let asked = meta::at(request, "spec.expirationSeconds").as_i64().unwrap_or(EXPIRATION_SECONDS);
    let mut lifetime = asked;
    let audiences = meta::list(request, "spec.audiences").iter().filter_map(Value::as_str).map(str::to_owned);
    let audiences: Vec<String> = audiences.collect();
    let extends = api.tokens.as_ref().is_some_and(|tokens| {
        tokens.lives.extends && audiences.iter().all(|audience| tokens.audiences.contains(audience))
    });
    if extends && asked == WARN_ONLY_SECONDS && private.pod.is_some() {
        private.warnafter = Some(now + asked);
        lifetime = EXTENDED_SECONDS;
    }
    Ok(Claims {
        aud: audiences,
        exp: now + lifetime,
        iat: now,
        iss: api.tokens.as_ref().map(|tokens| tokens.issuer().to_owned()).unwrap_or_default(),
        jti: api.new_uid(),
        private,
        nbf: now,
        sub: format!("system:serviceaccount:{namespace}:{}", call.name()),
    })
}

/// Ties the token to the life of the object that it was asked for.
async fn bind(api: &Api, call: &Call, request: &Value, private: &mut Private) -> Result<(), Status> {
    let bound = meta::at(request, "spec.boundObjectRef");
    if bound.is_null() {
        return Ok(());
    }
    let text = |name: &str| bound[name].as_str().unwrap_or_default();
    // A version that is none counts as not given, as upstream has it.
    let (group, version) = split_api_version(text("apiVersion")).unwrap_or_default();
    let (plural, namespace) = match (group, text("kind")) {
        ("", "Pod") => ("pods", call.info.namespace.as_str()),
        ("", "Secret") => ("secrets", call.info.namespace.as_str()),
        ("", "Node") => ("nodes", ""),
        (group, kind) => {
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let served = api.catalogue.find("", "v1", plural).ok_or_else(Status::unknown_path)?;
    let of = served.row.group_resource();
    let found = api.read(served, namespace, text("name")).await?.ok_or_else(|| Status::not_found(of, text("name")))?;
    if plural == "pods" && meta::text(&found.object, "spec.serviceAccountName") != call.name() {
        let why = format!(
            "cannot bind token for serviceaccount {} to pod running with different serviceaccount name.",
            machinery::field::quote(call.name())
        );
        return Err(Status::bad_request(why));
    }
    let uid = meta::uid(&found.object).to_owned();
    if !text("uid").is_empty() && text("uid") != uid {
        let why = format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
            text("uid")
        );
        // Upstream's words have the kind here.
        let of = GroupResource { group: "", resource: text("kind") };
        return Err(Status::conflict(of, text("name"), &why));
    }
    let reference = ObjectRef { name: text("name").to_owned(), uid };
    match plural {
        "pods" => {
            private.node = node_of(api, meta::text(&found.object, "spec.nodeName"));
            private.pod = Some(reference);
        }
        "secrets" => private.secret = Some(reference),
        _ => private.node = Some(reference),
    }
    Ok(())
}

fn node_of(api: &Api, name: &str) -> Option<ObjectRef> {
    let node = api.peek_named("", "nodes", "", name)?;
    Some(ObjectRef { name: name.to_owned(), uid: meta::uid(&node).to_owned() })
}
