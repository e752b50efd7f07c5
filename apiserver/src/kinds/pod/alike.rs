//! Of a thousand pods of one template, one is judged.
//!
//! Nearly all pods are made from templates and differ in name and labels only, of which the rules of
//! [`super::validate`] and the words of [`super::warnings`] take no notice. The last few specs that were found good are
//! kept, and a pod like one of them is not judged again. One thing differs from twin to twin: the server itself draws
//! the name of the volume that holds the account's token.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use machinery::field::{ErrorList, Path};
use machinery::meta;
use serde_json::{Map, Value};

use super::{TOKEN_VOLUME_PREFIX, validate, warnings};

/// Templates that make pods at one time are few; each costs a comparison of its first fields.
const KEPT_MAX: usize = 16;
/// Larger specs are judged each time: a client must not fill the memory.
const BYTES_MAX: usize = 32 << 10;

static GOOD: Kept = Kept(RwLock::new(VecDeque::new()));

/// What is wrong with a pod, by the rules of [`validate::pod`].
pub fn errors(pod: &Value) -> ErrorList {
    GOOD.errors(pod)
}

/// Words of warning about a pod, as [`warnings::of`] has them.
pub fn words(pod: &Value) -> Vec<String> {
    if GOOD.has(pod) { Vec::new() } else { warnings::of(pod, &Path::root()) }
}

/// The newest first.
struct Kept(RwLock<VecDeque<Good>>);

/// What was judged: nothing was wrong with it, and no warning told.
struct Good {
    annotations: Map<String, Value>,
    spec: Value,
}

impl Kept {
    fn errors(&self, pod: &Value) -> ErrorList {
        if self.has(pod) {
            return ErrorList::new();
        }
        let errors = validate::pod(pod);
        if errors.is_empty() {
            self.keep(pod);
        }
        errors
    }

    fn has(&self, pod: &Value) -> bool {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().any(|good| good.is_like(pod))
    }

    fn keep(&self, pod: &Value) {
        let (annotations, spec) = (meta::map(pod, "metadata.annotations"), &pod["spec"]);
        if needs_name(spec) || is_large(annotations, spec) || !warnings::of(pod, &Path::root()).is_empty() {
            return;
        }
        let good = Good { annotations: annotations.clone(), spec: spec.clone() };
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT_MAX - 1);
        kept.push_front(good);
    }
}

impl Good {
    fn is_like(&self, pod: &Value) -> bool {
        let spec = &pod["spec"];
        let same_names = match (token_volume(&self.spec), token_volume(spec)) {
            (None, None) => Names::Equal,
            (Some(ours), Some(theirs)) => Names::Drawn(ours, theirs),
            _ => return false,
        };
        self.annotations == *meta::map(pod, "metadata.annotations") && is_same_spec(&self.spec, spec, same_names)
    }
}

/// Claims that are made for ephemeral volumes are called after the pod, and their names are judged.
fn needs_name(spec: &Value) -> bool {
    meta::list(spec, "volumes").iter().any(|volume| !volume["ephemeral"].is_null())
}

/// The name of the volume that the server added, or one like it.
fn token_volume(spec: &Value) -> Option<&str> {
    let is_drawn = |name: &&str| {
        let drawn = name.strip_prefix(TOKEN_VOLUME_PREFIX);
        drawn.is_some_and(|drawn| {
            drawn.len() == 5 && drawn.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
    };
    meta::list(spec, "volumes").iter().rev().map(|volume| meta::text(volume, "name")).find(is_drawn)
}

/// When two names of volumes are the same.
#[derive(Clone, Copy)]
enum Names<'a> {
    Equal,
    /// The first stands for the second, and for nothing else.
    Drawn(&'a str, &'a str),
}

impl Names<'_> {
    fn are_same(self, a: &Value, b: &Value) -> bool {
        match self {
            Self::Drawn(ours, theirs) if a == ours || b == theirs => a == ours && b == theirs,
            _ => a == b,
        }
    }
}

/// Volumes are named at two places; all else is as it is.
fn is_same_spec(a: &Value, b: &Value, names: Names<'_>) -> bool {
    is_same_object(a, b, |field, a, b| match field {
        "volumes" => is_same_list(a, b, |a, b| is_named_same(a, b, names)),
        "containers" | "initContainers" | "ephemeralContainers" => is_same_list(a, b, |a, b| {
            is_same_object(a, b, |field, a, b| match field {
                "volumeMounts" => is_same_list(a, b, |a, b| is_named_same(a, b, names)),
                _ => a == b,
            })
        }),
        _ => a == b,
    })
}

fn is_named_same(a: &Value, b: &Value, names: Names<'_>) -> bool {
    is_same_object(a, b, |field, a, b| if field == "name" { names.are_same(a, b) } else { a == b })
}

