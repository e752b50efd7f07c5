//! What a person does with kubectl.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::STAY;
use super::applications::applications_come_and_go;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Scope, pod};
use crate::expect::{contains, matches, same};

pub(super) const GROUP: Group = Group {
    name: "kubectl",
    area: Area::Kubectl,
    capability: "kubectl create, get, describe, apply, diff, expose, scale, label, wait, explain, cordon",
    cases: &[
        case!(discovery_is_shown, "version, api-versions, api-resources and cluster-info", quick),
        case!(columns_are_the_servers, "get prints the server's columns, wide ones and labels too", quick),
        case!(descriptions_have_their_parts, "describe tells of nodes, pods, Deployments and namespaces"),
        case!(apply_and_diff, "apply creates, changes and prunes fields; diff tells before", quick),
        case!(rehearsals_change_nothing, "--dry-run=server shows what would be", quick),
        case!(labels_and_annotations, "label and annotate add, refuse to overwrite, and remove", quick),
        case!(expose_scale_and_set_image, "expose, scale and set image do what they say"),
        case!(files_are_created_and_replaced, "create, patch and replace by file, and scale a ReplicationController"),
        case!(
            old_controllers_are_described,
            "describe and expose know ReplicationControllers, and Services of Services"
        ),
        case!(applications_come_and_go, "an application of several parts is created, used and deleted as one file"),
        case!(waits_end_when_it_holds, "wait ends when the condition holds, and fails when it does not"),
        case!(explain_knows_fields, "explain tells of fields, from the server's own schema"),
        case!(permissions_can_be_asked, "auth can-i and whoami answer"),
        case!(nodes_are_cordoned, "cordon keeps pods away, uncordon lets them come", serial),
        case!(force_deletes_at_once, "delete --force --grace-period=0 deletes at once"),
    ],
};

async fn discovery_is_shown(scope: &Scope) -> Result<()> {
    let versions = scope.kubectl(&["api-versions"]).await?;
    for version in ["v1", "apps/v1", "batch/v1", "networking.k8s.io/v1"] {
        ensure!(versions.lines().any(|line| line == version), "expected {version}, saw {versions}");
    }
    let resources = scope.kubectl(&["api-resources", "--no-headers"]).await?;
    for resource in ["configmaps", "deployments", "endpointslices", "leases", "namespaces", "nodes", "pods", "services"]
    {
        ensure!(
            resources.lines().any(|line| line.starts_with(&format!("{resource} "))),
            "no {resource} in {resources}"
        );
    }
    let version = scope.kubectl(&["version", "-o", "json"]).await?;
    let version: serde_json::Value = serde_json::from_str(&version).context("no JSON")?;
    let git = version["serverVersion"]["gitVersion"].as_str().unwrap_or_default();
    matches("server's version", git, r"^v\d\.\d+\.[\w\-.+]+")?;
    let information = scope.kubectl(&["cluster-info"]).await?;
    contains("cluster-info", &information, "Kubernetes control plane")?;
    contains("cluster-info", &information, "is running at")
}

async fn web(scope: &Scope, replicas: &str) -> Result<()> {
    let image = scope.cluster.images.nginx.as_str();
    scope.kubectl(&["create", "deployment", "web", "--image", image, "--port=80", "--replicas", replicas]).await?;
    scope.kubectl(&["rollout", "status", "deployment/web", "--timeout=150s"]).await.map(drop)
}

