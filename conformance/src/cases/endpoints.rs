//! What controllers write of Services: EndpointSlices and Endpoints, and their mirrors.

use std::cell::RefCell;
use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::STAY;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, Resource, SOON, Scope, pod};
use crate::expect::{equal, same};

pub(super) const GROUP: Group = Group {
    name: "endpoints",
    area: Area::Network,
    capability: "EndpointSlices and Endpoints: written for Services, mirrored, repaired, removed",
    cases: &[
        case!(an_empty_service_has_a_slice, "a Service without pods has one empty slice, which goes with it", quick),
        case!(pods_become_endpoints, "a pod becomes an endpoint, with its name, node and readiness", quick),
        case!(named_targets_make_slices, "a target port of two numbers makes two slices and two subsets"),
        case!(unready_pods_can_be_published, "publishNotReadyAddresses counts pods that are not ready"),
        case!(deleted_slices_come_back, "a slice that somebody deletes or changes is written again"),
        case!(custom_endpoints_are_mirrored, "Endpoints that somebody writes are mirrored to slices, and follow"),
        case!(many_services_are_quick, "two hundred Services, fifteen at a time, have their endpoints within seconds"),
    ],
};

fn slices(scope: &Scope) -> Resource {
    scope.resource("discovery.k8s.io/v1", "endpointslices")
}

fn endpoints(scope: &Scope) -> Resource {
    scope.resource("v1", "endpoints")
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

const OF_WEB: &str = "labelSelector=kubernetes.io/service-name%3Dweb";

async fn an_empty_service_has_a_slice(scope: &Scope) -> Result<()> {
    scope.services().create(&service("web", json!({"selector": {"app": "none"}, "ports": [{"port": 80}]}))).await?;
    let one = |slices: &[Value]| slices.len() == 1;
    let found = slices(scope).until_all(OF_WEB, "one slice", one).await?;
    same("endpoints", found[0]["endpoints"].as_array().map_or(0, Vec::len), 0)?;
    let label = &found[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    equal("managed-by", label, &json!("endpointslice-controller.k8s.io"))?;
    equal("owner", &found[0]["metadata"]["ownerReferences"][0]["kind"], &json!("Service"))?;
    endpoints(scope).until("web", "Endpoints", |_| true).await?;
    scope.services().delete("web").await?;
    slices(scope).until_all(OF_WEB, "no slice", <[Value]>::is_empty).await?;
    endpoints(scope).until_gone("web").await
}

async fn pods_become_endpoints(scope: &Scope) -> Result<()> {
    scope
        .services()
        .create(&service(
            "web",
            json!({"selector": {"app": "one"}, "ports": [{"name": "a", "port": 80, "targetPort": 8080}]}),
        ))
        .await?;
    let pod = scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let full = |slices: &[Value]| slices.len() == 1 && slices[0]["endpoints"][0]["conditions"]["ready"] == true;
    let slice = slices(scope).until_all(OF_WEB, "a ready endpoint", full).await?.remove(0);
    let end = &slice["endpoints"][0];
    equal("addresses", &end["addresses"], &json!([pod["status"]["podIP"]]))?;
    let target = json!({"kind": "Pod", "name": "one", "namespace": scope.namespace, "uid": pod["metadata"]["uid"]});
    equal("targetRef", &end["targetRef"], &target)?;
    equal("nodeName", &end["nodeName"], &pod["spec"]["nodeName"])?;
    equal("port", &slice["ports"], &json!([{"name": "a", "port": 8080, "protocol": "TCP"}]))?;
    let ready = |endpoints: &Value| endpoints["subsets"][0]["addresses"][0]["ip"] == pod["status"]["podIP"];
    let old = endpoints(scope).until("web", "the address in Endpoints", ready).await?;
    equal("port in Endpoints", &old["subsets"][0]["ports"][0]["port"], &json!(8080))?;
    scope.pods().delete("one").await?;
    let empty = |slices: &[Value]| slices.iter().all(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty));
    slices(scope).until_all_within(LATER, OF_WEB, "no endpoint", empty).await.map(drop)
}

async fn named_targets_make_slices(scope: &Scope) -> Result<()> {
    let spec = json!({"selector": {"set": "web"}, "ports": [{"name": "a", "port": 80, "targetPort": "named"}]});
    scope.services().create(&service("web", spec)).await?;
    for (name, port) in [("one", 3000), ("two", 3001)] {
        let mut object = pod(name, &scope.cluster.images.busybox, STAY);
        object["metadata"]["labels"] = json!({"set": "web"});
        object["spec"]["containers"][0]["ports"] = json!([{"name": "named", "containerPort": port}]);
        scope.start(&object).await?;
    }
    let two = |slices: &[Value]| {
        let mut ports: Vec<u64> = slices
            .iter()
            .filter(|slice| slice["endpoints"].as_array().is_some_and(|all| all.len() == 1))
            .filter_map(|slice| slice["ports"][0]["port"].as_u64())
            .collect();
        ports.sort_unstable();
        ports == [3000, 3001]
    };
    slices(scope).until_all(OF_WEB, "a slice for each number", two).await?;
    let subsets = |endpoints: &Value| endpoints["subsets"].as_array().is_some_and(|all| all.len() == 2);
    endpoints(scope).until("web", "two subsets", subsets).await.map(drop)
}

async fn unready_pods_can_be_published(scope: &Scope) -> Result<()> {
    let spec = json!({"selector": {"app": "one"}, "publishNotReadyAddresses": true, "clusterIP": "None", "ports": [{"port": 80}]});
    scope.services().create(&service("web", spec.clone())).await?;
    let mut other = spec;
    other["publishNotReadyAddresses"] = false.into();
    scope.services().create(&service("strict", other)).await?;
    let mut object = pod("one", &scope.cluster.images.busybox, STAY);
    object["spec"]["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["false"]}, "periodSeconds": 1});
    scope.create_pod(&object).await?;
    let with = |ready: bool| {
        move |slices: &[Value]| slices.iter().any(|slice| slice["endpoints"][0]["conditions"]["ready"] == ready)
    };
    slices(scope).until_all_within(LATER, OF_WEB, "an endpoint that counts as ready", with(true)).await?;
    let of_strict = "labelSelector=kubernetes.io/service-name%3Dstrict";
    slices(scope).until_all_within(LATER, of_strict, "an endpoint that does not", with(false)).await?;
    let strict = endpoints(scope).get("strict").await?;
    same("notReadyAddresses", strict["subsets"][0]["notReadyAddresses"].as_array().map(Vec::len), Some(1))
}

async fn deleted_slices_come_back(scope: &Scope) -> Result<()> {
    scope.services().create(&service("web", json!({"selector": {"app": "one"}, "ports": [{"port": 80}]}))).await?;
    let pod = scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let address = &pod["status"]["podIP"];
    let full = |slices: &[Value]| slices.len() == 1 && slices[0]["endpoints"][0]["addresses"][0] == *address;
    let first = slices(scope).until_all(OF_WEB, "an endpoint", full).await?.remove(0);
    let name = first["metadata"]["name"].as_str().context("no name")?;
    slices(scope).patch(name, Patch::Merge(json!({"endpoints": []}))).await?;
    slices(scope).until_all(OF_WEB, "the endpoint again", full).await?;
    slices(scope).delete(name).await?;
    let anew = |slices: &[Value]| full(slices) && slices[0]["metadata"]["uid"] != first["metadata"]["uid"];
    slices(scope).until_all(OF_WEB, "another slice", anew).await?;
    endpoints(scope).delete("web").await?;
    endpoints(scope)
        .until("web", "Endpoints again", |end| end["subsets"][0]["addresses"][0]["ip"] == *address)
        .await
        .map(drop)
}

async fn custom_endpoints_are_mirrored(scope: &Scope) -> Result<()> {
    scope.services().create(&service("web", json!({"ports": [{"name": "a", "port": 80}]}))).await?;
    let custom = |ip: &str| {
        json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"},
            "subsets": [{"addresses": [{"ip": ip}], "ports": [{"name": "a", "port": 80}]}]})
    };
    let has = |ip: &'static str| {
        move |slices: &[Value]| slices.len() == 1 && slices[0]["endpoints"][0]["addresses"] == json!([ip])
    };
    endpoints(scope).create(&custom("192.0.2.1")).await?;
    let mirror = slices(scope).until_all(OF_WEB, "a mirror", has("192.0.2.1")).await?;
    let label = &mirror[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
    equal("managed-by", label, &json!("endpointslicemirroring-controller.k8s.io"))?;
    equal("port", &mirror[0]["ports"][0]["port"], &json!(80))?;
    endpoints(scope).replace(&custom("192.0.2.2")).await?;
    slices(scope).until_all(OF_WEB, "the mirror follows", has("192.0.2.2")).await?;
    endpoints(scope).delete("web").await?;
    slices(scope).until_all(OF_WEB, "no mirror", <[Value]>::is_empty).await.map(drop)
}

