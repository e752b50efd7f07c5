//! Names, as pods see them.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Patch, SOON, Scope, pod};
use crate::expect::{contains, eventually, matches, same};

pub(super) const GROUP: Group = Group {
    name: "names",
    area: Area::Network,
    capability: "Names: Services, headless ones, pods' host names, external names, search paths, what is not there",
    cases: &[
        case!(services_have_names, "a Service is found by short, partial and whole name", quick),
        case!(the_api_has_a_name, "the API is kubernetes.default"),
        case!(
            headless_services_name_their_pods,
            "a headless Service's name has its pods' addresses, and each pod its own"
        ),
        case!(external_names_are_aliases, "an ExternalName leads to another name, and can change to an address"),
        case!(
            aliases_follow_their_change,
            "an ExternalName outside of the cluster is told as an alias, and follows its change"
        ),
        case!(
            names_are_told_by_tcp,
            "the cluster's resolver answers by TCP, too, also that a name has no address of version 6"
        ),
        case!(addresses_have_names, "a Service's address has the Service's name"),
        case!(ports_have_names, "a named port of a Service, headless or not, is found with its number and its host"),
        case!(nothing_is_found_quickly, "a name of the cluster that is not there is told at once"),
        case!(resolvers_are_written, "a pod's resolv.conf has the cluster's resolver, search path and ndots"),
    ],
};

async fn client(scope: &Scope) -> Result<()> {
    scope.start(&pod("client", &scope.cluster.images.tools, STAY)).await.map(drop)
}

/// The IPv4 addresses of a name, sorted; nothing where there is no such name.
async fn look_up(scope: &Scope, name: &str) -> Result<Vec<String>> {
    let out = scope.exec("client", &format!("getent ahostsv4 {name} || true")).await?;
    let mut addresses: Vec<String> =
        out.lines().filter_map(|line| line.split_whitespace().next()).map(String::from).collect();
    addresses.sort();
    addresses.dedup();
    Ok(addresses)
}

async fn is_found(scope: &Scope, name: &str, addresses: &[&str]) -> Result<()> {
    let mut expected: Vec<String> = addresses.iter().map(|one| (*one).to_owned()).collect();
    expected.sort();
    eventually(name, SOON, async || same(name, look_up(scope, name).await?, expected.clone())).await
}

async fn service(scope: &Scope, name: &str, spec: Value) -> Result<Value> {
    scope
        .services()
        .create(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}))
        .await
}

async fn services_have_names(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let made = service(scope, "web", json!({"ports": [{"port": 80}]})).await?;
    let address = made["spec"]["clusterIP"].as_str().context("no address")?;
    let namespace = &scope.namespace;
    for name in [
        "web".to_owned(),
        format!("web.{namespace}"),
        format!("web.{namespace}.svc"),
        format!("web.{namespace}.svc.cluster.local"),
    ] {
        is_found(scope, &name, &[address]).await?;
    }
    Ok(())
}

async fn the_api_has_a_name(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let api = scope.at("default").services().get("kubernetes").await?;
    let address = api["spec"]["clusterIP"].as_str().context("no address")?;
    for name in ["kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"] {
        is_found(scope, name, &[address]).await?;
    }
    Ok(())
}

async fn headless_services_name_their_pods(scope: &Scope) -> Result<()> {
    client(scope).await?;
    service(
        scope,
        "peers",
        json!({"clusterIP": "None", "selector": {"set": "peers"}, "ports": [{"name": "http", "port": 80}]}),
    )
    .await?;
    let mut addresses = Vec::new();
    for name in ["one", "two"] {
        let mut object = pod(name, &scope.cluster.images.busybox, STAY);
        object["metadata"]["labels"] = json!({"set": "peers"});
        object["spec"]["hostname"] = name.into();
        object["spec"]["subdomain"] = "peers".into();
        let running = scope.start(&object).await?;
        addresses.push(running["status"]["podIP"].as_str().context("no address")?.to_owned());
    }
    is_found(scope, "peers", &[&addresses[0], &addresses[1]]).await?;
    is_found(scope, "one.peers", &[&addresses[0]]).await?;
    is_found(scope, &format!("two.peers.{}.svc.cluster.local", scope.namespace), &[&addresses[1]]).await?;
    scope.pods().delete("two").await?;
    is_found(scope, "peers", &[&addresses[0]]).await
}

