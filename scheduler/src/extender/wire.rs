//! The messages, by the names of `k8s.io/kube-scheduler/extender/v1`. Pure.
//!
//! Go reads member names without regard to case, and extenders count on it; so does this.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What filter and prioritize are asked.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Arguments<'a> {
    pub(super) pod: &'a Value,
    /// A NodeList, for who does not know the nodes.
    pub(super) nodes: Option<Value>,
    pub(super) node_names: Option<&'a [Box<str>]>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FilterResult {
    pub(super) nodes: Option<NodeList>,
    #[serde(rename = "nodenames")]
    pub(super) node_names: Option<Vec<Box<str>>>,
    #[serde(rename = "failednodes")]
    pub(super) failed: Option<BTreeMap<Box<str>, String>>,
    #[serde(rename = "failedandunresolvablenodes")]
    pub(super) unresolvable: Option<BTreeMap<Box<str>, String>>,
    pub(super) error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeList {
    pub(super) items: Vec<NamedNode>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NamedNode {
    pub(super) metadata: Name,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Name {
    pub(super) name: Box<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HostPriority {
    pub(super) host: Box<str>,
    pub(super) score: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PreemptionArguments<'a> {
    pub(super) pod: &'a Value,
    pub(super) node_name_to_victims: Option<BTreeMap<&'a str, Victims<Value>>>,
    pub(super) node_name_to_meta_victims: Option<BTreeMap<&'a str, Victims<MetaPod>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PreemptionResult {
    #[serde(rename = "nodenametometavictims")]
    pub(super) node_name_to_meta_victims: Option<BTreeMap<Box<str>, Option<Value>>>,
}

/// Pods that would have to go, whole or by UID.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Victims<P> {
    #[serde(rename = "Pods", alias = "pods", default = "Vec::new")]
    pub(super) pods: Vec<P>,
    #[serde(rename = "NumPDBViolations", alias = "numpdbviolations", default)]
    pub(super) violations: usize,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct MetaPod {
    #[serde(rename = "UID", alias = "uid")]
    pub(super) uid: Box<str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BindingArguments<'a> {
    pub(super) pod_name: &'a str,
    pub(super) pod_namespace: &'a str,
    #[serde(rename = "PodUID")]
    pub(super) pod_uid: &'a str,
    pub(super) node: &'a str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BindingResult {
    pub(super) error: String,
}

/// Reads an answer whose outermost member names may be written in any case.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    serde_json::from_value(lower(value)).map_err(|error| error.to_string())
}

pub(super) fn victims(value: &Option<Value>) -> Result<Victims<MetaPod>, String> {
    let Some(value) = value else { return Ok(Victims { pods: Vec::new(), violations: 0 }) };
    let mut value = lower(value.clone());
    if let Some(pods) = value.get_mut("pods") {
        *pods = lower(pods.take());
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Member names of an object, or of each object of a list, in lower case.
fn lower(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            // An absent value and a null are the same to Go.
            let named = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(named.map(|(name, value)| (name.to_ascii_lowercase(), value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(lower).collect()),
        Value::Null => Value::Object(Map::new()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_case() {
        let result: FilterResult =
            read(br#"{"NodeNames": ["a"], "failedNodes": {"B": "no"}, "Nodes": null, "ERROR": ""}"#).unwrap();
        assert_eq!(result.node_names.unwrap(), ["a".into()]);
        assert_eq!(result.failed.unwrap()["B"], "no");
        assert!(result.nodes.is_none() && result.unresolvable.is_none());
        let scores: Vec<HostPriority> = read(br#"[{"Host": "a", "score": 3}]"#).unwrap();
        assert_eq!((&*scores[0].host, scores[0].score), ("a", 3));
        let victims =
            victims(&Some(serde_json::json!({"pods": [{"uid": "1"}, {"UID": "2"}], "NumPDBViolations": 1}))).unwrap();
        assert_eq!((victims.pods.len(), victims.violations), (2, 1));
    }
}
