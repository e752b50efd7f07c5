//! The decision core as a table: a pod, what the runtime has, what is remembered; then the actions.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{
    fate::{Stop, Why},
    memory::{ImageState, Memory, Probed, Starting, Volumes},
    plan::{Action, Plan, Situation, container_hash, decide},
    spec,
};
use crate::{
    images::Image,
    runtime::{ContainerRecord, ContainerState, Observed, SandboxRecord, labels},
};

const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time in range")
}

fn pod(spec: Value) -> Pod {
    let object = json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": spec});
    serde_json::from_value(object).expect("a pod")
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "i"})
}

fn sandbox(attempt: u32, ready: bool) -> SandboxRecord {
    SandboxRecord {
        id: format!("s{attempt}"),
        attempt,
        ready,
        created_at_ns: i64::from(attempt),
        host_network: false,
        ips: vec!["10.0.0.2".into()],
    }
}

/// A record as the kubelet would have made it, `ended` for exit code and second.
fn record(pod: &Pod, name: &str, attempt: u32, state: ContainerState, ended: Option<(i32, i64)>) -> ContainerRecord {
    let hash = spec::find_container(pod, name).map(|(_, container)| container_hash(&container)).unwrap_or_default();
    ContainerRecord {
        id: format!("{name}{attempt}"),
        sandbox_id: "s0".into(),
        name: name.into(),
        attempt,
        state,
        created_at_ns: i64::from(attempt) + 1,
        started_at_ns: 1,
        finished_at_ns: ended.map_or(0, |(_, second)| second * 1_000_000_000),
        exit_code: ended.map_or(0, |(code, _)| code),
        reason: String::new(),
        message: String::new(),
        image: "i".into(),
        image_ref: "ref".into(),
        log_path: String::new(),
        annotations: [(labels::CONTAINER_HASH.to_owned(), hash)].into(),
        mounts: Vec::new(),
        resources: None,
        user: None,
    }
}

/// A memory in which everything is ready to start.
fn ready_memory(pod: &Pod) -> Memory {
    let images = spec::containers(pod).into_iter().map(|(_, it)| (it.name, ImageState::Ready(Image::default())));
    Memory { volumes: Volumes::Ready, network_ready: true, images: images.collect(), ..Memory::default() }
}

fn plan(pod: &Pod, observed: &Observed, memory: &Memory, stop: Option<&Stop>) -> Plan {
    decide(&Situation { pod, observed, memory, stop, now: at(NOW) })
}

/// The actions in short: `start c`, `stop c0`, `sandbox 0`.
fn short(plan: &Plan) -> Vec<String> {
    let one = |action: &Action| match action {
        Action::SetUpVolumes => "volumes".to_owned(),
        Action::PullImage { name } => format!("pull {name}"),
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::StartContainer(start) => format!("start {} {}", start.name, start.attempt),
        Action::RunPreStop { id, .. } => format!("hook {id}"),
        Action::StopContainer { id, .. } => format!("stop {id}"),
        Action::StopSandbox { id } => format!("stop {id}"),
        Action::ForgetRun { id, .. } => format!("forget {id}"),
        Action::RemoveContainer { id, .. } | Action::RemoveSandbox { id } => format!("remove {id}"),
    };
    plan.actions.iter().map(one).collect()
}

