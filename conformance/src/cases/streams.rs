//! What a person does with kubectl that streams: into pods, out of them, and through to them.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

use super::STAY;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, SOON, Scope, pod};
use crate::expect::{contains, eventually, matches, same};

pub(super) const GROUP: Group = Group {
    name: "streams",
    area: Area::Kubectl,
    capability: "kubectl run, attach, exec, logs, cp, port-forward, proxy and get --watch; plain WebSockets",
    cases: &[
        case!(run_and_attach, "run starts a pod, and attach joins it"),
        case!(exec_passes_streams_and_codes, "exec passes both streams, standard input and the exit code", quick),
        case!(logs_are_cut, "logs by tail, bytes, time and with timestamps; of all containers; of the one before"),
        case!(files_are_copied, "cp copies a file in and out"),
        case!(ports_are_forwarded, "port-forward leads to a pod's port"),
        case!(the_proxy_serves_the_api, "proxy serves the API on a port and on a socket"),
        case!(plain_sockets_are_served, "exec and logs over WebSocket, by the subprotocols of plain clients"),
        case!(watches_print_changes, "get --watch prints changes as they come"),
    ],
};

async fn run_and_attach(scope: &Scope) -> Result<()> {
    let image = format!("--image={}", scope.cluster.images.busybox);
    let script = "read line; echo got $line";
    let arguments = ["run", "one", &image, "--restart=Never", "--stdin", "--command", "--", "sh", "-c", script];
    let out = scope.kubectl_with(&arguments, Some("words\n")).await?;
    contains("output", &out, "got words")?;
    let done = |pod: &serde_json::Value| pod["status"]["phase"] == "Succeeded";
    scope.pods().until_within(LATER, "one", "it has ended", done).await.map(drop)
}

async fn exec_passes_streams_and_codes(scope: &Scope) -> Result<()> {
    scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let script = "cat; echo out; echo err >&2; exit 7";
    let arguments = ["exec", "--stdin", "one", "--", "sh", "-c", script];
    let output = scope.cluster.kubectl.output(&scope.namespace, &arguments, Some("in\n")).await?;
    same("exit code", output.code, 7)?;
    same("standard output", output.stdout.as_str(), "in\nout\n")?;
    contains("standard error", &output.stderr, "err\n")?;
    let large = scope.exec("one", "head -c 1000000 /dev/zero | tr '\\0' x").await?;
    same("bytes", large.len(), 1_000_000)?;
    let missing = scope.kubectl_output(&["exec", "one", "-c", "none", "--", "true"]).await?;
    ensure!(missing.code != 0, "expected a container that is not there to be refused");
    Ok(())
}

