//! The steps of a plan, done: each one CRI call with what belongs before and after it.
//!
//! Every step runs to its end in a task of its own; only hooks, pulls and waits for the API end early when the pod is to
//! stop.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use component::{recorder::Type, removal::remove_tree, shutdown::Shutdown};
use k8s_cri::v1::ImageSpec;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::{
    configs::{self, container::Prepared},
    hooks, image_volumes,
    node::Node,
    plan::Start,
    spec::{self, Role},
};
use crate::{
    env, metrics,
    paths::Paths,
    runtime::{ContainerState, Observed, observe::Item},
    volumes::mounts,
};

/// A runtime needs a moment between SIGTERM and SIGKILL even where no grace is left.
const GRACE_PERIOD_SECONDS_MIN: i64 = 2;

/// A start that failed, as the container's waiting state shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    pub reason: String,
    pub message: String,
}

fn fail<T>(reason: &str, message: impl Into<String>) -> Result<T, StartError> {
    Err(StartError { reason: reason.to_owned(), message: message.into() })
}

/// Creates and starts a container, and runs its postStart hook. Answers the container.
pub async fn start_container(
    node: &Node,
    pod: &Pod,
    observed: &Observed,
    start: &Start,
    stopping: &Shutdown,
) -> Result<Item, StartError> {
    let Some((role, container)) = spec::find_container(pod, &start.name) else {
        return fail("CreateContainerConfigError", format!("container {:?} is not in the pod", start.name));
    };
    let result = match stopping.run_until(all_known(node, pod)).await {
        Some(()) => start_of_role(node, pod, (role, container), observed, start, stopping).await,
        None => fail("ContainerCreating", "the pod is to end"),
    };
    if result.is_ok() || !stopping.is_triggered() {
        metrics::container_started(role, result.as_ref().err().map(|error| error.reason.as_str()));
    }
    result
}

/// Waits until the API has told what containers are made from. A static pod waits for no Services, as upstream: it may be
/// what the API server runs in.
async fn all_known(node: &Node, pod: &Pod) {
    if let Some(services) = node.services.as_ref().filter(|_| !spec::is_static(pod)) {
        services.synced().await;
    }
    node.sources.loaded(spec::uid(pod)).await;
}

async fn start_of_role(
    node: &Node,
    pod: &Pod,
    (role, container): (Role, Container),
    observed: &Observed,
    start: &Start,
    stopping: &Shutdown,
) -> Result<Item, StartError> {
    let tell = |reason: &str, message: String| {
        node.reporter.container(pod, &container.name, Type::Warning, reason, message);
    };
    let pod_ips = ips(node, pod, observed);
    let images = image_volumes::make_ready(node, pod, &container, stopping).await.inspect_err(|error| {
        if !stopping.is_triggered() {
            tell("Failed", format!("Error: {}", error.message));
        }
    })?;
    let prepared = prepare(node, pod, role, &container, observed, start, &pod_ips, images).await;
    let config = prepared.and_then(|prepared| configs::container::config(pod, &container, prepared, &node.facts));
    let config = match config {
        Ok(config) => config,
        Err(message) => {
            tell("Failed", format!("Error: {message}"));
            return fail("CreateContainerConfigError", message);
        }
    };
    let log_path = node.facts.paths.log_folder(&spec::identity(pod)).join(&config.log_path);
    let sandbox_attempt = observed.ready_sandbox().map_or(0, |sandbox| sandbox.attempt);
    let sandbox_config = match configs::sandbox::config(pod, sandbox_attempt, &node.facts) {
        Ok(config) => config,
        Err(message) => return fail("CreateContainerConfigError", message),
    };
    let id = match node.runtime.create_container(&start.sandbox_id, config, sandbox_config).await {
        Ok(id) => id,
        Err(error) => {
            tell("Failed", format!("Error: {}", error.message));
            return fail("CreateContainerError", error.message);
        }
    };
    node.index.note([id.clone()], spec::uid(pod));
    node.reporter.container(pod, &container.name, Type::Normal, "Created", "Container created");
    if let Err(error) = node.runtime.start_container(&id).await {
        tell("Failed", format!("Error: {}", error.message));
        return fail("RunContainerError", error.message);
    }
    node.reporter.container(pod, &container.name, Type::Normal, "Started", "Container started");
    link_log(&node.facts.paths, &log_path, &id).await;
    post_start(node, pod, &container, &id, &pod_ips, stopping).await?;
    Ok(Item::Container { id, sandbox_id: start.sandbox_id.clone() })
}

/// Collectors of logs look for a link of the container's own.
async fn link_log(paths: &Paths, log_path: &Path, id: &str) {
    let Some(link) = paths.log_link(log_path, id).filter(|_| log_path.exists()) else { return };
    if let Err(error) = tokio::fs::symlink(log_path, &link).await {
        tracing::warn!(%error, link = %link.display(), "a container's log cannot be linked to");
    }
}

/// The addresses that containers are told: those of the sandbox, or of the node on its network.
pub fn ips(node: &Node, pod: &Pod, observed: &Observed) -> Vec<String> {
    if spec::is_host_network(pod) { node.facts.host_ips.clone() } else { observed.ips().to_vec() }
}