#[test]
fn a_pod_starts_step_by_step() {
    let pod = pod(json!({"containers": [container("a"), container("b")]}));
    let nothing = Observed::default();
    assert_eq!(short(&plan(&pod, &nothing, &Memory::default(), None)), ["volumes"]);
    let volumes = Memory { volumes: Volumes::Ready, network_ready: true, ..Memory::default() };
    assert_eq!(short(&plan(&pod, &nothing, &volumes, None)), ["sandbox 0"]);
    let no_network = Memory { volumes: Volumes::Ready, ..Memory::default() };
    assert!(short(&plan(&pod, &nothing, &no_network, None)).is_empty());
    let with_sandbox = Observed::sorted(vec![sandbox(0, true)], vec![]);
    assert_eq!(short(&plan(&pod, &with_sandbox, &volumes, None)), ["pull a", "pull b"]);
    let memory = ready_memory(&pod);
    assert_eq!(short(&plan(&pod, &with_sandbox, &memory, None)), ["start a 0"], "one thing at a time");
    let busy = Memory { starting: Some(Starting::Container { name: "a".into(), attempt: 0 }), ..ready_memory(&pod) };
    assert!(short(&plan(&pod, &with_sandbox, &busy, None)).is_empty());
    let a = record(&pod, "a", 0, ContainerState::Running, None);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![a.clone()]);
    assert_eq!(short(&plan(&pod, &observed, &memory, None)), ["start b 0"]);
    let b = record(&pod, "b", 0, ContainerState::Running, None);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![a, b]);
    let done = plan(&pod, &observed, &memory, None);
    assert!(short(&done).is_empty() && !done.completed);
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let sidecar = json!({"name": "s", "image": "i", "restartPolicy": "Always", "startupProbe": {"exec": {}}});
    let pod =
        pod(json!({"initContainers": [container("i1"), sidecar, container("i2")], "containers": [container("c")]}));
    let memory = ready_memory(&pod);
    type Row<'a> = (&'a str, ContainerState, Option<(i32, i64)>);
    let with = |records: &[Row<'_>]| {
        let records = records.iter().map(|(name, state, ended)| record(&pod, name, 0, *state, *ended)).collect();
        Observed::sorted(vec![sandbox(0, true)], records)
    };
    use ContainerState::{Exited, Running};
    let done = Some((0, NOW - 100));
    assert_eq!(short(&plan(&pod, &with(&[]), &memory, None)), ["start i1 0"]);
    assert!(short(&plan(&pod, &with(&[("i1", Running, None)]), &memory, None)).is_empty());
    assert_eq!(short(&plan(&pod, &with(&[("i1", Exited, done)]), &memory, None)), ["start s 0"]);
    let sidecar_up = with(&[("i1", Exited, done), ("s", Running, None)]);
    assert!(short(&plan(&pod, &sidecar_up, &memory, None)).is_empty(), "its startup probe has not passed");
    let mut passed = ready_memory(&pod);
    passed.probed.insert("s0".into(), Probed { startup: Some(true), ..Probed::default() });
    assert_eq!(short(&plan(&pod, &sidecar_up, &passed, None)), ["start i2 0"]);
    let initialized = with(&[("i1", Exited, done), ("s", Running, None), ("i2", Exited, done)]);
    assert_eq!(short(&plan(&pod, &initialized, &passed, None)), ["start c 0"]);
    let dead_sidecar = with(&[("s", Exited, Some((1, NOW - 100))), ("c", Running, None)]);
    assert_eq!(
        short(&plan(&pod, &dead_sidecar, &passed, None)),
        ["start s 1"],
        "init is over: only the sidecar restarts"
    );
    let later_runs = with(&[("i2", Running, None)]);
    assert_eq!(short(&plan(&pod, &later_runs, &memory, None)), ["start s 0"], "what came before i2 is over");
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [container("i")], "containers": [container("c")]});
    for (policy, actions, completed) in [("Never", vec![], true), ("Always", vec!["start i 1"], false)] {
        let pod = pod(spec(policy));
        let failed = record(&pod, "i", 0, ContainerState::Exited, Some((1, NOW - 100)));
        let observed = Observed::sorted(vec![sandbox(0, true)], vec![failed]);
        let plan = plan(&pod, &observed, &ready_memory(&pod), None);
        assert_eq!((short(&plan), plan.completed), (actions.into_iter().map(str::to_owned).collect(), completed));
    }
}

#[test]
fn restarts_follow_policy_exit_code_and_back_off() {
    for (policy, code, restarts) in [
        ("Always", 0, true),
        ("Always", 1, true),
        ("OnFailure", 0, false),
        ("OnFailure", 1, true),
        ("Never", 0, false),
        ("Never", 1, false),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": [container("c")]}));
        let ended = record(&pod, "c", 0, ContainerState::Exited, Some((code, NOW - 3)));
        let observed = Observed::sorted(vec![sandbox(0, true)], vec![ended]);
        let mut memory = ready_memory(&pod);
        let first = plan(&pod, &observed, &memory, None);
        let wanted: Vec<String> = if restarts { vec!["start c 1".into()] } else { vec![] };
        assert_eq!((short(&first), first.completed), (wanted, !restarts), "{policy} {code}");
        if restarts {
            memory.backoff.advance("c", at(NOW - 3), at(NOW - 3));
            let held = plan(&pod, &observed, &memory, None);
            assert!(short(&held).is_empty());
            assert_eq!(held.wake_at, Some(at(NOW + 7)));
            assert_eq!(held.waiting["c"].reason, "CrashLoopBackOff");
            assert_eq!(held.waiting["c"].message, "back-off 10s restarting failed container=c pod=p_ns(u)");
            assert_eq!((first.held_back.len(), held.held_back["c"]), (0, at(NOW - 3)));
        }
    }
}

