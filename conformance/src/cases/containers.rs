//! What a container is given: its command, environment, files of the kubelet's, user and rights.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{STAY, allocatable, config_map};
use crate::catalogue::{Area, Group, case};
use crate::cluster::{LATER, Patch, SOON, Scope, container, pod};
use crate::expect::{contains, equal, eventually, matches, refused, same};

pub(super) const GROUP: Group = Group {
    name: "containers",
    area: Area::Pods,
    capability: "Containers: commands, environment, downward API, hosts files, users, rights, sysctls",
    cases: &[
        case!(commands_and_arguments_override, "command and args take the place of the image's, each by itself"),
        case!(
            variables_are_expanded,
            "$(NAME) is expanded in variables, commands and arguments; $$ is a dollar",
            quick
        ),
        case!(config_maps_and_secrets_are_variables, "keys and whole maps become variables, with any prefix", quick),
        case!(missing_keys_stop_a_container, "a missing key is told, unless it is optional"),
        case!(the_pod_knows_itself, "name, namespace, uid, addresses and node become variables", quick),
        case!(limits_become_variables, "requests and limits become variables, rounded up by their divisor"),
        case!(services_become_variables, "Services that were there before become variables"),
        case!(hosts_are_managed, "/etc/hosts has the pod's name and the aliases; a mount takes its place"),
        case!(resolvers_can_be_chosen, "dnsPolicy None writes what dnsConfig says"),
        case!(users_and_groups_are_set, "runAsUser, runAsGroup and supplemental groups are the process's", quick),
        case!(roots_are_read_only_if_asked, "a read-only root refuses writes, and another does not"),
        case!(privileges_are_not_gained, "without privilege a network cannot be changed, with it it can"),
        case!(
            owners_lend_no_privileges,
            "a program that runs as its owner does so only where privilege escalation is allowed"
        ),
        case!(roots_are_refused_if_asked, "runAsNonRoot refuses an image that runs as root"),
        case!(safe_sysctls_are_set, "a safe sysctl is set, an invalid name refused"),
        case!(limits_reach_the_kernel, "a limit of memory is the container's in the kernel, and ends what takes more"),
        case!(host_names_are_set, "hostname and subdomain are the container's own"),
    ],
};

fn output_of(scope: &Scope, script: &str) -> Value {
    pod("one", &scope.cluster.images.busybox, script)
}

async fn commands_and_arguments_override(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "");
    object["spec"]["containers"] = json!([{"name": "main", "imagePullPolicy": "IfNotPresent", "image": scope.cluster.images.busybox,
        "command": ["echo", "first"], "args": ["second", "third"]}]);
    scope.output(&object).await?;
    is_logged(scope, "one", "first second third\n").await?;
    // The image's own command is a shell, which ends at once without input; args alone take its place.
    let mut arguments = output_of(scope, "");
    arguments["metadata"]["name"] = "two".into();
    arguments["spec"]["containers"] = json!([{"name": "main", "imagePullPolicy": "IfNotPresent", "image": scope.cluster.images.busybox, "args": ["echo", "only"]}]);
    scope.output(&arguments).await?;
    is_logged(scope, "two", "only\n").await?;
    let mut plain = output_of(scope, "");
    plain["metadata"]["name"] = "three".into();
    plain["spec"]["containers"] =
        json!([{"name": "main", "imagePullPolicy": "IfNotPresent", "image": scope.cluster.images.busybox}]);
    same("neither", scope.output(&plain).await?.as_str(), "")
}

/// What has ended may still be being logged.
async fn is_logged(scope: &Scope, pod: &str, text: &str) -> Result<()> {
    eventually("the log", SOON, async || same(pod, scope.log(pod).await?.as_str(), text)).await
}

