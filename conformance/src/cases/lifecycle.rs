//! Probes, hooks, init containers and sidecars.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::STAY;
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, SOON, Scope, condition, container, pod};
use crate::expect::{contains, equal, eventually, same};

pub(super) const GROUP: Group = Group {
    name: "lifecycle",
    area: Area::Pods,
    capability: "Probes, hooks, init containers, sidecars",
    cases: &[
        case!(
            failing_liveness_restarts,
            "a liveness probe that fails, by command, HTTP, TCP or gRPC, restarts the container"
        ),
        case!(passing_liveness_does_not, "a liveness probe that passes restarts nothing"),
        case!(grpc_health_is_asked_for, "a gRPC probe takes the service's own word, and its change of mind"),
        case!(readiness_waits_for_its_delay, "a pod is not ready before its probe's delay has passed"),
        case!(failing_readiness_takes_out, "a readiness probe that fails makes the pod unready, and restarts nothing"),
        case!(unready_from_the_start, "a pod whose readiness probe never passes is never ready, and not restarted"),
        case!(restarts_wait_longer_each_time, "each restart waits twice as long, and the count only grows", slow),
        case!(startup_holds_the_others_back, "a startup probe holds the other probes back"),
        case!(hooks_run, "postStart and preStop run, by command"),
        case!(http_hooks_reach_the_pod, "postStart by HTTP reaches the pod itself, with its path, and preStop another"),
        case!(init_containers_run_in_order, "init containers run one after the other, before the others", quick),
        case!(failed_init_fails_the_pod, "a failed init container fails a pod that is not restarted"),
        case!(failed_init_is_repeated, "a failed init container is repeated in a pod that is restarted", slow),
        case!(sidecars_start_first_and_end_last, "a sidecar runs before the others, and after them"),
    ],
};

pub(super) fn stays(scope: &Scope, script: &str) -> Value {
    let mut object = pod("one", &scope.cluster.images.busybox, script);
    object["spec"]["restartPolicy"] = "Always".into();
    object
}

pub(super) fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

async fn failing_liveness_restarts(scope: &Scope) -> Result<()> {
    for (name, probe) in [
        ("exec", json!({"exec": {"command": ["test", "-e", "/none"]}})),
        ("http", json!({"httpGet": {"path": "/", "port": 81}})),
        ("tcp", json!({"tcpSocket": {"port": 81}})),
        ("grpc", json!({"grpc": {"port": 2333}})),
    ] {
        let mut object = stays(scope, STAY);
        object["metadata"]["name"] = name.into();
        let mut probe = probe;
        probe["periodSeconds"] = 1.into();
        probe["failureThreshold"] = 1.into();
        object["spec"]["containers"][0]["livenessProbe"] = probe;
        scope.create_pod(&object).await?;
    }
    for name in ["exec", "http", "tcp", "grpc"] {
        scope.pods().until_within(LATER, name, "it is restarted", |pod| restarts(pod) > 0).await?;
        let events = scope.resource("v1", "events");
        let query = format!("fieldSelector=involvedObject.name%3D{name},reason%3DUnhealthy");
        let told = |events: &[Value]| !events.is_empty();
        let events = events.until_all(&query, "an event Unhealthy", told).await?;
        contains("message", events[0]["message"].as_str().unwrap_or_default(), "Liveness probe failed")?;
    }
    Ok(())
}

async fn passing_liveness_does_not(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.nginx, "exec nginx -g 'daemon off;'");
    let probe = |handler: Value| {
        let mut probe = handler;
        probe["periodSeconds"] = 1.into();
        probe["failureThreshold"] = 1.into();
        probe["timeoutSeconds"] = 5.into();
        probe["initialDelaySeconds"] = 3.into();
        probe
    };
    object["spec"]["containers"][0]["livenessProbe"] = probe(json!({"httpGet": {"path": "/", "port": 80}}));
    let mut second = container("second", &scope.cluster.images.busybox, STAY);
    second["livenessProbe"] = probe(json!({"exec": {"command": ["true"]}}));
    let mut third = container("third", &scope.cluster.images.busybox, STAY);
    third["livenessProbe"] = probe(json!({"tcpSocket": {"port": 80}}));
    let mut fourth = container("fourth", &scope.cluster.images.nginx, HEALTH);
    fourth["livenessProbe"] = probe(json!({"grpc": {"port": 2333}}));
    fourth["startupProbe"] = fourth["livenessProbe"].clone();
    fourth["startupProbe"]["failureThreshold"] = 60.into();
    object["spec"]["containers"].as_array_mut().context("containers")?.extend([second, third, fourth]);
    scope.start(&object).await?;
    let mut watch = scope.pods().watch_one("one").await?;
    watch.next(SOON).await?;
    // As many looks of each probe as four minutes have at the usual period.
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(27);
    while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        let states = event.object["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        ensure!(states.iter().all(|state| state["restartCount"] == 0), "expected no restarts, saw {states:?}");
    }
    Ok(())
}

