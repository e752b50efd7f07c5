//! The runtime's event streams over gRPC, from a server that speaks as a test says.

use std::{path::Path, sync::Arc};

use component::shutdown::Shutdown;
use containerd_client::{events::TaskExit, types::Envelope};
use k8s_cri::v1::{ContainerEventResponse, ContainerEventType};
use prost::Message;
use tokio::{net::UnixListener, sync::mpsc};

use super::{
    cri,
    events::{Wake, follow},
    fake_grpc::{Answers, Messages},
};
use crate::pod::worker_tests::{Bed, PATIENCE, status, until};

const CRI: &str = "/runtime.v1.RuntimeService/GetContainerEvents";
const CONTAINERD: &str = "/containerd.services.events.v1.Events/Subscribe";

fn event(id: &str, kind: ContainerEventType) -> Vec<u8> {
    let event =
        ContainerEventResponse { container_id: id.into(), container_event_type: kind as i32, ..Default::default() };
    event.encode_to_vec()
}

fn exit(id: &str) -> Vec<u8> {
    let value = TaskExit { container_id: id.into(), id: id.into(), ..TaskExit::default() }.encode_to_vec();
    let mut envelope = Envelope { topic: "/tasks/exit".into(), ..Envelope::default() };
    envelope.event.get_or_insert_default().value = value;
    envelope.encode_to_vec()
}

async fn next(wakes: &mut mpsc::UnboundedReceiver<Wake>) -> Wake {
    tokio::time::timeout(PATIENCE, wakes.recv()).await.expect("in time").expect("a wake")
}

fn serve(socket: &Path, path: &'static str, streams: Vec<Messages>) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let answers = Answers::new(path, streams);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            answers.serve(stream);
        }
    });
}

/// What follows from a server that has `path` only.
fn followed(
    folder: &Path,
    path: &'static str,
    streams: Vec<Messages>,
) -> (mpsc::UnboundedReceiver<Wake>, tokio::task::JoinHandle<()>) {
    let socket = folder.join("cri.sock");
    serve(&socket, path, streams);
    let (sender, wakes) = mpsc::unbounded_channel();
    let task = tokio::spawn(follow(cri::channel(socket), move |wake| drop(sender.send(wake)), Shutdown::new()));
    (wakes, task)
}

#[tokio::test]
async fn cris_own_events_are_followed_and_a_broken_stream_is_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let ((first, one), (second, two)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let (mut wakes, _task) = followed(folder.path(), CRI, vec![one, two]);
    for (id, kind) in [
        ("made", ContainerEventType::ContainerCreatedEvent),
        ("started", ContainerEventType::ContainerStartedEvent),
        ("ended", ContainerEventType::ContainerStoppedEvent),
        ("removed", ContainerEventType::ContainerDeletedEvent),
    ] {
        first.send(event(id, kind)).expect("is read");
    }
    assert_eq!(next(&mut wakes).await, Wake::All, "a new stream may have missed something");
    assert_eq!(next(&mut wakes).await, Wake::Container("ended".into()), "starts are known by their calls");
    assert_eq!(next(&mut wakes).await, Wake::Container("removed".into()));
    drop(first);
    second.send(event("later", ContainerEventType::ContainerStoppedEvent)).expect("is read");
    assert_eq!(next(&mut wakes).await, Wake::All);
    assert_eq!(next(&mut wakes).await, Wake::Container("later".into()));
}

#[tokio::test]
async fn without_them_containerds_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let (events, stream) = mpsc::unbounded_channel();
    let (mut wakes, _task) = followed(folder.path(), CONTAINERD, vec![stream]);
    events.send(exit("ended")).expect("is read");
    assert_eq!(next(&mut wakes).await, Wake::All);
    assert_eq!(next(&mut wakes).await, Wake::Exited("ended".into()));
}

#[tokio::test]
async fn a_runtime_without_any_is_looked_at_again_and_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut wakes, _task) = followed(folder.path(), "/none", Vec::new());
    assert_eq!(next(&mut wakes).await, Wake::All);
    assert_eq!(next(&mut wakes).await, Wake::All);
}

#[tokio::test]
async fn an_event_of_cri_brings_a_pods_end_into_its_status() {
    let mut bed = Bed::new();
    let (node, dispatch) = bed.dispatcher();
    let socket = bed.folder.path().join("cri.sock");
    let (events, stream) = mpsc::unbounded_channel();
    serve(&socket, CRI, vec![stream]);
    let wakes = dispatch.clone();
    tokio::spawn(follow(cri::channel(socket), move |wake| wakes.wake(wake), Shutdown::new()));
    let pod = serde_json::json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u"}, "spec": {
        "restartPolicy": "Never", "containers": [{"name": "a", "image": "i:1"}]}});
    dispatch.put(Arc::new(serde_json::from_value(pod).expect("a pod")));
    until("the pod runs", || status(&node, "u") == "Running").await;
    let ids: Vec<String> = bed.runtime.state().containers.keys().cloned().collect();
    bed.runtime.exit(&ids[0], 0);
    // Nothing else looks here: without the event the pod would stay as it is.
    events.send(event(&ids[0], ContainerEventType::ContainerStoppedEvent)).expect("is read");
    until("the pod is over", || status(&node, "u") == "Succeeded").await;
}