async fn variables_are_expanded(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "");
    object["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "a"}, {"name": "B", "value": "$(A);;b"},
        {"name": "C", "value": "$(UNKNOWN) $$(A)"}]);
    object["spec"]["containers"][0]["command"] =
        json!(["sh", "-c", "echo \"$B $C $(A)\"; shift; echo \"$@\"", "name", "x"]);
    object["spec"]["containers"][0]["args"] = json!(["arg $(A)", "$$(A)", "$(UNKNOWN)"]);
    same("log", scope.output(&object).await?.as_str(), "a;;b $(UNKNOWN) $(A) a\narg a $(A) $(UNKNOWN)\n")
}

async fn config_maps_and_secrets_are_variables(scope: &Scope) -> Result<()> {
    scope.config_maps().create(&config_map("map", "a", "from-map")).await?;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "secret"}, "stringData": {"word": "from-secret"}});
    scope.secrets().create(&secret).await?;
    let mut object = output_of(scope, "");
    // A shell would drop names that it cannot use itself.
    object["spec"]["containers"][0]["command"] = json!(["env"]);
    object["spec"]["containers"][0]["env"] = json!([
        {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "key"}}},
        {"name": "TWO", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "word"}}},
        {"name": "THREE", "valueFrom": {"secretKeyRef": {"name": "none", "key": "word", "optional": true}}}]);
    let prefixes = ["p-", "1-", "$_-", "ABC_", "#@!"];
    object["spec"]["containers"][0]["envFrom"] = prefixes
        .iter()
        .map(|prefix| json!({"prefix": prefix, "configMapRef": {"name": "map"}}))
        .chain([json!({"secretRef": {"name": "secret"}})])
        .collect();
    let log = scope.output(&object).await?;
    let lines: Vec<&str> = log.lines().collect();
    let expected = prefixes.iter().map(|prefix| format!("{prefix}key=from-map"));
    for line in expected.chain(["ONE=from-map", "TWO=from-secret", "word=from-secret"].map(String::from)) {
        ensure!(lines.contains(&line.as_str()), "expected {line}, saw {lines:?}");
    }
    ensure!(!log.contains("THREE"), "expected no variable of a missing optional key, saw {lines:?}");
    Ok(())
}

async fn missing_keys_stop_a_container(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "true");
    object["spec"]["containers"][0]["env"] =
        json!([{"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "key"}}}]);
    scope.create_pod(&object).await?;
    let waits = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    };
    scope.pods().until_within(LATER, "one", "CreateContainerConfigError", waits).await?;
    scope.config_maps().create(&config_map("late", "a", "x")).await?;
    let done = |pod: &Value| pod["status"]["phase"] == "Succeeded";
    scope.pods().until_within(LATER, "one", "it runs once the key is there", done).await.map(drop)
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
}

async fn the_pod_knows_itself(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "env");
    object["metadata"]["annotations"] = json!({"note": "words"});
    object["spec"]["containers"][0]["env"] = json!([
        field("NAME", "metadata.name"),
        field("SPACE", "metadata.namespace"),
        field("UID_", "metadata.uid"),
        field("IP", "status.podIP"),
        field("IPS", "status.podIPs"),
        field("HOST", "status.hostIP"),
        field("HOSTS", "status.hostIPs"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("LABEL", "metadata.labels['app']"),
        field("NOTE", "metadata.annotations['note']")
    ]);
    let ended = scope.finish(&object).await?;
    let log = scope.log("one").await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (name, value) in [
        ("NAME", "one".into()),
        ("SPACE", scope.namespace.clone()),
        ("UID_", text(&ended["metadata"]["uid"])),
        ("HOST", text(&ended["status"]["hostIP"])),
        ("HOSTS", text(&ended["status"]["hostIPs"][0]["ip"])),
        ("NODE", text(&ended["spec"]["nodeName"])),
        ("ACCOUNT", "default".into()),
        ("LABEL", "one".into()),
        ("NOTE", "words".into()),
    ] {
        contains(name, &log, &format!("\n{name}={value}\n"))?;
    }
    matches("IP", &log, r"(?m)^IP=[0-9a-f.:]+$")?;
    let value = |name: &str| log.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    same("IPS", value("IPS="), value("IP="))
}

async fn limits_become_variables(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "env");
    let resource =
        |name: &str, resource: &str| json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource}}});
    object["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "1250m", "memory": "64Mi"}});
    object["spec"]["containers"][0]["env"] = json!([resource("CPU_LIMIT", "limits.cpu"), resource("CPU_REQUEST", "requests.cpu"),
        resource("MEMORY_LIMIT", "limits.memory"), resource("MEMORY_REQUEST", "requests.memory"),
        {"name": "MEBIBYTES", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}}]);
    let log = scope.output(&object).await?;
    for line in ["CPU_LIMIT=2", "CPU_REQUEST=1", "MEMORY_LIMIT=67108864", "MEMORY_REQUEST=33554432", "MEBIBYTES=64"] {
        contains("environment", &log, &format!("{line}\n"))?;
    }
    let mut unlimited = output_of(scope, "env");
    unlimited["metadata"]["name"] = "two".into();
    unlimited["spec"]["containers"][0]["env"] =
        json!([resource("CPU_LIMIT", "limits.cpu"), resource("MEMORY_LIMIT", "limits.memory")]);
    let log = scope.output(&unlimited).await?;
    let [cpu, memory] = allocatable(scope, "two").await?;
    contains("without a limit, the node's", &log, &format!("\nCPU_LIMIT={cpu}\n"))?;
    contains("without a limit, the node's", &log, &format!("\nMEMORY_LIMIT={memory}\n"))
}

