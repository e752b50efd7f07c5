//! The API server over its store, on a disk that may lose power; and its next life on what the disk kept.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use apiserver::store::Store;
use apiserver::store::embedded::disk::Disk;
use apiserver::store::embedded::{self, Embedded};
use component::clock::Clock;
use component::random::Random;
use component::shutdown::Shutdown;
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use tower::Service;

use crate::breaks::Fault;
use crate::breaks::disk::Forgetful;
use crate::breaks::store::Spoilt;
use crate::disk::Faulty;
use crate::doubts::Doubts;
use crate::network::{Body, BoxError};
use crate::trace::Trace;

/// Small, so that files of the log are closed, and watchers read them, within a run.
const SIZES: embedded::Options =
    embedded::Options { segment_bytes_max: 256 << 10, room_bytes: 16 << 10, tail_bytes_max: 32 << 10 };

/// Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server {
    life: Arc<Mutex<Option<Life>>>,
    disk: Arc<Mutex<Faulty>>,
    clock: Clock,
    random: Random,
    doubts: Doubts,
    trace: Trace,
    /// What is broken on purpose.
    fault: Option<Fault>,
    /// The key that signs tokens; nobody asks for any.
    folder: Arc<tempfile::TempDir>,
}

struct Life {
    api: apiserver::InProcess,
    store: Arc<Embedded>,
    shutdown: Shutdown,
}

impl Server {
    /// Nothing runs yet.
    pub(crate) fn new(clock: Clock, random: Random, trace: Trace, fault: Option<Fault>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let (life, disk, doubts) = (Arc::default(), Arc::default(), Doubts::default());
        Self { life, disk, clock, random, doubts, trace, fault, folder: Arc::new(folder) }
    }

    pub(crate) fn doubts(&self) -> &Doubts {
        &self.doubts
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Reads the log and serves.
    pub(crate) async fn start(&self) -> Result<(), String> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.lock().unwrap().clone());
        let disk = if matches!(self.fault, Some(Fault::Unsynced)) { Arc::new(Forgetful(disk)) } else { disk };
        let store = Embedded::start(disk, self.clock, SIZES).await.map_err(|error| format!("the store: {error}"))?;
        self.serve(Arc::new(store))
    }

    fn serve(&self, store: Arc<Embedded>) -> Result<(), String> {
        let key = self.folder.path().join("key").display().to_string();
        let flags = [
            "--storage-backend=embedded",
            "--data-dir=the simulated disk",
            "--advertise-address=192.0.2.1",
            "--service-account-issuer=https://kubernetes",
            &format!("--service-account-signing-key-file={key}"),
            "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition",
        ];
        let options = apiserver::Options::from_flags(&apiserver::flags().parse(flags).unwrap()).unwrap();
        let shutdown = Shutdown::new();
        let seams = apiserver::Seams {
            clock: self.clock,
            random: self.random.clone(),
            ..apiserver::Seams::system(shutdown.clone())
        };
        let served: Arc<dyn Store> = match self.fault {
            Some(Fault::Served(spoil)) => Arc::new(Spoilt { inner: store.clone(), spoil }),
            _ => store.clone(),
        };
        let api = apiserver::InProcess::start(options, served, seams).map_err(|error| error.to_string())?;
        *self.life.lock().unwrap() = Some(Life { api, store, shutdown });
        Ok(())
    }

    /// A new process on the same store, which it shares with nobody.
    pub(crate) fn replace(&self) -> Result<(), String> {
        let Some(Life { store, shutdown, .. }) = self.life.lock().unwrap().take() else { return Ok(()) };
        shutdown.trigger();
        self.serve(store)
    }

    /// The power fails now, or has already. The next life begins with [`Server::start`].
    pub(crate) async fn fail(&self) {
        let Some(Life { api, store, shutdown }) = self.life.lock().unwrap().take() else { return };
        shutdown.trigger();
        drop(api);
        let crashed = self.disk.lock().unwrap().clone();
        crashed.crash_at(1);
        store.close().await;
        *self.disk.lock().unwrap() = crashed.after_power_failure(&self.random);
        self.trace.tell(format!("the power failed at change {} of the disk", crashed.calls()));
    }

    /// Lets the power fail at the `calls`th change of the disk from now.
    pub(crate) fn fail_at(&self, calls: u64) {
        self.disk.lock().unwrap().crash_at(calls);
    }

    /// Lets the disk be full, or no longer.
    pub(crate) fn fill(&self, full: bool) {
        self.disk.lock().unwrap().fill(full);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.disk.lock().unwrap().crashed()
    }

    /// The store while the server lives.
    pub(crate) fn store(&self) -> Option<Arc<dyn Store>> {
        let inner: Arc<dyn Store> = self.life.lock().unwrap().as_ref()?.store.clone();
        Some(match self.fault {
            Some(Fault::Looked(spoil)) => Arc::new(Spoilt { inner, spoil }),
            _ => inner,
        })
    }

    /// A request without accidents; it fails only while the server is down, or when it goes down.
    pub(crate) async fn call(&self, request: Request<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let life = self.life.lock().unwrap().as_ref().map(|life| (life.api.service(), life.shutdown.clone()));
        let (mut service, down) = life.ok_or("connection refused")?;
        let answer = down.run_until(service.call(request)).await;
        if self.has_failed() {
            down.trigger();
        }
        let response = answer.ok_or("connection reset")?.unwrap_or_else(|never| match never {});
        Ok(response.map(|body| {
            let end = async move { down.cancelled().await };
            StreamBody::new(
                body.into_data_stream().map(|data| data.map(hyper::body::Frame::data)).take_until(Box::pin(end)),
            )
            .boxed_unsync()
        }))
    }
}

/// The transport of those whom nothing happens to: users and nodes.
impl Service<Request<kube::client::Body>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move { Server::call(&server, request).await })
    }
}
