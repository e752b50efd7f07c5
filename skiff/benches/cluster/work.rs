//! The flow's times: create, scale, expose, delete, each beside what the runtime alone takes for the same containers.
//!
//! A client of its own asks and watches: kubectl takes 0.1 s to start, and its `wait` looks at pods one by one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use component::client::{self, ClientConfig};
use figures::{Figure, Sheet, samples};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use testbed::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::share::{GRACE_PERIOD_SECONDS, Runtime};

/// By which every step of the bench is through.
pub(crate) const GONE: Duration = Duration::from_secs(120);
const ROUNDS: usize = 10;
const REPLICAS: i32 = 20;
const NAME: &str = "bench";
/// A Service on the same machine answers in less, or not at all.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(20);

pub(crate) fn all(cluster: &Cluster, runtime: &Runtime, sheet: &mut Sheet) -> Result<()> {
    let client = Client::of(cluster)?;
    let rounds = (0..ROUNDS).map(|_| {
        // Side by side, for the machine's pace changes within minutes; each begins when the runtime is done with the one before.
        let share = Share::of(runtime)?;
        runtime.wait_until_empty()?;
        Ok((share, client.run(round(&client.kube))?))
    });
    let (shares, rounds): (Vec<_>, Vec<_>) = rounds.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    let share = |pick: fn(&Share) -> Duration| shares.iter().map(pick).collect::<Vec<_>>();
    let figure =
        |what: &str, pick: fn(&Round) -> Duration| Figure::seconds(what, &rounds.iter().map(pick).collect::<Vec<_>>());
    let create = figure("create deployment to available", |it| it.create);
    sheet.add(beside_share(create, &share(|it| it.one), |share| share + 0.05));
    let scale = figure("scale 1 to 20, all ready", |it| it.scale);
    sheet.add(beside_share(scale, &share(|it| it.many), |share| share * 1.1));
    sheet.add(figure("expose to first answer", |it| it.expose).most(0.1));
    let delete = figure("delete 20 pods, all gone", |it| it.delete);
    sheet.add(beside_share(delete, &share(|it| it.gone), |share| share * 1.1));
    Ok(())
}

/// What the runtime alone takes for the containers of a round.
struct Share {
    one: Duration,
    many: Duration,
    gone: Duration,
}

impl Share {
    fn of(runtime: &Runtime) -> Result<Self> {
        let (one, _) = runtime.start_and_stop(1)?;
        let (many, _) = runtime.start_and_stop(REPLICAS as usize - 1)?;
        let (_, gone) = runtime.start_and_stop(REPLICAS as usize)?;
        Ok(Self { one, many, gone })
    }
}

/// With the runtime's share beside it, and a budget made of that, in seconds.
pub(crate) fn beside_share(figure: Figure, share: &[Duration], budget: fn(f64) -> f64) -> Figure {
    let share = samples::in_seconds(share);
    figure.most(budget(samples::median(&share))).beside("the runtime's share", share)
}

/// The image is pulled once before anything is measured.
pub(crate) fn warm_up(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "deployment", "warm", "--image=nginx"])?;
    cluster.kubectl(&["rollout", "status", "deployment/warm", "--timeout=120s"])?;
    cluster.kubectl(&["delete", "deployment", "warm", "--cascade=foreground"]).map(|_| ())
}

/// A client of the API server, in the bed's network. It takes the calling thread there for good.
pub(crate) struct Client {
    tasks: tokio::runtime::Runtime,
    pub(crate) kube: kube::Client,
}

impl Client {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        cluster.bed.enter_network()?;
        let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let config = ClientConfig::from_kubeconfig(NAME, cluster.data().join("admin.kubeconfig"));
        let kube = {
            let _entered = tasks.enter();
            client::connect(config)?
        };
        Ok(Self { tasks, kube })
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.tasks.block_on(async { tokio::time::timeout(GONE, work).await.context("a step of the bench")? })
    }
}