async fn columns_are_the_servers(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, STAY);
    object["metadata"]["labels"]["colour"] = "blue".into();
    scope.start(&object).await?;
    let plain = scope.kubectl(&["get", "pods"]).await?;
    matches("get", &plain, r"(?m)^NAME +READY +STATUS +RESTARTS +AGE\none +1/1 +Running +0 +\S+$")?;
    let wide = scope.kubectl(&["get", "pods", "-o", "wide"]).await?;
    matches(
        "get -o wide",
        &wide,
        r"(?m)^NAME .* IP +NODE +NOMINATED NODE +READINESS GATES\none .*\d+\.\d+\.\d+\.\d+ +\S+ +<none> +<none>$",
    )?;
    let labelled = scope.kubectl(&["get", "pods", "-L", "colour"]).await?;
    matches("get -L", &labelled, r"(?m)^NAME .* COLOUR\none .* blue$")?;
    let nodes = scope.kubectl(&["get", "nodes"]).await?;
    matches("get nodes", &nodes, r"(?m)^NAME +STATUS +ROLES +AGE +VERSION\n\S+ +Ready")?;
    let template =
        scope.kubectl(&["get", "pods", "-o", "go-template={{range .items}}{{.metadata.name}}{{end}}"]).await?;
    same("template", template.as_str(), "one")
}

/// These parts are in the text, one after the other.
fn ordered(text: &str, parts: &[&str]) -> Result<()> {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).with_context(|| format!("expected {part:?} in this order, saw {text}"))?;
        rest = &rest[at + part.len()..];
    }
    Ok(())
}

async fn descriptions_have_their_parts(scope: &Scope) -> Result<()> {
    web(scope, "1").await?;
    let pod = scope.kubectl(&["describe", "pods", "-l", "app=web"]).await?;
    ordered(
        &pod,
        &[
            "Name:",
            "Namespace:",
            "Node:",
            "Labels:",
            "app=web",
            "Status:",
            "Running",
            "IP:",
            "Controlled By:",
            "ReplicaSet/web-",
            "Image:",
            "State:",
            "Running",
            "QoS Class:",
            "BestEffort",
            "Events:",
        ],
    )?;
    let deployment = scope.kubectl(&["describe", "deployment", "web"]).await?;
    ordered(
        &deployment,
        &[
            "Name:",
            "web",
            "Selector:",
            "app=web",
            "1 desired | 1 updated | 1 total | 1 available | 0 unavailable",
            "NewReplicaSet:",
            "Events:",
            "ScalingReplicaSet",
        ],
    )?;
    let node = scope.kubectl(&["describe", "node", &scope.cluster.nodes[0]]).await?;
    ordered(
        &node,
        &[
            "Name:",
            "Labels:",
            "CreationTimestamp:",
            "Conditions:",
            "Ready",
            "Addresses:",
            "InternalIP:",
            "Capacity:",
            "cpu:",
            "memory:",
            "System Info:",
            "Kernel Version:",
            "OS Image:",
            "Container Runtime Version:",
            "Kubelet Version:",
            "Non-terminated Pods:",
        ],
    )?;
    let namespace = scope.kubectl(&["describe", "namespace", &scope.namespace]).await?;
    ordered(&namespace, &["Name:", &scope.namespace, "Labels:", "Status:", "Active"])
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {a: first, b: second}\n";

async fn apply_and_diff(scope: &Scope) -> Result<()> {
    let apply = async |text: &str| scope.kubectl_with(&["apply", "-f", "-"], Some(text)).await;
    same("first", apply(MAP).await?.as_str(), "configmap/one created\n")?;
    same("again", apply(MAP).await?.as_str(), "configmap/one unchanged\n")?;
    let changed = MAP.replace("{a: first, b: second}", "{a: other}");
    let diff = scope.cluster.kubectl.output(&scope.namespace, &["diff", "-f", "-"], Some(&changed)).await?;
    same("exit code of diff", diff.code, 1)?;
    contains("diff", &diff.stdout, "-  a: first")?;
    contains("diff", &diff.stdout, "+  a: other")?;
    same("changed", apply(&changed).await?.as_str(), "configmap/one configured\n")?;
    let data = scope.config_maps().get("one").await?["data"].clone();
    crate::expect::equal("data", &data, &json!({"a": "other"}))?;
    let web = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"app": "web"}}, "template": super::template("web", image, STAY)}})
    };
    apply(&web("before").to_string()).await?;
    let after = web("after").to_string();
    let diff = scope.cluster.kubectl.output(&scope.namespace, &["diff", "-f", "-"], Some(&after)).await?;
    same("exit code of diff", diff.code, 1)?;
    for line in ["-        image: before", "+        image: after"] {
        contains("diff", &diff.stdout, line)?;
    }
    let by_server = scope.kubectl_with(&["apply", "--server-side", "--force-conflicts", "-f", "-"], Some(MAP)).await?;
    same("by the server", by_server.as_str(), "configmap/one serverside-applied\n")
}

