//! Services: addresses that stand for pods.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use super::life::{modified, replace};
use super::network::{address, answers, client, fetch, server, service, with_datagrams};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, is_ready, pod};
use crate::expect::{contains, equal, eventually, same};

pub(super) const GROUP: Group = Group {
    name: "services",
    area: Area::Network,
    capability: "Services: addresses, node ports, endpoints, affinity, protocols, types that change, no endpoints",
    cases: &[
        case!(a_service_spreads_requests, "a Service's address leads to each of its pods", quick),
        case!(addresses_are_allocated, "an address is given, kept, refused twice, and free again", quick),
        case!(node_ports_answer, "a NodePort answers on every node's address, from pods and from the node"),
        case!(a_pod_reaches_itself, "a pod that calls its own Service is answered"),
        case!(ports_have_names_and_targets, "ports lead to targets by number and by name"),
        case!(protocols_share_a_port, "TCP and UDP may have one port, and each may go without the other"),
        case!(
            affinity_keeps_a_client,
            "ClientIP affinity keeps a client at one pod, by either address, and can be switched"
        ),
        case!(types_change, "a Service changes from ClusterIP to ExternalName, NodePort and back"),
        case!(endpoints_follow_readiness, "pods that are not ready get no requests"),
        case!(nobody_there_is_refused_at_once, "a Service without endpoints refuses connections"),
        case!(custom_slices_are_served, "a Service without selector serves what slices of others say"),
        case!(
            custom_slices_are_one_service,
            "several slices of others, with ports and addresses of their own, are served together"
        ),
        case!(
            the_api_has_a_service,
            "the Service kubernetes has the API servers' addresses in both kinds of endpoints",
            quick
        ),
        case!(a_status_can_be_written, "a Service's status takes conditions and addresses, and a collection goes"),
    ],
};

async fn cluster_ip(scope: &Scope, object: &Value) -> Result<String> {
    let made = scope.services().create(object).await?;
    made["spec"]["clusterIP"].as_str().map(String::from).with_context(|| format!("no address in {made}"))
}

/// Which of the pods answered fifteen requests.
async fn who_answers(scope: &Scope, url: &str) -> Result<Vec<String>> {
    let script = format!("for i in $(seq 15); do curl -sS --max-time 2 {url} || exit 1; done");
    let mut names: Vec<String> = scope.exec("client", &script).await?.lines().map(String::from).collect();
    same("answers", names.len(), 15)?;
    names.sort();
    names.dedup();
    Ok(names)
}

async fn a_service_spreads_requests(scope: &Scope) -> Result<()> {
    for name in ["one", "two"] {
        scope.create_pod(&server(scope, name)).await?;
    }
    client(scope).await?;
    let address = cluster_ip(scope, &service("web", json!([{"port": 80}]))).await?;
    eventually("both answer", LATER, async || {
        let names = who_answers(scope, &format!("http://{address}/name")).await?;
        same("who answers", names, vec!["one".to_owned(), "two".to_owned()])
    })
    .await
}

async fn addresses_are_allocated(scope: &Scope) -> Result<()> {
    let address = cluster_ip(scope, &service("one", json!([{"port": 80}]))).await?;
    let made = scope.services().get("one").await?;
    equal("clusterIPs", &made["spec"]["clusterIPs"], &json!([address]))?;
    equal(
        "defaults",
        &json!([made["spec"]["type"], made["spec"]["ipFamilyPolicy"]]),
        &json!(["ClusterIP", "SingleStack"]),
    )?;
    equal("targetPort", &made["spec"]["ports"][0]["targetPort"], &json!(80))?;
    let mut taken = service("two", json!([{"port": 80}]));
    taken["spec"]["clusterIP"] = address.as_str().into();
    let error = crate::expect::refused(scope.services().create(&taken).await, 422, "Invalid")?;
    contains("message", &error.message, "provided IP is already allocated")?;
    let moved = Patch::Merge(json!({"spec": {"clusterIP": "10.96.255.254", "clusterIPs": ["10.96.255.254"]}}));
    crate::expect::refused(scope.services().patch("one", moved).await, 422, "Invalid")?;
    let used = scope.global("networking.k8s.io/v1", "ipaddresses").get(&address).await?;
    equal("the IPAddress' parent", &used["spec"]["parentRef"]["name"], &json!("one"))?;
    scope.services().delete("one").await?;
    scope.services().create(&taken).await.context("the address is free again").map(drop)
}

