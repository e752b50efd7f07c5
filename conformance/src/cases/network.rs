//! The pods' network, and the API server's way into it.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{Call, SOON, Scope, container, pod};
use crate::expect::{contains, equal, eventually, same};

pub(super) const GROUP: Group = Group {
    name: "podnetwork",
    area: Area::Network,
    capability: "The pods' network: every pod reaches every pod; host ports; the API server's proxies",
    cases: &[
        case!(pods_reach_each_other, "a pod reaches another by its address, and gets that pod's answer", quick),
        case!(nodes_reach_pods, "a pod of the node's network reaches pods, and they answer from their address"),
        case!(pods_on_two_nodes_reach_each_other, "pods on different nodes reach each other", two_nodes),
        case!(datagrams_reach_pods, "a pod, and one of the node's network, reach a pod by UDP, and are answered"),
        case!(addresses_are_not_translated, "a pod sees the address of the pod that asks"),
        case!(host_ports_lead_to_their_pods, "a port of the node leads to its pod, by address and protocol"),
        case!(the_api_server_leads_to_pods, "the API server's proxy passes verbs, paths, queries and redirects on"),
        case!(
            proxies_speak_for_the_client,
            "the proxies pass every verb on, by TLS if asked, and change links of pages"
        ),
        case!(the_api_server_leads_to_services, "the proxy of a Service finds an endpoint, by number and by name"),
    ],
};

pub(super) fn server(scope: &Scope, name: &str) -> Value {
    let script = "hostname >/usr/share/nginx/html/name; exec nginx -g 'daemon off;'";
    let mut object = pod(name, &scope.cluster.images.nginx, script);
    object["metadata"]["labels"] = json!({"app": name, "set": "web"});
    object["spec"]["restartPolicy"] = "Always".into();
    object["spec"]["containers"][0]["ports"] = json!([{"name": "http", "containerPort": 80}]);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/name", "port": 80}, "periodSeconds": 1});
    object
}

/// With a container beside it that answers datagrams at port 80: a TFTP server that sends, whatever it is asked for, the
/// pod's name, as one block.
pub(super) fn with_datagrams(scope: &Scope, mut object: Value) -> Value {
    let answer = r#"dd bs=1500 count=1 of=/dev/null 2>/dev/null; printf '\000\003\000\001%s' "$(hostname)""#;
    let mut server = container("datagrams", &scope.cluster.images.busybox, "");
    server["command"] = json!(["udpsvd", "0", "80", "sh", "-c", answer]);
    if let Some(containers) = object["spec"]["containers"].as_array_mut() {
        containers.push(server);
    }
    object
}

pub(super) async fn client(scope: &Scope) -> Result<()> {
    scope.start(&pod("client", &scope.cluster.images.tools, STAY)).await.map(drop)
}

pub(super) fn address(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().unwrap_or_default()
}

/// A command for images of nginx, which have either curl or busybox' nc.
pub(super) fn fetch(address: &str, path: &str) -> String {
    let by_hand = format!("printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80 | tail -n 1");
    format!("if command -v curl >/dev/null; then curl -sS --max-time 2 http://{address}{path}; else {by_hand}; fi")
}

/// What the client gets, looked for until it comes.
pub(super) async fn answers(scope: &Scope, url: &str, expected: &str) -> Result<()> {
    eventually(&format!("{url} answers"), SOON, async || {
        let out = scope.exec("client", &format!("curl -sS --max-time 2 {url}")).await?;
        same(url, out.trim(), expected)
    })
    .await
}

async fn pods_reach_each_other(scope: &Scope) -> Result<()> {
    let (one, two) =
        tokio::try_join!(scope.start_owned(server(scope, "one")), scope.start_owned(server(scope, "two")))?;
    client(scope).await?;
    answers(scope, &format!("http://{}/name", address(&one)), "one").await?;
    answers(scope, &format!("http://{}/name", address(&two)), "two").await
}

async fn nodes_reach_pods(scope: &Scope) -> Result<()> {
    let web = scope.start(&server(scope, "web")).await?;
    let mut host = pod("client", &scope.cluster.images.tools, STAY);
    host["spec"]["hostNetwork"] = true.into();
    let host = scope.start(&host).await?;
    equal("a host pod's address", &host["status"]["podIP"], &host["status"]["hostIP"])?;
    answers(scope, &format!("http://{}/name", address(&web)), "web").await
}