async fn rehearsals_change_nothing(scope: &Scope) -> Result<()> {
    scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let patch = json!({"spec": {"containers": [{"name": "main", "image": scope.cluster.images.tools}]}}).to_string();
    let image = "jsonpath={.spec.containers[0].image}";
    let shown = scope.kubectl(&["patch", "pod", "one", "--dry-run=server", "-p", &patch, "-o", image]).await?;
    same("what would be", shown.as_str(), scope.cluster.images.tools.as_str())?;
    let is = scope.kubectl(&["get", "pod", "one", "-o", image]).await?;
    same("what is", is.as_str(), scope.cluster.images.busybox.as_str())?;
    let created = scope.kubectl(&["create", "configmap", "none", "--dry-run=server", "-o", "name"]).await?;
    same("created", created.as_str(), "configmap/none\n")?;
    ensure!(scope.config_maps().is_absent("none").await?, "expected nothing to be stored");
    Ok(())
}

async fn labels_and_annotations(scope: &Scope) -> Result<()> {
    scope.kubectl(&["create", "configmap", "one", "--from-literal=a=b"]).await?;
    same("label", scope.kubectl(&["label", "configmap", "one", "x=y"]).await?.as_str(), "configmap/one labeled\n")?;
    let again = scope.kubectl_output(&["label", "configmap", "one", "x=z"]).await?;
    same("exit code", again.code, 1)?;
    contains("refusal", &again.stderr, "'x' already has a value (y), and --overwrite is false")?;
    scope.kubectl(&["label", "--overwrite", "configmap", "one", "x=z"]).await?;
    contains("get", &scope.kubectl(&["get", "configmaps", "-l", "x=z", "-o", "name"]).await?, "configmap/one")?;
    scope.kubectl(&["label", "configmap", "one", "x-"]).await?;
    same("get", scope.kubectl(&["get", "configmaps", "-l", "x", "-o", "name"]).await?.as_str(), "")?;
    scope.kubectl(&["annotate", "configmap", "one", "note=words"]).await?;
    let note = scope.config_maps().get("one").await?["metadata"]["annotations"]["note"].clone();
    crate::expect::equal("annotation", &note, &json!("words"))
}

async fn expose_scale_and_set_image(scope: &Scope) -> Result<()> {
    web(scope, "1").await?;
    scope.kubectl(&["expose", "deployment", "web", "--port=8080", "--target-port=80", "--name=front"]).await?;
    let service = scope.services().get("front").await?;
    crate::expect::equal("port", &service["spec"]["ports"][0]["port"], &json!(8080))?;
    crate::expect::equal("selector", &service["spec"]["selector"], &json!({"app": "web"}))?;
    scope.kubectl(&["scale", "deployment", "web", "--replicas=2", "--timeout=100s"]).await?;
    scope.kubectl(&["rollout", "status", "deployment/web", "--timeout=150s"]).await?;
    same("pods", scope.pods().names("labelSelector=app%3Dweb").await?.len(), 2)?;
    scope.kubectl(&["set", "env", "deployment/web", "A=b"]).await?;
    scope.kubectl(&["rollout", "status", "deployment/web", "--timeout=150s"]).await?;
    scope.kubectl(&["delete", "deployment,service", "web", "front"]).await.map(drop).or_else(|error| {
        // Both names are looked for in both kinds.
        contains("delete", &error.to_string(), "NotFound")
    })
}