/// A server of `grpc.health.v1.Health/Check` that says what a file says: the frame of one message, a status. Whatever is
/// posted, nginx answers it with the file, in the one status code of gRPC over HTTP, and the trailer that ends a call.
const HEALTH: &str = r#"
    mkdir -p /tmp/root/grpc.health.v1.Health
    printf '\000\000\000\000\002\010\001' >/tmp/root/grpc.health.v1.Health/Check
    cat >/tmp/nginx.conf <<'END'
        user root;
        pid /tmp/nginx.pid;
        events {}
        http {
            default_type application/grpc;
            server {
                listen 2333 http2;
                root /tmp/root;
                error_page 405 =200 $uri;
                location / { add_trailer grpc-status 0 always; }
            }
        }
END
    exec nginx -c /tmp/nginx.conf -g 'daemon off;'"#;

async fn grpc_health_is_asked_for(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.nginx, HEALTH);
    object["spec"]["restartPolicy"] = "Always".into();
    let main = &mut object["spec"]["containers"][0];
    let probe = |failures: u32| json!({"grpc": {"port": 2333}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": failures});
    main["startupProbe"] = probe(60);
    main["readinessProbe"] = probe(1);
    main["livenessProbe"] = probe(3);
    let before = restarts(&scope.start(&object).await?);
    let not_serving =
        r"printf '\000\000\000\000\002\010\002' >/tmp/new; mv /tmp/new /tmp/root/grpc.health.v1.Health/Check";
    scope.exec("one", not_serving).await?;
    let unready = |pod: &Value| condition(pod, "Ready")["status"] == "False";
    scope.pods().until("one", "it is not ready", unready).await?;
    let events = scope.resource("v1", "events");
    let unhealthy = "fieldSelector=involvedObject.name%3Done,reason%3DUnhealthy";
    let refused = |events: &[Value]| {
        events.iter().any(|event| {
            let message = event["message"].as_str().unwrap_or_default();
            message.contains("Readiness probe failed: service unhealthy (responded with \"NOT_SERVING\")")
        })
    };
    events.until_all(unhealthy, "an event with the service's word", refused).await?;
    scope.pods().until_within(LATER, "one", "it is restarted", |pod| restarts(pod) > before).await?;
    scope.ready("one").await.map(drop)
}

fn seconds(time: &Value) -> Result<i64> {
    let time: jiff::Timestamp =
        time.as_str().unwrap_or_default().parse().with_context(|| format!("no time: {time}"))?;
    Ok(time.as_second())
}

async fn readiness_waits_for_its_delay(scope: &Scope) -> Result<()> {
    const DELAY: i64 = 6;
    let mut object = stays(scope, STAY);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["true"]}, "initialDelaySeconds": DELAY, "periodSeconds": 1});
    let ready = scope.start(&object).await?;
    let started = seconds(&ready["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])?;
    let delay = seconds(&condition(&ready, "Ready")["lastTransitionTime"])? - started;
    ensure!(delay >= DELAY, "expected Ready {DELAY} s after the start at the earliest, saw {delay} s");
    same("restarts", restarts(&ready), 0)
}

async fn failing_readiness_takes_out(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, &format!("touch /tmp/ready; {STAY}"));
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1});
    scope.start(&object).await?;
    scope.exec("one", "rm /tmp/ready").await?;
    let unready = |pod: &Value| condition(pod, "Ready")["status"] == "False";
    let pod = scope.pods().until("one", "it is not ready", unready).await?;
    equal("reason", &condition(&pod, "Ready")["reason"], &json!("ContainersNotReady"))?;
    same("restarts", restarts(&pod), 0)?;
    scope.exec("one", "touch /tmp/ready").await?;
    scope.ready("one").await.map(drop)
}

async fn unready_from_the_start(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    object["spec"]["containers"][0]["readinessProbe"] =
        json!({"httpGet": {"path": "/", "port": 81}, "periodSeconds": 1, "failureThreshold": 1});
    scope.create_pod(&object).await?;
    let started = |pod: &Value| pod["status"]["containerStatuses"][0]["started"] == true;
    scope.pods().until_within(LATER, "one", "its container runs", started).await?;
    let mut watch = scope.pods().watch_one("one").await?;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(12);
    while let Ok(event) = watch.next(deadline.saturating_duration_since(tokio::time::Instant::now())).await {
        equal("Ready", &condition(&event.object, "Ready")["status"], &json!("False"))?;
        same("restarts", restarts(&event.object), 0)?;
    }
    Ok(())
}

