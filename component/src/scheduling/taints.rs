//! Tolerations: which taints a pod puts up with.
//!
//! Pure. Concepts: "Taints and Tolerations".

use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};

/// An empty effect or key stands for all of them.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let Toleration { key, operator, value, effect, .. } = toleration;
    matches([key, operator, value, effect], [&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect])
}

/// The same of a device and those who ask for it.
pub fn tolerates_device(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let DeviceToleration { key, operator, value, effect, .. } = toleration;
    matches([key, operator, value, effect], [&taint.key, taint.value.as_deref().unwrap_or_default(), &taint.effect])
}

fn matches(toleration: [&Option<String>; 4], taint: [&str; 3]) -> bool {
    let [key, operator, value, effect] = toleration.map(|field| field.as_deref().unwrap_or_default());
    let [taint_key, taint_value, taint_effect] = taint;
    let any = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
    let is_value = match operator {
        "Exists" => true,
        "" | "Equal" => value == taint_value,
        _ => false,
    };
    any(effect, taint_effect) && any(key, taint_key) && is_value
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
