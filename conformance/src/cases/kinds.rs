//! Kinds that are looked after by their users: each lives its life as every kind does, with values of its own.

use anyhow::Result;
use serde_json::{Value, json};

use super::life::{Kind, life};
use super::objects::reword;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Patch, Scope};
use crate::expect::{contains, equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "kinds",
    area: Area::Kinds,
    capability: "Every verb on every kind: storage, networking, nodes, resource claims, leases, priorities and more",
    cases: &[
        case!(config_maps, "ConfigMaps live as every kind does", quick),
        case!(secrets, "Secrets live as every kind does; stringData becomes data"),
        case!(service_accounts, "ServiceAccounts live as every kind does"),
        case!(pod_templates, "PodTemplates live as every kind does"),
        case!(controller_revisions, "ControllerRevisions live as every kind does, and what they record stays"),
        case!(endpoints, "Endpoints live as every kind does"),
        case!(endpoint_slices, "EndpointSlices live as every kind does"),
        case!(leases, "Leases live as every kind does, with times in microseconds, by protobuf too"),
        case!(ingresses, "Ingresses live as every kind does, with a status", quick),
        case!(ingress_classes, "IngressClasses live as every kind does"),
        case!(network_policies, "NetworkPolicies live as every kind does"),
        case!(ip_addresses, "IPAddresses live as every kind does, of either family"),
        case!(service_cidrs, "a ServiceCIDR of the name kubernetes is there, with a status"),
        case!(storage_classes, "StorageClasses live as every kind does"),
        case!(csi_drivers, "CSIDrivers live as every kind does"),
        case!(csi_nodes, "CSINodes live as every kind does"),
        case!(csi_storage_capacities, "CSIStorageCapacities live as every kind does"),
        case!(volume_attachments, "VolumeAttachments live as every kind does, with a status"),
        case!(volume_attributes_classes, "VolumeAttributesClasses live as every kind does"),
        case!(runtime_classes, "RuntimeClasses live as every kind does"),
        case!(priority_classes, "PriorityClasses live as every kind does, and keep their value"),
        case!(flow_schemas, "FlowSchemas live as every kind does, with a status"),
        case!(priority_levels, "PriorityLevelConfigurations live as every kind does, with a status"),
        case!(device_classes, "DeviceClasses live as every kind does, and their selectors are compiled"),
        case!(resource_claims, "ResourceClaims live as every kind does, with an allocation"),
        case!(resource_claim_templates, "ResourceClaimTemplates live as every kind does"),
        case!(resource_slices, "ResourceSlices live as every kind does"),
        case!(roles, "Roles live as every kind does"),
        case!(cluster_role_bindings, "ClusterRoleBindings live as every kind does"),
        case!(role_bindings, "RoleBindings live as every kind does"),
        case!(limit_ranges, "LimitRanges live as every kind does"),
        case!(resource_quotas, "ResourceQuotas live as every kind does"),
        case!(persistent_volumes, "PersistentVolumes live as every kind does, with a status"),
        case!(persistent_volume_claims, "PersistentVolumeClaims live as every kind does, with a status"),
        case!(nodes, "Nodes live as every kind does, and keep the status that they are made with", serial),
        case!(autoscalers, "HorizontalPodAutoscalers are one object in v1 and v2"),
    ],
};

async fn config_maps(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "binaryData": {"c": "3q0="}});
    life(scope, Kind::new("configmaps", object)).await?;
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"": "value"}});
    refused(scope.config_maps().create(&empty).await, 422, "Invalid").map(drop)
}

async fn secrets(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "Yg=="}, "type": "Opaque"});
    life(scope, Kind::new("secrets", object)).await?;
    let written =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "stringData": {"key": "value"}});
    let made = scope.secrets().create(&written).await?;
    equal("data", &made["data"], &json!({"key": "dmFsdWU="}))?;
    same("stringData", made.get("stringData"), None)?;
    let empty = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "y"}, "data": {"": "Yg=="}});
    refused(scope.secrets().create(&empty).await, 422, "Invalid").map(drop)
}

