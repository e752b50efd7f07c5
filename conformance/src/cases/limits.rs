//! What a namespace may use, and what its pods are given and refused for it.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{STAY, config_map};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, pod};
use crate::expect::{contains, equal, eventually, refused, same};

pub(super) const GROUP: Group = Group {
    name: "limits",
    area: Area::Scheduling,
    capability: "Quotas and limits: counted, enforced, defaulted; runtime classes; Pod Security",
    cases: &[
        case!(quotas_count_objects, "a quota counts objects as they come and go", quick),
        case!(quotas_refuse_what_exceeds, "what exceeds a quota is refused with what is used", quick),
        case!(quotas_have_scopes, "scopes choose the pods that count"),
        case!(limit_ranges_set_defaults, "a limit range gives defaults and refuses what is beyond", quick),
        case!(runtime_classes_are_checked, "an unknown runtime class is refused, a known one brings its overhead"),
        case!(priorities_are_resolved, "a priority class becomes a number, an unknown one is refused", quick),
        case!(pod_security_is_enforced, "a namespace's level of Pod Security refuses what goes beyond", quick),
        case!(restricted_pods_run, "the restricted level says what a pod lacks, and one that lacks nothing runs"),
    ],
};

fn stays(scope: &Scope, name: &str) -> Value {
    pod(name, &scope.cluster.images.busybox, STAY)
}

fn quota(hard: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "quota"}, "spec": {"hard": hard}})
}

async fn until_used(scope: &Scope, key: &str, used: &str) -> Result<Value> {
    let holds = |quota: &Value| quota["status"]["used"][key] == used;
    scope.resource("v1", "resourcequotas").until("quota", &format!("{key}: {used}"), holds).await
}

async fn quotas_count_objects(scope: &Scope) -> Result<()> {
    scope.config_maps().until("kube-root-ca.crt", "it is there", |_| true).await?;
    let hard = json!({"configmaps": "10", "pods": "5", "services": "5", "count/deployments.apps": "3",
        "requests.cpu": "1", "requests.example.com/dongle": "3"});
    scope.resource("v1", "resourcequotas").create(&quota(hard.clone())).await?;
    let told = until_used(scope, "configmaps", "1").await?;
    equal("status.hard", &told["status"]["hard"], &hard)?;
    same("keys of used", told["status"]["used"].as_object().map(serde_json::Map::len), Some(6))?;
    scope.config_maps().create(&config_map("one", "a", "")).await?;
    let mut object = stays(scope, "one");
    object["spec"]["schedulerName"] = "nobody".into();
    object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "500m", "example.com/dongle": "2"},
        "limits": {"example.com/dongle": "2"}});
    scope.create_pod(&object).await?;
    for (key, used) in
        [("configmaps", "2"), ("pods", "1"), ("requests.cpu", "500m"), ("requests.example.com/dongle", "2")]
    {
        until_used(scope, key, used).await?;
    }
    scope.config_maps().delete("one").await?;
    scope.pods().delete("one").await?;
    for (key, used) in [("configmaps", "1"), ("pods", "0"), ("requests.cpu", "0")] {
        until_used(scope, key, used).await?;
    }
    let false_hard = json!({"status": {"hard": {"pods": "99"}}});
    scope.resource("v1", "resourcequotas").patch("quota/status", Patch::Merge(false_hard)).await.map(drop)
}

async fn quotas_refuse_what_exceeds(scope: &Scope) -> Result<()> {
    scope
        .resource("v1", "resourcequotas")
        .create(&quota(json!({"pods": "1", "requests.cpu": "1", "services.nodeports": "0"})))
        .await?;
    until_used(scope, "pods", "0").await?;
    let object = |name: &str, cpu: &str| {
        let mut object = stays(scope, name);
        object["spec"]["schedulerName"] = "nobody".into();
        object["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        object
    };
    let error = refused(scope.create_pod(&object("large", "2")).await, 403, "Forbidden")?;
    contains(
        "message",
        &error.message,
        "exceeded quota: quota, requested: requests.cpu=2, used: requests.cpu=0, limited: requests.cpu=1",
    )?;
    let error = refused(scope.create_pod(&stays(scope, "silent")).await, 403, "Forbidden")?;
    contains("message", &error.message, "must specify requests.cpu for: main")?;
    scope.create_pod(&object("one", "500m")).await?;
    let error = refused(scope.create_pod(&object("two", "100m")).await, 403, "Forbidden")?;
    contains("message", &error.message, "exceeded quota: quota, requested: pods=1, used: pods=1, limited: pods=1")?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    refused(scope.services().create(&service).await, 403, "Forbidden").map(drop)
}

async fn quotas_have_scopes(scope: &Scope) -> Result<()> {
    let quotas = scope.resource("v1", "resourcequotas");
    for (name, kind) in [("best", "BestEffort"), ("rest", "NotBestEffort"), ("ends", "Terminating")] {
        let mut object = quota(json!({"pods": "5"}));
        object["metadata"]["name"] = name.into();
        object["spec"]["scopes"] = json!([kind]);
        quotas.create(&object).await?;
        quotas.until(name, "it is in force", |quota| quota["status"]["used"]["pods"] == "0").await?;
    }
    let mut plain = stays(scope, "plain");
    plain["spec"]["schedulerName"] = "nobody".into();
    scope.create_pod(&plain).await?;
    let mut sized = plain.clone();
    sized["metadata"]["name"] = "sized".into();
    sized["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1m"}});
    sized["spec"]["activeDeadlineSeconds"] = 600.into();
    scope.create_pod(&sized).await?;
    for name in ["best", "rest", "ends"] {
        quotas.until(name, "one pod", |quota| quota["status"]["used"]["pods"] == "1").await?;
    }
    Ok(())
}

