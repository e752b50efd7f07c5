//! A large cluster at rest: what a pod weighs in each part.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::Api;

use crate::deployment::Web;
use crate::programs::Programs;
use crate::{Size, row};

const DEPLOYMENTS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(900);
const MIB: f64 = 1024.0 * 1024.0;

pub async fn run(size: Size) -> Result<()> {
    let (nodes, pods) = (size.of(1000), size.of(100_000));
    let mut programs = Programs::start().await?;
    programs.start_scheduler()?;
    programs.start_nodes(nodes).await?;
    fill(&programs, "first", 1).await?;
    let before = programs.memory()?;
    for index in 0..DEPLOYMENTS {
        fill(&programs, &format!("web-{index}"), pods / DEPLOYMENTS).await?;
    }
    for ((part, before), (_, after)) in before.into_iter().zip(programs.memory()?) {
        let kib = (after - before) / pods as f64 / 1024.0;
        let goal = if part == "kube-apiserver" { "10 KB" } else { "4 KB" };
        row(
            &format!("{part}: a pod of {pods} on {nodes} nodes"),
            &format!("{kib:.1} KiB"),
            &format!("goal {goal}; {:.0} MiB in all", after / MIB),
        );
    }
    Ok(())
}

async fn fill(programs: &Programs, name: &str, replicas: usize) -> Result<()> {
    let api = Api::namespaced(programs.client.clone(), "default");
    let web = Web { api, name: name.to_owned(), replicas };
    tokio::time::timeout(DEADLINE, web.create()).await.with_context(|| format!("{name} is never complete"))?
}