#[test]
fn probes_and_new_definitions_kill() {
    let pod = pod(json!({"terminationGracePeriodSeconds": 30, "containers": [
        {"name": "c", "image": "i", "livenessProbe": {"terminationGracePeriodSeconds": 5}}]}));
    let running = record(&pod, "c", 0, ContainerState::Running, None);
    let mut changed = running.clone();
    changed.annotations.insert(labels::CONTAINER_HASH.into(), "other".into());
    let mut memory = ready_memory(&pod);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![running]);
    memory.probed.insert("c0".into(), Probed { liveness: Some(false), ..Probed::default() });
    let killed = plan(&pod, &observed, &memory, None);
    let Some(Action::StopContainer { message, grace_period_seconds, deadline, .. }) = killed.actions.first() else {
        panic!("a stop, not {killed:?}");
    };
    assert_eq!(message, "Container c failed liveness probe, will be restarted");
    assert_eq!((*grace_period_seconds, *deadline), (5, at(NOW + 5)));
    memory.stopping.insert("c0".into(), *deadline);
    assert!(short(&plan(&pod, &observed, &memory, None)).is_empty(), "it is under way");
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![changed]);
    assert_eq!(short(&plan(&pod, &observed, &ready_memory(&pod), None)), ["stop c0"]);
}

#[test]
fn nothing_starts_while_a_container_is_being_killed() {
    let sidecar = json!({"name": "s", "image": "i", "restartPolicy": "Always"});
    let pod = pod(json!({"initContainers": [sidecar], "containers": [container("c")]}));
    let dead = record(&pod, "s", 0, ContainerState::Exited, Some((1, NOW - 100)));
    let running = record(&pod, "c", 0, ContainerState::Running, None);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![dead, running]);
    let mut memory = ready_memory(&pod);
    assert_eq!(short(&plan(&pod, &observed, &memory, None)), ["start s 1"]);
    memory.stopping.insert("c0".into(), at(NOW + 30));
    assert!(short(&plan(&pod, &observed, &memory, None)).is_empty());
    memory.stopping.clear();
    memory.probed.insert("c0".into(), Probed { liveness: Some(false), ..Probed::default() });
    assert_eq!(short(&plan(&pod, &observed, &memory, None)), ["stop c0"], "nor in the turn that kills");
}

#[test]
fn a_container_that_the_runtime_would_not_stop_is_stopped_again_after_a_while() {
    let pod = pod(json!({"containers": [{"name": "c", "image": "i", "livenessProbe": {}}]}));
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![record(&pod, "c", 0, ContainerState::Running, None)]);
    let stop = Stop { why: Why::Deleted, since: at(NOW), grace_period_seconds: 30 };
    let mut memory = ready_memory(&pod);
    memory.probed.insert("c0".into(), Probed { liveness: Some(false), ..Probed::default() });
    for (failed_at, wanted) in [(NOW, vec![]), (NOW - 1, vec!["stop c0"])] {
        memory.failures.clear();
        memory.fail("c0", "KillContainerError", "no".into(), at(failed_at));
        for stop in [None, Some(&stop)] {
            let plan = plan(&pod, &observed, &memory, stop);
            assert_eq!(short(&plan), wanted, "{failed_at} {stop:?}");
            assert_eq!(plan.wake_at, Some(at(NOW + 1)).filter(|_| wanted.is_empty()));
        }
    }
}

