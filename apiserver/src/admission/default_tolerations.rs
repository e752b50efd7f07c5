//! `DefaultTolerationSeconds`: pods stay five minutes on a node that is not ready or not reachable.

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if request.is("", "pods", "") {
            add(pod);
        }
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let tolerated = |taint: &str| {
        meta::list(pod, "spec.tolerations").iter().any(|toleration| {
            let matches = |field: &str, wanted: &str| {
                matches!(toleration[field].as_str(), None | Some("")) || toleration[field] == wanted
            };
            matches("key", taint) && matches("effect", "NoExecute")
        })
    };
    let missing: Vec<Value> = TAINTS
        .iter()
        .filter(|taint| !tolerated(taint))
        .map(|taint| json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}))
        .collect();
    if missing.is_empty() {
        return;
    }
    let mut tolerations = meta::list(pod, "spec.tolerations").to_vec();
    tolerations.extend(missing);
    meta::object_mut(pod, "spec").insert("tolerations".into(), Value::Array(tolerations));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_what_is_missing_once() {
        let mut pod = json!({"spec": {"tolerations": [{"key": TAINTS[0], "operator": "Exists"}]}});
        add(&mut pod);
        add(&mut pod);
        assert_eq!(meta::list(&pod, "spec.tolerations").len(), 2);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut all);
        assert_eq!(meta::list(&all, "spec.tolerations").len(), 1);
    }
}
