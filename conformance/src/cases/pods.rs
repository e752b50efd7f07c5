//! The life of a pod: start, status, restarts, ends.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use super::life::replace;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, condition, container, pod};
use crate::expect::{contains, equal, refused, same};

pub(super) const GROUP: Group = Group {
    name: "pods",
    area: Area::Pods,
    capability: "Pods: start, graceful end, deadlines, restarts, phases, termination messages, generations, QoS",
    cases: &[
        case!(a_pod_runs_and_is_told, "a running pod has addresses, conditions, times and container states", quick),
        case!(deletion_is_graceful, "a deleted pod is marked, told to end, given its time, and then gone", quick),
        case!(deadlines_fail_a_pod, "activeDeadlineSeconds fails a pod with DeadlineExceeded, also when set later"),
        case!(images_change_in_place, "another image restarts the container in its pod"),
        case!(phases_follow_restart_policies, "Always, OnFailure and Never end as the rules say"),
        case!(messages_come_from_a_file, "a termination message is read from its file, written by any user"),
        case!(messages_fall_back_to_logs, "a message falls back to the log on an error, and only then"),
        case!(reasons_and_exit_codes_are_told, "a failing command has a reason and an exit code, and can be deleted"),
        case!(
            generations_are_observed,
            "a pod's generation counts its changes, and the kubelet tells what it has seen"
        ),
        case!(many_changes_are_observed, "five hundred changes in a row each count, and the last is observed"),
        case!(quality_of_service_is_told, "the class of service is told when the pod is made", quick),
        case!(collections_of_pods_go, "a collection of pods is deleted with its grace"),
        case!(status_conditions_of_others_stay, "a condition that is not the kubelet's stays"),
        case!(missing_images_hold_nobody_up, "an image that is nowhere is told, and its pod can be deleted"),
        case!(immutable_fields_are_refused, "fields that cannot change are refused by name", quick),
    ],
};

fn stays(scope: &Scope, name: &str) -> Value {
    let mut object = pod(name, &scope.cluster.images.busybox, STAY);
    object["spec"]["terminationGracePeriodSeconds"] = 20.into();
    object
}

async fn a_pod_runs_and_is_told(scope: &Scope) -> Result<()> {
    let running = scope.start(&stays(scope, "one")).await?;
    let status = &running["status"];
    equal("phase", &status["phase"], &json!("Running"))?;
    for kind in ["PodScheduled", "Initialized", "ContainersReady", "Ready", "PodReadyToStartContainers"] {
        equal(kind, &condition(&running, kind)["status"], &json!("True"))?;
    }
    for field in ["podIP", "hostIP", "startTime"] {
        ensure!(status[field].is_string(), "expected a {field}, saw {status}");
    }
    equal("podIPs", &status["podIPs"][0]["ip"], &status["podIP"])?;
    let state = &status["containerStatuses"][0];
    equal("ready and started", &json!([state["ready"], state["started"]]), &json!([true, true]))?;
    equal("restarts", &state["restartCount"], &json!(0))?;
    ensure!(state["state"]["running"]["startedAt"].is_string(), "expected a time of start, saw {state}");
    crate::expect::matches("containerID", state["containerID"].as_str().unwrap_or_default(), "^[a-z-]+://[0-9a-f]+$")?;
    let node = scope.global("v1", "nodes").get(running["spec"]["nodeName"].as_str().unwrap_or_default()).await?;
    let addresses = node["status"]["addresses"].as_array().cloned().unwrap_or_default();
    ensure!(
        addresses.iter().any(|one| one["address"] == status["hostIP"]),
        "expected the node's address, saw {status}"
    );
    Ok(())
}

