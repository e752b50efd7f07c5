//! A go-between of a kubelet and its runtime: carries every call, and at one of them kills the kubelet.
//!
//! To either side it is the other. A call is gRPC (HTTP/2 over a unix socket) and passes unread but for its path.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use containerd_client::services::v1::SubscribeRequest;
use containerd_client::services::v1::events_client::EventsClient;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tonic::transport::Channel;

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// How much of the call has happened at which the kubelet dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The runtime has not heard of it.
    Before,
    /// The runtime has begun, and told so by an event; it hears that nobody waits any more. Where it tells of nothing,
    /// [`Cut::After`].
    During,
    /// The runtime has answered; the kubelet has not heard it.
    After,
}

/// What is to happen, and what has.
#[derive(Default)]
struct Plan {
    /// How many changing calls pass before the one that is cut.
    cut: Option<(usize, Cut)>,
    /// The call that was.
    was_cut: Option<String>,
    /// Whether the runtime had begun it, and not answered.
    had_begun: bool,
}

/// What a call needs to know.
#[derive(Clone)]
struct Seam {
    plan: Arc<Mutex<Plan>>,
    /// The topics of the runtime's events.
    events: broadcast::Sender<String>,
}

pub(crate) struct GoBetween {
    seam: Seam,
    /// Carries the calls; ends with this.
    _runtime: tokio::runtime::Runtime,
}

impl GoBetween {
    /// Listens at `near` and carries calls to the runtime at `far`.
    pub(crate) fn start(near: &Path, far: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let seam = Seam { plan: Arc::default(), events: broadcast::Sender::new(1024) };
        let listener = runtime.block_on(async {
            tokio::spawn(listen(EventsClient::new(containerd_client::connect(far).await?), seam.events.clone()));
            UnixListener::bind(near).with_context(|| format!("listen at {}", near.display()))
        })?;
        runtime.spawn(carry_all(listener, far.to_owned(), seam.clone()));
        Ok(Self { seam, _runtime: runtime })
    }

    /// Kills at the changing call after the next `calls` ones.
    pub(crate) fn cut(&self, calls: usize, cut: Cut) {
        *lock(&self.seam.plan) = Plan { cut: Some((calls, cut)), ..Plan::default() };
    }

    /// The call that was cut, if it came to that.
    pub(crate) fn was_cut(&self) -> Option<String> {
        lock(&self.seam.plan).was_cut.clone()
    }

    /// Whether the runtime was at that call.
    pub(crate) fn had_begun(&self) -> bool {
        lock(&self.seam.plan).had_begun
    }

    /// Lets everything pass from now on; the call that was cut, if it came to that.
    pub(crate) fn mend(&self) -> Option<String> {
        std::mem::take(&mut *lock(&self.seam.plan)).was_cut
    }
}

fn lock(plan: &Mutex<Plan>) -> std::sync::MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plan {
    /// What is to be done at this call.
    fn count(&mut self, path: &str) -> Option<Cut> {
        let (left, cut) = self.cut.filter(|_| is_changing(path))?;
        self.cut = left.checked_sub(1).map(|left| (left, cut));
        if left > 0 {
            return None;
        }
        self.was_cut = Some(path.rsplit('/').next().unwrap_or(path).to_owned());
        Some(cut)
    }
}

/// Calls that only look can be cut without a trace, and how many there are is a matter of time; the node's range of addresses is
/// told at a kubelet's start, and not of a pod.
fn is_changing(path: &str) -> bool {
    let Some(method) = path.strip_prefix("/runtime.v1.").and_then(|path| path.split_once('/')) else { return false };
    let looks = ["List", "Get", "Stream"].iter().any(|word| method.1.starts_with(word))
        || ["Status", "Stats", "Info"].iter().any(|word| method.1.ends_with(word));
    !looks && !["Version", "RuntimeConfig", "UpdateRuntimeConfig"].contains(&method.1)
}

async fn carry_all(listener: UnixListener, far: PathBuf, seam: Seam) {
    while let Ok((stream, _)) = listener.accept().await {
        let (far, seam) = (far.clone(), seam.clone());
        tokio::spawn(async move {
            if let Err(error) = carry(stream, &far, seam).await {
                println!("a connection of the kubelet's ended: {error:#}");
            }
        });
    }
}

/// One connection of the kubelet's, over one of its own to the runtime: who hangs up there hangs up here.
async fn carry(stream: UnixStream, far: &Path, seam: Seam) -> Result<()> {
    let kubelet = stream.peer_cred()?.pid().context("a peer without a process")?;
    let runtime = UnixStream::connect(far).await.context("reach the runtime")?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(runtime)).await?;
    let carried = tokio::spawn(connection);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let cut = lock(&seam.plan).count(request.uri().path());
        let (sender, seam) = (sender.clone(), seam.clone());
        async move {
            Ok::<_, std::convert::Infallible>(call(sender, request, cut, kubelet, &seam).await.unwrap_or_else(
                |error| {
                    println!("the runtime did not answer: {error:#}");
                    let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
                    *answer.status_mut() = StatusCode::BAD_GATEWAY;
                    answer
                },
            ))
        }
    });
    let served =
        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    // A kubelet that was killed ends its connection with an error.
    let _ = served.await;
    carried.abort();
    Ok(())
}

/// The runtime answers with its first event.
async fn listen(mut client: EventsClient<Channel>, events: broadcast::Sender<String>) {
    let Ok(answer) = client.subscribe(SubscribeRequest::default()).await else { return };
    let mut stream = answer.into_inner();
    while let Ok(Some(event)) = stream.message().await {
        // Nobody listens while nothing is to be cut.
        let _ = events.send(event.topic);
    }
}

/// What the runtime tells of when it is at a call. It tells of some only when they are done, of others never.
fn event_of(path: &str) -> &'static str {
    match path.rsplit('/').next().unwrap_or(path) {
        "RunPodSandbox" | "CreateContainer" => "/containers/create",
        "StartContainer" => "/tasks/create",
        "ExecSync" => "/tasks/exec-added",
        "StopContainer" | "StopPodSandbox" => "/tasks/exit",
        "RemoveContainer" | "RemovePodSandbox" => "/containers/delete",
        _ => "/",
    }
}

async fn until_told(mut events: broadcast::Receiver<String>, topic: &str) {
    while !events.recv().await.is_ok_and(|told| told.starts_with(topic)) {}
}

async fn call(
    mut sender: SendRequest<Body>,
    request: Request<Incoming>,
    cut: Option<Cut>,
    kubelet: i32,
    seam: &Seam,
) -> Result<Response<Body>> {
    let begun = until_told(seam.events.subscribe(), event_of(request.uri().path()));
    if cut != Some(Cut::Before) {
        sender.ready().await?;
        let answer = sender.send_request(request.map(BodyExt::boxed_unsync));
        if cut.is_none() {
            return Ok(answer.await?.map(BodyExt::boxed_unsync));
        }
        let whole = async { answer.await?.into_body().collect().await };
        tokio::select! {
            // Where it has begun and has answered before anybody looked, it has begun.
            biased;
            () = begun, if cut == Some(Cut::During) => lock(&seam.plan).had_begun = true,
            _answer = whole => {}
        }
    }
    kill(Pid::from_raw(kubelet), Signal::SIGKILL).context("kill the kubelet")?;
    std::future::pending().await
}