/// The first restart is at once; then ten seconds, and twenty, after the end of the one before.
async fn restarts_wait_longer_each_time(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    object["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1});
    scope.create_pod(&object).await?;
    let mut watch = scope.pods().watch_one("one").await?;
    let mut last = 0;
    while last < 3 {
        let pod = watch.next(LATER).await?.object;
        let state = &pod["status"]["containerStatuses"][0];
        let count = restarts(&pod);
        ensure!(count >= last, "expected a count of {last} or more, saw {count}");
        if count > last && state["state"]["running"].is_object() {
            let started = seconds(&state["state"]["running"]["startedAt"])?;
            let pause = started - seconds(&state["lastState"]["terminated"]["finishedAt"])?;
            let least = [0, 10, 20][usize::try_from(count - 1)?.min(2)];
            ensure!(pause >= least, "expected restart {count} after {least} s at the earliest, saw {pause} s");
            last = count;
        }
    }
    Ok(())
}

async fn startup_holds_the_others_back(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, &format!("sleep 4; touch /tmp/up; {STAY}"));
    let probe = json!({"exec": {"command": ["test", "-e", "/tmp/up"]}, "periodSeconds": 1});
    let with = |threshold: u32| {
        let mut probe = probe.clone();
        probe["failureThreshold"] = threshold.into();
        probe
    };
    object["spec"]["containers"][0]["startupProbe"] = with(60);
    object["spec"]["containers"][0]["livenessProbe"] = with(1);
    scope.create_pod(&object).await?;
    let running = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["running"].is_object();
    let early = scope.pods().until_within(LATER, "one", "its container runs", running).await?;
    equal("started, early", &early["status"]["containerStatuses"][0]["started"], &json!(false))?;
    let started = |pod: &Value| pod["status"]["containerStatuses"][0]["started"] == true;
    let late = scope.pods().until_within(LATER, "one", "it has started", started).await?;
    same("restarts", restarts(&late), 0)
}