/// How long each of many takes, fifteen being made at a time.
async fn many_services_are_quick(scope: &Scope) -> Result<()> {
    const COUNT: usize = 200;
    scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let version = slices(scope).list("").await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let mut watch = slices(scope).watch(&format!("resourceVersion={version}")).await?;
    let begun = RefCell::new(HashMap::new());
    let make = |number: usize| {
        let begun = &begun;
        async move {
            let name = format!("web-{number}");
            begun.borrow_mut().insert(name.clone(), Instant::now());
            let spec = json!({"selector": {"app": "one"}, "ports": [{"port": 80}]});
            scope.services().create(&service(&name, spec)).await.map(drop)
        }
    };
    let making = futures::stream::iter(0..COUNT).map(make).buffer_unordered(15).try_collect::<Vec<()>>();
    let seeing = async {
        let mut times = Vec::new();
        while times.len() < COUNT {
            let slice = watch.next(SOON).await?.object;
            let name = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str().unwrap_or_default();
            if slice["endpoints"].as_array().is_some_and(|all| !all.is_empty()) {
                times.extend(begun.borrow_mut().remove(name).map(|start| start.elapsed().as_secs_f64()));
            }
        }
        Ok(times)
    };
    let (_, mut times) = futures::future::try_join(making, seeing).await?;
    times.sort_by(f64::total_cmp);
    let (median, slowest) = (times[COUNT / 2], times[COUNT * 99 / 100]);
    ensure!(
        median <= 20.0 && slowest <= 50.0,
        "expected 20 s in the middle and 50 s of 99 in 100, saw {median} and {slowest}"
    );
    Ok(())
}
