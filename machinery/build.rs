//! Gathers the words of the API's documentation from the k8s-openapi crate into one compressed file.
//!
//! Done at build time because at run time the crate's schemas would cost megabytes of code in every program, for words
//! that only OpenAPI documents need. The schema itself comes from the facts table, not from here.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use k8s_openapi::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::apimachinery::pkg::{runtime, version};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use k8s_openapi::schemars::SchemaGenerator;
use k8s_openapi::schemars::generate::SchemaSettings;
use serde_json::Value;

macro_rules! read {
    ($generator:ident: $($module:path { $($kind:ident),* $(,)? })*) => {
        $({
            use $module as module;
            $(let _ = $generator.subschema_for::<module::$kind>();)*
        })*
    };
}

/// Every kind that upstream publishes; what they refer to comes along.
fn read_kinds(generator: &mut SchemaGenerator) {
    read! { generator:
        api::admissionregistration::v1 {
            MutatingAdmissionPolicy, MutatingAdmissionPolicyBinding, MutatingWebhookConfiguration, ValidatingAdmissionPolicy,
            ValidatingAdmissionPolicyBinding, ValidatingWebhookConfiguration,
        }
        apiextensions { CustomResourceDefinition }
        apiregistration { APIService }
        api::apps::v1 { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet }
        api::authentication::v1 { SelfSubjectReview, TokenRequest, TokenReview }
        api::authorization::v1 {
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        }
        api::autoscaling::v1 { HorizontalPodAutoscaler, Scale }
        api::autoscaling::v2 { HorizontalPodAutoscaler }
        api::batch::v1 { CronJob, Job }
        api::certificates::v1 { CertificateSigningRequest }
        api::coordination::v1 { Lease }
        api::core::v1 {
            Binding, ComponentStatus, ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume,
            PersistentVolumeClaim, Pod, PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
        }
        api::discovery::v1 { EndpointSlice }
        api::events::v1 { Event }
        api::flowcontrol::v1 { FlowSchema, PriorityLevelConfiguration }
        api::networking::v1 { IPAddress, Ingress, IngressClass, NetworkPolicy, ServiceCIDR }
        api::node::v1 { RuntimeClass }
        api::policy::v1 { Eviction, PodDisruptionBudget }
        api::rbac::v1 { ClusterRole, ClusterRoleBinding, Role, RoleBinding }
        api::resource::v1 { DeviceClass, ResourceClaim, ResourceClaimTemplate, ResourceSlice }
        api::scheduling::v1 { PriorityClass }
        api::storage::v1 {
            CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment, VolumeAttributesClass,
        }
        meta { APIGroup, APIGroupList, APIResourceList, APIVersions, DeleteOptions, ListMeta, Status }
        runtime { RawExtension }
        version { Info }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut generator = SchemaSettings::openapi3().into_generator();
    read_kinds(&mut generator);
    let definitions = generator.take_definitions(false);
    let words: BTreeMap<&String, Value> = definitions.iter().map(|(name, schema)| (name, words_of(schema))).collect();
    let path =
        PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?).join("descriptions.json.deflate");
    let mut file = DeflateEncoder::new(std::fs::File::create(path)?, Compression::best());
    file.write_all(&serde_json::to_vec(&words)?)?;
    file.finish()?;
    Ok(())
}

/// `[words, {property: words}]`.
fn words_of(schema: &Value) -> Value {
    let text = |schema: &Value| schema.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties: BTreeMap<&String, String> =
        properties.into_iter().flatten().map(|(name, property)| (name, text(property))).collect();
    serde_json::json!([text(schema), properties])
}
