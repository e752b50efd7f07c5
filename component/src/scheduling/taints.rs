//! Tolerations: which taints a pod puts up with.
//!
//! Pure. Concepts: "Taints and Tolerations".

use k8s_openapi::api::core::v1::{Taint, Toleration};

/// An empty effect or key stands for all of them.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let any = |field: &Option<String>, value: &str| field.as_deref().is_none_or(|f| f.is_empty() || f == value);
    let value = toleration.value.as_deref().unwrap_or_default();
    any(&toleration.effect, &taint.effect)
        && any(&toleration.key, &taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => value == taint.value.as_deref().unwrap_or_default(),
            _ => false,
        }
}

/// Whether every taint with one of these effects is tolerated.
pub fn all_tolerated(taints: &[Taint], tolerations: &[Toleration], effects: &[&str]) -> bool {
    let mut asked = taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    asked.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

/// Puts a toleration in, in the place of one for the same taints.
pub fn add_or_update(tolerations: &mut Vec<Toleration>, new: Toleration) {
    let same = |old: &Toleration| {
        (&old.key, &old.effect, &old.operator, old.value.as_deref().unwrap_or_default())
            == (&new.key, &new.effect, &new.operator, new.value.as_deref().unwrap_or_default())
    };
    match tolerations.iter().position(same) {
        Some(at) => tolerations[at] = new,
        None => tolerations.push(new),
    }
}