async fn deletion_is_graceful(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    let script = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    object["spec"]["containers"][0] = container("main", &scope.cluster.images.busybox, script);
    scope.start(&object).await?;
    let mut watch = scope.pods().watch_one("one").await?;
    let answer = scope.pods().delete("one").await?;
    equal("grace in the answer", &answer["metadata"]["deletionGracePeriodSeconds"], &json!(20))?;
    let mut was_marked = false;
    loop {
        let event = watch.next(SOON).await?;
        let marked = event.object["metadata"]["deletionTimestamp"].is_string();
        was_marked |= marked && event.kind == "MODIFIED";
        if event.kind == "DELETED" {
            ensure!(marked && was_marked, "expected the mark before the end, saw {}", event.object["metadata"]);
            let grace = event.object["metadata"]["deletionGracePeriodSeconds"].as_i64();
            ensure!(grace.is_some(), "expected a grace period in the last state");
            equal("the spec's grace period", &event.object["spec"]["terminationGracePeriodSeconds"], &json!(20))?;
            break;
        }
    }
    ensure!(scope.pods().is_absent("one").await?, "expected it to be gone");
    let quick = stays(scope, "two");
    scope.start(&quick).await?;
    scope.pods().delete_with("two", json!({"gracePeriodSeconds": 0})).await?;
    ensure!(scope.pods().is_absent("two").await?, "expected a deletion without grace to be done at once");
    Ok(())
}

async fn deadlines_fail_a_pod(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["activeDeadlineSeconds"] = 2.into();
    object["spec"]["terminationGracePeriodSeconds"] = 1.into();
    scope.create_pod(&object).await?;
    scope.start(&stays(scope, "two")).await?;
    scope.pods().patch("two", Patch::Merge(json!({"spec": {"activeDeadlineSeconds": 1}}))).await?;
    for name in ["one", "two"] {
        let ended =
            scope.pods().until_within(LATER, name, "it has failed", |pod| pod["status"]["phase"] == "Failed").await?;
        equal("reason", &ended["status"]["reason"], &json!("DeadlineExceeded"))?;
    }
    Ok(())
}

async fn images_change_in_place(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["restartPolicy"] = "Always".into();
    let before = scope.start(&object).await?;
    let image = &scope.cluster.images.tools;
    let patch = json!({"spec": {"containers": [{"name": "main", "image": image}]}});
    scope.pods().patch("one", Patch::Strategic(patch)).await?;
    let restarted = |pod: &Value| {
        let state = &pod["status"]["containerStatuses"][0];
        state["restartCount"] == 1 && state["ready"] == true
    };
    let after = scope.pods().until_within(LATER, "one", "the container runs again", restarted).await?;
    equal("uid", &after["metadata"]["uid"], &before["metadata"]["uid"])?;
    let image_id = |pod: &Value| pod["status"]["containerStatuses"][0]["imageID"].clone();
    ensure!(image_id(&after) != image_id(&before), "expected another image than {}", image_id(&before));
    Ok(())
}

async fn phases_follow_restart_policies(scope: &Scope) -> Result<()> {
    // The first time it fails, the second it succeeds, and the third it stays, if it comes to that.
    let script =
        "n=$(cat /state/n || echo 0); echo $((n + 1)) >/state/n; test $n = 0 && exit 1; test $n = 1 || sleep 3600";
    let object = |name: &str, policy: &str| {
        let mut object = pod(name, &scope.cluster.images.busybox, script);
        object["spec"]["restartPolicy"] = policy.into();
        object["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
        object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
        object
    };
    for (policy, phase, restarts, ready) in
        [("Always", "Running", 2, true), ("OnFailure", "Succeeded", 1, false), ("Never", "Failed", 0, false)]
    {
        let name = policy.to_lowercase();
        scope.create_pod(&object(&name, policy)).await?;
        let holds = move |pod: &Value| {
            let state = &pod["status"]["containerStatuses"][0];
            pod["status"]["phase"] == phase && state["restartCount"] == restarts && state["ready"] == ready
        };
        let what = format!("phase {phase}, {restarts} restarts, ready {ready}");
        scope.pods().until_within(LATER, &name, &what, holds).await?;
    }
    Ok(())
}

fn message(pod: &Value) -> Value {
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"].clone()
}

async fn messages_come_from_a_file(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, "printf DONE >/dev/custom; exit 0");
    object["spec"]["containers"][0]["terminationMessagePath"] = "/dev/custom".into();
    object["spec"]["containers"][0]["securityContext"] = json!({"runAsUser": 10000});
    equal("message", &message(&scope.finish(&object).await?), &json!("DONE"))
}

