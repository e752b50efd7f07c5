//! Wake-ups from the runtime: something moved in this container.
//!
//! Enter at [`follow`]. CRI's GetContainerEvents where the runtime has it (containerd 1.7 and later, CRI-O), else
//! containerd's own event service (1.6), else a look at everything once a second. Whoever listens must also look at
//! everything from time to time: a stream may miss events while it is broken, and each new one begins with
//! [`Wake::All`].

use std::time::Duration;

use component::shutdown::Shutdown;
use containerd_client::{
    events::{ContainerDelete, TaskExit, TaskOom},
    services::v1::{SubscribeRequest, events_client::EventsClient},
};
use k8s_cri::v1::{ContainerEventType, GetEventsRequest, runtime_service_client::RuntimeServiceClient};
use prost::Message as _;
use tonic::{Code, transport::Channel};

const RECONNECT: Duration = Duration::from_secs(1);
/// How often everything is looked at where nothing tells.
const WITHOUT_EVENTS: Duration = Duration::from_secs(1);
/// The containerd namespace in which its CRI plugin keeps its containers. Starts are not asked for: the kubelet's own
/// are told by their calls' ends, and a look at each would cost more than all the rest.
const FILTER: &str = r#"namespace==k8s.io,topic~="^/(tasks/(exit|oom)|containers/delete)$""#;

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// A container or sandbox, by its ID.
    Container(String),
    /// The process of a container or sandbox ended. The runtime may not show it yet: containerd tells its CRI part by
    /// the same event, at the same time.
    Exited(String),
    /// Everything: events may have been missed.
    All,
}

/// Calls `wake` for every event until shutdown, reconnecting as needed.
pub async fn follow(channel: Channel, wake: impl Fn(Wake), shutdown: Shutdown) {
    let mut has_cri = true;
    let mut has_containerd = true;
    while has_cri || has_containerd {
        let followed = async {
            if has_cri { cri(channel.clone(), &wake).await } else { containerd(channel.clone(), &wake).await }
        };
        let Some(result) = shutdown.run_until(followed).await else { return };
        match result {
            Err(status) if status.code() == Code::Unimplemented && has_cri => has_cri = false,
            Err(status) if status.code() == Code::Unimplemented => has_containerd = false,
            other => {
                if let Err(status) = other {
                    tracing::warn!(error = status.message(), "the runtime's event stream broke; opening it again");
                }
                if shutdown.run_until(tokio::time::sleep(RECONNECT)).await.is_none() {
                    return;
                }
            }
        }
    }
    tracing::warn!("the runtime has no event stream: changes are found by looking at all containers every second");
    while shutdown.run_until(tokio::time::sleep(WITHOUT_EVENTS)).await.is_some() {
        wake(Wake::All);
    }
}

async fn cri(channel: Channel, wake: &impl Fn(Wake)) -> Result<(), tonic::Status> {
    let mut stream = RuntimeServiceClient::new(channel).get_container_events(GetEventsRequest {}).await?.into_inner();
    wake(Wake::All);
    while let Some(event) = stream.message().await? {
        if !matches!(
            event.container_event_type(),
            ContainerEventType::ContainerCreatedEvent | ContainerEventType::ContainerStartedEvent
        ) {
            wake(Wake::Container(event.container_id));
        }
    }
    Ok(())
}

async fn containerd(channel: Channel, wake: &impl Fn(Wake)) -> Result<(), tonic::Status> {
    let request = SubscribeRequest { filters: vec![FILTER.to_owned()] };
    let mut stream = EventsClient::new(channel).subscribe(request).await?.into_inner();
    wake(Wake::All);
    while let Some(envelope) = stream.message().await? {
        let Some(event) = envelope.event else { continue };
        if let Some(id) = container_of(&envelope.topic, &event.value) {
            wake(if envelope.topic == "/tasks/exit" { Wake::Exited(id) } else { Wake::Container(id) });
        }
    }
    Ok(())
}

/// The container that an event is about; None for the processes of execs, which end without changing their container.
fn container_of(topic: &str, value: &[u8]) -> Option<String> {
    match topic {
        "/tasks/exit" => TaskExit::decode(value).ok().filter(|it| it.id == it.container_id).map(|it| it.container_id),
        "/tasks/oom" => TaskOom::decode(value).ok().map(|it| it.container_id),
        "/containers/delete" => ContainerDelete::decode(value).ok().map(|it| it.id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_execs_are_passed_over() {
        let exit =
            |id: &str| TaskExit { container_id: "c".into(), id: id.into(), ..TaskExit::default() }.encode_to_vec();
        assert_eq!(container_of("/tasks/exit", &exit("c")).as_deref(), Some("c"));
        assert_eq!(container_of("/tasks/exit", &exit("exec-1")), None);
    }
}