async fn services_become_variables(scope: &Scope) -> Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fooservice"},
        "spec": {"ports": [{"port": 8765, "targetPort": 8080}]}});
    let address =
        scope.services().create(&service).await?["spec"]["clusterIP"].as_str().context("no address")?.to_owned();
    // The kubelet hears of a Service a moment after it is made.
    let script = "env";
    let seen = crate::expect::eventually("a pod that starts now knows the Service", LATER, async || {
        let mut object = output_of(scope, script);
        object["metadata"]["name"] = format!("p{}", rand::random::<u32>()).into();
        let log = scope.output(&object).await?;
        contains("environment", &log, &format!("FOOSERVICE_SERVICE_HOST={address}\n"))?;
        Ok(log)
    })
    .await?;
    for line in [
        "FOOSERVICE_SERVICE_PORT=8765".to_owned(),
        format!("FOOSERVICE_PORT=tcp://{address}:8765"),
        format!("FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765"),
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp".to_owned(),
        "FOOSERVICE_PORT_8765_TCP_PORT=8765".to_owned(),
        format!("FOOSERVICE_PORT_8765_TCP_ADDR={address}"),
    ] {
        contains("environment", &seen, &format!("{line}\n"))?;
    }
    Ok(())
}

async fn hosts_are_managed(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "cat /etc/hosts");
    object["spec"]["hostAliases"] = json!([{"ip": "123.45.67.89", "hostnames": ["foo", "bar"]}]);
    let log = scope.output(&object).await?;
    ensure!(log.starts_with("# Kubernetes-managed hosts file."), "expected a managed file, saw {log:?}");
    contains("aliases", &log, "123.45.67.89\tfoo\tbar")?;
    matches("own name", &log, r"(?m)^[0-9a-f.:]+\tone$")?;
    let mut mounted = output_of(scope, "cat /etc/hosts");
    mounted["metadata"]["name"] = "two".into();
    scope.config_maps().create(&config_map("map", "a", "own hosts\n")).await?;
    mounted["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "map"}}]);
    mounted["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "v", "mountPath": "/etc/hosts", "subPath": "key"}]);
    same("with a mount", scope.output(&mounted).await?.as_str(), "own hosts\n")?;
    let mut host = output_of(scope, "cat /etc/hosts; echo the original:; cat /original");
    host["metadata"]["name"] = "three".into();
    host["spec"]["hostNetwork"] = true.into();
    host["spec"]["volumes"] = json!([{"name": "v", "hostPath": {"path": "/etc/hosts", "type": "FileOrCreate"}}]);
    host["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/original"}]);
    let log = scope.output(&host).await?;
    let (managed, original) = log.split_once("the original:\n").context("no original")?;
    same("the node's file", managed, format!("# Kubernetes-managed hosts file (host network).\n{original}"))
}

