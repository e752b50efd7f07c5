//! The rows of what a cluster rests on: storage, networks, devices, runtimes, flow control, aggregation; and events in their
//! newer shape.
//!
//! As [`super::builtin`], of which this is a part.

use std::borrow::Cow;

use super::Resource;
use super::builtin::{STATUS, names, stored};
use crate::gvk::Gvk;

const FLOW_CONTROL: &str = "flowcontrol.apiserver.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const STORAGE: &str = "storage.k8s.io";

pub fn rows() -> Vec<Resource> {
    [storage(), networking(), resource(), others()].concat()
}

fn with_status(row: Resource) -> Resource {
    Resource { subresources: Cow::Owned(vec![STATUS]), ..row }
}

fn storage() -> Vec<Resource> {
    let claim = stored("", "PersistentVolumeClaim", "persistentvolumeclaim", "persistentvolumeclaims", true);
    let volume = stored("", "PersistentVolume", "persistentvolume", "persistentvolumes", false);
    let attributes =
        stored(STORAGE, "VolumeAttributesClass", "volumeattributesclass", "volumeattributesclasses", false);
    vec![
        with_status(Resource { short_names: names!["pvc"], ..claim }),
        with_status(Resource { short_names: names!["pv"], ..volume }),
        stored(STORAGE, "CSIDriver", "csidriver", "csidrivers", false),
        stored(STORAGE, "CSINode", "csinode", "csinodes", false),
        stored(STORAGE, "CSIStorageCapacity", "csistoragecapacity", "csistoragecapacities", true),
        Resource {
            short_names: names!["sc"],
            ..stored(STORAGE, "StorageClass", "storageclass", "storageclasses", false)
        },
        with_status(stored(STORAGE, "VolumeAttachment", "volumeattachment", "volumeattachments", false)),
        Resource { short_names: names!["vac"], ..attributes },
    ]
}

fn networking() -> Vec<Resource> {
    vec![
        stored(NETWORKING, "IngressClass", "ingressclass", "ingressclasses", false),
        with_status(Resource {
            short_names: names!["ing"],
            storage: Some(Cow::Borrowed("ingress")),
            ..stored(NETWORKING, "Ingress", "ingress", "ingresses", true)
        }),
        Resource { short_names: names!["ip"], ..stored(NETWORKING, "IPAddress", "ipaddress", "ipaddresses", false) },
        Resource {
            short_names: names!["netpol"],
            ..stored(NETWORKING, "NetworkPolicy", "networkpolicy", "networkpolicies", true)
        },
        with_status(stored(NETWORKING, "ServiceCIDR", "servicecidr", "servicecidrs", false)),
    ]
}

fn resource() -> Vec<Resource> {
    vec![
        stored(RESOURCE, "DeviceClass", "deviceclass", "deviceclasses", false),
        with_status(stored(RESOURCE, "ResourceClaim", "resourceclaim", "resourceclaims", true)),
        stored(RESOURCE, "ResourceClaimTemplate", "resourceclaimtemplate", "resourceclaimtemplates", true),
        stored(RESOURCE, "ResourceSlice", "resourceslice", "resourceslices", false),
    ]
}

fn others() -> Vec<Resource> {
    let level = stored(
        FLOW_CONTROL,
        "PriorityLevelConfiguration",
        "prioritylevelconfiguration",
        "prioritylevelconfigurations",
        false,
    );
    vec![
        with_status(Resource {
            categories: names!["api-extensions"],
            storage: Some(Cow::Borrowed("apiregistration.k8s.io/apiservices")),
            ..stored("apiregistration.k8s.io", "APIService", "apiservice", "apiservices", false)
        }),
        Resource {
            short_names: names!["ev"],
            stored_as: Some(Gvk::new("", "v1", "Event")),
            ..stored("events.k8s.io", "Event", "event", "events", true)
        },
        with_status(stored(FLOW_CONTROL, "FlowSchema", "flowschema", "flowschemas", false)),
        with_status(level),
        stored("node.k8s.io", "RuntimeClass", "runtimeclass", "runtimeclasses", false),
    ]
}
