//! Plain answers: pod lists, logs, one-off commands.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::{
    List,
    api::core::v1::{ContainerStatus, Pod},
};
use tokio::sync::mpsc;

use super::{
    body::{self, Body, text},
    logs::{options::LogOptions, read},
    query::Query,
    route::Target,
};
use crate::{
    pod::{node::Node, spec},
    runtime::{ContainerRecord, ContainerState, Observed},
};

/// Pieces of a log that may wait for a slow reader.
const PIECES_MAX: usize = 4;

pub(super) fn pods(node: &Node) -> Response<Body> {
    let mut items: Vec<Pod> = node.running.list().iter().map(|pod| (**pod).clone()).collect();
    items.sort_by(|a, b| (&a.metadata.namespace, &a.metadata.name).cmp(&(&b.metadata.namespace, &b.metadata.name)));
    body::json(&List::<Pod> { items, ..List::default() })
}

/// Only what the runtime has alive, as names.
pub(super) async fn running_pods(node: &Node) -> Response<Body> {
    let sandboxes = match node.runtime.list_sandboxes(None).await {
        Ok(sandboxes) => sandboxes,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let ready = sandboxes.into_iter().filter(|it| it.state == k8s_cri::v1::PodSandboxState::SandboxReady as i32);
    let items = ready.filter_map(|sandbox| {
        let metadata = sandbox.metadata?;
        let mut pod = Pod::default();
        pod.metadata.name = Some(metadata.name);
        pod.metadata.namespace = Some(metadata.namespace);
        pod.metadata.uid = Some(metadata.uid);
        Some(pod)
    });
    body::json(&List::<Pod> { items: items.collect(), ..List::default() })
}

/// An answer that ends a request early.
pub(super) type Refused = Box<Response<Body>>;

/// The pod, or the answer that there is none.
pub(super) fn find(node: &Node, target: &Target) -> Result<Arc<Pod>, Refused> {
    node.running.find(&target.namespace, &target.pod, &target.uid).ok_or_else(|| {
        Box::new(text(
            StatusCode::NOT_FOUND,
            format!("pod does not exist: pod \"{}_{}\" not found\n", target.pod, target.namespace),
        ))
    })
}

/// The container's runtime record: the running one for streams.
pub(super) async fn running_container(node: &Node, pod: &Pod, name: &str) -> Result<ContainerRecord, Refused> {
    let observed = Observed::of_pod(node.runtime.as_ref(), spec::uid(pod)).await;
    let observed = observed.map_err(|error| Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))?;
    let found = observed.current(name).filter(|record| record.state == ContainerState::Running).cloned();
    found.ok_or_else(|| Box::new(text(StatusCode::NOT_FOUND, format!("container not found (\"{name}\")\n"))))
}

pub(super) async fn logs(node: &Node, target: &Target, query: &Query) -> Response<Body> {
    let options = match LogOptions::from_query(query, node.clock.now()) {
        Ok(options) => options,
        Err(problem) => return text(StatusCode::UNPROCESSABLE_ENTITY, format!("{problem}\n")),
    };
    let pod = match find(node, target) {
        Ok(pod) => pod,
        Err(answer) => return *answer,
    };
    if spec::find_container(&pod, &target.container).is_none() {
        let message = format!("container {:?} not found in pod {:?}\n", target.container, target.pod);
        return text(StatusCode::NOT_FOUND, message);
    }
    let id = match container_of_log(&pod, &target.container, options.previous) {
        Ok(id) => id,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
    };
    let path = match node.runtime.container_status(&id).await {
        Ok(status) => status.log_path,
        Err(error) => {
            let message =
                format!("unable to retrieve container logs for {}://{id}: {}", node.runtime_name, error.rpc());
            return text(StatusCode::OK, message);
        }
    };
    let (sender, receiver) = mpsc::channel::<Bytes>(PIECES_MAX);
    let source = read::Source { path: path.into(), container_id: id, runtime: node.runtime.clone() };
    tokio::spawn(async move {
        if let Err(error) = read::stream(source, options, sender.clone()).await {
            // The status is sent already: upstream, too, tells the error in the text.
            let _ = sender.send(format!("failed to try resolving symlinks in path: {error}\n").into()).await;
        }
    });
    let stream =
        futures::stream::unfold(receiver, |mut receiver| async { Some((Ok(receiver.recv().await?), receiver)) });
    let mut response = Response::new(body::of_stream(stream));
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The container whose log is asked for, by the pod's status, or why there is none; in upstream's words.
fn container_of_log(pod: &Pod, name: &str, previous: bool) -> Result<String, String> {
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref();
    let lists =
        status.map(|it| [&it.init_container_statuses, &it.container_statuses, &it.ephemeral_container_statuses]);
    let found = lists.into_iter().flatten().flat_map(|list| list.iter().flatten()).find(|it| it.name == name);
    let Some(status) = found else {
        return Err(format!("container {name:?} in pod {pod_name:?} is not available"));
    };
    let plain = |id: &str| id.split_once("://").map_or(id, |(_, id)| id).to_owned();
    let last =
        status.last_state.as_ref().and_then(|it| it.terminated.as_ref()).and_then(|it| it.container_id.as_deref());
    if previous {
        return last
            .map(plain)
            .ok_or_else(|| format!("previous terminated container {name:?} in pod {pod_name:?} not found"));
    }
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return status.container_id.as_deref().map(plain).ok_or_else(|| waiting(status, pod_name));
    }
    if let Some(terminated) = &state.terminated {
        let id = terminated.container_id.as_deref().or(last);
        return id.map(plain).ok_or_else(|| format!("container {name:?} in pod {pod_name:?} is terminated"));
    }
    last.map(plain).ok_or_else(|| waiting(status, pod_name))
}

fn waiting(status: &ContainerStatus, pod_name: &str) -> String {
    let reason = status.state.as_ref().and_then(|it| it.waiting.as_ref()).and_then(|it| it.reason.as_deref());
    let what = match reason {
        Some("ErrImagePull") => "image can't be pulled",
        Some("ImagePullBackOff") => "trying and failing to pull image",
        Some(reason) => reason,
        None => return format!("container {:?} in pod {pod_name:?} is waiting to start - no logs yet", status.name),
    };
    format!("container {:?} in pod {pod_name:?} is waiting to start: {what}", status.name)
}

/// `/run`: a command, its output as the answer.
pub(super) async fn run(node: &Node, target: &Target, query: &Query) -> Response<Body> {
    let pod = match find(node, target) {
        Ok(pod) => pod,
        Err(answer) => return *answer,
    };
    let record = match running_container(node, &pod, &target.container).await {
        Ok(record) => record,
        Err(answer) => return *answer,
    };
    let command = query.get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
    match node.runtime.exec_sync(&record.id, command, Duration::ZERO).await {
        Ok(output) => {
            let bytes = [output.stdout, output.stderr].concat();
            let status = if output.exit_code == 0 { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
            body::with_type(status, "text/plain; charset=utf-8", bytes.into())
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.rpc()),
    }
}