#[test]
fn a_dead_sandbox_is_replaced_after_everything_in_it_has_stopped() {
    let pod = pod(json!({"containers": [container("c")]}));
    let mut memory = ready_memory(&pod);
    let running = record(&pod, "c", 0, ContainerState::Running, None);
    let observed = Observed::sorted(vec![sandbox(0, false)], vec![running]);
    assert_eq!(short(&plan(&pod, &observed, &memory, None)), ["stop c0", "stop s0"]);
    let dead = record(&pod, "c", 0, ContainerState::Exited, Some((137, NOW - 100)));
    let observed = Observed::sorted(vec![sandbox(0, false)], vec![dead.clone()]);
    memory.stopped_sandboxes.insert("s0".into());
    assert_eq!(short(&plan(&pod, &observed, &memory, None)), ["sandbox 1"]);
    let observed = Observed::sorted(vec![sandbox(0, false), sandbox(1, true)], vec![dead]);
    let next = plan(&pod, &observed, &memory, None);
    assert_eq!(short(&next), ["start c 1"], "the old sandbox stays while it holds the last run");
}

#[test]
fn a_pod_that_never_restarts_gets_no_second_sandbox() {
    let pod = pod(json!({"restartPolicy": "Never", "containers": [container("c")]}));
    let dead = record(&pod, "c", 0, ContainerState::Exited, Some((0, NOW - 100)));
    let observed = Observed::sorted(vec![sandbox(0, false)], vec![dead]);
    let plan = plan(&pod, &observed, &ready_memory(&pod), None);
    assert!(plan.completed && !short(&plan).iter().any(|it| it.starts_with("sandbox")));
}

#[test]
fn what_a_dead_kubelet_left_created_is_made_anew_under_its_number() {
    let pod = pod(json!({"containers": [container("c")]}));
    let created = record(&pod, "c", 0, ContainerState::Created, None);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![created]);
    assert_eq!(short(&plan(&pod, &observed, &ready_memory(&pod), None)), ["remove c0"]);
    let ours = Memory { starting: Some(Starting::Container { name: "c".into(), attempt: 0 }), ..ready_memory(&pod) };
    assert!(short(&plan(&pod, &observed, &ours, None)).is_empty(), "unless it is being started right now");
}

#[test]
fn only_the_last_two_runs_are_kept() {
    let pod = pod(json!({"containers": [container("c")]}));
    let dead = |attempt| record(&pod, "c", attempt, ContainerState::Exited, Some((1, NOW - 1000)));
    let running = record(&pod, "c", 3, ContainerState::Running, None);
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![dead(0), dead(1), dead(2), running]);
    assert_eq!(short(&plan(&pod, &observed, &ready_memory(&pod), None)), ["remove c1", "remove c0"]);
}

#[test]
fn stopping_takes_containers_then_sidecars_then_the_sandbox() {
    let sidecar = |name: &str| json!({"name": name, "image": "i", "restartPolicy": "Always"});
    let pod =
        pod(json!({"initContainers": [sidecar("s1"), sidecar("s2")], "containers": [container("a"), container("b")]}));
    let stop = Stop { why: Why::Deleted, since: at(NOW), grace_period_seconds: 30 };
    let alive = |names: &[&str]| {
        let records = names.iter().map(|name| record(&pod, name, 0, ContainerState::Running, None)).collect();
        Observed::sorted(vec![sandbox(0, true)], records)
    };
    let mut memory = ready_memory(&pod);
    let sorted = |plan: &Plan| {
        let mut actions = short(plan);
        actions.sort();
        actions
    };
    assert_eq!(
        sorted(&plan(&pod, &alive(&["a", "b", "s1", "s2"]), &memory, Some(&stop))),
        ["hook s10", "hook s20", "stop a0", "stop b0"]
    );
    memory.pre_stopping = [("s10".to_owned(), true), ("s20".to_owned(), false)].into();
    assert!(short(&plan(&pod, &alive(&["s1", "s2"]), &memory, Some(&stop))).is_empty(), "the hook of s2 still runs");
    memory.pre_stopping.insert("s20".into(), true);
    assert_eq!(short(&plan(&pod, &alive(&["s1", "s2"]), &memory, Some(&stop))), ["stop s20"]);
    assert_eq!(short(&plan(&pod, &alive(&["s1"]), &memory, Some(&stop))), ["stop s10"]);
    assert_eq!(short(&plan(&pod, &alive(&[]), &memory, Some(&stop))), ["stop s0"]);
    let mut cut_off = record(&pod, "a", 0, ContainerState::Exited, Some((128, NOW)));
    (cut_off.started_at_ns, cut_off.reason) = (0, "StartError".into());
    cut_off.message = "failed to start containerd task: context canceled".into();
    let left = Observed::sorted(vec![sandbox(0, true)], vec![cut_off]);
    assert_eq!(short(&plan(&pod, &left, &memory, Some(&stop))), ["remove a0"], "its process may still be there");
    memory.stopped_sandboxes.insert("s0".into());
    assert!(!plan(&pod, &left, &memory, Some(&stop)).stopped);
    assert!(plan(&pod, &alive(&[]), &memory, Some(&stop)).stopped);
    memory.starting = Some(Starting::Sandbox);
    assert!(!plan(&pod, &alive(&[]), &memory, Some(&stop)).stopped, "a start under way is waited for");
}

