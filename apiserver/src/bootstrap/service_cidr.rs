//! The ServiceCIDR `kubernetes`, which is what `--service-cluster-ip-range` says (Kubernetes concept: "Service ClusterIP
//! allocation").
//!
//! It is made when missing, gets its second family, and is said to be ready where nobody has said anything yet. One that
//! says otherwise than the flags stays as it is.

use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{ensure as ensure_object, own_call, row};
use crate::api::Api;
use crate::rest::params::WriteOptions;
use crate::rest::update::{Part, change};

const NAME: &str = "kubernetes";

pub async fn ensure(api: &Api) -> Result<(), Status> {
    let cidrs: Vec<String> = api.services.addresses.iter().map(ToString::to_string).collect();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": NAME}, "spec": {"cidrs": cidrs},
    });
    ensure_object(api, "networking.k8s.io", "servicecidrs", object).await?;
    let served = row(api, "networking.k8s.io", "servicecidrs")?;
    let Some(found) = api.read(served, "", NAME).await? else { return Ok(()) };
    let part = match missing(&found.object, &cidrs) {
        None => return Ok(()),
        Some(Missing::Family) => Part::Main,
        Some(Missing::Ready) => Part::Status,
    };
    let mut call = own_call(served, "update", "", NAME);
    if matches!(part, Part::Status) {
        call.info.subresource = "status".to_owned();
    }
    let now = api.now_text();
    change(api, &call, part, &WriteOptions::default(), |old| Ok(completed(old, &cidrs, &now))).await.map(|_| ())
}

#[derive(Debug, PartialEq, Eq)]
enum Missing {
    Family,
    Ready,
}

fn missing(found: &Value, cidrs: &[String]) -> Option<Missing> {
    let held: Vec<&str> = meta::list(found, "spec.cidrs").iter().filter_map(Value::as_str).collect();
    let is_said = meta::list(found, "status.conditions").iter().any(|told| told["type"] == "Ready");
    if meta::is_deleting(found) {
        return None;
    }
    if let ([held], [first, _]) = (held.as_slice(), cidrs) {
        return (held == first).then_some(Missing::Family);
    }
    (held == cidrs && !is_said).then_some(Missing::Ready)
}

fn completed(old: &Value, cidrs: &[String], now: &str) -> Value {
    let mut new = old.clone();
    match missing(old, cidrs) {
        None => {}
        Some(Missing::Family) => new["spec"]["cidrs"] = json!(cidrs),
        Some(Missing::Ready) => {
            let ready = json!({"type": "Ready", "status": "True", "reason": "", "lastTransitionTime": now,
                "message": "Kubernetes default Service CIDR is ready"});
            new["status"]["conditions"] = json!([ready]);
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing() {
        let found = |cidrs: Value, status: Value| json!({"metadata": {}, "spec": {"cidrs": cidrs}, "status": status});
        let told = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        let flags = |cidrs: &[&str]| cidrs.iter().map(|cidr| (*cidr).to_owned()).collect::<Vec<_>>();
        let (one, two) = (flags(&["10.96.0.0/12"]), flags(&["10.96.0.0/12", "fd00::/108"]));
        let rows = [
            (json!(["10.96.0.0/12"]), json!({}), &one, Some(Missing::Ready)),
            (json!(["10.96.0.0/12"]), told("True"), &one, None),
            (json!(["10.96.0.0/12"]), told("False"), &one, None),
            (json!(["10.0.0.0/8"]), json!({}), &one, None),
            (json!(["10.96.0.0/12"]), told("True"), &two, Some(Missing::Family)),
            (json!(["10.0.0.0/8"]), told("True"), &two, None),
            (json!(["10.96.0.0/12", "fd00::/108"]), json!({}), &two, Some(Missing::Ready)),
        ];
        for (cidrs, status, flags, want) in rows {
            assert_eq!(missing(&found(cidrs.clone(), status), flags), want, "{cidrs} {flags:?}");
        }
        let made = completed(&found(json!(["10.96.0.0/12"]), Value::Null), &one, "2026-01-01T00:00:00Z");
        assert_eq!(made["status"]["conditions"][0]["status"], "True");
    }
}
