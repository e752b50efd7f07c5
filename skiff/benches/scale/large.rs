//! A large cluster at rest: what a pod weighs in each part.

use std::time::Duration;

use anyhow::{Context as _, Result};
use figures::{Figure, Sheet};
use kube::Api;

use crate::Size;
use crate::deployment::Web;
use crate::programs::Programs;

const DEPLOYMENTS: usize = 10;
const DEADLINE: Duration = Duration::from_secs(900);
const KIB_PER_MIB: f64 = 1024.0;

pub async fn run(size: Size<'_>, sheet: &mut Sheet) -> Result<()> {
    let (nodes, pods) = (size.of(1000), size.of(100_000));
    let mut programs = Programs::start(size.program).await?;
    programs.start_scheduler()?;
    programs.start_nodes(nodes).await?;
    fill(&programs, "first", 1).await?;
    let before = programs.memory()?;
    for index in 0..DEPLOYMENTS {
        fill(&programs, &format!("web-{index}"), pods / DEPLOYMENTS).await?;
    }
    for ((part, before), (_, after)) in before.into_iter().zip(programs.memory()?) {
        let kib = (after - before) * KIB_PER_MIB / pods as f64;
        let budget = if part == "kube-apiserver" { 10.0 } else { 4.0 };
        sheet.add(Figure::new(format!("{part}: memory a pod of {pods} on {nodes} nodes"), "KiB", [kib]).most(budget));
        sheet.add(Figure::new(format!("{part}: memory with {pods} pods on {nodes} nodes"), "MiB", [after]));
    }
    Ok(())
}

async fn fill(programs: &Programs, name: &str, replicas: usize) -> Result<()> {
    let api = Api::namespaced(programs.client.clone(), "default");
    let web = Web { api, name: name.to_owned(), replicas };
    tokio::time::timeout(DEADLINE, web.create()).await.with_context(|| format!("{name} is never complete"))?
}