async fn addresses_of_nodes(scope: &Scope) -> Result<Vec<String>> {
    let nodes = scope.global("v1", "nodes").items("").await?;
    let of = |node: &Value| {
        let all = node["status"]["addresses"].as_array()?;
        all.iter().find(|one| one["type"] == "InternalIP")?["address"].as_str().map(String::from)
    };
    let addresses: Vec<String> = nodes.iter().filter_map(of).collect();
    ensure!(addresses.len() == nodes.len(), "expected an InternalIP of each node, saw {addresses:?}");
    Ok(addresses)
}

async fn node_ports_answer(scope: &Scope) -> Result<()> {
    let web = scope.start(&server(scope, "web")).await?;
    client(scope).await?;
    let mut object = service("web", json!([{"port": 80}]));
    object["spec"]["type"] = "NodePort".into();
    let made = scope.services().create(&object).await?;
    let port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap_or_default();
    ensure!((30000..=32767).contains(&port), "expected a port of 30000 to 32767, saw {port}");
    let node = web["status"]["hostIP"].as_str().unwrap_or_default();
    for address in addresses_of_nodes(scope).await? {
        answers(scope, &format!("http://{address}:{port}/name"), "web").await?;
    }
    let mut host = pod("host", &scope.cluster.images.tools, STAY);
    host["spec"]["hostNetwork"] = true.into();
    scope.start(&host).await?;
    let script = format!("curl -sS --max-time 3 http://{node}:{port}/name");
    same("from the node", scope.exec("host", &script).await?.trim(), "web")?;
    let mut taken = service("two", json!([{"port": 80, "nodePort": port}]));
    taken["spec"]["type"] = "NodePort".into();
    let error = crate::expect::refused(scope.services().create(&taken).await, 422, "Invalid")?;
    contains("message", &error.message, "provided port is already allocated")
}

async fn a_pod_reaches_itself(scope: &Scope) -> Result<()> {
    scope.start(&server(scope, "web")).await?;
    let address = cluster_ip(scope, &service("web", json!([{"port": 80}]))).await?;
    eventually("a pod's own Service", SOON, async || {
        let out = scope.exec("web", &fetch(&address, "/name")).await?;
        same("answer", out.trim(), "web")
    })
    .await
}

async fn ports_have_names_and_targets(scope: &Scope) -> Result<()> {
    scope.start(&server(scope, "web")).await?;
    client(scope).await?;
    let ports =
        json!([{"name": "a", "port": 8080, "targetPort": 80}, {"name": "b", "port": 8081, "targetPort": "http"}]);
    let address = cluster_ip(scope, &service("web", ports)).await?;
    for port in [8080, 8081] {
        answers(scope, &format!("http://{address}:{port}/name"), "web").await?;
    }
    Ok(())
}

async fn protocols_share_a_port(scope: &Scope) -> Result<()> {
    scope.start_owned(with_datagrams(scope, server(scope, "web"))).await?;
    client(scope).await?;
    let ports = json!([{"name": "tcp", "port": 80}, {"name": "udp", "port": 80, "protocol": "UDP"}]);
    let address = cluster_ip(scope, &service("web", ports)).await?;
    let (url, datagrams) = (format!("http://{address}/name"), format!("tftp://{address}:80/name"));
    answers(scope, &url, "web").await?;
    answers(scope, &datagrams, "web").await?;
    scope.services().patch("web", Patch::Json(json!([{"op": "remove", "path": "/spec/ports/1"}]))).await?;
    is_silent(scope, &datagrams).await?;
    answers(scope, &url, "web").await?;
    let udp =
        json!([{"op": "replace", "path": "/spec/ports", "value": [{"name": "udp", "port": 80, "protocol": "UDP"}]}]);
    scope.services().patch("web", Patch::Json(udp)).await?;
    is_silent(scope, &url).await?;
    answers(scope, &datagrams, "web").await
}

async fn is_silent(scope: &Scope, url: &str) -> Result<()> {
    eventually(&format!("{url} is not answered"), SOON, async || {
        let out = scope.exec("client", &format!("curl -sS --max-time 2 {url} || echo silence")).await?;
        contains("curl", &out, "silence")
    })
    .await
}