async fn service_accounts(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "automountServiceAccountToken": false});
    life(scope, Kind::new("serviceaccounts", object)).await
}

async fn pod_templates(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "PodTemplate",
        "template": {"spec": {"containers": [{"name": "c", "image": "none"}]}}});
    life(scope, Kind::new("podtemplates", object)).await
}

async fn controller_revisions(scope: &Scope) -> Result<()> {
    let object =
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "data": {"spec": {"a": "b"}}, "revision": 1});
    life(scope, Kind::new("controllerrevisions", object.clone())).await?;
    let revisions = scope.resource("apps/v1", "controllerrevisions");
    let mut named = object;
    named["metadata"] = json!({"name": "x"});
    revisions.create(&named).await?;
    let later = revisions.patch("x", Patch::Merge(json!({"revision": 2}))).await?;
    equal("revision", &later["revision"], &json!(2))?;
    let other = revisions.patch("x", Patch::Merge(json!({"data": {"spec": {"a": "c"}}}))).await;
    refused(other, 422, "Invalid").map(drop)
}

async fn endpoints(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Endpoints",
        "subsets": [{"addresses": [{"ip": "192.0.2.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]});
    life(scope, Kind::new("endpoints", object)).await
}

async fn endpoint_slices(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}]});
    life(scope, Kind::new("endpointslices", object)).await
}

async fn leases(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {
        "holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 0,
        "acquireTime": "0001-01-01T00:00:02.000000Z", "renewTime": "0001-01-01T00:00:05.000000Z"}});
    life(scope, Kind::new("leases", object.clone())).await?;
    let mut named = object;
    named["metadata"] = json!({"name": "one"});
    named["spec"]["holderIdentity"] = "first-words".into();
    let leases = scope.resource("coordination.k8s.io/v1", "leases");
    leases.create(&named).await?;
    reword(&leases, "one").await?;
    named["spec"]["holderIdentity"] = "other-words".into();
    equal("spec after protobuf", &leases.get("one").await?["spec"], &named["spec"])
}

async fn ingresses(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {
        "rules": [{"host": "a.example.com", "http": {"paths": [{"path": "/x", "pathType": "Prefix",
            "backend": {"service": {"name": "x", "port": {"number": 80}}}}]}}]}});
    let status = json!({"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}});
    life(scope, Kind::new("ingresses", object).with_status(status)).await
}

async fn ingress_classes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "spec": {"controller": "example.com/controller"}});
    life(scope, Kind::new("ingressclasses", object).global()).await
}

async fn network_policies(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {
        "podSelector": {"matchLabels": {"a": "b"}}, "policyTypes": ["Ingress"],
        "ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}]}});
    life(scope, Kind::new("networkpolicies", object)).await
}

/// Of a group that nobody serves, so that no repair finds out that the parent is missing at once.
async fn ip_addresses(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "IPAddress", "spec": {
        "parentRef": {"group": "example.com", "resource": "things", "name": "x", "namespace": "default"}}});
    let names = &["255.255.255.255", "192.0.2.252", "fe80::42:1dff:fe84:f9e2"];
    life(scope, Kind { names, ..Kind::new("ipaddresses", object).global() }).await
}

/// A status of somebody else's, for kinds whose own controllers write conditions.
fn conditions() -> Value {
    json!({"conditions": [{"type": "Tested", "status": "True", "reason": "Test", "message": "words",
        "lastTransitionTime": "2020-01-02T03:04:05Z"}]})
}

async fn service_cidrs(scope: &Scope) -> Result<()> {
    let ranges = scope.global("networking.k8s.io/v1", "servicecidrs");
    let range = ranges.until("kubernetes", "it is there", |_| true).await?;
    let at_status = ranges.get("kubernetes/status").await?;
    same("kind at /status", at_status["kind"].as_str(), Some("ServiceCIDR"))?;
    equal("uid at /status", &at_status["metadata"]["uid"], &range["metadata"]["uid"])?;
    let object =
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "spec": {"cidrs": ["192.0.2.0/26"]}});
    life(scope, Kind::new("servicecidrs", object).global().with_status(conditions())).await
}