#[expect(clippy::too_many_arguments, reason = "all that a container is made from")]
async fn prepare(
    node: &Node,
    pod: &Pod,
    role: Role,
    container: &Container,
    observed: &Observed,
    start: &Start,
    pod_ips: &[String],
    images: BTreeMap<String, ImageSpec>,
) -> Result<Prepared, String> {
    let services = node.services.as_ref().map(|services| services.list()).unwrap_or_default();
    let env = env::variables(&env::Inputs {
        pod,
        container,
        pod_ips,
        services: &services,
        sources: node.sources.as_ref(),
        facts: &node.facts,
        read_file: &|volume, path| node.volumes.read_file(pod, volume, path),
    })?;
    let target_id = if role == Role::Ephemeral { ephemeral_target(pod, &container.name, observed)? } else { None };
    let log_folder = node.facts.paths.log_folder(&spec::identity(pod)).join(&container.name);
    let attempt = attempt(start, &log_folder);
    if start.attempt < attempt {
        prune_logs(&log_folder, attempt);
    }
    let restart_count = i32::try_from(attempt).unwrap_or(i32::MAX);
    tokio::fs::create_dir_all(&log_folder)
        .await
        .map_err(|error| format!("create container log directory for container {} failed: {error}", container.name))?;
    let mounts = make_mounts(node, pod, container, pod_ips, &env, restart_count, images).await?;
    let devices = mounts::devices(&node.volumes, pod, container)?;
    let volume_groups = node.volumes.groups(spec::uid(pod));
    Ok(Prepared { attempt, restart_count, image: start.image.clone(), env, mounts, devices, target_id, volume_groups })
}

async fn make_mounts(
    node: &Node,
    pod: &Pod,
    container: &Container,
    pod_ips: &[String],
    env: &[(String, String)],
    restart_count: i32,
    images: BTreeMap<String, ImageSpec>,
) -> Result<Vec<k8s_cri::v1::Mount>, String> {
    let (volumes, facts) = (node.volumes.clone(), node.facts.clone());
    let (pod, container) = (pod.clone(), container.clone());
    let (pod_ips, env) = (pod_ips.to_vec(), env.to_vec());
    let made = tokio::task::spawn_blocking(move || {
        let inputs = mounts::Inputs {
            pod: &pod,
            container: &container,
            pod_ips: &pod_ips,
            env: &env,
            cluster_domain: &facts.cluster_domain,
            restart_count,
            has_recursive_read_only: facts.abilities.recursive_read_only,
            images: &images,
        };
        mounts::of_container(&volumes, &inputs)
    });
    made.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// Where the runtime has lost the runs before (a cleared disk, another cleaner), the log files still count them.
fn attempt(start: &Start, log_folder: &Path) -> u32 {
    if start.crashed_at.is_some() || start.attempt > 0 {
        return start.attempt;
    }
    let files = std::fs::read_dir(log_folder).into_iter().flatten().flatten();
    let numbers = files.filter_map(|file| file.file_name().to_str()?.split('.').next()?.parse::<u32>().ok());
    numbers.max().map_or(0, |last| last + 1)
}

/// Runs that are counted by their logs alone left them behind: but for the last, they go.
fn prune_logs(log_folder: &Path, attempt: u32) {
    for file in std::fs::read_dir(log_folder).into_iter().flatten().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let number = name.split('.').next().and_then(|number| number.parse::<u32>().ok());
        if number.is_some_and(|number| number + 1 < attempt)
            && let Err(error) = std::fs::remove_file(file.path())
        {
            tracing::warn!(%error, path = %file.path().display(), "an old log cannot be removed");
        }
    }
}

fn ephemeral_target(pod: &Pod, name: &str, observed: &Observed) -> Result<Option<String>, String> {
    let list = spec::spec(pod).ephemeral_containers.iter().flatten();
    let target = list.filter(|it| it.name == name).find_map(|it| it.target_container_name.clone());
    let Some(target) = target.filter(|target| !target.is_empty()) else { return Ok(None) };
    let found = observed.current(&target).filter(|record| record.state == ContainerState::Running);
    found.map(|record| Some(record.id.clone())).ok_or(format!("unable to find target container {target}"))
}

async fn post_start(
    node: &Node,
    pod: &Pod,
    container: &Container,
    id: &str,
    pod_ips: &[String],
    stopping: &Shutdown,
) -> Result<(), StartError> {
    let Some(handler) = container.lifecycle.as_ref().and_then(|it| it.post_start.as_ref()) else { return Ok(()) };
    let run = hooks::run(node, pod, container, id, pod_ips, handler);
    let Some(Err(message)) = stopping.run_until(run).await else { return Ok(()) };
    tracing::warn!(pod = %spec::identity(pod), container = container.name, message, "the postStart hook failed");
    node.reporter.container(pod, &container.name, Type::Warning, "FailedPostStartHook", "PostStartHook failed");
    node.reporter.container(pod, &container.name, Type::Normal, "Killing", "FailedPostStartHook");
    let grace = spec::termination_grace_period_seconds(pod).max(GRACE_PERIOD_SECONDS_MIN);
    if let Err(error) = node.runtime.stop_container(id, grace).await {
        tracing::warn!(%error, "a container cannot be stopped after its failed postStart hook");
    }
    fail("PostStartHookError", message)
}