async fn messages_fall_back_to_logs(scope: &Scope) -> Result<()> {
    for (name, script, expected) in [
        ("failed", "printf DONE; exit 1", json!("DONE")),
        ("fine", "printf DONE", Value::Null),
        ("written", "printf DONE; printf OK >/dev/termination-log", json!("OK")),
    ] {
        let mut object = pod(name, &scope.cluster.images.busybox, script);
        object["spec"]["containers"][0]["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
        equal(name, &message(&scope.finish(&object).await?), &expected)?;
    }
    Ok(())
}

async fn reasons_and_exit_codes_are_told(scope: &Scope) -> Result<()> {
    let ended = scope.finish(&pod("one", &scope.cluster.images.busybox, "exit 7")).await?;
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    equal("exit code and reason", &json!([state["exitCode"], state["reason"]]), &json!([7, "Error"]))?;
    equal("phase", &ended["status"]["phase"], &json!("Failed"))?;
    let mut again = pod("two", &scope.cluster.images.busybox, "false");
    again["spec"]["restartPolicy"] = "Always".into();
    scope.create_pod(&again).await?;
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    };
    scope.pods().until_within(LATER, "two", "CrashLoopBackOff", waits).await?;
    scope.pods().delete("two").await?;
    scope.pods().until_gone("two").await
}

async fn generations_are_observed(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["metadata"]["generation"] = 100.into();
    object["spec"]["initContainers"] = json!([container("init", &scope.cluster.images.busybox, "true")]);
    let running = scope.start(&object).await?;
    equal("generation", &running["metadata"]["generation"], &json!(1))?;
    let labelled = scope.pods().patch("one", Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).await?;
    equal("after a label", &labelled["metadata"]["generation"], &json!(1))?;
    let unchanged = scope.pods().patch("one", Patch::Merge(json!({}))).await?;
    equal("after nothing", &unchanged["metadata"]["generation"], &json!(1))?;
    let image = json!({"name": "init", "image": scope.cluster.images.tools});
    for (generation, spec) in [
        (2, json!({"tolerations": [{"key": "x", "operator": "Exists"}]})),
        (3, json!({"initContainers": [image]})),
        (4, json!({"activeDeadlineSeconds": 3000})),
    ] {
        let changed = scope.pods().patch("one", Patch::Strategic(json!({"spec": spec}))).await?;
        equal(&format!("after {spec}"), &changed["metadata"]["generation"], &json!(generation))?;
        let seen = |pod: &Value| {
            let of = &condition(pod, "Ready")["observedGeneration"];
            pod["status"]["observedGeneration"] == generation && *of == generation
        };
        scope.pods().until("one", "the kubelet has seen it", seen).await?;
    }
    let deleted = scope.pods().delete_with("one", json!({"gracePeriodSeconds": 60})).await?;
    equal("grace in the answer", &deleted["metadata"]["deletionGracePeriodSeconds"], &json!(60))?;
    equal("after the deletion", &deleted["metadata"]["generation"], &json!(5))
}

async fn many_changes_are_observed(scope: &Scope) -> Result<()> {
    const CHANGES: usize = 499;
    scope.start(&stays(scope, "one")).await?;
    for number in 0..CHANGES {
        let toleration = json!({"key": format!("k-{number}"), "operator": "Exists", "effect": "NoSchedule"});
        let add = json!([{"op": "add", "path": "/spec/tolerations/-", "value": toleration}]);
        let changed = scope.pods().patch("one", Patch::Json(add)).await?;
        equal("generation", &changed["metadata"]["generation"], &json!(number + 2))?;
    }
    let seen = |pod: &Value| pod["status"]["observedGeneration"] == CHANGES + 1;
    let last = scope.pods().until("one", "the kubelet has seen the last", seen).await?;
    equal("restarts", &last["status"]["containerStatuses"][0]["restartCount"], &json!(0))
}