async fn limit_ranges_set_defaults(scope: &Scope) -> Result<()> {
    let ranges = scope.resource("v1", "limitranges");
    let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "range"}, "spec": {"limits": [{
        "type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"},
        "min": {"cpu": "50m"}, "max": {"cpu": "1"}}]}});
    ranges.create(&range).await?;
    let object = |name: &str, resources: Value| {
        let mut object = stays(scope, name);
        object["spec"]["schedulerName"] = "nobody".into();
        object["spec"]["containers"][0]["resources"] = resources;
        object
    };
    // The admission plug-in hears of the range by a watch of its own.
    let made = eventually("the range is in force", SOON, async || {
        let made = scope.pods().create_with("dryRun=All", &object("default", json!({}))).await?;
        ensure!(made["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "500m", "saw {made}");
        Ok(made)
    })
    .await?;
    let expected = json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}});
    equal("defaults", &made["spec"]["containers"][0]["resources"], &expected)?;
    let limit_only = scope.create_pod(&object("limit", json!({"limits": {"cpu": "300m"}}))).await?;
    equal("request of a limit", &limit_only["spec"]["containers"][0]["resources"]["requests"]["cpu"], &json!("300m"))?;
    let error = refused(scope.create_pod(&object("low", json!({"requests": {"cpu": "10m"}}))).await, 403, "Forbidden")?;
    contains("message", &error.message, "minimum cpu usage per Container is 50m, but request is 10m")?;
    let error = refused(scope.create_pod(&object("high", json!({"limits": {"cpu": "2"}}))).await, 403, "Forbidden")?;
    contains("message", &error.message, "maximum cpu usage per Container is 1, but limit is 2")
}

async fn runtime_classes_are_checked(scope: &Scope) -> Result<()> {
    let classes = scope.global("node.k8s.io/v1", "runtimeclasses");
    let mut object = stays(scope, "one");
    object["spec"]["runtimeClassName"] = "no-such-class".into();
    let accounts = scope.resource("v1", "serviceaccounts");
    accounts.until("default", "it is there", |_| true).await?;
    refused(scope.pods().create_with("dryRun=All", &object).await, 403, "Forbidden")?;
    let name = scope.unique("class");
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name},
        "handler": "test-handler", "overhead": {"podFixed": {"cpu": "10m", "memory": "1Mi"}}});
    scope.create_global(&classes, &class).await?;
    object["spec"]["runtimeClassName"] = name.into();
    let made =
        eventually("the class is known", SOON, async || scope.pods().create_with("dryRun=All", &object).await).await?;
    equal("overhead", &made["spec"]["overhead"], &json!({"cpu": "10m", "memory": "1Mi"}))
}

async fn priorities_are_resolved(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, "one");
    object["spec"]["schedulerName"] = "nobody".into();
    object["spec"]["priorityClassName"] = "system-node-critical".into();
    let made = scope.create_pod(&object).await?;
    equal("priority", &made["spec"]["priority"], &json!(2_000_001_000))?;
    equal("policy", &made["spec"]["preemptionPolicy"], &json!("PreemptLowerPriority"))?;
    object["metadata"]["name"] = "two".into();
    object["spec"]["priorityClassName"] = "no-such-class".into();
    let error = refused(scope.create_pod(&object).await, 403, "Forbidden")?;
    contains("message", &error.message, "no PriorityClass with name no-such-class was found")
}

async fn pod_security_is_enforced(scope: &Scope) -> Result<()> {
    let level =
        |level: &str| Patch::Merge(json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}));
    let namespaces = scope.global("v1", "namespaces");
    namespaces.patch(&scope.namespace, level("baseline")).await?;
    let mut privileged = stays(scope, "privileged");
    privileged["spec"]["containers"][0]["securityContext"] = json!({"privileged": true});
    privileged["spec"]["schedulerName"] = "nobody".into();
    let error = eventually("the level is in force", SOON, async || {
        let accounts = scope.resource("v1", "serviceaccounts");
        accounts.until("default", "it is there", |_| true).await?;
        refused(scope.pods().create_with("dryRun=All", &privileged).await, 403, "Forbidden")
    })
    .await?;
    contains("message", &error.message, r#"violates PodSecurity "baseline:latest": privileged"#)?;
    scope.create_pod(&stays(scope, "plain")).await?;
    namespaces.patch(&scope.namespace, level("privileged")).await?;
    let made = eventually("the level is lifted", LATER, async || scope.create_pod(&privileged).await).await?;
    equal("privileged", &made["spec"]["containers"][0]["securityContext"]["privileged"], &json!(true))
}

async fn restricted_pods_run(scope: &Scope) -> Result<()> {
    let label = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
    scope.global("v1", "namespaces").patch(&scope.namespace, Patch::Merge(label)).await?;
    let mut object = stays(scope, "one");
    scope.resource("v1", "serviceaccounts").until("default", "it is there", |_| true).await?;
    let error = eventually("the level is in force", SOON, async || {
        refused(scope.pods().create_with("dryRun=All", &object).await, 403, "Forbidden")
    })
    .await?;
    let words = "violates PodSecurity \"restricted:latest\": \
         allowPrivilegeEscalation != false (container \"main\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"main\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"main\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"main\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    contains("message", &error.message, words)?;
    object["spec"]["securityContext"] =
        json!({"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}});
    object["spec"]["containers"][0]["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    scope.start(&object).await?;
    let script = "id -u; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status";
    let seen = scope.exec("one", script).await?;
    same("rights", seen.as_str(), "1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n")
}