async fn datagrams_reach_pods(scope: &Scope) -> Result<()> {
    let web = scope.start_owned(with_datagrams(scope, server(scope, "web"))).await?;
    client(scope).await?;
    let mut host = pod("host", &scope.cluster.images.tools, STAY);
    host["spec"]["hostNetwork"] = true.into();
    scope.start(&host).await?;
    let ask = format!("curl -sS --max-time 2 tftp://{}:80/name", address(&web));
    for from in ["client", "host"] {
        eventually("an answer by UDP", SOON, async || same(from, scope.exec(from, &ask).await?.trim(), "web")).await?;
    }
    Ok(())
}

async fn pods_on_two_nodes_reach_each_other(scope: &Scope) -> Result<()> {
    let nodes = &scope.cluster.nodes;
    for (name, node) in ["one", "two"].iter().zip(nodes) {
        let mut object = server(scope, name);
        object["spec"]["nodeName"] = node.as_str().into();
        scope.create_pod(&object).await?;
    }
    let (one, two) = (scope.ready("one").await?, scope.ready("two").await?);
    for (from, to, name) in [("one", address(&two), "two"), ("two", address(&one), "one")] {
        eventually("an answer from the other node", SOON, async || {
            same(name, scope.exec(from, &fetch(to, "/name")).await?.trim(), name)
        })
        .await?;
    }
    Ok(())
}

async fn addresses_are_not_translated(scope: &Scope) -> Result<()> {
    let web = scope.start(&server(scope, "web")).await?;
    client(scope).await?;
    let own = address(&scope.pods().get("client").await?).to_owned();
    answers(scope, &format!("http://{}/name", address(&web)), "web").await?;
    eventually("the request in the server's log", SOON, async || {
        let log = scope.log("web").await?;
        ensure!(log.lines().any(|line| line.starts_with(&format!("{own} ")) && line.contains("curl")), "{own}: {log}");
        Ok(())
    })
    .await
}

async fn host_ports_lead_to_their_pods(scope: &Scope) -> Result<()> {
    let node = scope.cluster.nodes[0].clone();
    let object = |name: &str, port: Value| {
        let mut object = server(scope, name);
        object["spec"]["nodeName"] = node.as_str().into();
        object["spec"]["containers"][0]["ports"] = json!([port]);
        object
    };
    let first =
        scope.start(&object("one", json!({"containerPort": 80, "hostPort": 54323, "hostIP": "127.0.0.1"}))).await?;
    let host = first["status"]["hostIP"].as_str().context("no address of the node")?.to_owned();
    scope.start(&object("two", json!({"containerPort": 80, "hostPort": 54323, "hostIP": host}))).await?;
    let udp = json!({"containerPort": 80, "hostPort": 54323, "hostIP": host, "protocol": "UDP"});
    scope.start(&with_datagrams(scope, object("three", udp))).await?;
    let mut client = pod("client", &scope.cluster.images.tools, STAY);
    client["spec"]["hostNetwork"] = true.into();
    client["spec"]["nodeName"] = node.as_str().into();
    scope.start(&client).await?;
    answers(scope, "http://127.0.0.1:54323/name", "one").await?;
    answers(scope, &format!("--interface {host} http://127.0.0.1:54323/name"), "one").await?;
    answers(scope, &format!("http://{host}:54323/name"), "two").await?;
    answers(scope, &format!("tftp://{host}:54323/name"), "three").await
}

async fn the_api_server_leads_to_pods(scope: &Scope) -> Result<()> {
    scope.start(&server(scope, "web")).await?;
    let at = |rest: &str| scope.pods().of(&format!("web{rest}"));
    let text = async |path: String| {
        Ok::<_, anyhow::Error>(scope.cluster.call(Call::get(path).accept("*/*")).await?.ok()?.text())
    };
    same("its first port", text(at("/proxy/name")).await?.trim(), "web")?;
    same("a port by number", text(at(":80/proxy/name")).await?.trim(), "web")?;
    same("a scheme and a port", text(scope.pods().of("http:web:80/proxy/name")).await?.trim(), "web")?;
    let redirect = scope.cluster.call(Call::get(at("/proxy")).accept("*/*")).await?;
    same("without a slash", redirect.status, 301)?;
    contains("location", redirect.header("location"), "/proxy/")?;
    let missing = scope.cluster.call(Call::get(at("/proxy/none?x=1")).accept("*/*")).await?;
    same("the backend's own 404", missing.status, 404)?;
    let call = Call::new(http::Method::POST, at("/proxy/name")).body("text/plain", "words");
    same("a verb that the backend refuses", scope.cluster.call(call).await?.status, 405)?;
    eventually("the path and query in the log", SOON, async || {
        contains("log", &scope.log("web").await?, "GET /none?x=1 ")
    })
    .await
}

