//! What a machine needs that joins: how it finds the cluster and believes it, what it may ask for, and what it is told.
//!
//! Names and shapes are kubeadm's, so that its tokens, `cluster-info` and ConfigMaps work in both directions; what begins
//! with `skiff` is ours. Pure.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::bootstrap_token::{CLUSTER_INFO, CLUSTER_INFO_CONTENT, CLUSTER_INFO_NAMESPACE};
use serde_json::{Value, json};

use super::{DNS_USER, NAMESPACE, ROUTER_USER};
use crate::flags;
use crate::part::Part;
use crate::settings::Settings;

/// The group of tokens that machines join with.
pub(crate) const JOINERS: &str = "system:bootstrappers:kubeadm:default-node-token";
/// kubeadm's ConfigMap of the cluster's settings, with the key of its content, and ours of what kubeadm does not know.
pub(crate) const CLUSTER_CONFIGURATION: (&str, &str) = ("kubeadm-config", "ClusterConfiguration");
pub(crate) const SKIFF_CONFIGURATION: &str = "skiff";
pub(crate) const BACKEND_KEY: &str = "routerBackend";
pub(crate) const DNS_KEY: &str = "dns";

const KUBELET_CONFIGURATION: (&str, &str) = ("kubelet-config", "kubelet");
const RBAC: &str = "rbac.authorization.k8s.io";
const NODES: &str = "system:nodes";
/// Upstream's role and ours for certificates that are approved without a person.
const CLIENT_CERTIFICATES: &str = "system:certificates.k8s.io:certificatesigningrequests:";
const SERVING_CERTIFICATES: &str = "skiff:selfnodeserver";
const SERVING_APPROVER: &str = "skiff:kubelet-serving-approver";

/// What a machine asks for once it has found the cluster.
pub(super) fn objects(settings: &Settings) -> Result<Vec<Value>> {
    Ok([certificates(), settings_for_nodes(settings)?, identities()].concat())
}

/// The ConfigMap that everybody may read, to be made last: address and authority of the cluster, PEM. The controller
/// manager signs it.
pub(super) fn discovery(settings: &Settings, authority: &str) -> Result<Vec<Value>> {
    const ROLE: &str = "kubeadm:bootstrap-signer-clusterinfo";
    let cluster = json!({"certificate-authority-data": STANDARD.encode(authority), "server": settings.server()});
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "clusters": [{"cluster": cluster, "name": ""}],
        "contexts": null, "current-context": "", "users": null,
    });
    let rule =
        json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CLUSTER_INFO], "verbs": ["get"]});
    let anonymous = json!({"apiGroup": RBAC, "kind": "User", "name": "system:anonymous"});
    let mut objects = role(CLUSTER_INFO_NAMESPACE, ROLE, &[rule], &[anonymous]);
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": CLUSTER_INFO_NAMESPACE, "name": CLUSTER_INFO},
        "data": {CLUSTER_INFO_CONTENT: yaml(&kubeconfig)?},
    }));
    Ok(objects)
}

/// A machine with a token gets a node's client certificate; a node renews its own, and gets one to serve with.
fn certificates() -> Vec<Value> {
    let get_nodes = json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]});
    let requests = "certificatesigningrequests";
    let serve = json!({
        "apiGroups": ["certificates.k8s.io"], "resources": [format!("{requests}/selfnodeserver")], "verbs": ["create"],
    });
    let approve = [
        json!({"apiGroups": ["certificates.k8s.io"], "resources": [format!("{requests}/approval")], "verbs": ["update"]}),
        json!({
            "apiGroups": ["certificates.k8s.io"], "resources": ["signers"],
            "resourceNames": ["kubernetes.io/kubelet-serving"], "verbs": ["approve"],
        }),
    ];
    let joiners = [group(JOINERS)];
    let approver = account("certificate-controller");
    vec![
        cluster_role("kubeadm:get-nodes", &[get_nodes]),
        cluster_role(SERVING_CERTIFICATES, &[serve]),
        cluster_role(SERVING_APPROVER, &approve),
        bound("kubeadm:get-nodes", "kubeadm:get-nodes", &joiners),
        bound("kubeadm:kubelet-bootstrap", "system:node-bootstrapper", &joiners),
        bound("kubeadm:node-autoapprove-bootstrap", &format!("{CLIENT_CERTIFICATES}nodeclient"), &joiners),
        bound(
            "kubeadm:node-autoapprove-certificate-rotation",
            &format!("{CLIENT_CERTIFICATES}selfnodeclient"),
            &[group(NODES)],
        ),
        bound(SERVING_CERTIFICATES, SERVING_CERTIFICATES, &[group(NODES)]),
        bound(SERVING_APPROVER, SERVING_APPROVER, &[approver]),
    ]
}

