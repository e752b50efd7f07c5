//! A signing request carries who asked for it: the server writes it, whatever the client sent.

use async_trait::async_trait;
use machinery::meta;
use machinery::status::Status;
use serde_json::{Value, json};

use super::{Attributes, Operation, Plugin};
use crate::api::Api;

pub const NAME: &str = "CertificateSubject";

pub struct CertificateSubject;

#[async_trait]
impl Plugin for CertificateSubject {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn mutate(
        &self,
        _api: &Api,
        attributes: &Attributes<'_>,
        request: &mut Value,
        _old: Option<&Value>,
    ) -> Result<(), Status> {
        let creates = attributes.operation == Operation::Create;
        if !creates || !attributes.is("certificates.k8s.io", "certificatesigningrequests", "") {
            return Ok(());
        }
        let user = attributes.user;
        let spec = meta::object_mut(request, "spec");
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
