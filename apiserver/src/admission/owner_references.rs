//! `OwnerReferencesPermissionEnforcement`: an object is given owners only by who may delete it, and an owner's end is held
//! up only by who may hold it up anyway (Kubernetes reference: "Admission Controllers").

use async_trait::async_trait;
use machinery::gvk::split_api_version;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Operation, Plugin, Request};
use crate::authz::{Attributes, Decision};
use crate::request::RequestInfo;

pub struct OwnerReferencesPermissionEnforcement;

#[async_trait]
impl Plugin for OwnerReferencesPermissionEnforcement {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        // A pod's status changes no owners.
        if !request.writes() || request.is("", "pods", "status") || !changes_owners(object, request.old) {
            return Ok(());
        }
        let refuse = |why: String| Err(request.forbidden_object(object, &why));
        if request.operation == Operation::Update {
            let info = RequestInfo { verb: "delete".to_owned(), ..request.info().clone() };
            if let Some(reason) = refusal(request, info) {
                return refuse(format!("cannot set an ownerRef on a resource you can't delete: {reason}, <nil>"));
            }
        }
        let blocking = newly_blocking(object, request.old);
        if blocking.is_empty() || refusal(request, finalizers("*", "*", "*")).is_none() {
            return Ok(());
        }
        for owner in blocking {
            let (version, kind) = (meta::text(owner, "apiVersion"), meta::text(owner, "kind"));
            let Some(mut info) = of_owner(request, owner) else {
                return refuse(format!(
                    "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {kind}: no matches for kind \"{kind}\" in version \"{version}\""
                ));
            };
            info.name = meta::text(owner, "name").to_owned();
            if let Some(reason) = refusal(request, info) {
                return refuse(format!(
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {reason}, <nil>"
                ));
            }
        }
        Ok(())
    }
}

/// Why the requester may not do this, if so.
fn refusal(request: &Request<'_>, info: RequestInfo) -> Option<String> {
    let attributes = Attributes { info, ..Attributes::default() };
    match request.api.authorizer.authorize(request.api, request.user(), &attributes) {
        Decision::Allow(_) => None,
        Decision::NoOpinion(reason) => Some(reason),
    }
}

fn finalizers(group: &str, version: &str, resource: &str) -> RequestInfo {
    RequestInfo {
        verb: "update".to_owned(),
        is_resource: true,
        group: group.to_owned(),
        version: version.to_owned(),
        resource: resource.to_owned(),
        subresource: "finalizers".to_owned(),
        name: "*".to_owned(),
        ..RequestInfo::default()
    }
}

/// The right to hold up the owner's end; none where the kind is not served.
fn of_owner(request: &Request<'_>, owner: &Value) -> Option<RequestInfo> {
    let (group, version) = split_api_version(meta::text(owner, "apiVersion"))?;
    let mut rows = request.api.catalogue.rows().iter().map(|served| &served.row);
    let kind = meta::text(owner, "kind");
    let row = rows.find(|row| row.group == group && row.version == version && row.kind == kind)?;
    // An owner in a namespace owns what is in the same one.
    let namespace = if row.namespaced { request.namespace().to_owned() } else { String::new() };
    Some(RequestInfo { namespace, ..finalizers(group, version, &row.plural) })
}

fn owners(object: &Value) -> &[Value] {
    meta::list(object, "metadata.ownerReferences")
}

fn changes_owners(new: &Value, old: Option<&Value>) -> bool {
    owners(new) != old.map(owners).unwrap_or_default()
}

/// Owners whose end waits for this object, and did not before.
fn newly_blocking<'a>(new: &'a Value, old: Option<&Value>) -> Vec<&'a Value> {
    let blocks = |owner: &&Value| owner["blockOwnerDeletion"] == true;
    let before = old.map(owners).unwrap_or_default();
    let blocked = |owner: &&Value| before.iter().filter(blocks).any(|known| known["uid"] == owner["uid"]);
    owners(new).iter().filter(blocks).filter(|owner| !blocked(owner)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owned(owners: Value) -> Value {
        json!({"metadata": {"ownerReferences": owners}})
    }

    #[test]
    fn only_new_blocks_are_judged() {
        let (free, held) = (json!({"uid": "a"}), json!({"uid": "a", "blockOwnerDeletion": true}));
        let (is_free, is_held) = (owned(json!([free])), owned(json!([held])));
        assert!(!changes_owners(&is_free, Some(&is_free)) && changes_owners(&is_held, Some(&is_free)));
        assert!(changes_owners(&is_free, None) && !changes_owners(&json!({}), None));
        assert_eq!(newly_blocking(&is_held, Some(&is_free)).len(), 1);
        assert_eq!(newly_blocking(&is_held, None).len(), 1);
        assert!(newly_blocking(&is_held, Some(&is_held)).is_empty());
        assert!(newly_blocking(&is_free, Some(&is_held)).is_empty());
    }
}
