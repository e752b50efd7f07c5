//! Over the socket, as clients ask: with all the fields of upstream's messages.

use http::uri::PathAndQuery;
use serde_json::json;
use tonic::{Code, client::Grpc, transport::Channel};

use super::*;
use crate::{pod::worker_tests::Bed, runtime::cri};

#[derive(Clone, PartialEq, Message)]
struct AllPods {
    #[prost(message, repeated, tag = "1")]
    pods: Vec<OfPod>,
}

#[derive(Clone, PartialEq, Message)]
struct OnePod {
    #[prost(message, optional, tag = "1")]
    pod: Option<OfPod>,
}

#[derive(Clone, PartialEq, Message)]
struct OfPod {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<OfContainer>,
}

#[derive(Clone, PartialEq, Message)]
struct OfContainer {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", repeated, tag = "2")]
    devices: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "3")]
    cpu_ids: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    memory: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    dynamic_resources: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Allocatable {
    #[prost(bytes = "vec", repeated, tag = "1")]
    devices: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "2")]
    cpu_ids: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    memory: Vec<Vec<u8>>,
}

/// A kubelet that knows a running pod with containers of all kinds, and one that has ended.
struct World {
    client: Grpc<Channel>,
    shutdown: Shutdown,
    /// Ends with it.
    _bed: Bed,
}

impl World {
    async fn start() -> World {
        let bed = Bed::new();
        let node = bed.node();
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let pod = |name: &str, phase: &str| {
            let mut init = named(&["prepare", "sidecar"]);
            init[1]["restartPolicy"] = json!("Always");
            let pod = json!({
                "metadata": {"name": name, "namespace": "ns", "uid": name}, "status": {"phase": phase},
                "spec": {"initContainers": init, "containers": named(&["a", "b"]),
                    "ephemeralContainers": named(&["debugger"])},
            });
            Arc::new(serde_json::from_value(pod).expect("a pod"))
        };
        for (name, phase) in [("web", "Running"), ("done", "Succeeded"), ("new", "Pending")] {
            node.running.put(pod(name, phase));
        }
        let (shutdown, mut tasks) = (Shutdown::new(), JoinSet::new());
        let socket = node.facts.paths.pod_resources();
        // Twice: what the first one left is in nobody's way.
        drop(listen(&socket).expect("a listener"));
        open(&node, &shutdown, &mut tasks);
        tokio::spawn(async move { tasks.join_all().await });
        World { client: Grpc::new(cri::channel(socket)), shutdown, _bed: bed }
    }

    async fn call<Q, A>(&mut self, method: &str, request: Q) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        self.client.ready().await.expect("a connection");
        let path = PathAndQuery::try_from(format!("/v1.PodResourcesLister/{method}")).expect("a path");
        let codec = ProstCodec::<Q, A>::default();
        self.client.unary(Request::new(request), path, codec).await.map(Response::into_inner)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.trigger();
    }
}

/// With containers that have nothing for themselves.
fn expected(name: &str) -> OfPod {
    let containers = ["sidecar", "a", "b"].map(|name| OfContainer { name: name.into(), ..OfContainer::default() });
    OfPod { name: name.into(), namespace: "ns".into(), containers: containers.into() }
}

#[tokio::test]
async fn pods_are_told_with_the_containers_that_stay() {
    let mut world = World::start().await;
    let listed: AllPods = world.call("List", Empty {}).await.expect("a list");
    assert_eq!(listed.pods, [expected("new"), expected("web")]);
    let asked = |name: &str| GetPodResourcesRequest { pod_name: name.into(), pod_namespace: "ns".into() };
    let got: OnePod = world.call("Get", asked("done")).await.expect("a pod");
    assert_eq!(got.pod, Some(expected("done")), "who is asked for by name may have ended");
    let missing = world.call::<_, OnePod>("Get", asked("none")).await.expect_err("no such pod");
    assert_eq!((missing.code(), missing.message()), (Code::Unknown, "pod none in namespace ns not found"));
    let unknown = world.call::<_, Empty>("Watch", Empty {}).await.expect_err("no such method");
    assert_eq!(unknown.code(), Code::Unimplemented);
}

#[tokio::test]
async fn nothing_can_be_handed_out() {
    let answer: Allocatable = World::start().await.call("GetAllocatableResources", Empty {}).await.expect("an answer");
    assert_eq!(answer, Allocatable::default());
}

#[tokio::test(start_paused = true)]
async fn who_asks_too_often_is_told_so() {
    let lister = Lister::new(Bed::new().node());
    let mut codes = Vec::new();
    for _ in 0..=RATE.burst {
        let request = http::Request::post("/v1.PodResourcesLister/Other").body(Body::empty()).expect("a request");
        let answer = lister.clone().answer(request).await;
        codes.push(answer.headers()["grpc-status"].to_str().expect("text").to_owned());
    }
    let (last, first) = codes.split_last().expect("answers");
    assert!(first.iter().all(|code| code == "12") && last == "8", "{codes:?}");
}