async fn external_names_are_aliases(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let made = service(scope, "target", json!({"ports": [{"port": 80}]})).await?;
    let address = made["spec"]["clusterIP"].as_str().context("no address")?;
    let name = format!("target.{}.svc.cluster.local", scope.namespace);
    service(scope, "alias", json!({"type": "ExternalName", "externalName": name})).await?;
    is_found(scope, "alias", &[address]).await?;
    let canonical = scope.exec("client", "getent ahostsv4 alias | head -1").await?;
    contains("the name behind it", &canonical, &name)?;
    let patch = json!({"spec": {"type": "ClusterIP", "externalName": null, "ports": [{"port": 80}]}});
    let changed = scope.services().patch("alias", Patch::Merge(patch)).await?;
    let own = changed["spec"]["clusterIP"].as_str().context("no address")?;
    ensure!(own != address, "expected an address of its own");
    is_found(scope, "alias", &[own]).await?;
    let patch = json!({"spec": {"type": "ExternalName", "externalName": name, "clusterIP": null, "clusterIPs": null}});
    scope.services().patch("alias", Patch::Merge(patch)).await?;
    is_found(scope, "alias", &[address]).await?;
    let patch = json!({"spec": {"type": "NodePort", "externalName": null}});
    let changed = scope.services().patch("alias", Patch::Merge(patch)).await?;
    is_found(scope, "alias", &[changed["spec"]["clusterIP"].as_str().context("no address")?]).await?;
    let patch = json!({"spec": {"type": "ExternalName", "externalName": name}});
    scope.services().patch("alias", Patch::Merge(patch)).await?;
    is_found(scope, "alias", &[address]).await
}

async fn aliases_follow_their_change(scope: &Scope) -> Result<()> {
    scope.start(&pod("client", &scope.cluster.images.busybox, STAY)).await?;
    service(scope, "alias", json!({"type": "ExternalName", "externalName": "foo.example.com"})).await?;
    let name = format!("alias.{}.svc.cluster.local", scope.namespace);
    let script = format!("nslookup -type=cname {name}. | grep canonical");
    for target in ["foo.example.com", "bar.example.com"] {
        scope.services().patch("alias", Patch::Merge(json!({"spec": {"externalName": target}}))).await?;
        eventually(target, SOON, async || {
            same("aliases", scope.exec("client", &script).await?, format!("{name}\tcanonical name = {target}\n"))
        })
        .await?;
    }
    Ok(())
}

/// A query for the addresses of kubernetes.default.svc.cluster.local, with its length before it, by hand.
const QUERY: &str = r"\000\066\022\064\001\000\000\001\000\000\000\000\000\000\012kubernetes\007default\003svc\007cluster\005local\000\000\001\000\001";

/// The same for addresses of version 6.
const QUERY_OF_6: &str = r"\000\066\022\064\001\000\000\001\000\000\000\000\000\000\012kubernetes\007default\003svc\007cluster\005local\000\000\034\000\001";