/// nginx that says what it is asked, on a plain port and on one with a certificate that nobody trusts.
async fn echo(scope: &Scope) -> Result<()> {
    let [_, certificate, key] = super::aggregation::certificates(scope)?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate, "tls.key": key}});
    scope.secrets().create(&secret).await?;
    let configuration = "pid /tmp/nginx.pid; events {} http { server { listen 80; listen 443 ssl;
        ssl_certificate /tls/tls.crt; ssl_certificate_key /tls/tls.key; default_type text/plain;
        location = /page { default_type text/html; return 200 '<a href=\"/rewriteme\">x</a>'; }
        location / { return 200 '$request_method $scheme $request_uri'; } } }";
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"conf": configuration}});
    scope.config_maps().create(&map).await?;
    let mut object = pod("web", &scope.cluster.images.nginx, "exec nginx -c /web/conf -g 'daemon off;'");
    object["metadata"]["labels"] = json!({"set": "web"});
    object["spec"]["volumes"] =
        json!([{"name": "web", "configMap": {"name": "web"}}, {"name": "tls", "secret": {"secretName": "web"}}]);
    object["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "web", "mountPath": "/web"}, {"name": "tls", "mountPath": "/tls"}]);
    object["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 443}, "periodSeconds": 1});
    scope.start(&object).await?;
    let ports =
        json!([{"name": "plain", "port": 81, "targetPort": 80}, {"name": "tls", "port": 444, "targetPort": 443}]);
    scope.services().create(&service("front", ports)).await.map(drop)
}

async fn proxies_speak_for_the_client(scope: &Scope) -> Result<()> {
    echo(scope).await?;
    let (pods, services) = (scope.pods(), scope.services());
    let ask = async |method: &str, path: &str| scope.cluster.call(Call::new(method.parse()?, path).accept("*/*")).await;
    for (at, scheme) in [
        (pods.of("web:80/proxy"), "http"),
        (pods.of("https:web:443/proxy"), "https"),
        (services.of("front:81/proxy"), "http"),
        (services.of("front:plain/proxy"), "http"),
        (services.of("https:front:444/proxy"), "https"),
        (services.of("https:front:tls/proxy"), "https"),
    ] {
        eventually("an answer", SOON, async || ask("GET", &format!("{at}/")).await?.ok()).await?;
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let answer = ask(method, &format!("{at}/some/path?x=1&y=2")).await?.ok()?;
            same(&at, answer.text(), format!("{method} {scheme} /some/path?x=1&y=2"))?;
        }
        same(&at, ask("HEAD", &format!("{at}/some/path")).await?.status, 200)?;
        for method in ["GET", "HEAD"] {
            let answer = ask(method, &format!("{at}?x=1")).await?;
            same(&format!("{method} without a slash"), answer.status, 301)?;
            contains("location", answer.header("location"), &format!("{at}/?x=1"))?;
        }
        let answer = ask("POST", &format!("{at}?x=1")).await?.ok()?;
        same("POST without a slash", answer.text(), format!("POST {scheme} /?x=1"))?;
    }
    let page = ask("GET", &pods.of("web:80/proxy/page")).await?.ok()?.text();
    contains("a link of a page", &page, &format!("<a href=\"{}\">x</a>", pods.of("web:80/proxy/rewriteme")))
}

async fn the_api_server_leads_to_services(scope: &Scope) -> Result<()> {
    scope.start(&server(scope, "web")).await?;
    scope.services().create(&service("web", json!([{"name": "front", "port": 8080, "targetPort": 80}]))).await?;
    for name in ["web:8080", "web:front", "http:web:front"] {
        let path = scope.services().of(&format!("{name}/proxy/name"));
        eventually("an endpoint", SOON, async || {
            same(name, scope.cluster.call(Call::get(&path).accept("*/*")).await?.ok()?.text().trim(), "web")
        })
        .await?;
    }
    let missing = scope.cluster.call(Call::get(scope.services().of("none:80/proxy/")).accept("*/*")).await?;
    same("a Service that is not there", missing.status, 404)
}

pub(super) fn service(name: &str, ports: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"set": "web"}, "ports": ports}})
}
