//! Pods and the levels of the pod security standards that let them in.

use serde_json::{Value, json};

use super::checks;
use super::policy::{Level, LevelVersion, Version};
use super::told;

fn details(level: Level, version: Version, pod: &Value) -> String {
    checks::run(LevelVersion { level, version }, pod).details()
}

fn with(spec: Value, container: Value) -> Value {
    let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}]}});
    let merge = |into: &mut Value, from: Value| into.as_object_mut().unwrap().extend(from.as_object().unwrap().clone());
    merge(&mut pod["spec"]["containers"][0], container);
    merge(&mut pod["spec"], spec);
    pod
}

#[test]
fn baseline_names_what_it_refuses() {
    let check = |spec: Value, container: Value, wanted: &str| {
        assert_eq!(details(Level::Baseline, Version::Latest, &with(spec, container)), wanted);
    };
    let none = || json!({});
    let context = |context: Value| json!({"securityContext": context});
    check(none(), none(), "");
    check(json!({"hostNetwork": true, "hostIPC": true}), none(), "host namespaces (hostNetwork=true, hostIPC=true)");
    check(
        none(),
        context(json!({"privileged": true, "capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
        "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_RAW\" in securityContext.capabilities.add), \
         privileged (container \"c\" must not set securityContext.privileged=true)",
    );
    check(
        json!({"volumes": [{"name": "a", "hostPath": {}}, {"name": "b", "hostPath": {}}]}),
        json!({"ports": [{"hostPort": 80}, {"hostPort": 443}]}),
        "hostPath volumes (volumes \"a\", \"b\"), hostPort (container \"c\" uses hostPorts 443, 80)",
    );
    check(
        none(),
        json!({"livenessProbe": {"httpGet": {"host": "h"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}}),
        "probe or lifecycle host (container \"c\" uses probe or lifecycle hosts \"g\", \"h\")",
    );
    check(
        context(json!({"seLinuxOptions": {"type": "x", "user": "u"}, "seccompProfile": {"type": "Unconfined"}})),
        context(json!({"seLinuxOptions": {"role": "r"}, "procMount": "Unmasked"})),
        "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\"), \
         seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"x\"; user may not be set; role may not be set), \
         seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    check(
        context(
            json!({"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}], "windowsOptions": {"hostProcess": true}}),
        ),
        context(json!({"appArmorProfile": {"type": "Unconfined"}})),
        "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\"), \
         forbidden sysctls (kernel.msgmax), hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    );
}

#[test]
fn restricted_names_what_it_wants() {
    let bare = with(json!({}), json!({}));
    assert_eq!(
        details(Level::Restricted, Version::Latest, &bare),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    let good = with(
        json!({"securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}}),
        json!({"securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}),
    );
    assert_eq!(details(Level::Restricted, Version::Latest, &good), "");
    let mut root = good;
    root["spec"]["securityContext"]["runAsUser"] = json!(0);
    root["spec"]["volumes"] =
        json!([{"name": "h", "hostPath": {}}, {"name": "n", "nfs": {}}, {"name": "s", "secret": {}}]);
    let refused = "restricted volume types (volumes \"h\", \"n\" use restricted volume types \"hostPath\", \"nfs\")";
    assert_eq!(
        details(Level::Restricted, Version::Latest, &root),
        format!("{refused}, runAsUser=0 (pod must not set runAsUser=0)")
    );
    root["spec"]["hostUsers"] = json!(false);
    assert_eq!(details(Level::Restricted, Version::Latest, &root), refused, "root of its own namespace");
}

#[test]
fn rules_hold_from_their_version_on() {
    let bare = with(json!({}), json!({"livenessProbe": {"httpGet": {"host": "h"}}}));
    let reasons = |minor: u32| {
        checks::run(LevelVersion { level: Level::Restricted, version: Version::Minor(minor) }, &bare).reasons()
    };
    assert_eq!(reasons(0), "runAsNonRoot != true");
    assert_eq!(reasons(8), "allowPrivilegeEscalation != false, runAsNonRoot != true");
    assert_eq!(reasons(19), "allowPrivilegeEscalation != false, runAsNonRoot != true, seccompProfile");
    assert!(reasons(99).starts_with("probe or lifecycle host, "));
    let mut windows = bare.clone();
    windows["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(details(Level::Restricted, Version::Minor(24), &windows).matches("container").count(), 4);
    let annotated = json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}});
    assert_eq!(
        details(Level::Baseline, Version::Minor(18), &annotated),
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
    assert_eq!(details(Level::Baseline, Version::Minor(19), &annotated), "");
    assert_eq!(details(Level::Privileged, Version::Latest, &bare), "");
}

#[test]
fn pods_with_the_same_trouble_are_told_together() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(told("r", names(&["b"])), "b: r");
    assert_eq!(told("r", names(&["b", "a"])), "a (and 1 other pod): r");
    assert_eq!(told("r", names(&["b", "a", "c"])), "a (and 2 other pods): r");
}