struct Round {
    create: Duration,
    scale: Duration,
    expose: Duration,
    delete: Duration,
}

async fn round(client: &kube::Client) -> Result<Round> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let create = timed(async {
        deployments.create(&PostParams::default(), &deployment(1)?).await?;
        until(&deployments, is_available).await
    });
    let create = create.await?;
    let scale = timed(async {
        let replicas = json!({"spec": {"replicas": REPLICAS}});
        deployments.patch_scale(NAME, &PatchParams::default(), &Patch::Merge(replicas)).await?;
        until(&deployments, |it: Option<&Deployment>| ready_replicas(it) == REPLICAS).await
    });
    let scale = scale.await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let expose = timed(async {
        let service = services.create(&PostParams::default(), &service()?).await?;
        let address = service.spec.and_then(|spec| spec.cluster_ip).context("a Service without address")?;
        first_answer(address.parse()?).await
    });
    let expose = expose.await?;
    let delete = take_away(client).await?;
    services.delete(NAME, &DeleteParams::default()).await?;
    Ok(Round { create, scale, expose, delete })
}

/// A Deployment of so many pods, until all are ready.
pub(crate) async fn roll_out(client: &kube::Client, replicas: i32) -> Result<Duration> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    timed(async {
        deployments.create(&PostParams::default(), &deployment(replicas)?).await?;
        until(&deployments, |it: Option<&Deployment>| ready_replicas(it) == replicas).await
    })
    .await
}

/// The Deployment deleted, until the API has no pod any more.
pub(crate) async fn take_away(client: &kube::Client) -> Result<Duration> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    timed(async {
        deployments.delete(NAME, &DeleteParams::background()).await?;
        until_no_pods(client).await
    })
    .await
}

fn deployment(replicas: i32) -> Result<Deployment> {
    let labels = json!({"app": NAME});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": GRACE_PERIOD_SECONDS,
                    "containers": [{"name": "web", "image": "nginx", "imagePullPolicy": "IfNotPresent"}],
                },
            },
        },
    }))?)
}

fn service() -> Result<Service> {
    let spec = json!({"selector": {"app": NAME}, "ports": [{"port": 80}]});
    Ok(serde_json::from_value(json!({"metadata": {"name": NAME}, "spec": spec}))?)
}

fn is_available(deployment: Option<&Deployment>) -> bool {
    let conditions = deployment.and_then(|it| it.status.as_ref()?.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Available" && condition.status == "True")
}

fn ready_replicas(deployment: Option<&Deployment>) -> i32 {
    deployment.and_then(|it| it.status.as_ref()?.ready_replicas).unwrap_or(0)
}

async fn until(api: &Api<Deployment>, condition: impl Condition<Deployment>) -> Result<()> {
    await_condition(api.clone(), NAME, condition).await.map(drop).context("watch the Deployment")
}

async fn until_no_pods(client: &kube::Client) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut left = std::collections::HashSet::new();
    let mut events = std::pin::pin!(watcher(pods.clone(), watcher::Config::default()));
    loop {
        match events.try_next().await?.context("the watch ended")? {
            Event::InitApply(pod) | Event::Apply(pod) => {
                left.insert(pod.metadata.name);
            }
            Event::Delete(pod) => {
                left.remove(&pod.metadata.name);
            }
            Event::Init | Event::InitDone => continue,
        }
        if left.is_empty() {
            break;
        }
    }
    let left = pods.list(&ListParams::default()).await?.items.len();
    ensure!(left == 0, "{left} pods are left");
    Ok(())
}

/// What is sent before the rules are there may be lost without a word, and nothing tells when they come.
async fn first_answer(address: IpAddr) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(1);
    loop {
        match ask(address).await {
            Ok(()) => return Ok(()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn ask(address: IpAddr) -> Result<()> {
    let mut stream = tokio::time::timeout(ANSWER_TIMEOUT, TcpStream::connect((address, 80))).await??;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let start = Instant::now();
    work.await?;
    Ok(start.elapsed())
}