async fn files_are_created_and_replaced(scope: &Scope) -> Result<()> {
    let template = super::template("old", &scope.cluster.images.busybox, STAY);
    let object = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old"},
        "spec": {"replicas": 2, "selector": {"app": "old"}, "template": template}});
    let created = scope.kubectl_with(&["create", "-f", "-"], Some(&object.to_string())).await?;
    same("create", created.as_str(), "replicationcontroller/old created\n")?;
    scope.kubectl(&["scale", "rc", "old", "--replicas=1", "--timeout=100s"]).await?;
    let one = |pods: &[serde_json::Value]| pods.len() == 1 && crate::cluster::is_ready(&pods[0]);
    let pods = scope.pods().until_all_within(LATER, "labelSelector=app%3Dold", "one pod is ready", one).await?;
    let name = pods[0]["metadata"]["name"].as_str().unwrap_or_default();
    scope.kubectl(&["patch", "pod", name, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]).await?;
    let annotation = ["get", "pod", name, "-o", "template", "--template={{.metadata.annotations.x}}"];
    same("annotation", scope.kubectl(&annotation).await?.as_str(), "y")?;
    let mut pod = scope.pods().get(name).await?;
    pod["spec"]["containers"][0]["image"] = scope.cluster.images.tools.as_str().into();
    let replaced = scope.kubectl_with(&["replace", "-f", "-"], Some(&pod.to_string())).await?;
    same("replace", replaced, format!("pod/{name} replaced\n"))?;
    let image = scope.pods().get(name).await?["spec"]["containers"][0]["image"].clone();
    crate::expect::equal("image", &image, &json!(scope.cluster.images.tools))?;
    scope.kubectl(&["delete", "rc", "old", "--force", "--grace-period=0"]).await?;
    scope.pods().until_all_within(LATER, "labelSelector=app%3Dold", "none is left", <[_]>::is_empty).await.map(drop)
}

async fn old_controllers_are_described(scope: &Scope) -> Result<()> {
    let template = super::template("old", &scope.cluster.images.busybox, STAY);
    let object = json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "old", "labels": {"app": "old"}},
        "spec": {"replicas": 1, "selector": {"app": "old"}, "template": template}});
    scope.kubectl_with(&["create", "-f", "-"], Some(&object.to_string())).await?;
    let one = |pods: &[serde_json::Value]| pods.len() == 1 && crate::cluster::is_ready(&pods[0]);
    let pods = scope.pods().until_all_within(LATER, "labelSelector=app%3Dold", "one pod is ready", one).await?;
    let told = scope.kubectl(&["describe", "rc", "old"]).await?;
    let pod_counts = "1 Running / 0 Waiting / 0 Succeeded / 0 Failed";
    let parts =
        ["Name:", "old", "Selector:", "app=old", "Replicas:", "1 current / 1 desired", "Pods Status:", pod_counts];
    ordered(&told, &[&parts[..], &["Pod Template:", "Image:", "Events:", "SuccessfulCreate"]].concat())?;
    let name = pods[0]["metadata"]["name"].as_str().unwrap_or_default();
    let told = scope.kubectl(&["describe", "pod", name]).await?;
    ordered(&told, &["Name:", name, "Controlled By:", "ReplicationController/old", "QoS Class:", "BestEffort"])?;
    scope.kubectl(&["expose", "rc", "old", "--name=front", "--port=1234", "--target-port=6379"]).await?;
    scope.kubectl(&["expose", "service", "front", "--name=back", "--port=2345", "--target-port=6379"]).await?;
    let slices = scope.resource("discovery.k8s.io/v1", "endpointslices");
    for (name, port) in [("front", 1234), ("back", 2345)] {
        let spec = scope.services().get(name).await?["spec"].clone();
        crate::expect::equal("port", &spec["ports"][0]["port"], &json!(port))?;
        crate::expect::equal("selector", &spec["selector"], &json!({"app": "old"}))?;
        let query = format!("labelSelector=kubernetes.io/service-name%3D{name}");
        let address = pods[0]["status"]["podIP"].as_str().unwrap_or_default();
        let full = |all: &[serde_json::Value]| all.len() == 1 && all[0]["endpoints"][0]["addresses"][0] == address;
        slices.until_all(&query, "the pod is its endpoint", full).await?;
        let told = scope.kubectl(&["describe", "service", name]).await?;
        let address = spec["clusterIP"].as_str().unwrap_or_default();
        let port = format!("{port}/TCP");
        ordered(
            &told,
            &[
                "Name:",
                name,
                "Selector:",
                "app=old",
                "Type:",
                "ClusterIP",
                "IP:",
                address,
                "Port:",
                &port,
                "TargetPort:",
                "6379/TCP",
                "Endpoints:",
                ":6379",
            ],
        )?;
    }
    Ok(())
}

