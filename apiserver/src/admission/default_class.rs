//! `DefaultStorageClass` and `DefaultIngressClass`: what a claim or an Ingress that names no class gets (Kubernetes
//! concepts: "Storage Classes", "Ingress", default classes).

use std::sync::Arc;

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::Value;

use super::{Plugin, Request};

pub struct DefaultStorageClass;

const STORAGE: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

#[async_trait]
impl Plugin for DefaultStorageClass {
    async fn mutate(&self, request: &Request<'_>, claim: &mut Value) -> Result<(), Status> {
        let named = !meta::at(claim, "spec.storageClassName").is_null()
            || meta::annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some();
        if named || !request.creates("", "persistentvolumeclaims") {
            return Ok(());
        }
        let classes = request.list("storage.k8s.io", "storageclasses", "")?;
        set(claim, "storageClassName", newest(&classes, &STORAGE));
        Ok(())
    }
}

pub struct DefaultIngressClass;

const INGRESS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];

#[async_trait]
impl Plugin for DefaultIngressClass {
    async fn mutate(&self, request: &Request<'_>, ingress: &mut Value) -> Result<(), Status> {
        let named = !meta::at(ingress, "spec.ingressClassName").is_null()
            || meta::annotation(ingress, "kubernetes.io/ingress.class").is_some();
        if named || !request.creates("networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let classes = request.list("networking.k8s.io", "ingressclasses", "")?;
        set(ingress, "ingressClassName", newest(&classes, &INGRESS));
        Ok(())
    }
}

fn set(object: &mut Value, field: &str, class: Option<&str>) {
    if let Some(class) = class {
        meta::object_mut(object, "spec").insert(field.into(), class.into());
    }
}

/// Of several defaults the one made last; of those the first by name.
fn newest<'a>(classes: &'a [Arc<Value>], annotations: &[&str]) -> Option<&'a str> {
    let defaults = classes
        .iter()
        .map(Arc::as_ref)
        .filter(|class| annotations.iter().any(|annotation| meta::annotation(class, annotation) == Some("true")));
    let order = |class: &&Value| {
        let made = meta::text(class, "metadata.creationTimestamp").to_owned();
        (made, std::cmp::Reverse(meta::name(class).to_owned()))
    };
    defaults.max_by_key(order).map(meta::name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_newest_default_is_taken() {
        let class = |name: &str, made: &str, default: &str| json!({"metadata": {"name": name, "creationTimestamp": made, "annotations": {STORAGE[0]: default}}});
        let classes = [
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("a", "2026-01-02T00:00:00Z", "true"),
            class("none", "2026-01-03T00:00:00Z", "false"),
        ];
        let classes = classes.map(Arc::new);
        assert_eq!(newest(&classes, &STORAGE), Some("a"));
        assert_eq!(newest(&classes[3..], &STORAGE), None);
    }
}
