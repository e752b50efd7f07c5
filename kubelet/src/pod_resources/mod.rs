//! `pod-resources/kubelet.sock`: what of the node each container has for itself (gRPC, upstream's `v1.PodResourcesLister`).
//!
//! Enter at [`open`]. This kubelet gives no device, core, memory or dynamic resource to one container alone. So pods and
//! containers are named, and what they hold is left empty, as upstream's kubelet does where no resource manager is on.

mod messages;
#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    task,
};

use component::{removal::remove_tree, shutdown::Shutdown};
use futures::{future::BoxFuture, stream};
use k8s_openapi::api::core::v1::Pod;
use prost::Message;
use tokio::{net::UnixListener, task::JoinSet, time::Instant};
use tonic::{Request, Response, Status, body::Body, server::Grpc, transport::Server};
use tonic_prost::ProstCodec;

use self::messages::{
    ContainerResources, Empty, GetPodResourcesRequest, GetPodResourcesResponse, ListPodResourcesResponse, PodResources,
};
use crate::{
    Error, folders,
    pod::{
        node::Node,
        spec::{self, Role},
    },
    rate::{Bucket, Rate},
};

/// As upstream's.
const RATE: Rate = Rate { qps: 100, burst: 10 };

/// Answers at the socket until shutdown. A kubelet that cannot open it runs pods all the same, and says so in the log.
pub(crate) fn open(node: &Arc<Node>, shutdown: &Shutdown, tasks: &mut JoinSet<()>) {
    let socket = node.facts.paths.pod_resources();
    match listen(&socket) {
        Ok(listener) => {
            tasks.spawn(serve(listener, Lister::new(node.clone()), shutdown.clone()));
        }
        Err(error) => {
            tracing::warn!(%error, socket = %socket.display(), "nobody can ask what resources pods have");
        }
    }
}

fn listen(socket: &Path) -> Result<UnixListener, Error> {
    if let Some(folder) = socket.parent() {
        folders::make(folder, folders::OWN)?;
    }
    // Of a kubelet that was here before.
    remove_tree(socket)?;
    Ok(UnixListener::bind(socket)?)
}

async fn serve(listener: UnixListener, lister: Lister, shutdown: Shutdown) {
    let clients = stream::poll_fn(|context| {
        let accepted = task::ready!(listener.poll_accept(context));
        task::Poll::Ready(Some(accepted.map(|(client, _)| client)))
    });
    let served = Server::builder().serve_with_incoming(lister, clients);
    if let Some(Err(error)) = shutdown.run_until(served).await {
        tracing::error!(%error, "the socket that tells what resources pods have is closed");
    }
}

/// The service.
#[derive(Clone)]
struct Lister {
    node: Arc<Node>,
    bucket: Arc<Mutex<Bucket>>,
}

impl tower::Service<http::Request<Body>> for Lister {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Infallible>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let lister = self.clone();
        Box::pin(async move { Ok(lister.answer(request).await) })
    }
}

impl Lister {
    fn new(node: Arc<Node>) -> Lister {
        Lister { node, bucket: Arc::default() }
    }

    async fn answer(self, request: http::Request<Body>) -> http::Response<Body> {
        if !self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(RATE, Instant::now()) {
            return Status::resource_exhausted("rejected by rate limit").into_http();
        }
        match request.uri().path() {
            "/v1.PodResourcesLister/List" => unary(request, |_: Empty| Ok(self.list())).await,
            "/v1.PodResourcesLister/GetAllocatableResources" => unary(request, |_: Empty| Ok(Empty {})).await,
            "/v1.PodResourcesLister/Get" => unary(request, |asked| self.get(&asked)).await,
            other => Status::unimplemented(format!("unknown method {other}")).into_http(),
        }
    }

    /// Pods that run, or will.
    fn list(&self) -> ListPodResourcesResponse {
        let pods = self.node.running.list();
        let mut pods: Vec<PodResources> = pods.iter().filter(|pod| !spec::is_over(pod)).map(|pod| told(pod)).collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        ListPodResourcesResponse { pod_resources: pods }
    }

    fn get(&self, asked: &GetPodResourcesRequest) -> Result<GetPodResourcesResponse, Status> {
        let (namespace, name) = (&asked.pod_namespace, &asked.pod_name);
        let pod = self.node.running.find(namespace, name, "");
        let pod = pod.ok_or_else(|| Status::unknown(format!("pod {name} in namespace {namespace} not found")))?;
        Ok(GetPodResourcesResponse { pod_resources: Some(told(&pod)) })
    }
}

async fn unary<Q, A>(request: http::Request<Body>, answer: impl Fn(Q) -> Result<A, Status>) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let method =
        tower::service_fn(|request: Request<Q>| std::future::ready(answer(request.into_inner()).map(Response::new)));
    Grpc::new(ProstCodec::default()).unary(method, request).await
}

/// Containers that stay while the pod runs; what prepares it is gone by then.
fn told(pod: &Pod) -> PodResources {
    let identity = spec::identity(pod);
    let containers = spec::containers(pod).into_iter();
    let stay = containers.filter(|(role, _)| matches!(role, Role::Sidecar | Role::Regular));
    PodResources {
        name: identity.name,
        namespace: identity.namespace,
        containers: stay.map(|(_, container)| ContainerResources { name: container.name }).collect(),
    }
}
