//! Whether a pod may stay on a node with these taints, and for how long.
//!
//! Pure. Concepts: "Taints and Tolerations", "Taint based Evictions".

use std::time::Duration;

use component::scheduling::taints::tolerates;
use k8s_openapi::api::core::v1::{Taint, Toleration};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stay,
    /// It may stay so long from when the taints came.
    StayFor(Duration),
    Go,
}

/// `taints` are those with the effect NoExecute.
pub(super) fn verdict(taints: &[Taint], tolerations: &[Toleration]) -> Verdict {
    let mut used = Vec::new();
    for taint in taints {
        match tolerations.iter().find(|t| tolerates(t, taint)) {
            Some(toleration) => used.push(toleration),
            None => return Verdict::Go,
        }
    }
    match used.iter().filter_map(|t| t.toleration_seconds).min() {
        None => Verdict::Stay,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(seconds @ 1..) => Verdict::StayFor(Duration::from_secs(seconds)),
            _ => Verdict::Go,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn verdicts() {
        let taint = |key: &str| json!({"key": key, "value": "v", "effect": "NoExecute"});
        let rows = [
            (json!([]), json!([]), Verdict::Stay),
            (json!([taint("a")]), json!([]), Verdict::Go),
            (json!([taint("a")]), json!([{"operator": "Exists"}]), Verdict::Stay),
            (json!([taint("a")]), json!([{"key": "a", "value": "v"}]), Verdict::Stay),
            (json!([taint("a")]), json!([{"key": "a", "value": "w"}]), Verdict::Go),
            (json!([taint("a")]), json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]), Verdict::Go),
            (
                json!([taint("a"), taint("b")]),
                json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 300}, {"key": "b", "operator": "Exists", "tolerationSeconds": 5}]),
                Verdict::StayFor(Duration::from_secs(5)),
            ),
            (json!([taint("a")]), json!([{"key": "a", "operator": "Exists", "tolerationSeconds": 0}]), Verdict::Go),
        ];
        for (taints, tolerations, want) in rows {
            let taints: Vec<Taint> = serde_json::from_value(taints).unwrap();
            let given: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            assert_eq!(verdict(&taints, &given), want, "{tolerations}");
        }
    }
}
