//! What any cluster must be able to do, each part having a hand in it: the README's flow, and names.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{Cluster, Output, SOON, eventually, images};

type Case = fn(&Smoke<'_>) -> Result<()>;

/// By name; each builds on those before it.
const CASES: &[(&str, Case)] = &[
    ("kubectl speaks with the server", speaks),
    ("a Deployment gets its pods, and scales", scales),
    ("a Service spreads requests over its pods", spreads),
    ("programs run in pods, and logs are read", enters),
    ("a host port leads to its pod", host_port),
    ("pods find Services by name, their own too", names),
    ("a rollout replaces pods, and can be undone", rolls),
    ("deletion takes everything along", deletes),
];

/// A cluster, and the kubectl to use it with.
pub(super) struct Smoke<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) kubectl: &'a str,
}

/// Runs all cases and prints how each went; the number that failed.
pub(super) fn run(smoke: &Smoke<'_>) -> usize {
    let mut failed = 0;
    for (name, case) in CASES {
        match case(smoke) {
            Ok(()) => println!("  ok      {name}"),
            Err(error) => {
                failed += 1;
                println!("  FAILED  {name}\n          {error:#}");
            }
        }
    }
    failed
}

impl Smoke<'_> {
    fn output(&self, arguments: &[&str]) -> Result<Output> {
        let [kubeconfig, home] = self.cluster.environment();
        self.cluster.bed.output(&[&["env", &kubeconfig, &home, self.kubectl], arguments].concat())
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        ensure!(output.success, "kubectl {}: {}{}", arguments.join(" "), output.stdout, output.stderr);
        Ok(output.stdout)
    }

    fn rolled_out(&self) -> Result<()> {
        self.kubectl(&["rollout", "status", "deployment/web", "--timeout=90s"]).map(drop)
    }

    fn pods(&self, label: &str) -> Result<Vec<String>> {
        let list = self.kubectl(&["get", "pods", "-l", label, "-o", "jsonpath={.items[*].metadata.name}"])?;
        Ok(list.split_whitespace().map(String::from).collect())
    }

    fn address(&self) -> Result<String> {
        self.kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])
    }
}

fn speaks(smoke: &Smoke<'_>) -> Result<()> {
    let version = smoke.kubectl(&["version"])?;
    ensure!(version.contains("Server Version"), "{version}");
    let nodes = smoke.kubectl(&["get", "nodes", "-o", "wide"])?;
    ensure!(nodes.contains(" Ready "), "{nodes}");
    Ok(())
}

fn scales(smoke: &Smoke<'_>) -> Result<()> {
    smoke.kubectl(&["create", "deployment", "web", "--image=nginx"])?;
    smoke.kubectl(&["scale", "deployment", "web", "--replicas=3"])?;
    smoke.rolled_out()?;
    let pods = smoke.pods("app=web")?;
    ensure!(pods.len() == 3, "{pods:?}");
    Ok(())
}

fn spreads(smoke: &Smoke<'_>) -> Result<()> {
    smoke.kubectl(&["expose", "deployment", "web", "--port=80"])?;
    let url = format!("http://{}", smoke.address()?);
    eventually("every pod has answered", SOON, || {
        for _ in 0..10 {
            let page = smoke.cluster.curl(&url)?;
            ensure!(page.contains("Welcome to nginx"), "{page}");
        }
        for pod in smoke.pods("app=web")? {
            ensure!(smoke.kubectl(&["logs", &pod])?.contains("GET / "), "{pod} has not answered");
        }
        Ok(())
    })
}

fn enters(smoke: &Smoke<'_>) -> Result<()> {
    let pods = smoke.pods("app=web")?;
    let pod = pods.first().context("a pod")?;
    let output = smoke.kubectl(&["exec", pod, "--", "sh", "-c", "echo out; hostname"])?;
    ensure!(output == format!("out\n{pod}\n"), "{output}");
    let failed = smoke.output(&["exec", pod, "--", "sh", "-c", "exit 7"])?;
    ensure!(failed.stderr.contains("exit code 7"), "{failed:?}");
    Ok(())
}

fn host_port(smoke: &Smoke<'_>) -> Result<()> {
    let port = json!({"containerPort": 80, "hostPort": 8081});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "open"}, "spec": {
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "web", "image": "nginx", "ports": [port]}]}});
    smoke.cluster.apply(&pod.to_string())?;
    smoke.kubectl(&["wait", "--for=condition=Ready", "pod/open", "--timeout=60s"])?;
    let node = smoke.kubectl(&["get", "pod", "open", "-o", "jsonpath={.status.hostIP}"])?;
    eventually("the node's port leads to the pod", SOON, || smoke.cluster.curl(&format!("http://{node}:8081")))?;
    smoke.kubectl(&["delete", "pod", "open", "--timeout=60s"]).map(drop)
}

fn names(smoke: &Smoke<'_>) -> Result<()> {
    smoke.cluster.push(&images::tools("docker.io/library/tools:latest")?, "tools:latest")?;
    let command = ["httpd", "-f", "-p", "8000", "-h", "/etc"];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client", "labels": {"app": "client"}},
        "spec": {"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "client", "image": "tools", "command": command}]}});
    smoke.cluster.apply(&pod.to_string())?;
    smoke.kubectl(&["expose", "pod", "client", "--name=mirror", "--port=80", "--target-port=8000"])?;
    smoke.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
    // Its own Service too: the bridge must send a packet back where it came from.
    for url in ["http://web.default/", "http://mirror/passwd"] {
        let ask = ["exec", "client", "--", "curl", "-sSf", "--max-time", "5", url];
        eventually("a name leads to the Service", SOON, || smoke.kubectl(&ask))?;
    }
    smoke.kubectl(&["delete", "pod/client", "service/mirror", "--timeout=60s"]).map(drop)
}

fn rolls(smoke: &Smoke<'_>) -> Result<()> {
    smoke.kubectl(&["set", "env", "deployment/web", "COLOUR=blue"])?;
    smoke.rolled_out()?;
    smoke.kubectl(&["rollout", "undo", "deployment/web"])?;
    smoke.rolled_out()?;
    let environment =
        smoke.kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"])?;
    ensure!(environment.is_empty(), "{environment}");
    Ok(())
}

fn deletes(smoke: &Smoke<'_>) -> Result<()> {
    let url = format!("http://{}", smoke.address()?);
    smoke.kubectl(&["delete", "deployment,service", "web"])?;
    eventually("pods, slices, rules and containers go", SOON, || {
        let left = smoke.kubectl(&["get", "pods,replicasets,endpointslices", "-l", "app=web", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        ensure!(smoke.cluster.curl(&url).is_err(), "{url} still answers");
        let containers = smoke.cluster.containers()?;
        ensure!(containers.is_empty(), "{containers:?}");
        Ok(())
    })
}
