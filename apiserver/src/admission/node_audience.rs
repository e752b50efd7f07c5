//! For whom a node may ask tokens: audiences that its pod's volumes name, and those that it has a right to (upstream's
//! `ServiceAccountNodeAudienceRestriction`, a part of `NodeRestriction`).

use machinery::field::quote;
use machinery::meta;
use serde_json::Value;

use super::Request;
use crate::authz::{Attributes, Decision};
use crate::request::RequestInfo;

const VERB: &str = "request-serviceaccounts-token-audience";

/// `asked` is the TokenRequest as it was sent.
pub fn judge(request: &Request<'_>, pod: &Value, asked: &Value) -> Result<(), String> {
    let audience = match meta::list(asked, "spec.audiences") {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    if meta::list(pod, "spec.volumes").iter().any(|volume| names(request, pod, volume, audience)) {
        return Ok(());
    }
    let info = RequestInfo {
        verb: VERB.to_owned(),
        is_resource: true,
        version: "v1".to_owned(),
        namespace: request.namespace().to_owned(),
        resource: audience.to_owned(),
        name: request.info().name.clone(),
        ..RequestInfo::default()
    };
    let attributes = Attributes { info, ..Attributes::default() };
    match request.api.authorizer.authorize(request.api, request.user(), &attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(_) => Err(format!(
            "audience {} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            quote(audience),
            request.user().name
        )),
    }
}

/// The volume holds a token for the audience, or its driver is given one.
fn names(request: &Request<'_>, pod: &Value, volume: &Value, audience: &str) -> bool {
    let held = meta::list(volume, "projected.sources").iter().map(|source| &source["serviceAccountToken"]);
    if held.filter(|token| !token.is_null()).any(|token| meta::text(token, "audience") == audience) {
        return true;
    }
    let driver = match (driver(volume), meta::text(volume, "persistentVolumeClaim.claimName")) {
        (Some(driver), _) => Some(driver.to_owned()),
        (None, "") if volume["ephemeral"].is_null() => return false,
        (None, "") => of_claim(request, &format!("{}-{}", meta::name(pod), meta::text(volume, "name"))),
        (None, claim) => of_claim(request, claim),
    };
    let driver = driver.and_then(|name| request.api.peek_named("storage.k8s.io", "csidrivers", "", &name));
    let given = driver.as_ref().map(|driver| meta::list(driver, "spec.tokenRequests")).unwrap_or_default();
    given.iter().any(|token| meta::text(token, "audience") == audience)
}

fn of_claim(request: &Request<'_>, claim: &str) -> Option<String> {
    let claim = request.api.peek_named("", "persistentvolumeclaims", request.namespace(), claim)?;
    let volume = request.api.peek_named("", "persistentvolumes", "", meta::text(&claim, "spec.volumeName"))?;
    driver(&volume["spec"]).map(str::to_owned)
}

/// Sources of volumes that drivers of these names have come to serve (upstream's CSI migration).
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("cinder", "cinder.csi.openstack.org"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("portworxVolume", "pxd.portworx.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
];

/// Whose volume that is, of a pod or a PersistentVolume's spec.
fn driver(source: &Value) -> Option<&str> {
    let migrated = MIGRATED.iter().find(|(name, _)| source[*name].is_object());
    let own = meta::at(source, "csi.driver").as_str();
    own.filter(|driver| !driver.is_empty()).or(migrated.map(|(_, driver)| *driver))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn old_sources_are_served_by_drivers() {
        assert_eq!(driver(&json!({"csi": {"driver": "a.io"}})), Some("a.io"));
        assert_eq!(driver(&json!({"name": "v", "azureFile": {"shareName": "s"}})), Some("file.csi.azure.com"));
        assert_eq!(driver(&json!({"name": "v", "emptyDir": {}})), None);
    }
}