async fn storage_classes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.com/none",
        "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
    life(scope, Kind::new("storageclasses", object).global()).await
}

async fn csi_drivers(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "spec": {
        "attachRequired": false, "podInfoOnMount": true, "volumeLifecycleModes": ["Ephemeral"]}});
    life(scope, Kind::new("csidrivers", object).global()).await
}

async fn csi_nodes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "spec": {
        "drivers": [{"name": "example.com", "nodeID": "n", "topologyKeys": ["example.com/zone"]}]}});
    life(scope, Kind::new("csinodes", object).global()).await
}

async fn csi_storage_capacities(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "storageClassName": "none",
        "capacity": "1Gi", "nodeTopology": {"matchLabels": {"a": "b"}}});
    life(scope, Kind::new("csistoragecapacities", object)).await
}

async fn volume_attachments(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "spec": {
        "attacher": "none.example.com", "nodeName": "none", "source": {"persistentVolumeName": "none"}}});
    life(scope, Kind::new("volumeattachments", object).global().with_status(json!({"attached": true}))).await
}

async fn volume_attributes_classes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass",
        "driverName": "example.com", "parameters": {"speed": "high"}});
    life(scope, Kind::new("volumeattributesclasses", object).global()).await
}

async fn runtime_classes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "test-handler",
        "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    life(scope, Kind::new("runtimeclasses", object).global()).await
}

async fn priority_classes(scope: &Scope) -> Result<()> {
    let object =
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "value": 7, "description": "seven"});
    life(scope, Kind::new("priorityclasses", object).global()).await?;
    let classes = scope.global("scheduling.k8s.io/v1", "priorityclasses");
    let name = scope.unique("fixed");
    let object =
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 8});
    scope.create_global(&classes, &object).await?;
    refused(classes.patch(&name, Patch::Merge(json!({"value": 9}))).await, 422, "Invalid")?;
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
        equal(name, &classes.get(name).await?["value"], &json!(value))?;
    }
    Ok(())
}

async fn flow_schemas(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "spec": {
        "matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "nobody"}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}});
    life(scope, Kind::new("flowschemas", object).global().with_status(conditions())).await?;
    let levels = scope.global("flowcontrol.apiserver.k8s.io/v1", "prioritylevelconfigurations");
    for name in ["catch-all", "exempt", "global-default", "leader-election", "system", "workload-high", "workload-low"]
    {
        levels.get(name).await?;
    }
    Ok(())
}

async fn priority_levels(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "spec": {
        "type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}});
    life(scope, Kind::new("prioritylevelconfigurations", object).global().with_status(conditions())).await
}

async fn device_classes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "spec": {
        "selectors": [{"cel": {"expression": "device.driver == \"example.com\""}}]}});
    life(scope, Kind::new("deviceclasses", object).global()).await?;
    let wrong = json!({"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": scope.unique("wrong")},
        "spec": {"selectors": [{"cel": {"expression": "device.driver =="}}]}});
    let classes = scope.global("resource.k8s.io/v1", "deviceclasses");
    let error = refused(scope.create_global(&classes, &wrong).await, 422, "Invalid")?;
    contains("message", &error.message, "spec.selectors[0].cel.expression: Invalid value:")?;
    contains("message", &error.message, "compilation failed")
}

async fn resource_claims(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {"devices": {
        "requests": [{"name": "one", "exactly": {"deviceClassName": "none", "allocationMode": "ExactCount", "count": 1}}]}}});
    let allocation = json!({"devices": {"results": [
        {"request": "one", "driver": "example.com", "pool": "pool", "device": "device-0"}]}});
    life(scope, Kind::new("resourceclaims", object).with_status(json!({"allocation": allocation}))).await
}

async fn resource_claim_templates(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaimTemplate", "spec": {"spec": {"devices": {
        "requests": [{"name": "one", "exactly": {"deviceClassName": "none", "allocationMode": "ExactCount", "count": 1}}]}}}});
    life(scope, Kind::new("resourceclaimtemplates", object)).await
}

