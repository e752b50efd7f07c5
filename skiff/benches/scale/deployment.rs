//! One large Deployment: made, rolled over, deleted.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use figures::{Figure, Sheet};
use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::PartialObjectMeta;
use kube::runtime::wait::await_condition;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use serde_json::json;

use crate::Size;
use crate::programs::Programs;

const DEADLINE: Duration = Duration::from_secs(600);

pub async fn run(size: Size<'_>, sheet: &mut Sheet) -> Result<()> {
    let (nodes, replicas) = (size.of(1000), size.of(10_000));
    let mut programs = Programs::start(size.program).await?;
    programs.start_scheduler()?;
    programs.start_nodes(nodes).await?;
    let web = Web { api: Api::namespaced(programs.client.clone(), "default"), name: "web".to_owned(), replicas };
    let created = timed(web.create()).await?;
    let what = format!("Deployment of {replicas} on {nodes} nodes: created, all available");
    sheet.add(Figure::seconds(what, &[created]).most(15.0));
    for (part, mib) in programs.memory()? {
        let figure = Figure::new(format!("{part}: memory with a Deployment of {replicas}"), "MiB", [mib]);
        sheet.add(if part == "kube-controller-manager" { figure.most(150.0) } else { figure });
    }
    let rolled = timed(web.roll()).await?;
    sheet.add(Figure::seconds(format!("Deployment of {replicas}: rolled over"), &[rolled]).most(40.0));
    let gone = timed(web.delete(programs.client.clone())).await?;
    sheet.add(Figure::seconds(format!("Deployment of {replicas}: deleted with its pods"), &[gone]).most(15.0));
    programs.memory().map(drop)
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<Duration> {
    let begun = Instant::now();
    tokio::time::timeout(DEADLINE, work).await.context("it takes too long")??;
    Ok(begun.elapsed())
}

/// A Deployment of web servers.
pub struct Web {
    pub api: Api<Deployment>,
    pub name: String,
    pub replicas: usize,
}

impl Web {
    /// Returns once all replicas are available.
    pub async fn create(&self) -> Result<()> {
        let requests = json!({"requests": {"cpu": "100m", "memory": "64Mi"}});
        let template = json!({"metadata": {"labels": {"app": self.name}},
            "spec": {"containers": [{"name": "c", "image": "nginx", "resources": requests}]}});
        let spec =
            json!({"replicas": self.replicas, "selector": {"matchLabels": {"app": self.name}}, "template": template});
        let deployment = serde_json::from_value(json!({"metadata": {"name": self.name}, "spec": spec}))?;
        self.api.create(&PostParams::default(), &deployment).await.context("create the Deployment")?;
        self.complete().await
    }

    async fn roll(&self) -> Result<()> {
        let template = json!({"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}});
        self.api
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(template))
            .await
            .context("change its template")?;
        self.complete().await
    }

    /// Returns once the last of its pods is gone.
    async fn delete(&self, client: Client) -> Result<()> {
        let pods = Api::<PartialObjectMeta<Pod>>::namespaced(client, "default");
        let mut events = std::pin::pin!(watcher(pods, watcher::Config::default()));
        let mut left = 0;
        loop {
            match events.try_next().await?.context("the watch of pods ends")? {
                Event::InitApply(_) => left += 1,
                Event::InitDone => break,
                Event::Init | Event::Apply(_) | Event::Delete(_) => {}
            }
        }
        ensure!(left == self.replicas, "{left} pods before they are deleted");
        self.api.delete(&self.name, &DeleteParams::background()).await.context("delete the Deployment")?;
        while left > 0 {
            match events.try_next().await?.context("the watch of pods ends")? {
                Event::Delete(_) => left -= 1,
                Event::Apply(_) => {}
                Event::Init | Event::InitApply(_) | Event::InitDone => bail!("the watch of pods began anew"),
            }
        }
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let wanted = i32::try_from(self.replicas)?;
        let complete = move |deployment: Option<&Deployment>| {
            deployment.is_some_and(|deployment| {
                let status = deployment.status.as_ref();
                let counts = status.map(|s| [s.replicas, s.updated_replicas, s.available_replicas]);
                counts == Some([Some(wanted); 3])
                    && status.and_then(|s| s.observed_generation) == deployment.metadata.generation
            })
        };
        await_condition(self.api.clone(), &self.name, complete).await.context("watch the Deployment")?;
        Ok(())
    }
}