async fn names_are_told_by_tcp(scope: &Scope) -> Result<()> {
    scope.start(&pod("client", &scope.cluster.images.busybox, STAY)).await?;
    let api = scope.at("default").services().get("kubernetes").await?;
    let address = api["spec"]["clusterIP"].as_str().context("no address")?.replace('.', " ");
    let resolver = "$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)";
    let script = |query: &str| format!("printf '{query}' | nc -w 3 {resolver} 53 | od -An -v -tu1 | xargs");
    eventually("an answer by TCP", SOON, async || {
        let bytes = scope.exec("client", &script(QUERY)).await?;
        // After the length: the query's own number, no error in the flags, one question, at least one answer.
        matches("header", &bytes, r"^\d+ \d+ 18 52 1\d\d (0|128) 0 1 0 [1-9]")?;
        contains("address", &bytes, &format!(" 0 4 {address}"))
    })
    .await?;
    // The name is there: no error, and no answer.
    let bytes = scope.exec("client", &script(QUERY_OF_6)).await?;
    matches("header of no data", &bytes, r"^\d+ \d+ 18 52 1\d\d (0|128) 0 1 0 0 ")
}

async fn addresses_have_names(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let made = service(scope, "web", json!({"ports": [{"port": 80}]})).await?;
    let address = made["spec"]["clusterIP"].as_str().context("no address")?;
    let expected = format!("web.{}.svc.cluster.local", scope.namespace);
    eventually("the address has a name", SOON, async || {
        contains("name", &scope.exec("client", &format!("getent hosts {address}")).await?, &expected)
    })
    .await
}

/// By busybox' own resolver: what other programs have asks for addresses only.
async fn ports_have_names(scope: &Scope) -> Result<()> {
    scope.start(&pod("client", &scope.cluster.images.busybox, STAY)).await?;
    let ports = json!([{"name": "http", "port": 80, "protocol": "TCP"}]);
    service(scope, "web", json!({"ports": ports})).await?;
    service(scope, "peers", json!({"clusterIP": "None", "selector": {"app": "peer"}, "ports": ports})).await?;
    let mut peer = pod("peer", &scope.cluster.images.busybox, STAY);
    peer["spec"]["hostname"] = "one".into();
    peer["spec"]["subdomain"] = "peers".into();
    scope.start(&peer).await?;
    for (name, host) in [("web", "web"), ("peers", "one.peers")] {
        let domain = format!("{}.svc.cluster.local", scope.namespace);
        let script = format!("nslookup -type=srv _http._tcp.{name}.{domain}.");
        eventually(name, SOON, async || {
            matches(name, &scope.exec("client", &script).await?, &format!(r"service = 0 \d+ 80 {host}\.{domain}"))
        })
        .await?;
    }
    Ok(())
}

async fn nothing_is_found_quickly(scope: &Scope) -> Result<()> {
    client(scope).await?;
    let made = service(scope, "web", json!({"ports": [{"port": 80}]})).await?;
    is_found(scope, "web", &[made["spec"]["clusterIP"].as_str().unwrap_or_default()]).await?;
    let name = format!("nothing-there.{}.svc.cluster.local.", scope.namespace);
    let script = format!("start=$(date +%s); getent hosts {name} && exit 1; test $(($(date +%s) - start)) -le 4");
    scope.exec("client", &script).await.context("expected a quick no").map(drop)
}

async fn resolvers_are_written(scope: &Scope) -> Result<()> {
    let log = scope.output(&pod("one", &scope.cluster.images.busybox, "cat /etc/resolv.conf")).await?;
    let namespace = &scope.namespace;
    contains("search path", &log, &format!("search {namespace}.svc.cluster.local svc.cluster.local cluster.local"))?;
    contains("options", &log, "ndots:5")?;
    let mut host = pod("two", &scope.cluster.images.busybox, "cat /etc/resolv.conf");
    host["spec"]["hostNetwork"] = true.into();
    let of_node = scope.output(&host).await?;
    ensure!(
        !of_node.contains("svc.cluster.local"),
        "expected the node's own resolvers for its network, saw {of_node:?}"
    );
    host["metadata"]["name"] = "three".into();
    host["spec"]["dnsPolicy"] = "ClusterFirstWithHostNet".into();
    contains("with ClusterFirstWithHostNet", &scope.output(&host).await?, "svc.cluster.local")
}
