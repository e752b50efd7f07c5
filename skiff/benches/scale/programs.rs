//! The parts as programs, and what they weigh.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use component::shutdown::Shutdown;
use figures::process::{Cpu, memory_mib};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};

use crate::hollow::nodes;
use crate::hollow::plane::Plane;

const START: Duration = Duration::from_secs(60);

/// A running control plane, and hollow nodes. Ends with this value.
pub struct Programs {
    pub client: Client,
    program: PathBuf,
    plane: Plane,
    running: Vec<(&'static str, Child)>,
    shutdown: Shutdown,
}

impl Programs {
    /// The API server and the controllers; pods can be made.
    pub async fn start(program: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let plane = Plane::new(address)?;
        let client = plane.master("bench")?;
        let mut programs =
            Self { client, program: program.to_owned(), plane, running: Vec::new(), shutdown: Shutdown::new() };
        programs.run("kube-apiserver", programs.plane.api_server_flags())?;
        programs.run("kube-controller-manager", programs.plane.controller_manager_flags())?;
        tokio::time::timeout(START, programs.ready()).await.context("the API server does not become ready")??;
        Ok(programs)
    }

    async fn ready(&self) -> Result<()> {
        let ready = || http::Request::get("/readyz").body(Vec::new());
        while self.client.request_text(ready()?).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let accounts = Api::<ServiceAccount>::namespaced(self.client.clone(), "default");
        await_condition(accounts, "default", |account: Option<&ServiceAccount>| account.is_some()).await?;
        Ok(())
    }

    pub fn start_scheduler(&mut self) -> Result<()> {
        self.run("kube-scheduler", self.plane.scheduler_flags())
    }

    /// Makes the nodes and plays their kubelets.
    pub async fn start_nodes(&self, count: usize) -> Result<()> {
        nodes::register(&self.client, count).await?;
        tokio::spawn(nodes::run(self.plane.master("kubelets")?, self.shutdown.clone()));
        Ok(())
    }

    fn run(&mut self, part: &'static str, flags: Vec<String>) -> Result<()> {
        let log = File::create(self.plane.path(&format!("{part}.log")))?;
        let mut command = Command::new(&self.program);
        command.arg(part).args(flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.running.push((part, command.spawn().with_context(|| format!("start {part}"))?));
        Ok(())
    }

    pub fn processes(&self) -> Vec<Process> {
        let parts = self.running.iter().map(|(part, child)| (*part, child.id().to_string()));
        parts.chain([("the bench itself", "self".to_owned())]).collect()
    }

    /// Resident MiB of each part. A part that has ended is an error.
    pub fn memory(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let mut all = Vec::new();
        for (part, child) in &mut self.running {
            ensure!(child.try_wait()?.is_none(), "{part} has ended: see its log");
            all.push((*part, memory_mib(&child.id().to_string(), "VmRSS")?));
        }
        Ok(all)
    }
}

/// A part, or this program, and its PID.
pub type Process = (&'static str, String);

/// Processor time so far of each.
pub fn cpu(processes: &[Process]) -> Result<Vec<Duration>> {
    processes.iter().map(|(_, process)| Ok(Cpu::of(process)?.own)).collect()
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.shutdown.trigger();
        for (_, child) in &mut self.running {
            // One that has ended is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
