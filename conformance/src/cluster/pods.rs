//! Pods of cases: how they are written, started, run to their end and asked.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Call, LATER, Resource, SOON, Scope};
use crate::expect::{eventually, show};

/// A container that runs a shell script.
pub(crate) fn container(name: &str, image: &str, script: &str) -> Value {
    json!({"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script]})
}

/// A pod of one container `main` that runs a shell script once.
pub(crate) fn pod(name: &str, image: &str, script: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": {
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "containers": [container("main", image, script)]}})
}

/// Stands at the end of a log when a script has ended.
const END: &str = "\nthe end of the log\n";

/// Has a script say when it ends, on one output: what comes by two is logged in any order. Returns false for a command that is
/// none.
fn mark_end(command: &mut Value) -> bool {
    let Some([shell, option, script]) = command.as_array_mut().map(Vec::as_mut_slice) else { return false };
    let is_script = *shell == "sh" && *option == "-c";
    if let (true, Some(text)) = (is_script, script.as_str()) {
        *script = format!("(\n{text}\n) 2>&1; code=$?; echo; echo the end of the log; exit $code").into();
    }
    is_script
}

pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|one| one["type"] == kind)).unwrap_or(&Value::Null)
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready")["status"] == "True"
}

fn has_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
}

impl Scope {
    /// Creates a pod, once its ServiceAccount is there.
    pub(crate) async fn create_pod(&self, pod: &Value) -> Result<Value> {
        let accounts: Resource = self.resource("v1", "serviceaccounts");
        let there = async || accounts.until("default", "it is there", |_| true).await.map(drop);
        self.account.get_or_try_init(there).await.context("the namespace's ServiceAccount")?;
        self.pods().create(pod).await
    }

    /// Creates a pod and waits until it is Ready.
    pub(crate) async fn start(&self, pod: &Value) -> Result<Value> {
        let made = self.create_pod(pod).await?;
        self.ready(made["metadata"]["name"].as_str().unwrap_or_default()).await
    }

    /// The same, for several at a time.
    pub(crate) async fn start_owned(&self, pod: Value) -> Result<Value> {
        self.start(&pod).await
    }

    /// Waits until a pod is Ready; that it ends instead is an error at once.
    pub(crate) async fn ready(&self, name: &str) -> Result<Value> {
        let what = "the pod is Ready";
        let pod = self.pods().until_within(LATER, name, what, |pod| is_ready(pod) || has_ended(pod)).await?;
        if has_ended(&pod) {
            bail!("{name}: expected a running pod, saw {}: {}", show(&pod), self.log(name).await.unwrap_or_default());
        }
        Ok(pod)
    }

    /// Runs a pod to its end and returns its last state.
    pub(crate) async fn finish(&self, pod: &Value) -> Result<Value> {
        let made = self.create_pod(pod).await?;
        let name = made["metadata"]["name"].as_str().unwrap_or_default();
        self.pods().until_within(LATER, name, "the pod has ended", has_ended).await
    }

    /// Runs a pod that must succeed and returns what it printed: all of it, for a pod that ended may still be being logged.
    pub(crate) async fn output(&self, pod: &Value) -> Result<String> {
        let mut pod = pod.clone();
        let is_marked = mark_end(&mut pod["spec"]["containers"][0]["command"]);
        let ended = self.finish(&pod).await?;
        let name = ended["metadata"]["name"].as_str().unwrap_or_default();
        if ended["status"]["phase"] != "Succeeded" {
            bail!("{name}: expected success, saw {} and the log {:?}", show(&ended), self.log(name).await?);
        }
        if !is_marked {
            return self.log(name).await;
        }
        eventually("the end of the log", SOON, async || {
            let log = self.log(name).await?;
            log.strip_suffix(END).map(str::to_owned).with_context(|| format!("{name}: saw the log {log:?}"))
        })
        .await
    }

    pub(crate) async fn log(&self, pod: &str) -> Result<String> {
        self.log_with(pod, "").await
    }

    /// With parameters such as `container=x`.
    pub(crate) async fn log_with(&self, pod: &str, query: &str) -> Result<String> {
        let call = Call::get(format!("{}?{query}", self.pods().of(&format!("{pod}/log")))).accept("*/*");
        Ok(self.cluster.call(call).await?.ok()?.text())
    }

    /// Runs a shell script in a pod's first container, as a person would; it must succeed.
    pub(crate) async fn exec(&self, pod: &str, script: &str) -> Result<String> {
        self.kubectl(&["exec", pod, "--", "sh", "-c", script]).await
    }
}