async fn quality_of_service_is_told(scope: &Scope) -> Result<()> {
    for (name, resources, class) in [
        ("best-effort", json!({}), "BestEffort"),
        ("burstable", json!({"requests": {"cpu": "100m"}}), "Burstable"),
        ("guaranteed", json!({"limits": {"cpu": "100m", "memory": "100Mi"}}), "Guaranteed"),
    ] {
        let mut object = stays(scope, name);
        object["spec"]["containers"][0]["resources"] = resources;
        object["spec"]["schedulerName"] = "nobody".into();
        equal(name, &scope.create_pod(&object).await?["status"]["qosClass"], &json!(class))?;
    }
    Ok(())
}

async fn collections_of_pods_go(scope: &Scope) -> Result<()> {
    for name in ["one", "two", "three"] {
        let mut object = stays(scope, name);
        object["metadata"]["labels"] = json!({"kept": if name == "three" { "yes" } else { "no" }});
        scope.create_pod(&object).await?;
    }
    for name in ["one", "two", "three"] {
        scope.ready(name).await?;
    }
    scope.pods().delete_collection("labelSelector=kept%3Dno&gracePeriodSeconds=1").await?;
    scope.pods().until_all("labelSelector=kept%3Dno", "two are gone", <[Value]>::is_empty).await?;
    same("kept", scope.pods().names("").await?, vec!["three".to_owned()])
}

async fn status_conditions_of_others_stay(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["readinessGates"] = json!([{"conditionType": "example.com/gate"}]);
    scope.create_pod(&object).await?;
    let gated = |pod: &Value| condition(pod, "ContainersReady")["status"] == "True";
    let waiting = scope.pods().until_within(LATER, "one", "its containers are ready", gated).await?;
    equal("Ready before the gate", &condition(&waiting, "Ready")["status"], &json!("False"))?;
    equal("reason", &condition(&waiting, "Ready")["reason"], &json!("ReadinessGatesNotReady"))?;
    let gate = json!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}});
    scope.pods().patch("one/status", Patch::Strategic(gate)).await?;
    let ready = scope.ready("one").await?;
    equal("the gate", &condition(&ready, "example.com/gate")["status"], &json!("True"))?;
    let own = ["Ready", "ContainersReady"];
    let put = replace(&scope.pods(), "one/status", |pod| {
        for one in pod["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if own.iter().any(|kind| one["type"] == *kind) {
                one["status"] = "False".into();
            }
        }
    })
    .await?;
    for kind in own {
        equal(kind, &condition(&put, kind)["status"], &json!("False"))?;
    }
    let restored = |pod: &Value| own.iter().all(|kind| condition(pod, kind)["status"] == "True");
    let restored = scope.pods().until("one", "the kubelet says what it knows", restored).await?;
    equal("the gate", &condition(&restored, "example.com/gate")["status"], &json!("True"))
}

async fn missing_images_hold_nobody_up(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["containers"][0]["image"] = "example.invalid/no/such:image".into();
    scope.create_pod(&object).await?;
    let told = |pod: &Value| {
        let reason = pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str();
        matches!(reason, Some("ErrImagePull" | "ImagePullBackOff"))
    };
    scope.pods().until_within(LATER, "one", "ErrImagePull or ImagePullBackOff", told).await?;
    scope.pods().delete("one").await?;
    scope.pods().until_gone_within(Duration::from_secs(40), "one").await
}

async fn immutable_fields_are_refused(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["schedulerName"] = "nobody".into();
    scope.create_pod(&object).await?;
    let error =
        refused(scope.pods().patch("one", Patch::Merge(json!({"spec": {"hostname": "x"}}))).await, 422, "Invalid")?;
    contains("message", &error.message, "pod updates may not change fields other than")?;
    let node = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "one"}, "target": {"kind": "Node", "name": "x"}});
    scope.pods().post("one/binding", &node).await?;
    equal("node", &scope.pods().get("one").await?["spec"]["nodeName"], &json!("x"))?;
    refused(scope.pods().post("one/binding", &node).await, 409, "Conflict").map(drop).context("a second binding")
}
