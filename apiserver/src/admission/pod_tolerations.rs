//! `PodTolerationRestriction`: pods get the tolerations of their namespace, and may have no others than its list allows
//! (Kubernetes reference: "Admission Controllers"; `podtolerationrestriction.admission.k8s.io/v1alpha1` Configuration).

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Toleration;
use machinery::field::Path;
use machinery::meta;
use machinery::status::{GroupResource, Status};
use serde::Deserialize;
use serde_json::{Value, json};

use super::configuration::Configuration;
use super::request::bare_error;
use super::{Operation, Plugin, Request};
use crate::kinds::pod::{quality_of_service, validate};

const NAME: &str = "PodTolerationRestriction";
const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// For namespaces that say nothing themselves.
#[derive(Debug, Default, Deserialize)]
pub struct PodTolerationRestriction {
    #[serde(default)]
    default: Tolerations,
    #[serde(default)]
    whitelist: Tolerations,
}

/// Read as their type, for what is not of it would be stored.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "Option<Vec<Toleration>>")]
struct Tolerations(Vec<Value>);

impl TryFrom<Option<Vec<Toleration>>> for Tolerations {
    type Error = serde_json::Error;

    fn try_from(read: Option<Vec<Toleration>>) -> Result<Self, Self::Error> {
        read.unwrap_or_default().iter().map(serde_json::to_value).collect::<Result<_, _>>().map(Self)
    }
}

impl PodTolerationRestriction {
    pub fn configured(configuration: &Configuration) -> Result<Self, String> {
        let versions = ["podtolerationrestriction.admission.k8s.io/v1alpha1"];
        let configured: Self = configuration.of(NAME, "Configuration", &versions)?.unwrap_or_default();
        let mut wrong = Vec::new();
        for (field, list) in [("default", &configured.default), ("whitelist", &configured.whitelist)] {
            let path = Path::new("podtolerationrestriction").child(field);
            let each = list.0.iter().enumerate();
            wrong.extend(each.flat_map(|(position, one)| validate::toleration(one, &path.index(position))));
        }
        match wrong.is_empty() {
            true => Ok(configured),
            false => {
                let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                Err(format!("configuration of admission plugin {NAME}: invalid config: {}", wrong.join(", ")))
            }
        }
    }
}

#[async_trait]
impl Plugin for PodTolerationRestriction {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if !concerns(request) {
            return Ok(());
        }
        let mut more = Vec::new();
        if request.operation == Operation::Create {
            more = of_namespace(request, DEFAULTS).await?.unwrap_or_else(|| self.default.0.clone());
        }
        if quality_of_service(pod) != "BestEffort" {
            let key = "node.kubernetes.io/memory-pressure";
            more.push(json!({"key": key, "operator": "Exists", "effect": "NoSchedule"}));
        }
        if !more.is_empty() {
            let all = [meta::list(pod, "spec.tolerations"), &more].concat();
            meta::object_mut(pod, "spec").insert("tolerations".into(), merged(&all).into());
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>, pod: &Value) -> Result<(), Status> {
        let tolerations = meta::list(pod, "spec.tolerations");
        if !concerns(request) || tolerations.is_empty() {
            return Ok(());
        }
        let own = of_namespace(request, ALLOWED).await?;
        let scope = if own.is_some() { "namespace" } else { "cluster" };
        let allowed = own.as_ref().unwrap_or(&self.whitelist.0);
        let is_allowed = |toleration: &Value| allowed.iter().any(|allowed| covers(allowed, toleration));
        match allowed.is_empty() || tolerations.iter().all(is_allowed) {
            true => Ok(()),
            false => Err(bare_error(format!(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
            ))),
        }
    }
}

fn concerns(request: &Request<'_>) -> bool {
    request.writes() && request.is("", "pods", "")
}

