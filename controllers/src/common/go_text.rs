//! Objects as upstream's messages show them: in Go's words for its own structures.
//!
//! Pure. Only what is part of an event or a condition that people search for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// `&LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}`
pub(crate) fn label_selector(selector: &LabelSelector) -> String {
    let labels: String = super::map(&selector.match_labels).iter().map(|(k, v)| format!("{k}: {v},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|e| {
            let values = e.values.as_deref().unwrap_or_default().join(" ");
            format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", e.key, e.operator)
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_read_as_in_go() {
        let value = serde_json::json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["x", "y"]}]});
        let text = label_selector(&serde_json::from_value(value).unwrap());
        let expressions = "[]LabelSelectorRequirement{LabelSelectorRequirement{Key:a,Operator:In,Values:[x y],},}";
        assert_eq!(
            text,
            format!("&LabelSelector{{MatchLabels:map[string]string{{app: web,}},MatchExpressions:{expressions},}}")
        );
    }
}