/// What nodes are told of the cluster, each ConfigMap with the right to read it.
fn settings_for_nodes(settings: &Settings) -> Result<Vec<Value>> {
    let cluster = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration", "clusterName": "skiff",
        "controlPlaneEndpoint": settings.endpoint(), "kubernetesVersion": component::version::GIT_VERSION,
        "networking": {
            "dnsDomain": settings.cluster_domain, "podSubnet": settings.cluster_cidr,
            "serviceSubnet": settings.service_cidr,
        },
    });
    let own = json!({
        BACKEND_KEY: settings.router_backend.name(), DNS_KEY: settings.runs(Part::SkiffDns).to_string(),
    });
    let maps = [
        ("kubeadm:nodes-kubeadm-config", CLUSTER_CONFIGURATION.0, json!({CLUSTER_CONFIGURATION.1: yaml(&cluster)?})),
        (
            "kubeadm:kubelet-config",
            KUBELET_CONFIGURATION.0,
            json!({KUBELET_CONFIGURATION.1: yaml(&flags::kubelet_of_others(settings)?)?}),
        ),
        ("skiff:nodes-skiff-config", SKIFF_CONFIGURATION, own),
    ];
    let with_right = |(name, map, data): (&str, &str, Value)| {
        let rule = json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [map], "verbs": ["get"]});
        let mut objects = role(NAMESPACE, name, &[rule], &[group(JOINERS), group(NODES)]);
        objects.push(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": NAMESPACE, "name": map}, "data": data,
        }));
        objects
    };
    Ok(maps.into_iter().flat_map(with_right).collect())
}

/// Who the parts of a joined node are: ServiceAccounts with their rights, whose tokens may be asked for by a machine that
/// joins, and after that by each for itself.
fn identities() -> Vec<Value> {
    let with_rights = |(part, existing_role): (Part, &str)| {
        let name = part.name();
        let rule = json!({
            "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": [name], "verbs": ["create"],
        });
        let mut objects = role(NAMESPACE, &format!("skiff:{name}-token"), &[rule], &[group(JOINERS), account(name)]);
        objects.push(json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"namespace": NAMESPACE, "name": name},
        }));
        // kubeadm has the same for the kube-proxy that it starts as pods.
        let binding =
            if part == Part::KubeProxy { "kubeadm:node-proxier".to_owned() } else { format!("skiff:joined:{name}") };
        objects.push(bound(&binding, existing_role, &[account(name)]));
        objects
    };
    let roles =
        [(Part::KubeProxy, "system:node-proxier"), (Part::SkiffRouter, ROUTER_USER), (Part::SkiffDns, DNS_USER)];
    roles.into_iter().flat_map(with_rights).collect()
}

fn group(name: &str) -> Value {
    json!({"apiGroup": RBAC, "kind": "Group", "name": name})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": NAMESPACE, "name": name})
}

fn cluster_role(name: &str, rules: &[Value]) -> Value {
    json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules})
}

fn bound(name: &str, role: &str, subjects: &[Value]) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, "subjects": subjects,
    })
}

/// A Role and its binding of the same name.
fn role(namespace: &str, name: &str, rules: &[Value], subjects: &[Value]) -> Vec<Value> {
    let (version, metadata) = (format!("{RBAC}/v1"), json!({"namespace": namespace, "name": name}));
    vec![
        json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name}, "subjects": subjects,
        }),
    ]
}

