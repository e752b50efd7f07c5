//! `DefaultTolerationSeconds`: pods stay five minutes on a node that is not ready or not reachable.

use async_trait::async_trait;
use component::flags::Values;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Seconds for each of the taints.
pub struct DefaultTolerationSeconds([i64; 2]);

impl DefaultTolerationSeconds {
    pub fn from_flags(values: &Values) -> Self {
        Self(["not-ready", "unreachable"].map(|taint| values.int(&format!("default-{taint}-toleration-seconds"))))
    }
}

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    async fn mutate(&self, request: &Request<'_>, pod: &mut Value) -> Result<(), Status> {
        if request.is("", "pods", "") {
            add(pod, self.0);
        }
        Ok(())
    }
}

fn add(pod: &mut Value, seconds: [i64; 2]) {
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
        .zip(seconds)
        .filter(|(taint, _)| !tolerated(taint))
        .map(|(taint, seconds)| {
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
        })
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
        add(&mut pod, [300, 300]);
        add(&mut pod, [300, 300]);
        assert_eq!(meta::list(&pod, "spec.tolerations").len(), 2);
        let mut all = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut all, [300, 300]);
        assert_eq!(meta::list(&all, "spec.tolerations").len(), 1);
    }
}
