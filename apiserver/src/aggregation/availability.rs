//! Whether an extension server can be asked, told in its APIService's `Available` condition.
//!
//! [`judge`] looks at the Service and its endpoints, pure; [`look`] then asks the server itself.

use std::sync::Arc;
use std::time::Duration;

use machinery::field::quote;
use machinery::meta;
use serde_json::{Value, json};

use super::GROUP;
use super::extension::{Extension, is_ready, slices_of};
use crate::api::Api;
use crate::bootstrap::own_call;
use crate::metrics::aggregation as metrics;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};

/// Discovery is a small answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why a server cannot be asked: the condition's reason and message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unavailable {
    reason: &'static str,
    message: String,
}

/// What an APIService came to.
pub(super) type Judged = Result<(), Unavailable>;

/// Judges one APIService and brings what is known of it up to date.
pub(super) async fn look(api: &Api, object: &Value, known: Option<Arc<Extension>>) -> (Arc<Extension>, Judged) {
    let mut extension = Extension::new(object, &api.aggregation);
    if let Some(known) = &known {
        extension.resources = known.resources.clone();
        extension.v3_hash = known.v3_hash.clone();
        extension.v2 = known.v2.clone();
    }
    let service = api.peek_named("", "services", &extension.namespace, &extension.service);
    let slices = slices_of(api, &extension.namespace, &extension.service);
    let judged = match judge(&extension, service.as_ref(), &slices) {
        Ok(()) => ask(api, &mut extension).await,
        refused => refused,
    };
    extension.available = judged.is_ok();
    if extension.available && !known.is_some_and(|known| known.available) {
        extension.take_documents(api).await;
    }
    (Arc::new(extension), judged)
}

impl Extension {
    /// What it serves of OpenAPI; a server without is fine.
    async fn take_documents(&mut self, api: &Api) {
        let get = async |path: &str| tokio::time::timeout(DEADLINE, self.get(api, path)).await;
        let (v3, v2) = (get("/openapi/v3").await, get("/openapi/v2").await);
        let key = self.path().trim_start_matches('/').to_owned();
        self.v3_hash = v3.ok().and_then(Result::ok).and_then(|index| {
            let url = index["paths"].get(&key)?["serverRelativeURL"].as_str()?.to_owned();
            Some(url.split_once("hash=").map_or("0", |(_, hash)| hash).to_owned())
        });
        self.v2 = v2.ok().and_then(Result::ok).unwrap_or_default().into();
    }
}

/// Asks for the group version's resources.
async fn ask(api: &Api, extension: &mut Extension) -> Judged {
    let path = extension.path();
    let answer = tokio::time::timeout(DEADLINE, extension.get(api, &path)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("timed out waiting for {path}")));
    extension.resources = answer.map_err(|message| Unavailable { reason: "FailedDiscoveryCheck", message })?;
    Ok(())
}

fn judge(extension: &Extension, service: Option<&Value>, slices: &[Value]) -> Judged {
    let (name, namespace) = (&extension.service, quote(&extension.namespace));
    let refuse = |reason, message: String| Err(Unavailable { reason, message });
    let Some(service) = service else {
        return refuse("ServiceNotFound", format!("service/{name} in {namespace} is not present"));
    };
    if meta::text(service, "spec.type") != "ClusterIP" {
        return Ok(());
    }
    let mut ports = meta::list(service, "spec.ports").iter();
    let Some(port) = ports.find(|port| port["port"] == extension.port) else {
        let port = extension.port;
        return refuse("ServicePortError", format!("service/{name} in {namespace} is not listening on port {port}"));
    };
    if slices.is_empty() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace}");
        return refuse("EndpointsNotFound", message);
    }
    let port_name = port["name"].as_str().unwrap_or_default();
    let is_active = |slice: &Value| {
        let has_port = |port: &Value| port["name"].as_str().unwrap_or_default() == port_name && !port["port"].is_null();
        meta::list(slice, "endpoints").iter().any(is_ready) && meta::list(slice, "ports").iter().any(has_port)
    };
    if !slices.iter().any(is_active) {
        let port_name = quote(port_name);
        let message =
            format!("endpointslices for service/{name} in {namespace} have no addresses with port name {port_name}");
        return refuse("MissingEndpoints", message);
    }
    Ok(())
}