/// What is to be stopped, and how.
pub struct StopOrder {
    pub id: String,
    pub name: String,
    /// None for a second, stricter order: it is told and hooked already.
    pub message: Option<String>,
    pub grace_period_seconds: i64,
}

/// Runs the preStop hook within the grace, then stops the container.
pub async fn stop_container(
    node: Arc<Node>,
    pod: Arc<Pod>,
    observed: Arc<Observed>,
    order: StopOrder,
) -> Result<(), String> {
    let grace = order.grace_period_seconds - announce_stop(&node, &pod, &observed, &order).await;
    match node.runtime.stop_container(&order.id, grace.max(GRACE_PERIOD_SECONDS_MIN)).await {
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Tells that the container is stopped, and runs its preStop hook; nothing for an order without a message. Answers the
/// whole seconds that it took.
pub async fn announce_stop(node: &Node, pod: &Pod, observed: &Observed, order: &StopOrder) -> i64 {
    let Some(message) = order.message.clone() else { return 0 };
    node.reporter.container(pod, &order.name, Type::Normal, "Killing", message);
    let record = observed.containers.iter().find(|record| record.id == order.id);
    let is_running = record.is_some_and(|record| record.state == ContainerState::Running);
    if order.grace_period_seconds <= 0 || !is_running {
        return 0;
    }
    pre_stop(node, pod, observed, &order.name, &order.id, order.grace_period_seconds).await
}

/// Answers the whole seconds that the hook took.
async fn pre_stop(node: &Node, pod: &Pod, observed: &Observed, name: &str, id: &str, grace_seconds: i64) -> i64 {
    let Some((_, container)) = spec::find_container(pod, name) else { return 0 };
    let Some(handler) = container.lifecycle.as_ref().and_then(|it| it.pre_stop.clone()) else { return 0 };
    let started = tokio::time::Instant::now();
    let pod_ips = ips(node, pod, observed);
    let run = hooks::run(node, pod, &container, id, &pod_ips, &handler);
    let limit = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(())) => {}
        Ok(Err(message)) => {
            tracing::warn!(pod = %spec::identity(pod), container = name, message, "the preStop hook failed");
            node.reporter.container(pod, name, Type::Warning, "FailedPreStopHook", "PreStopHook failed");
        }
        Err(_) => tracing::warn!(pod = %spec::identity(pod), container = name, "the preStop hook outlasted the grace"),
    }
    i64::try_from(started.elapsed().as_secs()).unwrap_or(i64::MAX)
}

/// Removes a dead container with its log files.
pub async fn remove_container(node: &Node, id: &str, log_path: &str) -> Result<(), String> {
    // The log goes first: a kubelet that dies in between must not leave a log file behind without its container, which
    // would count as one more restart.
    if !log_path.is_empty()
        && let Err(error) = tokio::fs::remove_file(log_path).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = log_path, "a log file cannot be removed");
    }
    // One that stays goes when the node is cleared up. Long names are cut: it may be another container's.
    if let Some(link) = node.facts.paths.log_link(Path::new(log_path), id)
        && tokio::fs::read_link(&link).await.is_ok_and(|log| log == Path::new(log_path))
    {
        let _ = tokio::fs::remove_file(link).await;
    }
    match node.runtime.remove_container(id).await {
        Err(error) if !error.is_not_found() => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// Removes everything that the runtime and the log folder still hold of a pod that is gone. Of one that comes back the logs
/// stay: its restarts are counted by them.
pub async fn remove_pod(node: &Node, pod: &Pod, returns: bool) -> Result<(), String> {
    let (runtime, uid) = (node.runtime.as_ref(), spec::uid(pod));
    let told = |error: crate::runtime::Error| error.to_string();
    for container in runtime.list_containers(Some(uid)).await.map_err(told)? {
        let log_path = match runtime.container_status(&container.id).await {
            Err(error) if error.is_not_found() => continue,
            status => status.map_err(told)?.log_path,
        };
        remove_container(node, &container.id, if returns { "" } else { &log_path }).await?;
    }
    for sandbox in runtime.list_sandboxes(Some(uid)).await.map_err(told)? {
        match node.runtime.remove_sandbox(&sandbox.id).await {
            Err(error) if !error.is_not_found() => return Err(error.to_string()),
            _ => {}
        }
    }
    if returns { Ok(()) } else { remove_logs(&node.facts.paths, pod).await }
}

async fn remove_logs(paths: &Paths, pod: &Pod) -> Result<(), String> {
    let folder = paths.log_folder(&spec::identity(pod));
    let removed = tokio::task::spawn_blocking(move || remove_tree(&folder)).await;
    let removed = removed.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    removed.map_err(|error| format!("removing the pod's logs: {error}"))
}