#[test]
fn a_stop_is_repeated_only_to_be_stricter() {
    let pod = pod(json!({"containers": [container("c")]}));
    let observed = Observed::sorted(vec![sandbox(0, true)], vec![record(&pod, "c", 0, ContainerState::Running, None)]);
    let long = Stop { why: Why::Deleted, since: at(NOW), grace_period_seconds: 30 };
    let mut memory = ready_memory(&pod);
    memory.stopping.insert("c0".into(), long.deadline());
    assert!(short(&plan(&pod, &observed, &memory, Some(&long))).is_empty());
    let force = long.tightened(Stop { why: Why::Removed, since: at(NOW), grace_period_seconds: 0 });
    assert_eq!(force.why, Why::Removed);
    let evicted = Why::Evicted { reason: "Evicted".into(), message: String::new() };
    let both = Stop { why: evicted.clone(), since: at(NOW), grace_period_seconds: 30 }.tightened(Stop {
        why: Why::Deleted,
        since: at(NOW),
        grace_period_seconds: 5,
    });
    assert_eq!((both.why, both.grace_period_seconds), (evicted, 5), "the reason stays, the time is the shorter");
    assert_eq!(short(&plan(&pod, &observed, &memory, Some(&force))), ["stop c0"]);
    let never_longer = force.clone().tightened(Stop { why: Why::Deleted, since: at(NOW), grace_period_seconds: 60 });
    assert_eq!(never_longer, force);
}

#[test]
fn a_rule_restarts_all_containers_the_cause_last() {
    let rules = json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    let cause = json!({"name": "c", "image": "i", "restartPolicy": "Never", "restartPolicyRules": rules});
    let pod = pod(json!({"restartPolicy": "Never", "initContainers": [container("i1")],
        "containers": [cause, container("d")]}));
    type Row<'a> = (&'a str, ContainerState, Option<(i32, i64)>);
    let with = |records: &[Row<'_>]| {
        let records = records.iter().map(|(name, state, ended)| record(&pod, name, 0, *state, *ended)).collect();
        Observed::sorted(vec![sandbox(0, true)], records)
    };
    use ContainerState::{Exited, Running};
    let (done, crashed) = (Some((0, NOW - 100)), Some((42, NOW - 5)));
    let mut memory = ready_memory(&pod);
    let decided =
        plan(&pod, &with(&[("i1", Exited, done), ("c", Exited, crashed), ("d", Running, None)]), &memory, None);
    assert_eq!(short(&decided), ["forget i10", "stop d0"]);
    assert_eq!(decided.waiting["d"].reason, "RestartingAllContainers");
    let alone = with(&[("c", Exited, crashed)]);
    assert_eq!(short(&plan(&pod, &alone, &memory, None)), ["forget c0"]);
    memory.backoff.advance("c", at(NOW - 5), at(NOW - 5));
    let held = plan(&pod, &alone, &memory, None);
    assert!(short(&held).is_empty() && held.wake_at == Some(at(NOW + 5)), "not again and again at once");
    assert_eq!(short(&plan(&pod, &with(&[]), &memory, None)), ["start i1 0"], "init containers begin anew");
    let other_code = with(&[("i1", Exited, done), ("c", Exited, Some((1, NOW - 5))), ("d", Running, None)]);
    assert!(short(&plan(&pod, &other_code, &memory, None)).is_empty());
}