fn is_same_object(a: &Value, b: &Value, is_same: impl Fn(&str, &Value, &Value) -> bool) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
    a.len() == b.len() && a.iter().zip(b).all(|((name, a), (other, b))| name == other && is_same(name, a, b))
}

fn is_same_list(a: &Value, b: &Value, is_same: impl Fn(&Value, &Value) -> bool) -> bool {
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return a == b };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
}

fn is_large(annotations: &Map<String, Value>, spec: &Value) -> bool {
    let bytes: usize = annotations.iter().map(|(name, value)| name.len() + bytes(value)).sum();
    bytes + self::bytes(spec) > BYTES_MAX
}

/// About what a value takes in memory.
fn bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + bytes(value)).sum(),
            Value::Array(items) => items.iter().map(bytes).sum(),
            Value::String(text) => text.len(),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept() -> Kept {
        Kept(RwLock::new(VecDeque::new()))
    }

    /// As admission leaves it.
    fn pod(name: &str, token: &str, image: &str) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "n"},
            "spec": {
                "containers": [{
                    "name": "web", "image": image,
                    "volumeMounts": [{"name": token, "mountPath": "/token", "readOnly": true}],
                }],
                "volumes": [{"name": token, "projected": {"sources": [
                    {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
                ]}}],
            },
        });
        (super::super::HOOKS.default)(&mut pod);
        pod
    }

    #[test]
    fn a_twin_is_not_judged_again_and_nothing_else_passes_for_one() {
        let good = kept();
        let first = pod("a-1", "kube-api-access-bcdfg", "web:1");
        assert_eq!(good.errors(&first), []);
        assert!(good.has(&first) && good.has(&pod("a-2", "kube-api-access-45678", "web:1")));
        let mut annotated = first.clone();
        annotated["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "much"});
        let mut stale = first.clone();
        stale["spec"]["volumes"][0]["name"] = "kube-api-access-zzzzz".into();
        let mut longer = first.clone();
        longer["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "web"}));
        let named = ["kube-api-access-UPPER", "kube-api-access-a b c", ""].map(|token| pod("a-3", token, "web:1"));
        for wrong in [annotated, stale, longer].into_iter().chain(named) {
            assert!(!good.errors(&wrong).is_empty(), "{wrong}");
        }
    }

    #[test]
    fn the_drawn_name_counts_as_a_volumes_name_only() {
        let good = kept();
        let image = |token: &str| pod("a", token, token);
        assert_eq!(good.errors(&image("kube-api-access-bcdfg")), []);
        assert!(!good.has(&image("kube-api-access-45678")));
        let own = |token: &str| {
            let mut pod = pod("a", token, "web:1");
            pod["spec"]["containers"][0]["name"] = token.into();
            pod
        };
        assert_eq!(good.errors(&own("kube-api-access-bcdfg")), []);
        assert!(!good.has(&own("kube-api-access-45678")));
    }

    #[test]
    fn what_its_name_decides_is_judged_each_time() {
        let claimed = |name: &str| {
            let mut pod = pod(name, "kube-api-access-bcdfg", "web:1");
            pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({"name": "scratch", "ephemeral": {
                "volumeClaimTemplate": {"spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                }},
            }}));
            (super::super::HOOKS.default)(&mut pod);
            pod
        };
        let good = kept();
        assert_eq!(good.errors(&claimed("short")), []);
        assert!(!good.errors(&claimed(&"x".repeat(250))).is_empty());
    }

    #[test]
    fn warned_and_large_ones_are_not_kept_and_old_ones_go() {
        let good = kept();
        let mut warned = pod("a", "kube-api-access-bcdfg", "web:1");
        let port = json!({"containerPort": 80, "protocol": "TCP", "name": "a"});
        warned["spec"]["containers"][0]["ports"] = json!([port, {"containerPort": 80, "protocol": "TCP", "name": "b"}]);
        let mut large = pod("a", "kube-api-access-bcdfg", "web:1");
        large["spec"]["containers"][0]["args"] = json!(["x".repeat(BYTES_MAX)]);
        for pod in [warned, large] {
            assert_eq!(good.errors(&pod), []);
            assert!(!good.has(&pod));
        }
        for number in 0..=KEPT_MAX {
            assert_eq!(good.errors(&pod("a", "kube-api-access-bcdfg", &format!("web:{number}"))), []);
        }
        assert_eq!(good.0.read().unwrap().len(), KEPT_MAX);
        assert!(!good.has(&pod("a", "kube-api-access-bcdfg", "web:0")));
        assert!(good.has(&pod("a", "kube-api-access-bcdfg", "web:1")));
    }
}
