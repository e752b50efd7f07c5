//! Who may write which part of a ResourceClaim's status: what was allocated, and to whom, is for who binds claims; what
//! is told of a driver's devices is for who speaks for that driver, on one node or on all (upstream's
//! `DRAResourceClaimGranularStatusAuthorization`).
//!
//! As with access for admins, upstream holds it among the rules of the kind, and it is told beside them.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Request};
use crate::authz::Attributes;
use crate::request::RequestInfo;

/// Objects are compared in the form in which they are stored.
pub fn check(request: &Request<'_>, object: &Value) -> ErrorList {
    let is_status = request.is("resource.k8s.io", "resourceclaims", "status");
    let Some(old) = request.old.filter(|_| is_status && request.operation == Operation::Update) else {
        return ErrorList::new();
    };
    let (new, old) = (&object["status"], &old["status"]);
    let mut errors: ErrorList = binding(request, new, old).into_iter().collect();
    // What is told of devices goes with the allocation, whoever takes that away.
    if new["allocation"].is_object() {
        errors.extend(drivers(request, new, old));
    }
    errors
}

fn binding(request: &Request<'_>, new: &Value, old: &Value) -> Option<Error> {
    if ["allocation", "reservedFor"].into_iter().all(|field| new[field] == old[field]) {
        return None;
    }
    let verb = &request.info().verb;
    // Over all claims of all namespaces, whichever this one is.
    let refusal = may(request, verb, "binding", "", "").err()?;
    let why = format!(
        "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {}",
        refusal.message
    );
    Some(Error::forbidden(&Path::new("status").child("allocation"), why))
}

fn drivers(request: &Request<'_>, new: &Value, old: &Value) -> ErrorList {
    let node = allocated_node(&new["allocation"]);
    let is_there = node.is_some() && request.user().bound_node() == node;
    let scopes = if is_there { &["associated-node", "arbitrary-node"][..] } else { &["arbitrary-node"] };
    let verbs: Vec<String> = scopes.iter().map(|scope| format!("{scope}:{}", request.info().verb)).collect();
    let changed = changed_drivers(meta::list(new, "devices"), meta::list(old, "devices"));
    let refusals = changed.into_iter().filter_map(|driver| may_speak_for(request, driver, &verbs).err());
    let told = refusals.map(|refusal| {
        let why = format!(
            "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {}",
            verbs.join(" "),
            refusal.message
        );
        Error::forbidden(&Path::new("status").child("devices"), why)
    });
    told.collect()
}

/// By any of the verbs; a refusal is the first one's.
fn may_speak_for(request: &Request<'_>, driver: &str, verbs: &[String]) -> Result<(), Status> {
    let mut asked = verbs.iter().map(|verb| may(request, verb, "driver", request.namespace(), driver));
    let first = asked.next().unwrap_or(Ok(()));
    first.or_else(|refusal| if asked.any(|outcome| outcome.is_ok()) { Ok(()) } else { Err(refusal) })
}

/// Whether the requester has a right over claims that no path asks for.
fn may(request: &Request<'_>, verb: &str, subresource: &str, namespace: &str, name: &str) -> Result<(), Status> {
    let info = RequestInfo {
        verb: verb.to_owned(),
        subresource: subresource.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..request.info().clone()
    };
    let attributes = Attributes { info, ..Attributes::default() };
    request.api.authorizer.check(request.api, request.user(), &attributes)
}

/// Whose devices are told of in another way than before.
fn changed_drivers<'a>(new: &'a [Value], old: &'a [Value]) -> BTreeSet<&'a str> {
    let told_of_by = |devices: &'a [Value], others: &'a [Value]| {
        devices.iter().filter(|device| !others.contains(device)).map(|device| meta::text(device, "driver"))
    };
    told_of_by(new, old).chain(told_of_by(old, new)).collect()
}

/// The one node where the devices of an allocation are, if it is told as schedulers do.
fn allocated_node(allocation: &Value) -> Option<&str> {
    let [term] = meta::list(allocation, "nodeSelector.nodeSelectorTerms") else { return None };
    let [field] = meta::list(term, "matchFields") else { return None };
    let [node] = meta::list(field, "values") else { return None };
    let is_name = meta::text(field, "key") == "metadata.name" && meta::text(field, "operator") == "In";
    node.as_str().filter(|_| is_name && meta::list(term, "matchExpressions").is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn drivers_whose_devices_are_told_of_anew() {
        let device = |driver: &str, name: &str, data: Value| json!({"driver": driver, "pool": "p", "device": name, "data": data});
        let (a, b) = (device("a.io", "x", json!({})), device("b.io", "x", Value::Null));
        for (new, old, want) in [
            (vec![a.clone(), b.clone()], vec![b.clone(), a.clone()], vec![]),
            (vec![a.clone()], vec![a.clone(), b.clone()], vec!["b.io"]),
            (vec![b.clone(), device("a.io", "x", json!({"k": 1}))], vec![a.clone()], vec!["a.io", "b.io"]),
            (vec![device("a.io", "x", Value::Null)], vec![a.clone()], vec!["a.io"]),
            (vec![], vec![device("a.io", "x", Value::Null), device("a.io", "y", Value::Null)], vec!["a.io"]),
        ] {
            assert_eq!(changed_drivers(&new, &old).into_iter().collect::<Vec<_>>(), want, "{new:?} {old:?}");
        }
    }

    #[test]
    fn the_node_of_an_allocation_is_one_by_its_name() {
        let field = json!({"key": "metadata.name", "operator": "In", "values": ["n"]});
        let of = |terms: Value| json!({"nodeSelector": {"nodeSelectorTerms": terms}});
        assert_eq!(allocated_node(&of(json!([{"matchFields": [field]}]))), Some("n"));
        let mut not_in = field.clone();
        not_in["operator"] = json!("NotIn");
        let mut two = field.clone();
        two["values"] = json!(["n", "m"]);
        for terms in [
            json!([]),
            json!([{"matchFields": [field]}, {"matchFields": [field]}]),
            json!([{"matchFields": [field], "matchExpressions": [{"key": "a", "operator": "Exists"}]}]),
            json!([{"matchFields": [field, field]}]),
            json!([{"matchFields": [not_in]}]),
            json!([{"matchFields": [two]}]),
        ] {
            assert_eq!(allocated_node(&of(terms.clone())), None, "{terms}");
        }
        assert_eq!(allocated_node(&json!({})), None);
    }
}