async fn waits_end_when_it_holds(scope: &Scope) -> Result<()> {
    scope.create_pod(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let done = scope.kubectl(&["wait", "pod/one", "--for=condition=Ready", "--timeout=150s"]).await?;
    same("when it holds", done.as_str(), "pod/one condition met\n")?;
    scope.kubectl(&["wait", "pod/one", "--for=jsonpath={.status.phase}=Running", "--timeout=5s"]).await?;
    let late = scope.kubectl_output(&["wait", "pod/one", "--for=condition=Never", "--timeout=1s"]).await?;
    same("exit code when it does not", late.code, 1)?;
    contains("words", &late.stderr, "timed out waiting for the condition")?;
    scope.kubectl(&["delete", "pod", "one", "--wait=false"]).await?;
    scope.kubectl(&["wait", "pod/one", "--for=delete", "--timeout=60s"]).await.map(drop)
}

async fn explain_knows_fields(scope: &Scope) -> Result<()> {
    let text = scope.kubectl(&["explain", "deployment.spec.strategy"]).await?;
    for part in [
        "KIND:       Deployment",
        "VERSION:    v1",
        "FIELD: strategy <DeploymentStrategy>",
        "rollingUpdate\t<RollingUpdateDeployment>",
    ] {
        contains("explain", &text, part)?;
    }
    let missing = scope.kubectl_output(&["explain", "deployment.spec.none"]).await?;
    same("exit code", missing.code, 1)?;
    contains("refusal", &missing.stderr, "field \"none\" does not exist")
}

async fn permissions_can_be_asked(scope: &Scope) -> Result<()> {
    same("can-i", scope.kubectl(&["auth", "can-i", "create", "pods"]).await?.trim(), "yes")?;
    let nobody = scope.kubectl_output(&["auth", "can-i", "create", "pods", "--as=nobody-there"]).await?;
    same("as somebody else", (nobody.stdout.trim(), nobody.code), ("no", 1))?;
    contains("whoami", &scope.kubectl(&["auth", "whoami"]).await?, "Username")
}

async fn nodes_are_cordoned(scope: &Scope) -> Result<()> {
    let node = scope.cluster.nodes[0].clone();
    let mut object = pod("one", &scope.cluster.images.busybox, STAY);
    object["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    scope.kubectl(&["cordon", &node]).await?;
    let refused = async {
        scope.create_pod(&object).await?;
        let waits =
            |pod: &serde_json::Value| crate::cluster::condition(pod, "PodScheduled")["reason"] == "Unschedulable";
        scope.pods().until("one", "it is unschedulable", waits).await?;
        contains("get nodes", &scope.kubectl(&["get", "nodes"]).await?, "Ready,SchedulingDisabled")
    };
    let refused = refused.await;
    scope.kubectl(&["uncordon", &node]).await?;
    refused?;
    scope.ready("one").await.map(drop)
}

async fn force_deletes_at_once(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, "trap '' TERM; while :; do sleep 1; done");
    object["spec"]["terminationGracePeriodSeconds"] = 600.into();
    scope.start(&object).await?;
    scope.kubectl(&["delete", "pod", "one", "--force", "--grace-period=0", "--timeout=60s"]).await?;
    ensure!(scope.pods().is_absent("one").await?, "expected the pod to be gone");
    Ok(())
}
