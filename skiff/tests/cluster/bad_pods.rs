//! Pods that cannot be: each says so in its status and in an event, in upstream's words, holds nobody else up, and goes
//! when it is deleted.

use anyhow::{Context as _, Result, ensure};
use testbed::{Cluster, SOON, eventually};

/// A pod that cannot be.
struct Case {
    name: &'static str,
    /// Fields of its one container, instead of the usual ones.
    container: &'static str,
    /// Further fields of its spec.
    spec: &'static str,
    /// Reasons of the state that it waits in.
    waits: &'static [&'static str],
    /// What the message of that state must say; None where there must be none.
    message: Option<&'static str>,
    /// What an event about it must say, after its reason.
    event: (&'static str, &'static str),
}

/// Said by the runtime, and other words from each: any will do.
const ANY: &str = "";

const RUNS: &str = r#""image": "busybox", "command": ["sleep", "3600"]"#;

const CASES: [Case; 11] = [
    Case {
        name: "no-image",
        container: r#""image": "nowhere/none:1""#,
        spec: "",
        waits: &["ErrImagePull", "ImagePullBackOff"],
        message: Some("nowhere/none:1"),
        event: ("Failed", "Failed to pull image \"nowhere/none:1\": "),
    },
    Case {
        name: "no-name",
        container: r#""image": "Nginx:1""#,
        spec: "",
        waits: &["InvalidImageName"],
        message: Some(
            "Failed to apply default image tag \"Nginx:1\": couldn't parse image name \"Nginx:1\": invalid reference \
                  format: repository name (library/Nginx) must be lowercase",
        ),
        event: ("InspectFailed", "Failed to apply default image tag"),
    },
    Case {
        name: "never",
        container: r#""image": "absent:1", "imagePullPolicy": "Never""#,
        spec: "",
        waits: &["ErrImageNeverPull"],
        message: Some("Container image \"absent:1\" is not present with pull policy of Never"),
        event: ("ErrImageNeverPull", "Container image \"absent:1\" is not present with pull policy of Never"),
    },
    Case {
        name: "no-map",
        container: r#""image": "busybox", "envFrom": [{"configMapRef": {"name": "absent"}}]"#,
        spec: "",
        waits: &["CreateContainerConfigError"],
        message: Some("configmap \"absent\" not found"),
        event: ("Failed", "Error: configmap \"absent\" not found"),
    },
    Case {
        name: "no-key",
        container: r#""image": "busybox", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "a"}}}]"#,
        spec: "",
        waits: &["CreateContainerConfigError"],
        message: Some("couldn't find key a in ConfigMap default/kube-root-ca.crt"),
        event: ("Failed", "Error: couldn't find key a in ConfigMap default/kube-root-ca.crt"),
    },
    Case {
        name: "no-volume",
        container: r#""image": "busybox", "volumeMounts": [{"name": "v", "mountPath": "/v"}]"#,
        spec: r#", "volumes": [{"name": "v", "secret": {"secretName": "absent"}}]"#,
        waits: &["ContainerCreating"],
        message: None,
        event: ("FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"absent\" not found"),
    },
    Case {
        name: "no-folder",
        container: r#""image": "busybox", "volumeMounts": [{"name": "v", "mountPath": "/v"}]"#,
        spec: r#", "volumes": [{"name": "v", "hostPath": {"path": "/nowhere", "type": "Directory"}}]"#,
        waits: &["ContainerCreating"],
        message: None,
        event: (
            "FailedMount",
            "MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: /nowhere is not a directory",
        ),
    },
    Case {
        name: "no-claim",
        container: r#""image": "busybox", "volumeMounts": [{"name": "v", "mountPath": "/v"}]"#,
        // No scheduler waits for the claim.
        spec: r#", "nodeName": "node", "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "absent"}}]"#,
        waits: &["ContainerCreating"],
        message: None,
        event: (
            "FailedMount",
            "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process \
             volumes=[v]: error processing PVC default/absent: failed to fetch PVC from API server: \
             persistentvolumeclaims \"absent\" not found",
        ),
    },
    Case {
        name: "no-user",
        container: r#""image": "busybox", "securityContext": {"runAsNonRoot": true}"#,
        spec: "",
        waits: &["CreateContainerConfigError"],
        message: Some("container has runAsNonRoot and image will run as root (pod: \"no-user_default("),
        event: ("Failed", "Error: container has runAsNonRoot and image will run as root (pod: \"no-user_default("),
    },
    Case {
        name: "no-command",
        container: r#""image": "busybox", "command": ["nothing"]"#,
        spec: "",
        waits: &["RunContainerError", "CrashLoopBackOff"],
        message: Some(ANY),
        event: ("Failed", "\"nothing\": executable file not found in $PATH"),
    },
    Case {
        name: "no-path",
        container: r#""image": "busybox", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(ABSENT)"}]"#,
        spec: r#", "volumes": [{"name": "v", "emptyDir": {}}]"#,
        waits: &["CreateContainerConfigError"],
        message: Some("missing value for \"ABSENT\""),
        event: ("Failed", "Error: missing value for \"ABSENT\""),
    },
];