async fn logs_are_cut(scope: &Scope) -> Result<()> {
    let script =
        format!("for i in 1 2 3; do echo line $i; done; test -e /v/again || {{ touch /v/again; exit 1; }}; {STAY}");
    let mut object = pod("one", &scope.cluster.images.busybox, &script);
    object["spec"]["restartPolicy"] = "Always".into();
    object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    object["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    scope.create_pod(&object).await?;
    let again = |pod: &serde_json::Value| {
        let state = &pod["status"]["containerStatuses"][0];
        state["restartCount"] == 1 && state["ready"] == true
    };
    scope.pods().until_within(LATER, "one", "it runs again", again).await?;
    let logs = async |more: &[&str]| scope.kubectl(&[&["logs", "one"], more].concat()).await;
    eventually("all lines", SOON, async || same("all", logs(&[]).await?.as_str(), "line 1\nline 2\nline 3\n")).await?;
    same("--tail", logs(&["--tail=1"]).await?.as_str(), "line 3\n")?;
    same("--limit-bytes", logs(&["--limit-bytes=1"]).await?.as_str(), "l")?;
    matches(
        "--timestamps",
        &logs(&["--timestamps", "--tail=1"]).await?,
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S* line 3\n$",
    )?;
    same("--previous", logs(&["--previous"]).await?.as_str(), "line 1\nline 2\nline 3\n")?;
    same("--since", logs(&["--since=24h"]).await?.lines().count(), 3)?;
    eventually("lines are older than a second", SOON, async || {
        same("--since=1s", logs(&["--since=1s"]).await?.as_str(), "")
    })
    .await?;
    let running = scope.pods().get("one").await?["status"]["containerStatuses"][0]["state"]["running"].clone();
    let started = format!("--since-time={}", running["startedAt"].as_str().unwrap_or_default());
    same("--since-time", logs(&[&started]).await?.as_str(), "line 1\nline 2\nline 3\n")?;
    same("--since-time to come", logs(&["--since-time=2999-01-01T00:00:00Z"]).await?.as_str(), "")?;
    contains("by label and with names", &logs_of(scope).await?, "[pod/one/main] line 1")
}

async fn logs_of(scope: &Scope) -> Result<String> {
    scope.kubectl(&["logs", "-l", "app=one", "--prefix", "--all-containers"]).await
}

async fn files_are_copied(scope: &Scope) -> Result<()> {
    scope.start(&pod("one", &scope.cluster.images.busybox, STAY)).await?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::write(&there, "words\n").context("write a file")?;
    scope.kubectl(&["cp", &there.display().to_string(), "one:/tmp/file"]).await?;
    same("in the pod", scope.exec("one", "cat /tmp/file").await?.as_str(), "words\n")?;
    scope.kubectl(&["cp", "one:/tmp/file", &back.display().to_string()]).await?;
    same("back", std::fs::read_to_string(&back).context("read the copy")?.as_str(), "words\n")
}

/// Starts a kubectl that serves until it is dropped, and returns its first line.
async fn serve(scope: &Scope, arguments: &[&str]) -> Result<(tokio::process::Child, String)> {
    let mut child = scope.cluster.kubectl.command(&scope.namespace, arguments).stdin(Stdio::null()).spawn()?;
    let mut lines = tokio::io::BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let line = tokio::time::timeout(SOON, lines.next_line()).await.context("no line of kubectl's")??;
    // A line for each connection follows, and one that nobody reads would end kubectl.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, line.context("kubectl ended")?))
}

fn port(line: &str) -> Result<u16> {
    let found =
        regex::Regex::new(r"127\.0\.0\.1:(\d+)")?.captures(line).with_context(|| format!("no port in {line}"))?;
    Ok(found[1].parse()?)
}

/// What a plain HTTP/1.0 server answers.
async fn fetch(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin, path: &str) -> Result<String> {
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut text = Vec::new();
    tokio::time::timeout(SOON, stream.read_to_end(&mut text)).await.context("no answer")??;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

async fn ports_are_forwarded(scope: &Scope) -> Result<()> {
    // It answers before anybody asks: kubectl gives up at the first connection that the pod refuses.
    scope.start(&super::network::server(scope, "one")).await?;
    let (_child, line) = serve(scope, &["port-forward", "--address=127.0.0.1", "pod/one", ":80"]).await?;
    let port = port(&line)?;
    for _ in 0..3 {
        eventually("an answer by the port", SOON, async || {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            contains("answer", &fetch(stream, "/name").await?, "\r\n\r\none\n")
        })
        .await?;
    }
    Ok(())
}

async fn the_proxy_serves_the_api(scope: &Scope) -> Result<()> {
    let (_child, line) = serve(scope, &["proxy", "--port=0"]).await?;
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port(&line)?)).await?;
    contains("answer on a port", &fetch(stream, "/api/").await?, "APIVersions")?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let socket = folder.path().join("socket");
    let (_child, _) = serve(scope, &["proxy", &format!("--unix-socket={}", socket.display())]).await?;
    let stream = tokio::net::UnixStream::connect(&socket).await?;
    contains("answer on a socket", &fetch(stream, "/api/").await?, "APIVersions")
}

async fn plain_sockets_are_served(scope: &Scope) -> Result<()> {
    scope.start(&pod("one", &scope.cluster.images.busybox, &format!("echo container is alive; {STAY}"))).await?;
    let query = "command=echo&command=remote+words&stdout=1&stderr=1&container=main";
    let path = scope.pods().of(&format!("one/exec?{query}"));
    let mut output = String::new();
    for message in scope.cluster.socket(&path, "channel.k8s.io").await? {
        match message.split_first() {
            Some((1, bytes)) => output += &String::from_utf8_lossy(bytes),
            Some((channel, bytes)) => ensure!(bytes.is_empty(), "expected nothing on channel {channel}, saw {bytes:?}"),
            None => {}
        }
    }
    same("standard output", output.as_str(), "remote words\n")?;
    let path = scope.pods().of("one/log?container=main");
    eventually("the log", SOON, async || {
        let log = scope.cluster.socket(&path, "binary.k8s.io").await?.concat();
        same("log", String::from_utf8_lossy(&log).as_ref(), "container is alive\n")
    })
    .await
}

async fn watches_print_changes(scope: &Scope) -> Result<()> {
    scope.kubectl(&["create", "configmap", "one"]).await?;
    let arguments = ["get", "configmaps", "one", "--watch", "--no-headers", "-o", "jsonpath={.data}{\"\\n\"}"];
    let mut child = scope.cluster.kubectl.command(&scope.namespace, &arguments).stdin(Stdio::null()).spawn()?;
    let mut lines = tokio::io::BufReader::new(child.stdout.take().context("no standard output")?).lines();
    let next = async |lines: &mut tokio::io::Lines<_>| -> Result<String> {
        tokio::time::timeout(SOON, lines.next_line()).await.context("no line")??.context("kubectl ended")
    };
    same("first", next(&mut lines).await?.as_str(), "")?;
    scope.kubectl(&["patch", "configmap", "one", "-p", r#"{"data":{"a":"b"}}"#]).await?;
    same("then", next(&mut lines).await?.as_str(), r#"{"a":"b"}"#)
}