fn yaml(value: &Value) -> Result<String> {
    serde_yaml_ng::to_string(value).context("encode YAML")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_has_a_name_and_each_is_there_once() {
        let objects = objects_for_tests();
        let names: std::collections::BTreeSet<String> =
            objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"])).collect();
        assert_eq!(names.len(), objects.len());
        let info =
            objects.iter().find(|object| object["metadata"]["name"] == CLUSTER_INFO && object["kind"] == "ConfigMap");
        let text = info.unwrap()["data"]["kubeconfig"].as_str().unwrap();
        let kubeconfig: Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(kubeconfig["clusters"][0]["cluster"]["server"], "https://192.0.2.1:6443");
    }

    /// Of kubeadm v1.36, what it makes for those who join, and reads when it joins: kind, namespace, name, and what of it
    /// must be so.
    const OF_KUBEADM: [(&str, &str, &str, &str); 16] = [
        ("ConfigMap", "kube-public", "cluster-info", "/data/kubeconfig"),
        ("Role", "kube-public", "kubeadm:bootstrap-signer-clusterinfo", "configmaps cluster-info get"),
        ("RoleBinding", "kube-public", "kubeadm:bootstrap-signer-clusterinfo", "system:anonymous"),
        ("ClusterRole", "", "kubeadm:get-nodes", "nodes get"),
        ("ClusterRoleBinding", "", "kubeadm:get-nodes", JOINERS),
        ("ClusterRoleBinding", "", "kubeadm:kubelet-bootstrap", "system:node-bootstrapper"),
        (
            "ClusterRoleBinding",
            "",
            "kubeadm:node-autoapprove-bootstrap",
            "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        ),
        (
            "ClusterRoleBinding",
            "",
            "kubeadm:node-autoapprove-certificate-rotation",
            "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        ),
        ("ConfigMap", "kube-system", "kubeadm-config", "/data/ClusterConfiguration"),
        ("Role", "kube-system", "kubeadm:nodes-kubeadm-config", "configmaps kubeadm-config get"),
        ("RoleBinding", "kube-system", "kubeadm:nodes-kubeadm-config", "system:nodes"),
        ("ConfigMap", "kube-system", "kubelet-config", "/data/kubelet"),
        ("Role", "kube-system", "kubeadm:kubelet-config", "configmaps kubelet-config get"),
        ("RoleBinding", "kube-system", "kubeadm:kubelet-config", JOINERS),
        ("ServiceAccount", "kube-system", "kube-proxy", "v1"),
        ("ClusterRoleBinding", "", "kubeadm:node-proxier", "system:node-proxier"),
    ];

    fn objects_for_tests() -> Vec<Value> {
        let settings = Settings::for_tests("first", "192.0.2.1".parse().unwrap());
        [objects(&settings).unwrap(), discovery(&settings, "PEM").unwrap()].concat()
    }

    #[test]
    fn kubeadm_finds_what_it_would_have_made() {
        let objects = objects_for_tests();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for (kind, namespace, name, must) in OF_KUBEADM {
            let is_it = |object: &&Value| {
                let metadata = &object["metadata"];
                object["kind"] == kind && metadata["name"] == name && text(&metadata["namespace"]) == namespace
            };
            let object = objects.iter().find(is_it).unwrap_or_else(|| panic!("{kind} {namespace}/{name}"));
            if must.starts_with('/') {
                assert!(object.pointer(must).is_some_and(Value::is_string), "{name} has {must}");
                continue;
            }
            let rule = &object["rules"][0];
            let words = ["resources", "resourceNames", "verbs"].map(|list| text(&rule[list][0])).join(" ");
            let subjects = object["subjects"].as_array().into_iter().flatten().map(|subject| text(&subject["name"]));
            let mut said =
                vec![words.replace("  ", " "), text(&object["roleRef"]["name"]), text(&object["apiVersion"])];
            said.extend(subjects);
            assert!(said.iter().any(|said| said == must), "{kind} {name}: {must} in {said:?}");
        }
    }

    #[test]
    fn kubeadm_reads_our_settings() {
        let objects = objects_for_tests();
        let of = |name: &str, key: &str| -> Value {
            let map = objects.iter().find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == name).unwrap();
            serde_yaml_ng::from_str(map["data"][key].as_str().unwrap()).unwrap()
        };
        let cluster = of("kubeadm-config", "ClusterConfiguration");
        // Of upstream's ClusterConfiguration, which is read strictly.
        let known = ["apiVersion", "kind", "clusterName", "controlPlaneEndpoint", "kubernetesVersion", "networking"];
        assert!(cluster.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{cluster}");
        assert_eq!(
            (&cluster["apiVersion"], &cluster["kind"]),
            (&json!("kubeadm.k8s.io/v1beta4"), &json!("ClusterConfiguration"))
        );
        assert_eq!(cluster["controlPlaneEndpoint"], "192.0.2.1:6443");
        assert!(cluster["kubernetesVersion"].as_str().unwrap().starts_with("v1.36."));
        assert_eq!(cluster["networking"]["dnsDomain"], "cluster.local");
        assert!(cluster["networking"]["podSubnet"].is_string() && cluster["networking"]["serviceSubnet"].is_string());
        // kubeadm warns of each of these that is another.
        let kubelet = of("kubelet-config", "kubelet");
        for (path, value) in [
            ("/apiVersion", json!("kubelet.config.k8s.io/v1beta1")),
            ("/kind", json!("KubeletConfiguration")),
            ("/staticPodPath", json!("/etc/kubernetes/manifests")),
            ("/clusterDNS/0", json!("10.96.0.10")),
            ("/clusterDomain", json!("cluster.local")),
            ("/authentication/x509/clientCAFile", json!("/etc/kubernetes/pki/ca.crt")),
            ("/authentication/anonymous/enabled", json!(false)),
            ("/authentication/webhook/enabled", json!(true)),
            ("/authorization/mode", json!("Webhook")),
            ("/healthzBindAddress", json!("127.0.0.1")),
            ("/healthzPort", json!(10248)),
            ("/rotateCertificates", json!(true)),
            ("/cgroupDriver", json!("systemd")),
        ] {
            assert_eq!(kubelet.pointer(path), Some(&value), "{path}");
        }
    }
}