async fn affinity_keeps_a_client(scope: &Scope) -> Result<()> {
    for name in ["one", "two", "three"] {
        scope.create_pod(&server(scope, name)).await?;
    }
    client(scope).await?;
    let mut object = service("web", json!([{"port": 80}]));
    object["spec"]["type"] = "NodePort".into();
    let made = scope.services().create(&object).await?["spec"].clone();
    let address = made["clusterIP"].as_str().context("no address")?;
    let node = addresses_of_nodes(scope).await?.swap_remove(0);
    let urls = [format!("http://{address}/name"), format!("http://{node}:{}/name", made["ports"][0]["nodePort"])];
    let several = async || {
        eventually("several answer", LATER, async || {
            for url in &urls {
                let names = who_answers(scope, url).await?;
                ensure!(names.len() >= 2, "expected at least two at {url}, saw {names:?}");
            }
            Ok(())
        })
        .await
    };
    several().await?;
    let affinity = |kind: &str| Patch::Merge(json!({"spec": {"sessionAffinity": kind}}));
    let kept = scope.services().patch("web", affinity("ClientIP")).await?;
    equal("timeout", &kept["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], &json!(10800))?;
    for url in &urls {
        eventually("one answers", SOON, async || same(url, who_answers(scope, url).await?.len(), 1)).await?;
    }
    scope
        .services()
        .patch("web", Patch::Merge(json!({"spec": {"sessionAffinity": "None", "sessionAffinityConfig": null}})))
        .await?;
    several().await
}

async fn types_change(scope: &Scope) -> Result<()> {
    let web = scope.start(&server(scope, "web")).await?;
    client(scope).await?;
    let external = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"type": "ExternalName", "externalName": "foo.example.com"}});
    let made = scope.services().create(&external).await?;
    ensure!(made["spec"].get("clusterIP").is_none_or(|address| address == ""), "expected no address, saw {made}");
    let patch = json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}], "selector": {"set": "web"}}});
    let inside = scope.services().patch("web", Patch::Merge(patch)).await?;
    let address = inside["spec"]["clusterIP"].as_str().context("no address")?.to_owned();
    answers(scope, &format!("http://{address}/name"), "web").await?;
    let outside = scope.services().patch("web", Patch::Merge(json!({"spec": {"type": "NodePort"}}))).await?;
    let port = outside["spec"]["ports"][0]["nodePort"].as_u64().context("no node port")?;
    let node = web["status"]["hostIP"].as_str().unwrap_or_default();
    answers(scope, &format!("http://{node}:{port}/name"), "web").await?;
    let patch = json!({"spec": {"type": "ExternalName", "externalName": "foo.example.com"}});
    let back = scope.services().patch("web", Patch::Merge(patch)).await?;
    ensure!(back["spec"].get("clusterIP").is_none_or(|address| address == ""), "expected no address, saw {back}");
    let used = scope.global("networking.k8s.io/v1", "ipaddresses").is_absent(&address).await?;
    ensure!(used, "expected the address to be given back");
    Ok(())
}

async fn endpoints_follow_readiness(scope: &Scope) -> Result<()> {
    for name in ["one", "two"] {
        scope.start(&server(scope, name)).await?;
    }
    client(scope).await?;
    let address = cluster_ip(scope, &service("web", json!([{"port": 80}]))).await?;
    let url = format!("http://{address}/name");
    let both = vec!["one".to_owned(), "two".to_owned()];
    eventually("both answer", SOON, async || same("who answers", who_answers(scope, &url).await?, both.clone()))
        .await?;
    scope.exec("two", "mv /usr/share/nginx/html/name /tmp/name").await?;
    scope.pods().until("two", "it is not ready", |pod| !is_ready(pod)).await?;
    eventually("one answers", SOON, async || {
        same("who answers", who_answers(scope, &url).await?, vec!["one".to_owned()])
    })
    .await?;
    scope.exec("two", "mv /tmp/name /usr/share/nginx/html/name").await?;
    eventually("both answer again", SOON, async || same("who answers", who_answers(scope, &url).await?, both.clone()))
        .await
}

async fn nobody_there_is_refused_at_once(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let address = cluster_ip(scope, &service("web", json!([{"port": 80}]))).await?;
    eventually("a refusal", SOON, async || {
        let script = format!("curl -sS --max-time 5 http://{address}/ 2>&1; echo code $?");
        let out = scope.exec("client", &script).await?;
        // 7 is a connection that was refused; 28 would be one that nobody answered.
        contains("curl", &out, "code 7")
    })
    .await
}