/// Writes the condition where it says something new.
pub(super) async fn tell(api: &Api, object: &Value, judged: &Judged) {
    metrics::is_available(meta::name(object), judged.is_ok());
    let (status, reason, message) = match judged {
        Ok(()) => ("True", "Passed", "all checks passed"),
        Err(why) => ("False", why.reason, why.message.as_str()),
    };
    let said = meta::list(object, "status.conditions").iter().find(|condition| condition["type"] == "Available");
    let is_said = |condition: &&Value| {
        condition["status"] == status && condition["reason"] == reason && condition["message"] == message
    };
    let Some(served) = api.catalogue.find(GROUP, "v1", "apiservices").filter(|_| !said.as_ref().is_some_and(is_said))
    else {
        return;
    };
    let was_available = said.is_some_and(|condition| condition["status"] == "True");
    let turned = said.filter(|condition| condition["status"] == status);
    let since = turned.map_or_else(|| json!(api.now_text()), |condition| condition["lastTransitionTime"].clone());
    let condition = json!({
        "type": "Available", "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    let mut call = own_call(served, "update", "", meta::name(object));
    call.info.subresource = "status".to_owned();
    let options = WriteOptions { field_manager: Some("kube-apiserver".to_owned()), ..WriteOptions::default() };
    let told = change(api, &call, Part::Status, &options, |old| {
        let mut new = old.clone();
        meta::metadata_mut(&mut new).remove("resourceVersion");
        let mut conditions = meta::list(old, "status.conditions").to_vec();
        conditions.retain(|condition| condition["type"] != "Available");
        conditions.push(condition.clone());
        meta::object_mut(&mut new, "status").insert("conditions".into(), Value::Array(conditions));
        Ok(new)
    });
    match told.await {
        Ok(_) if was_available && judged.is_err() => metrics::became_unavailable(meta::name(object), reason),
        // It may have been deleted meanwhile.
        Err(status) if status.code != 404 => {
            tracing::error!(%status, name = meta::name(object), "the condition of an APIService cannot be written");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::Aggregation;

    #[test]
    fn services_are_judged_in_upstreams_words() {
        let object = json!({"metadata": {"name": "v1.g"}, "spec": {
            "group": "g", "version": "v1", "service": {"namespace": "n", "name": "s", "port": 443},
        }});
        let extension = Extension::new(&object, &Aggregation::new(None, false, true));
        let check = |service: Option<Value>, slices: &[Value], wanted: Option<(&str, &str)>| {
            let judged = judge(&extension, service.as_ref(), slices).err().map(|why| (why.reason, why.message));
            assert_eq!(judged.as_ref().map(|(reason, message)| (*reason, message.as_str())), wanted);
        };
        let service =
            |port: u16| Some(json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": port}]}}));
        let slice = |ready: bool, port: &str| json!({"ports": [{"name": port, "port": 8443}], "endpoints": [{"conditions": {"ready": ready}}]});
        check(None, &[], Some(("ServiceNotFound", "service/s in \"n\" is not present")));
        check(service(80), &[], Some(("ServicePortError", "service/s in \"n\" is not listening on port 443")));
        check(service(443), &[], Some(("EndpointsNotFound", "cannot find endpointslices for service/s in \"n\"")));
        let missing = "endpointslices for service/s in \"n\" have no addresses with port name \"https\"";
        check(service(443), &[slice(false, "https"), slice(true, "http")], Some(("MissingEndpoints", missing)));
        check(service(443), &[slice(true, "https")], None);
        check(Some(json!({"spec": {"type": "ExternalName"}})), &[], None);
    }
}