/// What the namespace says in an annotation; an empty one says that there is nothing.
async fn of_namespace(request: &Request<'_>, annotation: &str) -> Result<Option<Vec<Value>>, Status> {
    let name = request.namespace();
    let found = request.find("", "namespaces", name).await?;
    let namespace =
        found.ok_or_else(|| Status::not_found(GroupResource { group: "", resource: "namespaces" }, name))?;
    match meta::annotation(&namespace, annotation) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => {
            let read = serde_json::from_str::<Tolerations>(text);
            read.map(|read| Some(read.0)).map_err(|error| bare_error(error.to_string()))
        }
    }
}

/// Each that no other covers; of equal ones the first.
fn merged(all: &[Value]) -> Vec<Value> {
    let mut kept: Vec<Value> = Vec::new();
    for (position, toleration) in all.iter().enumerate() {
        let mut later = all[position + 1..].iter();
        let is_covered = kept.iter().any(|other| covers(other, toleration))
            || later.any(|other| !is_same(other, toleration) && covers(other, toleration));
        if !is_covered {
            kept.push(toleration.clone());
        }
    }
    kept
}

const FIELDS: [&str; 5] = ["key", "operator", "value", "effect", "tolerationSeconds"];

/// A field that is empty is as one that is not there.
fn field<'a>(toleration: &'a Value, name: &str) -> &'a Value {
    match &toleration[name] {
        Value::String(text) if text.is_empty() => &Value::Null,
        value => value,
    }
}

fn is_same(one: &Value, other: &Value) -> bool {
    FIELDS.iter().all(|name| field(one, name) == field(other, name))
}

/// Whether `wide` tolerates all that `narrow` does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if is_same(wide, narrow) {
        return true;
    }
    let (operator, key, effect) = (field(wide, "operator"), field(wide, "key"), field(wide, "effect"));
    let matches_all = key.is_null() && operator == "Exists";
    if (key != field(narrow, "key") && !matches_all) || (effect != field(narrow, "effect") && !effect.is_null()) {
        return false;
    }
    let seconds = |toleration: &Value| toleration["tolerationSeconds"].as_i64();
    if effect == "NoExecute"
        && let Some(longest) = seconds(wide)
        && seconds(narrow).is_none_or(|seconds| seconds > longest)
    {
        return false;
    }
    match operator.as_str() {
        None | Some("Equal") => field(narrow, "operator") == "Equal" && field(narrow, "value") == field(wide, "value"),
        Some("Exists") => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wider_toleration_stays() {
        let all = json!({"operator": "Exists"});
        let key = json!({"key": "a", "operator": "Exists"});
        let value = json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"});
        let other = json!({"key": "c", "operator": "Equal", "value": "b"});
        let list = |of: &[&Value]| of.iter().copied().cloned().collect::<Vec<Value>>();
        assert_eq!(merged(&list(&[&value, &key, &other, &key])), list(&[&key, &other]));
        assert_eq!(merged(&list(&[&value, &other, &all])), list(&[&all]));
        assert!(covers(&all, &value) && !covers(&value, &key) && !covers(&other, &value));
    }

    #[test]
    fn tolerations_are_read_as_their_type() {
        let read = |text: &str| serde_json::from_str::<Tolerations>(text).map(|read| read.0);
        assert_eq!(read("null").unwrap(), Vec::<Value>::new());
        let one = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        assert_eq!(read(&json!([one, {"unknown": 1}]).to_string()).unwrap(), [one, json!({})]);
        for wrong in [r#"[{"tolerationSeconds": "5"}]"#, r#"[{"key": 5}]"#, r#"{"key": "a"}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_longer_stay_is_not_covered() {
        let stay = |seconds: Option<i64>| json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        assert!(covers(&stay(Some(10)), &stay(Some(5))) && !covers(&stay(Some(10)), &stay(Some(11))));
        assert!(!covers(&stay(Some(10)), &stay(None)) && covers(&stay(None), &stay(Some(10))));
    }
}