async fn custom_slices_are_served(scope: &Scope) -> Result<()> {
    let web = scope.start(&server(scope, "web")).await?;
    client(scope).await?;
    let mut object = service("custom", json!([{"name": "http", "port": 8080}]));
    object["spec"].as_object_mut().map(|spec| spec.remove("selector"));
    let address_of = cluster_ip(scope, &object).await?;
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "custom-1", "labels": {"kubernetes.io/service-name": "custom",
            "endpointslice.kubernetes.io/managed-by": "conformance"}},
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address(&web)], "conditions": {"ready": true}}]});
    let slices = scope.resource("discovery.k8s.io/v1", "endpointslices");
    slices.create(&slice).await?;
    answers(scope, &format!("http://{address_of}:8080/name"), "web").await?;
    slices.delete("custom-1").await?;
    eventually("nobody answers", SOON, async || {
        let script = format!("curl -sS --max-time 3 http://{address_of}:8080/name && echo answered || true");
        ensure!(!scope.exec("client", &script).await?.contains("answered"), "saw an answer");
        Ok(())
    })
    .await
}

async fn custom_slices_are_one_service(scope: &Scope) -> Result<()> {
    let (one, two) =
        tokio::try_join!(scope.start_owned(server(scope, "one")), scope.start_owned(server(scope, "two")))?;
    client(scope).await?;
    let mut object = service("custom", json!([{"name": "a", "port": 8080}, {"name": "b", "port": 8081}]));
    object["spec"].as_object_mut().map(|spec| spec.remove("selector"));
    let at = cluster_ip(scope, &object).await?;
    let slices = scope.resource("discovery.k8s.io/v1", "endpointslices");
    for (name, port, pod) in [("first", "a", &one), ("second", "a", &two), ("third", "b", &two)] {
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "custom",
                "endpointslice.kubernetes.io/managed-by": "conformance"}},
            "ports": [{"name": port, "port": 80, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address(pod)], "conditions": {"ready": true}}]});
        slices.create(&slice).await?;
    }
    for (port, expected) in [(8080, &["one", "two"][..]), (8081, &["two"])] {
        eventually("those of the port answer", SOON, async || {
            let names = who_answers(scope, &format!("http://{at}:{port}/name")).await?;
            same("who answers", names, expected.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        })
        .await?;
    }
    Ok(())
}

async fn the_api_has_a_service(scope: &Scope) -> Result<()> {
    let inner = scope.at("default");
    equal("port", &inner.services().get("kubernetes").await?["spec"]["ports"][0]["port"], &json!(443))?;
    let endpoints = inner.resource("v1", "endpoints").get("kubernetes").await?;
    let subset = &endpoints["subsets"][0];
    let mut old: Vec<&str> =
        subset["addresses"].as_array().into_iter().flatten().filter_map(|one| one["ip"].as_str()).collect();
    let query = "labelSelector=kubernetes.io/service-name%3Dkubernetes";
    let slices = inner.resource("discovery.k8s.io/v1", "endpointslices").items(query).await?;
    let ends = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let mut new: Vec<&str> = ends.filter_map(|end| end["addresses"][0].as_str()).collect();
    old.sort_unstable();
    new.sort_unstable();
    ensure!(!old.is_empty(), "expected addresses, saw {endpoints}");
    same("addresses", new, old)?;
    equal("ports", &slices[0]["ports"][0]["port"], &subset["ports"][0]["port"])
}

async fn a_status_can_be_written(scope: &Scope) -> Result<()> {
    let mut object = service("web", json!([{"port": 80}]));
    object["spec"]["type"] = "LoadBalancer".into();
    object["spec"]["loadBalancerClass"] = "example.com/none".into();
    object["metadata"]["labels"] = json!({"kept": "no"});
    let mut watch = scope.services().watch_one("web").await?;
    scope.services().create(&object).await?;
    watch.expect("ADDED web", SOON).await?;
    let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]},
        "conditions": [{"type": "Foreign", "status": "True", "reason": "Test", "message": "words",
            "lastTransitionTime": "2020-01-02T03:04:05Z"}]});
    let patched = scope.services().patch("web/status", Patch::Merge(json!({"status": status}))).await?;
    equal("address", &patched["status"]["loadBalancer"]["ingress"][0]["ip"], &json!("203.0.113.1"))?;
    equal("condition", &patched["status"]["conditions"][0]["type"], &json!("Foreign"))?;
    modified(&mut watch, "the patch", |web| web["status"] == patched["status"]).await?;
    let set = |web: &mut Value| web["status"]["conditions"][0]["type"] = "Put".into();
    let put = replace(&scope.services(), "web/status", set).await?;
    equal("condition", &put["status"]["conditions"][0]["type"], &json!("Put"))?;
    modified(&mut watch, "the PUT", |web| web["status"] == put["status"]).await?;
    scope.services().delete_collection("labelSelector=kept%3Dno").await?;
    watch.expect("DELETED web", SOON).await?;
    scope.services().until_gone("web").await
}