async fn hooks_run(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    object["spec"]["terminationGracePeriodSeconds"] = 15.into();
    object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    object["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
    object["spec"]["containers"][0]["lifecycle"] = json!({
        "postStart": {"exec": {"command": ["sh", "-c", "echo post >/v/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >/v/pre; sleep 2"]}}});
    // The other container tells what it sees on its way out, which is after the hook began.
    let witness = "trap 'while ! cat /v/pre; do sleep 0.1; done; exit 0' TERM; while :; do sleep 0.1; done";
    let mut witness = container("witness", &scope.cluster.images.busybox, witness);
    witness["volumeMounts"] = mounts;
    object["spec"]["containers"].as_array_mut().context("containers")?.push(witness);
    scope.start(&object).await?;
    same("after postStart", scope.exec("one", "cat /v/post").await?.as_str(), "post\n")?;
    let follow = async { scope.kubectl(&["logs", "one", "-c", "witness", "--follow"]).await };
    let end = async {
        scope.pods().delete("one").await?;
        scope.pods().until_gone("one").await
    };
    let (log, ended) = tokio::join!(follow, end);
    ended?;
    contains("what the witness saw", &log?, "pre")
}

async fn http_hooks_reach_the_pod(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    let mut server = container("server", &scope.cluster.images.nginx, "exec nginx -g 'daemon off;'");
    server["restartPolicy"] = "Always".into();
    server["startupProbe"] = json!({"tcpSocket": {"port": 80}, "periodSeconds": 1});
    object["spec"]["initContainers"] = json!([server]);
    let handler = scope.start(&super::network::server(scope, "handler")).await?;
    object["spec"]["terminationGracePeriodSeconds"] = 15.into();
    object["spec"]["containers"][0]["lifecycle"] = json!({
        "postStart": {"httpGet": {"path": "/index.html?hook=post&x=1", "port": 80}},
        "preStop": {"httpGet": {"host": handler["status"]["podIP"], "path": "/name?hook=pre&x=1", "port": 80}}});
    scope.start(&object).await?;
    eventually("the server has seen the hook", SOON, async || {
        contains("log", &scope.log_with("one", "container=server").await?, "GET /index.html?hook=post&x=1 ")
    })
    .await?;
    scope.pods().delete("one").await?;
    scope.pods().until_gone("one").await?;
    eventually("the handler has seen the hook", SOON, async || {
        contains("log", &scope.log("handler").await?, "GET /name?hook=pre&x=1 ")
    })
    .await
}

async fn init_containers_run_in_order(scope: &Scope) -> Result<()> {
    run_in_order(scope, pod("one", &scope.cluster.images.busybox, "cat /v/log")).await?;
    scope.pods().delete("one").await?;
    scope.pods().until_gone("one").await?;
    run_in_order(scope, stays(scope, &format!("cat /v/log; {STAY}"))).await
}

/// With two init containers before a pod that ends well or stays.
async fn run_in_order(scope: &Scope, mut object: Value) -> Result<()> {
    object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    object["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
    let init = |name: &str| {
        let mut init = container(name, &scope.cluster.images.busybox, &format!("sleep 1; echo {name} >>/v/log"));
        init["volumeMounts"] = mounts.clone();
        init
    };
    object["spec"]["initContainers"] = json!([init("init1"), init("init2")]);
    let mut watch = scope.pods().watch("fieldSelector=metadata.name%3Done").await?;
    scope.create_pod(&object).await?;
    loop {
        let pod = watch.next(LATER).await?.object;
        let initialized = condition(&pod, "Initialized");
        // From the kubelet's first word on.
        if pod["status"]["startTime"].is_string() && initialized["status"] != "True" {
            equal("Initialized", &initialized["status"], &json!("False"))?;
            ensure!(initialized["lastTransitionTime"].is_string(), "expected a time, saw {initialized}");
            let main = &pod["status"]["containerStatuses"][0];
            equal("the container that waits", &main["state"]["waiting"]["reason"], &json!("PodInitializing"))?;
            let [first, second] = [0, 1].map(|at| &pod["status"]["initContainerStatuses"][at]["state"]);
            if first["terminated"].is_null() {
                equal("the second of them", &second["waiting"]["reason"], &json!("PodInitializing"))?;
            }
        }
        let has_run = if object["spec"]["restartPolicy"] == "Always" { "Running" } else { "Succeeded" };
        if pod["status"]["phase"] == has_run && initialized["status"] == "True" {
            break;
        }
        ensure!(pod["status"]["phase"] != "Failed", "expected success, saw {}", pod["status"]);
    }
    let told = async || {
        ensure!(!scope.log("one").await?.is_empty(), "expected a log");
        Ok(())
    };
    eventually("its log", SOON, told).await?;
    same("log", scope.log("one").await?.as_str(), "init1\ninit2\n")
}

async fn failed_init_fails_the_pod(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, "true");
    let image = &scope.cluster.images.busybox;
    object["spec"]["initContainers"] = json!([container("init1", image, "true"), container("init2", image, "false")]);
    let ended = scope.finish(&object).await?;
    equal("phase", &ended["status"]["phase"], &json!("Failed"))?;
    let initialized = condition(&ended, "Initialized");
    equal("Initialized", &initialized["reason"], &json!("ContainersNotInitialized"))?;
    let words = "containers with incomplete status: [init2]";
    equal("message", &initialized["message"], &json!(words))?;
    let main = &ended["status"]["containerStatuses"][0]["state"];
    equal("the container that never ran", &main["waiting"]["reason"], &json!("PodInitializing"))
}

async fn failed_init_is_repeated(scope: &Scope) -> Result<()> {
    let mut object = stays(scope, STAY);
    let image = &scope.cluster.images.busybox;
    object["spec"]["initContainers"] = json!([container("init1", image, "false"), container("init2", image, "true")]);
    scope.create_pod(&object).await?;
    let repeated = |pod: &Value| {
        let init = &pod["status"]["initContainerStatuses"][0];
        init["restartCount"].as_u64().unwrap_or_default() >= 3 && init["lastState"]["terminated"].is_object()
    };
    let pod = scope.pods().until_within(LATER, "one", "three restarts of the first", repeated).await?;
    equal("phase", &pod["status"]["phase"], &json!("Pending"))?;
    let words = "containers with incomplete status: [init1 init2]";
    equal("message", &condition(&pod, "Initialized")["message"], &json!(words))
}

async fn sidecars_start_first_and_end_last(scope: &Scope) -> Result<()> {
    let mut object = pod("one", &scope.cluster.images.busybox, "cat /v/side; sleep 1");
    object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    object["spec"]["containers"][0]["volumeMounts"] = mounts.clone();
    let script = "trap 'exit 0' TERM; sleep 1; echo up >/v/side; sleep 86400 & wait";
    let mut side = container("side", &scope.cluster.images.busybox, script);
    side["restartPolicy"] = "Always".into();
    side["startupProbe"] = json!({"exec": {"command": ["test", "-e", "/v/side"]}, "periodSeconds": 1});
    side["volumeMounts"] = mounts;
    object["spec"]["initContainers"] = json!([side]);
    object["spec"]["terminationGracePeriodSeconds"] = 10.into();
    let ended = scope.finish(&object).await?;
    equal("phase", &ended["status"]["phase"], &json!("Succeeded"))?;
    same("log", scope.log_with("one", "container=main").await?.as_str(), "up\n")?;
    let end = |list: &str| seconds(&ended["status"][list][0]["state"]["terminated"]["finishedAt"]);
    let (main, side) = (end("containerStatuses")?, end("initContainerStatuses")?);
    ensure!(side >= main, "expected the sidecar to end last, saw it end {} s before", main - side);
    Ok(())
}