async fn resolvers_can_be_chosen(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "cat /etc/resolv.conf");
    object["spec"]["dnsPolicy"] = "None".into();
    object["spec"]["dnsConfig"] = json!({"nameservers": ["192.0.2.53"], "searches": ["a.example", "b.example"], "options": [{"name": "ndots", "value": "2"}]});
    let log = scope.output(&object).await?;
    for line in ["nameserver 192.0.2.53", "search a.example b.example", "options ndots:2"] {
        contains("resolv.conf", &log, line)?;
    }
    same("resolvers", log.matches("nameserver").count(), 1)
}

async fn users_and_groups_are_set(scope: &Scope) -> Result<()> {
    let script = "id -u; id -g; id -G";
    let mut object = output_of(scope, script);
    object["spec"]["securityContext"] =
        json!({"runAsUser": 1001, "runAsGroup": 2001, "supplementalGroups": [3001], "fsGroup": 4001});
    let mut own = container("own", &scope.cluster.images.busybox, script);
    own["securityContext"] = json!({"runAsUser": 1002, "runAsGroup": 2002});
    object["spec"]["containers"].as_array_mut().context("containers")?.push(own);
    scope.finish(&object).await?;
    let log = async |container: &str| scope.log_with("one", &format!("container={container}")).await;
    let first = log("main").await?;
    let lines: Vec<&str> = first.lines().collect();
    same("user and group of the pod", &lines[..2.min(lines.len())], &["1001", "2001"][..])?;
    for group in ["2001", "3001", "4001"] {
        contains("groups", lines.get(2).copied().unwrap_or_default(), group)?;
    }
    let second = log("own").await?;
    ensure!(second.starts_with("1002\n2002\n"), "expected the container's own user, saw {second:?}");
    Ok(())
}

async fn roots_are_read_only_if_asked(scope: &Scope) -> Result<()> {
    let script = "echo x >/file && echo written || echo refused";
    for (name, read_only, expected) in [("one", true, "refused"), ("two", false, "written")] {
        let mut object = output_of(scope, script);
        object["metadata"]["name"] = name.into();
        object["spec"]["containers"][0]["securityContext"] = json!({"readOnlyRootFilesystem": read_only});
        let log = scope.output(&object).await?;
        contains("log", &log, expected)?;
        same("the kernel's words", log.contains("sh: can't create /file: Read-only file system\n"), read_only)?;
    }
    Ok(())
}

async fn privileges_are_not_gained(scope: &Scope) -> Result<()> {
    let script = "ip link add link-1 type bridge 2>&1 && echo added; grep NoNewPrivs /proc/self/status";
    for (name, context, expected) in [
        ("one", json!({"privileged": false, "allowPrivilegeEscalation": false}), "NoNewPrivs:\t1"),
        ("two", json!({"privileged": true}), "added"),
    ] {
        let mut object = output_of(scope, script);
        object["metadata"]["name"] = name.into();
        object["spec"]["containers"][0]["securityContext"] = context;
        let log = scope.output(&object).await?;
        contains("log", &log, expected)?;
        same("refused", log.contains("Operation not permitted"), name == "one")?;
    }
    Ok(())
}

