//! What is changed in a pod that runs: ephemeral containers, and resources.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use super::life::replace;
use super::lifecycle::stays;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, condition, container, pod};
use crate::expect::{contains, equal, eventually, refused, same};

pub(super) const GROUP: Group = Group {
    name: "changes",
    area: Area::Pods,
    capability: "Changes of running pods: ephemeral containers, resizes in place",
    cases: &[
        case!(ephemeral_containers_join, "an ephemeral container joins a running pod, and another joins both"),
        case!(
            resizes_need_no_restart,
            "resources are changed in place, added where there were none, and told in the status"
        ),
        case!(several_are_resized_at_once, "containers grow and shrink at once, in the status and in the kernel"),
        case!(resizes_keep_the_class, "a resize that would change the class of service is refused", quick),
    ],
};

fn generation(pod: &Value) -> i64 {
    pod["metadata"]["generation"].as_i64().unwrap_or_default()
}

async fn ephemeral_containers_join(scope: &Scope) -> Result<()> {
    let before = scope.start(&stays(scope, STAY)).await?;
    let debugger = json!({"name": "debugger", "image": scope.cluster.images.busybox, "targetContainerName": "main",
        "stdin": true, "tty": true, "command": ["sh", "-c", format!("test -t 0 && test -t 1 && echo polo; {STAY}")]});
    let patch = Patch::Strategic(json!({"spec": {"ephemeralContainers": [debugger]}}));
    let patched = scope.pods().patch("one/ephemeralcontainers", patch).await?;
    same("generation", generation(&patched), generation(&before) + 1)?;
    let runs = |pod: &Value| pod["status"]["ephemeralContainerStatuses"][0]["state"]["running"].is_object();
    scope.pods().until_within(LATER, "one", "it runs", runs).await?;
    eventually("its log", SOON, async || {
        same("log", scope.log_with("one", "container=debugger").await?.as_str(), "polo\n")
    })
    .await?;
    let out = scope.kubectl(&["exec", "one", "-c", "debugger", "--", "echo", "marco"]).await?;
    same("exec in it", out.as_str(), "marco\n")?;
    let other = json!({"spec": {"ephemeralContainers": [{"name": "debugger", "image": "other"}]}});
    refused(scope.pods().patch("one/ephemeralcontainers", Patch::Strategic(other)).await, 422, "Invalid")?;
    let second = json!({"name": "second", "image": scope.cluster.images.busybox, "command": ["sh", "-c", STAY]});
    let put = replace(&scope.pods(), "one/ephemeralcontainers", |pod| {
        if let Some(all) = pod["spec"]["ephemeralContainers"].as_array_mut() {
            all.push(second.clone());
        }
    })
    .await?;
    same("generation", generation(&put), generation(&before) + 2)?;
    let both = |pod: &Value| {
        let states = pod["status"]["ephemeralContainerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        states.len() == 2 && states.iter().all(|state| state["state"]["running"].is_object())
    };
    scope.pods().until_within(LATER, "one", "both run", both).await.map(drop)
}

async fn resizes_need_no_restart(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    let before = json!({"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "200m", "memory": "64Mi"}});
    let image = &scope.cluster.images.busybox;
    object["spec"]["containers"] =
        ["main", "unlimited", "plain"].map(|name| container(name, image, STAY)).to_vec().into();
    object["spec"]["containers"][0]["resources"] = before.clone();
    object["spec"]["containers"][1]["resources"] = json!({"requests": before["requests"]});
    let made = scope.start(&object).await?;
    ensure!(made["spec"]["containers"][0].get("resizePolicy").is_none(), "expected no default of resizePolicy");
    let after = json!({"requests": {"cpu": "30m", "memory": "48Mi"}, "limits": {"cpu": "400m", "memory": "96Mi"}});
    let changed = ["main", "unlimited", "plain"].map(|name| json!({"name": name, "resources": after}));
    let patch = Patch::Strategic(json!({"spec": {"containers": changed}}));
    let patched = scope.pods().patch("one/resize", patch).await?;
    same("generation", generation(&patched), generation(&made) + 1)?;
    let done = |pod: &Value| {
        let states = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        states.iter().all(|state| state["resources"] == after && state["allocatedResources"] == after["requests"])
            && pod["status"]["observedGeneration"] == patched["metadata"]["generation"]
            && condition(pod, "PodResizeInProgress").is_null()
            && condition(pod, "PodResizePending").is_null()
    };
    let resized = scope.pods().until_within(LATER, "one", "the status has the new resources", done).await?;
    let states = resized["status"]["containerStatuses"].as_array().context("no states")?;
    for state in states {
        same("restarts", state["restartCount"].as_u64(), Some(0))?;
        let name = state["name"].as_str().unwrap_or_default();
        let bytes = kernel(scope, name, "memory.max", "memory/memory.limit_in_bytes").await?;
        same(&format!("bytes of {name}"), bytes.as_str(), "100663296")?;
        let quota = kernel(scope, name, "cpu.max", "cpu/cpu.cfs_quota_us").await?;
        same(&format!("microseconds of {name}"), quota.as_str(), "40000")?;
    }
    Ok(())
}

fn sized(name: &str, image: &str, cpu: u32, memory: u32) -> Value {
    let mut object = container(name, image, STAY);
    object["resources"] = resources(cpu, memory);
    object
}

/// Thousandths of a cpu and mebibytes, both as request and as limit.
fn resources(cpu: u32, memory: u32) -> Value {
    let amounts = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"limits": amounts, "requests": amounts})
}

/// Reads the file of the one or the other generation of cgroups, its first line.
async fn kernel(scope: &Scope, container: &str, new: &str, old: &str) -> Result<String> {
    let script = format!("head -n 1 /sys/fs/cgroup/{new} 2>/dev/null || head -n 1 /sys/fs/cgroup/{old}");
    let text = scope.kubectl(&["exec", "one", "-c", container, "--", "sh", "-c", &script]).await?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}

async fn several_are_resized_at_once(scope: &Scope) -> Result<()> {
    const BEFORE: [(&str, u32, u32); 3] = [("one", 100, 32), ("two", 200, 64), ("three", 300, 96)];
    const AFTER: [(&str, u32, u32); 3] = [("one", 150, 64), ("two", 100, 96), ("three", 310, 48)];
    let image = &scope.cluster.images.busybox;
    let mut object = stays(scope, STAY);
    object["spec"]["containers"] = BEFORE.iter().map(|(name, cpu, memory)| sized(name, image, *cpu, *memory)).collect();
    let made = scope.start(&object).await?;
    equal("class of service", &made["status"]["qosClass"], &json!("Guaranteed"))?;
    equal("what is read at /resize", &scope.pods().get("one/resize").await?, &scope.pods().get("one").await?)?;
    let put = replace(&scope.pods(), "one/resize", |pod| {
        for (at, (_, cpu, memory)) in AFTER.iter().enumerate() {
            pod["spec"]["containers"][at]["resources"] = resources(*cpu, *memory);
        }
    })
    .await?;
    let done = |pod: &Value| {
        let states = pod["status"]["containerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_sized = |(name, cpu, memory): &(&str, u32, u32)| {
            let wanted = resources(*cpu, *memory);
            let state = states.iter().find(|state| state["name"] == *name).unwrap_or(&Value::Null);
            state["resources"] == wanted && state["allocatedResources"] == wanted["requests"]
        };
        pod["status"]["observedGeneration"] == put["metadata"]["generation"]
            && ["PodResizeInProgress", "PodResizePending"].iter().all(|kind| condition(pod, kind).is_null())
            && AFTER.iter().all(is_sized)
    };
    let after = scope.pods().until_within(LATER, "one", "the status has the new resources", done).await?;
    equal("class of service", &after["status"]["qosClass"], &json!("Guaranteed"))?;
    let states = after["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
    ensure!(states.iter().all(|state| state["restartCount"] == 0), "expected no restarts, saw {states:?}");
    for (name, cpu, memory) in AFTER {
        let quota = kernel(scope, name, "cpu.max", "cpu/cpu.cfs_quota_us").await?;
        same(&format!("microseconds of {name}"), quota, (cpu * 100).to_string())?;
        let bytes = kernel(scope, name, "memory.max", "memory/memory.limit_in_bytes").await?;
        same(&format!("bytes of {name}"), bytes, (u64::from(memory) << 20).to_string())?;
    }
    Ok(())
}

async fn resizes_keep_the_class(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, STAY);
    object["spec"]["schedulerName"] = "nobody".into();
    object["spec"]["containers"][0]["resources"] = resources(100, 32);
    scope.create_pod(&object).await?;
    let patch = |resources: Value| {
        Patch::Strategic(json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}))
    };
    let other = scope.pods().patch("one/resize", patch(json!({"requests": {"cpu": "50m"}}))).await;
    contains(
        "message",
        &refused(other, 422, "Invalid")?.message,
        "Pod QOS Class may not change as a result of resizing",
    )?;
    let main = scope.pods().patch("one", patch(resources(200, 32))).await;
    refused(main, 422, "Invalid").context("a resize at the pod's own path")?;
    let resized = scope.pods().patch("one/resize", patch(resources(200, 32))).await?;
    equal("resources", &resized["spec"]["containers"][0]["resources"], &resources(200, 32))
}
