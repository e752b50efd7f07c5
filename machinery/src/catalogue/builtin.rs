//! The rows of the built-in resources, by group and version.
//!
//! Names, verbs and subresources are those of upstream's discovery; storage keys those of upstream's etcd layout.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::gvk::Gvk;

use super::{ALL_VERBS, REVIEW_VERBS, Resource, SUBRESOURCE_VERBS, Subresource};

pub(super) fn stored(
    group: &'static str,
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        group: Cow::Borrowed(group),
        version: Cow::Borrowed("v1"),
        kind: Cow::Borrowed(kind),
        plural: Cow::Borrowed(plural),
        singular: Cow::Borrowed(singular),
        short_names: Cow::Borrowed(&[]),
        categories: Cow::Borrowed(&[]),
        namespaced,
        verbs: ALL_VERBS,
        subresources: Cow::Borrowed(&[]),
        storage: Some(Cow::Borrowed(plural)),
        stored_as: None,
        deprecated: None,
    }
}

fn review(
    group: &'static str,
    kind: &'static str,
    singular: &'static str,
    plural: &'static str,
    namespaced: bool,
) -> Resource {
    Resource { verbs: REVIEW_VERBS, storage: None, ..stored(group, kind, singular, plural, namespaced) }
}

const fn same_kind(name: &'static str, verbs: &'static [&'static str]) -> Subresource {
    Subresource { name: Cow::Borrowed(name), kind: None, verbs }
}

const fn of_kind(
    name: &'static str,
    kind: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource { name: Cow::Borrowed(name), kind: Some(kind), verbs }
}

pub(super) const STATUS: Subresource = same_kind("status", SUBRESOURCE_VERBS);
const SCALE: Subresource = of_kind("scale", ("autoscaling", "v1", "Scale"), SUBRESOURCE_VERBS);
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAM_VERBS: &[&str] = &["create", "get"];
const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

macro_rules! names {
    ($($name:literal),*) => { Cow::Borrowed(&[$(Cow::Borrowed($name)),*]) };
}
pub(super) use names;

fn autoscaler() -> Resource {
    Resource {
        short_names: names!["hpa"],
        categories: names!["all"],
        subresources: Cow::Owned(vec![STATUS]),
        ..stored("autoscaling", "HorizontalPodAutoscaler", "horizontalpodautoscaler", "horizontalpodautoscalers", true)
    }
}

/// Every built-in resource that the server serves.
pub static BUILTIN: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let mut rows = vec![
        // core
        Resource { verbs: REVIEW_VERBS, storage: None, ..stored("", "Binding", "binding", "bindings", true) },
        Resource {
            short_names: names!["cs"],
            verbs: &["get", "list"],
            storage: None,
            deprecated: Some("v1 ComponentStatus is deprecated in v1.19+"),
            ..stored("", "ComponentStatus", "componentstatus", "componentstatuses", false)
        },
        Resource { short_names: names!["cm"], ..stored("", "ConfigMap", "configmap", "configmaps", true) },
        Resource {
            short_names: names!["ep"],
            deprecated: Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            storage: Some(Cow::Borrowed("services/endpoints")),
            ..stored("", "Endpoints", "endpoints", "endpoints", true)
        },
        Resource { short_names: names!["ev"], ..stored("", "Event", "event", "events", true) },
        Resource {
            short_names: names!["ns"],
            subresources: Cow::Owned(vec![same_kind("finalize", &["update"]), STATUS]),
            // Upstream refuses deletecollection of namespaces.
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            ..stored("", "Namespace", "namespace", "namespaces", false)
        },
        Resource {
            short_names: names!["no"],
            subresources: Cow::Owned(vec![of_kind("proxy", ("", "v1", "NodeProxyOptions"), PROXY_VERBS), STATUS]),
            storage: Some(Cow::Borrowed("minions")),
            ..stored("", "Node", "node", "nodes", false)
        },
        Resource {
            short_names: names!["po"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![
                of_kind("attach", ("", "v1", "PodAttachOptions"), STREAM_VERBS),
                of_kind("binding", ("", "v1", "Binding"), CREATE),
                same_kind("ephemeralcontainers", SUBRESOURCE_VERBS),
                of_kind("eviction", ("policy", "v1", "Eviction"), CREATE),
                of_kind("exec", ("", "v1", "PodExecOptions"), STREAM_VERBS),
                same_kind("log", GET),
                of_kind("portforward", ("", "v1", "PodPortForwardOptions"), STREAM_VERBS),
                of_kind("proxy", ("", "v1", "PodProxyOptions"), PROXY_VERBS),
                same_kind("resize", SUBRESOURCE_VERBS),
                STATUS,
            ]),
            ..stored("", "Pod", "pod", "pods", true)
        },
        Resource { short_names: names!["limits"], ..stored("", "LimitRange", "limitrange", "limitranges", true) },
        stored("", "PodTemplate", "podtemplate", "podtemplates", true),
        Resource {
            short_names: names!["rc"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![SCALE, STATUS]),
            storage: Some(Cow::Borrowed("controllers")),
            ..stored("", "ReplicationController", "replicationcontroller", "replicationcontrollers", true)
        },
        Resource {
            short_names: names!["quota"],
            subresources: Cow::Owned(vec![STATUS]),
            ..stored("", "ResourceQuota", "resourcequota", "resourcequotas", true)
        },
        Resource { ..stored("", "Secret", "secret", "secrets", true) },
        Resource {
            short_names: names!["sa"],
            subresources: Cow::Owned(vec![of_kind("token", (AUTHENTICATION, "v1", "TokenRequest"), CREATE)]),
            ..stored("", "ServiceAccount", "serviceaccount", "serviceaccounts", true)
        },
        Resource {
            short_names: names!["svc"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![of_kind("proxy", ("", "v1", "ServiceProxyOptions"), PROXY_VERBS), STATUS]),
            storage: Some(Cow::Borrowed("services/specs")),
            ..stored("", "Service", "service", "services", true)
        },
        // apps
        stored("apps", "ControllerRevision", "controllerrevision", "controllerrevisions", true),
        Resource {
            short_names: names!["ds"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![STATUS]),
            ..stored("apps", "DaemonSet", "daemonset", "daemonsets", true)
        },
        Resource {
            short_names: names!["deploy"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![SCALE, STATUS]),
            ..stored("apps", "Deployment", "deployment", "deployments", true)
        },
        Resource {
            short_names: names!["rs"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![SCALE, STATUS]),
            ..stored("apps", "ReplicaSet", "replicaset", "replicasets", true)
        },
        Resource {
            short_names: names!["sts"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![SCALE, STATUS]),
            ..stored("apps", "StatefulSet", "statefulset", "statefulsets", true)
        },
        // autoscaling: one store, two shapes
        Resource { version: Cow::Borrowed("v2"), ..autoscaler() },
        Resource { stored_as: Some(Gvk::new("autoscaling", "v2", "HorizontalPodAutoscaler")), ..autoscaler() },
        // batch
        Resource {
            short_names: names!["cj"],
            categories: names!["all"],
            subresources: Cow::Owned(vec![STATUS]),
            ..stored("batch", "CronJob", "cronjob", "cronjobs", true)
        },
        Resource {
            categories: names!["all"],
            subresources: Cow::Owned(vec![STATUS]),
            ..stored("batch", "Job", "job", "jobs", true)
        },
        // authentication, authorization: reviews, answered and never stored
        review(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreview", "selfsubjectreviews", false),
        review(AUTHENTICATION, "TokenReview", "tokenreview", "tokenreviews", false),
        review(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreview",
            "localsubjectaccessreviews",
            true,
        ),
        review(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreview", "selfsubjectaccessreviews", false),
        review(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreview", "selfsubjectrulesreviews", false),
        review(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreview", "subjectaccessreviews", false),
        // certificates
        Resource {
            short_names: names!["csr"],
            subresources: Cow::Owned(vec![same_kind("approval", SUBRESOURCE_VERBS), STATUS]),
            ..stored(
                "certificates.k8s.io",
                "CertificateSigningRequest",
                "certificatesigningrequest",
                "certificatesigningrequests",
                false,
            )
        },
        // coordination, discovery, scheduling
        stored("coordination.k8s.io", "Lease", "lease", "leases", true),
        stored("discovery.k8s.io", "EndpointSlice", "endpointslice", "endpointslices", true),
        Resource {
            short_names: names!["pdb"],
            subresources: Cow::Owned(vec![STATUS]),
            ..stored("policy", "PodDisruptionBudget", "poddisruptionbudget", "poddisruptionbudgets", true)
        },
        // rbac
        stored(RBAC, "ClusterRoleBinding", "clusterrolebinding", "clusterrolebindings", false),
        stored(RBAC, "ClusterRole", "clusterrole", "clusterroles", false),
        stored(RBAC, "RoleBinding", "rolebinding", "rolebindings", true),
        stored(RBAC, "Role", "role", "roles", true),
        Resource {
            short_names: names!["pc"],
            ..stored("scheduling.k8s.io", "PriorityClass", "priorityclass", "priorityclasses", false)
        },
    ];
    rows.extend(super::infrastructure::rows());
    rows
});