/// The program tells of its own user, real and effective.
async fn owners_lend_no_privileges(scope: &Scope) -> Result<()> {
    let image = &scope.cluster.images.tools;
    let prepare = "cp \"$(command -v curl)\" /v/program && chown 0:0 /v/program && chmod 4755 /v/program";
    for (name, is_allowed, effective) in [("one", true, 0), ("two", false, 1000)] {
        let mut object = pod(name, image, "/v/program -sS file:///proc/self/status | grep ^Uid: | cut -f 2,3");
        object["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        let mut owner = container("owner", image, prepare);
        owner["securityContext"] = json!({"runAsUser": 0});
        owner["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        object["spec"]["containers"][0]["volumeMounts"] = owner["volumeMounts"].clone();
        object["spec"]["containers"][0]["securityContext"] =
            json!({"runAsUser": 1000, "allowPrivilegeEscalation": is_allowed});
        object["spec"]["initContainers"] = json!([owner]);
        same(name, scope.output(&object).await?, format!("1000\t{effective}\n"))?;
    }
    Ok(())
}

async fn roots_are_refused_if_asked(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "true");
    object["spec"]["securityContext"] = json!({"runAsNonRoot": true});
    scope.create_pod(&object).await?;
    let refused = |pod: &Value| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        waiting["reason"] == "CreateContainerConfigError"
    };
    let seen = scope.pods().until_within(LATER, "one", "CreateContainerConfigError", refused).await?;
    let message = seen["status"]["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap_or_default();
    contains("message", message, "container has runAsNonRoot and image will run as root")
}

async fn safe_sysctls_are_set(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "cat /proc/sys/kernel/shm_rmid_forced");
    object["spec"]["securityContext"] = json!({"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]});
    same("log", scope.output(&object).await?.as_str(), "1\n")?;
    object["metadata"]["name"] = "two".into();
    object["spec"]["securityContext"] = json!({"sysctls": [{"name": "foo-", "value": "1"},
        {"name": "kernel.shmmax", "value": "1"}, {"name": "safe-and-unsafe", "value": "1"}, {"name": "bar..", "value": "1"}]});
    let error = refused(scope.create_pod(&object).await, 422, "Invalid")?;
    for word in [r#"Invalid value: "foo-""#, r#"Invalid value: "bar..""#] {
        contains("message", &error.message, word)?;
    }
    for valid in ["kernel.shmmax", "safe-and-unsafe"] {
        ensure!(!error.message.contains(valid), "expected no word on {valid}, saw {}", error.message);
    }
    Ok(())
}

async fn limits_reach_the_kernel(scope: &Scope) -> Result<()> {
    let script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; \
                  yes | tr '\\n' x | head -c 200m | tail -c 150m | wc -c; echo survived";
    let mut object = output_of(scope, script);
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "32Mi"}});
    let ended = scope.finish(&object).await?;
    let log = scope.log("one").await?;
    contains("limit in the kernel", &log, "33554432")?;
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    let was_killed = state["reason"] == "OOMKilled" || !log.contains("157286400");
    ensure!(was_killed, "expected the kernel to end what took 150 MiB, saw {state} and {log:?}");
    Ok(())
}

async fn host_names_are_set(scope: &Scope) -> Result<()> {
    let mut object = output_of(scope, "hostname; hostname -f; grep sub /etc/hosts");
    object["spec"]["hostname"] = "host".into();
    object["spec"]["subdomain"] = "sub".into();
    let log = scope.output(&object).await?;
    ensure!(log.starts_with("host\n"), "expected the host name, saw {log:?}");
    contains("hosts file", &log, &format!("host.sub.{}.svc.", scope.namespace))?;
    let mut setting = output_of(scope, STAY);
    setting["metadata"]["name"] = "two".into();
    scope.start(&setting).await?;
    scope.pods().patch("two", Patch::Merge(json!({"metadata": {"labels": {"x": "y"}}}))).await?;
    same("host name by default", scope.exec("two", "hostname").await?.trim(), "two")?;
    equal("still runs", &scope.pods().get("two").await?["status"]["containerStatuses"][0]["restartCount"], &json!(0))
}
