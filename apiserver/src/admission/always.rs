//! What upstream does outside its plug-ins: it cannot be switched off.
//!
//! [`Requestor`]: a signing request carries who asked for it.

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Plugin, Request};

pub struct Requestor;

#[async_trait]
impl Plugin for Requestor {
    async fn mutate(&self, request: &Request<'_>, signing: &mut Value) -> Result<(), Status> {
        if !request.creates("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        let user = request.user();
        let spec = meta::object_mut(signing, "spec");
        for name in ["uid", "extra"] {
            spec.remove(name);
        }
        spec.insert("username".into(), json!(user.name));
        spec.insert("groups".into(), json!(user.groups));
        if !user.uid.is_empty() {
            spec.insert("uid".into(), json!(user.uid));
        }
        if !user.extra.is_empty() {
            spec.insert("extra".into(), json!(user.extra));
        }
        Ok(())
    }
}
