//! Who may look into devices that others use: claims of labelled namespaces (Kubernetes concept: "Dynamic Resource
//! Allocation", admin access).
//!
//! No plug-in, so that it cannot be turned off; upstream holds it among the rules of the kinds, but they see no namespace.

use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::Value;

use super::{Operation, Request};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

pub fn check(request: &Request<'_>, object: &Value) -> ErrorList {
    let Some(path) = newly_asked(request, object) else { return ErrorList::new() };
    let namespace = request.api.peek_named("", "namespaces", "", request.namespace());
    if namespace.is_some_and(|namespace| meta::label(&namespace, LABEL) == Some("true")) {
        return ErrorList::new();
    }
    let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    vec![Error::forbidden(&path, why)]
}

/// Where the object asks for such access, if it has not been granted before.
fn newly_asked(request: &Request<'_>, object: &Value) -> Option<Path> {
    const RESULTS: &str = "status.allocation.devices.results";
    let first = |items: &[Value], path: &str| items.iter().position(|item| meta::is_true(item, path));
    let is_created = |plural: &str| request.creates(GROUP, plural);
    if is_created("resourceclaims") || is_created("resourceclaimtemplates") {
        let claim = if is_created("resourceclaims") { object } else { &object["spec"] };
        let position = first(meta::list(claim, "spec.devices.requests"), "exactly.adminAccess")?;
        let requests = Path::new("spec").child("devices").child("requests");
        return Some(requests.index(position).child("adminAccess"));
    }
    if request.operation != Operation::Update || !request.is(GROUP, "resourceclaims", "status") {
        return None;
    }
    let granted = request.old.is_some_and(|old| first(meta::list(old, RESULTS), "adminAccess").is_some());
    let position = first(meta::list(object, RESULTS), "adminAccess").filter(|_| !granted)?;
    let results = ["allocation", "devices", "results"].iter().fold(Path::new("status"), |path, step| path.child(step));
    Some(results.index(position).child("adminAccess"))
}