pub(crate) fn what_cannot_be_is_told(cluster: &Cluster) -> Result<()> {
    let all: Vec<String> = CASES.iter().map(|case| pod(case.name, case.container, case.spec)).collect();
    cluster.apply(&all.join("\n"))?;
    cluster.apply(&pod("fine", RUNS, ""))?;
    for case in &CASES {
        eventually(case.name, SOON, || told(cluster, case))?;
    }
    two_want_one_port(cluster)?;
    cluster.kubectl(&["wait", "pod/fine", "--for=condition=Ready", "--timeout=60s"]).context("nobody is held up")?;
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names.extend(["fine", "first", "second"]);
    cluster.kubectl(&[&["delete", "pod", "--timeout=90s"], &names[..]].concat()).map(drop)
}

fn pod(name: &str, container: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{
            "terminationGracePeriodSeconds": 1, "containers": [{{"name": "c", {container}}}]{spec}}}}}"#
    )
}

fn told(cluster: &Cluster, case: &Case) -> Result<()> {
    let waiting = cluster.value(&format!("pod/{}", case.name), ".status.containerStatuses[0].state.waiting")?;
    let waiting: serde_json::Value =
        serde_json::from_str(&waiting).with_context(|| format!("it waits: {waiting:?}"))?;
    let reason = waiting["reason"].as_str().unwrap_or_default();
    ensure!(case.waits.contains(&reason), "{waiting}");
    let is_told = match (waiting["message"].as_str(), case.message) {
        (Some(message), Some(words)) => !message.is_empty() && message.contains(words),
        (message, words) => message.is_none() && words.is_none(),
    };
    ensure!(is_told, "{waiting}");
    let (reason, words) = case.event;
    let selector = format!("--field-selector=involvedObject.name={},reason={reason}", case.name);
    let events = cluster.kubectl(&["get", "events", &selector, "-o", "jsonpath={.items[*].message}"])?;
    ensure!(events.contains(words), "{events}");
    Ok(())
}

/// No scheduler keeps them apart.
fn two_want_one_port(cluster: &Cluster) -> Result<()> {
    let ports = format!(r#"{RUNS}, "ports": [{{"containerPort": 80, "hostPort": 18099}}]"#);
    for name in ["first", "second"] {
        cluster.apply(&pod(name, &ports, r#", "nodeName": "node""#))?;
        if name == "first" {
            cluster.kubectl(&["wait", "pod/first", "--for=condition=Ready", "--timeout=60s"])?;
        }
    }
    eventually("the second is refused", SOON, || {
        let status =
            cluster.value("pod/second", ".status.phase")? + " " + &cluster.value("pod/second", ".status.reason")?;
        ensure!(status == "Failed NodePorts", "{status}");
        let message = cluster.value("pod/second", ".status.message")?;
        let words =
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        ensure!(message == words, "{message}");
        Ok(())
    })
}