async fn resource_slices(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "spec": {
        "driver": "example.com", "nodeName": "no-such-node", "devices": [{"name": "device-0"}],
        "pool": {"name": "pool", "generation": 1, "resourceSliceCount": 1}}});
    life(scope, Kind::new("resourceslices", object).global()).await
}

async fn roles(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    life(scope, Kind::new("roles", object)).await
}

async fn cluster_role_bindings(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "nobody-there"}]});
    life(scope, Kind::new("clusterrolebindings", object).global()).await
}

async fn role_bindings(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "no-such-namespace"}]});
    life(scope, Kind::new("rolebindings", object)).await
}

async fn limit_ranges(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "LimitRange", "spec": {"limits": [
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]}});
    life(scope, Kind::new("limitranges", object)).await
}

async fn resource_quotas(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "spec": {"hard": {"count/leases.coordination.k8s.io": "5", "requests.example.com/dongle": "2"}}});
    life(scope, Kind::new("resourcequotas", object)).await
}

/// Of a driver and a class that nobody has, so that nobody binds it.
async fn persistent_volumes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "PersistentVolume", "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "life-of-volumes",
        "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "none.example.com", "volumeHandle": "x"}}});
    let status = json!({"reason": "Tested", "message": "words"});
    life(scope, Kind::new("persistentvolumes", object).global().with_status(status)).await
}

async fn persistent_volume_claims(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "life-of-claims",
        "resources": {"requests": {"storage": "1Gi"}}}});
    let status = json!({"conditions": [{"type": "Tested", "status": "True", "reason": "Test", "message": "words"}]});
    life(scope, Kind::new("persistentvolumeclaims", object).with_status(status.clone())).await?;
    conditions_outlive_the_binder(scope, status).await
}

/// Once bound, and not used by any pod, claim and volume lose their protection when they are deleted.
async fn conditions_outlive_the_binder(scope: &Scope, status: Value) -> Result<()> {
    let class = scope.unique("class");
    let claims = scope.resource("v1", "persistentvolumeclaims");
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "one"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
    claims.create(&claim).await?;
    claims.patch("one/status", Patch::Merge(json!({"status": status}))).await?;
    let volumes = scope.global("v1", "persistentvolumes");
    let name = scope.unique("volume");
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": class,
        "persistentVolumeReclaimPolicy": "Retain", "csi": {"driver": "none.example.com", "volumeHandle": "x"}}});
    let made = scope.create_global(&volumes, &volume).await?;
    equal("the volume's finalizers", &made["metadata"]["finalizers"], &json!(["kubernetes.io/pv-protection"]))?;
    let bound = claims.until("one", "it is bound", |claim| claim["status"]["phase"] == "Bound").await?;
    let condition = &bound["status"]["conditions"][0];
    equal("condition", &json!([condition["type"], condition["message"]]), &json!(["Tested", "words"]))?;
    for (resource, name) in [(&claims, "one"), (&volumes, &name)] {
        resource.delete(name).await?;
        resource.until_gone_within(std::time::Duration::from_secs(30), name).await?;
    }
    Ok(())
}

/// Nobody's machine: it takes no pods, and is deleted before anybody misses it.
async fn nodes(scope: &Scope) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Node", "spec": {"unschedulable": true}, "status": {
        "capacity": {"cpu": "10", "memory": "4000Mi", "pods": "10"},
        "conditions": [{"type": "Ready", "status": "True", "reason": "Test", "message": "words"}]}});
    life(scope, Kind::new("nodes", object).global().with_status(json!({"capacity": {"pods": "11"}}))).await
}

async fn autoscalers(scope: &Scope) -> Result<()> {
    let old = scope.resource("autoscaling/v1", "horizontalpodautoscalers");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"});
    old.create(&json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "one"},
        "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5, "targetCPUUtilizationPercentage": 60}}))
        .await?;
    let new = scope.resource("autoscaling/v2", "horizontalpodautoscalers");
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60}}}]);
    equal("metrics in v2", &new.get("one").await?["spec"]["metrics"], &metrics)?;
    let patch = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    new.patch("one", Patch::Merge(patch)).await?;
    equal("in v1", &old.get("one").await?["spec"]["targetCPUUtilizationPercentage"], &json!(70))
}
