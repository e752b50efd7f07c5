//! The server that is measured: one of our own, which can be stopped and started, or one that runs.

mod own;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use component::client::{ClientConfig, Endpoint};
use futures::future::try_join_all;
use http::{Method, Uri};
use nix::unistd::Pid;

use self::own::Own;
use crate::client::Client;
use crate::{meter, objects};

/// Clients that fill it.
const FILLERS: usize = 64;

pub(crate) struct Server {
    pub(crate) name: String,
    config: ClientConfig,
    given_processes: Vec<Pid>,
    own: Option<Own>,
    /// Objects that it holds, by plural; their names count up.
    held: [(&'static str, usize); 2],
}

impl Server {
    /// A kube-apiserver on the embedded store, in a temporary folder and on loopback; not started yet.
    pub(crate) fn own(program: &Path) -> Result<Self> {
        let own = Own::prepare(program)?;
        let config = ClientConfig::from_kubeconfig("api-bench", own.kubeconfig());
        Ok(Self { name: "skiff".into(), config, given_processes: Vec::new(), own: Some(own), held: NOTHING })
    }

    pub(crate) fn foreign(
        name: &str,
        kubeconfig: Option<PathBuf>,
        address: Option<String>,
        pids: &[i32],
    ) -> Result<Self> {
        let component = "api-bench".to_owned();
        let config = ClientConfig { kubeconfig, master: address, component, ..ClientConfig::default() };
        let endpoint = Endpoint::load(&config)?.server.parse::<Uri>().context("the server's address")?;
        let port = endpoint.port_u16().unwrap_or(443);
        let mut given_processes: Vec<Pid> = pids.iter().map(|pid| Pid::from_raw(*pid)).collect();
        if given_processes.is_empty() {
            given_processes = meter::listeners(port);
        }
        if given_processes.is_empty() {
            println!("{name}: no process of this machine listens on port {port}: CPU and memory are not measured");
        }
        Ok(Self { name: name.to_owned(), config, given_processes, own: None, held: NOTHING })
    }

    /// A client with a connection of its own.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(&self.config)
    }

    pub(crate) fn clients(&self, count: usize) -> Result<Vec<Client>> {
        (0..count).map(|_| self.client()).collect()
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    fn processes(&self) -> Vec<Pid> {
        self.own.as_ref().map_or_else(|| self.given_processes.clone(), |own| own.pid().into_iter().collect())
    }

    /// Whether its CPU and memory can be seen.
    pub(crate) fn is_near(&self) -> bool {
        !self.processes().is_empty()
    }

    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        meter::cpu_time(&self.processes())
    }

    pub(crate) fn rss_mib(&self) -> Result<f64> {
        meter::rss_mib(&self.processes())
    }

    /// Makes sure that it runs and has the namespace. How long an own server took to be ready.
    pub(crate) async fn start(&mut self) -> Result<Option<Duration>> {
        let took = match &mut self.own {
            Some(own) if own.pid().is_none() => Some(own.start(&self.config).await?),
            _ => None,
        };
        let client = self.client()?;
        client.ensure("/api/v1/namespaces", &objects::namespace()).await?;
        client.ensure(&objects::path("serviceaccounts"), &objects::service_account()).await?;
        Ok(took)
    }

    /// Ends an own server as SIGTERM does, or as kill -9 does.
    pub(crate) async fn stop(&mut self, signal: nix::sys::signal::Signal) -> Result<()> {
        self.own.as_mut().context("only an own server can be stopped")?.stop(signal).await
    }

    /// An own server's folder is emptied.
    pub(crate) fn forget(&mut self) -> Result<()> {
        self.held = NOTHING;
        self.own.as_mut().context("only an own server can be emptied")?.forget()
    }

    /// A name that no object of the kind has.
    pub(crate) fn next_names(&mut self, plural: &'static str, count: usize) -> std::ops::Range<usize> {
        let first = self.held(plural);
        if let Some((_, held)) = self.held.iter_mut().find(|(name, _)| *name == plural) {
            *held += count;
        }
        first..first + count
    }

    pub(crate) fn held(&self, plural: &str) -> usize {
        self.held.iter().find(|(name, _)| *name == plural).map_or(0, |(_, held)| *held)
    }

    /// Until it holds that many objects. How many were made, and how long it took.
    pub(crate) async fn fill(&mut self, plural: &'static str, count: usize) -> Result<(usize, Duration)> {
        self.start().await?;
        let missing = count.saturating_sub(self.held(plural));
        let names = self.next_names(plural, missing);
        let clients = self.clients(FILLERS)?;
        let start = std::time::Instant::now();
        let work = clients.into_iter().enumerate().map(|(number, client)| {
            let names = names.clone().skip(number).step_by(FILLERS);
            tokio::spawn(async move {
                for name in names {
                    client.create(&objects::path(plural), &object(plural, name)).await?;
                }
                anyhow::Ok(())
            })
        });
        for done in try_join_all(work).await? {
            done?;
        }
        Ok((missing, start.elapsed()))
    }

    /// Ends an own server, and leaves nothing on another. Pods that no node has are gone at once.
    pub(crate) async fn clean_up(&mut self) -> Result<()> {
        if let Some(own) = &mut self.own {
            return own.stop(nix::sys::signal::Signal::SIGTERM).await;
        }
        let client = self.client()?;
        for (plural, held) in NOTHING.map(|(plural, _)| (plural, self.held(plural))) {
            if held > 0 {
                delete_all(&client, plural).await?;
            }
        }
        let (code, body) =
            client.ask(Method::DELETE, &format!("/api/v1/namespaces/{}", objects::NAMESPACE), None).await?;
        ensure!(code < 400 || code == 404, "delete the namespace: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

/// Some servers take longer for thousands than they give a request: each goes on where the last one ended.
async fn delete_all(client: &Client, plural: &str) -> Result<()> {
    loop {
        let (code, body) = client.ask(Method::DELETE, &objects::path(plural), None).await?;
        ensure!(code < 300 || code == 504, "delete the {plural}: {}", String::from_utf8_lossy(&body));
        if code < 300 {
            return Ok(());
        }
    }
}

const NOTHING: [(&str, usize); 2] = [("pods", 0), ("configmaps", 0)];

pub(crate) fn name_of(number: usize) -> String {
    format!("api-bench-{number:06}")
}

pub(crate) fn object(plural: &str, number: usize) -> serde_json::Value {
    let name = name_of(number);
    if plural == "pods" { objects::pod(&name) } else { objects::config_map(&name) }
}
