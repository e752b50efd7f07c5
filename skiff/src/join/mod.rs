//! `skiff join`: makes this machine a node of another machine's cluster.
//!
//! Enter at [`join`]. `discovery` finds the cluster and believes it (its rules are pure); `configuration` reads what is the
//! same on all nodes; `start` runs the node's parts, also after a `down`; `credentials` are those parts' own. It knows the
//! API server by its API alone.

mod configuration;
mod credentials;
mod discovery;
mod start;

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use self::start::start;
use crate::layout::Layout;
use crate::part::Part;
use crate::progress::Progress;
use crate::settings::{Joined, Settings};
use crate::{block_on, cli, daemon, files, kubeconfig, layout, machine, node, pki, up};

/// Longest wait for an answer of the API server, with all the times that it asks to be asked again; as kubeadm's.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Answers of a server that has too much to do, or that a proxy in front of it cannot reach yet.
const BUSY: [u16; 2] = [429, 503];
/// Before such a server is asked again. The client itself waits as long as the server says, where it says so.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn join(options: cli::Join) -> Result<()> {
    let layout = layout(options.data_dir.clone())?;
    refuse_another_cluster(&layout)?;
    let mut settings = Settings::fresh(options.node_name.as_deref(), options.node_ip)?;
    settings.joined = Some(Joined { server: format!("https://{}", options.endpoint) });
    settings.cgroup_root = options.cgroup_root.clone().unwrap_or_default();
    settings.without = options.without.clone();
    settings.container_runtime_endpoint = options.container_runtime_endpoint.clone();
    machine::check(&layout, &settings)?;
    std::fs::create_dir_all(layout.root()).with_context(|| format!("make {}", layout.root().display()))?;
    block_on(async {
        let progress = Progress::start();
        progress.step(&format!("looking for the cluster at {}", options.endpoint));
        prepare(&layout, &mut settings, &options).await?;
        up::in_background(&layout, &settings, progress).await
    })?;
    println!("This machine is the node {} of the cluster at {}.", settings.node_name, settings.server());
    up::say_how_to_end(&layout);
    Ok(())
}

/// A join that failed half way may be made again; a cluster of this machine's own must not be lost to a mistake.
fn refuse_another_cluster(layout: &Layout) -> Result<()> {
    let Some(settings) = Settings::load(layout)? else { return Ok(()) };
    let folder = layout.root().display();
    ensure!(settings.joined.is_some(), "{folder} has a cluster of its own: remove it with skiff reset first");
    if let Some(pid) = daemon::running(layout)? {
        bail!("the node {} in {folder} runs already, as process {pid}", settings.node_name);
    }
    Ok(())
}

/// Leaves in the data folder all that the node's parts start with.
async fn prepare(layout: &Layout, settings: &mut Settings, options: &cli::Join) -> Result<()> {
    let token = &options.token;
    let bootstrap = layout.bootstrap_kubeconfig();
    let found =
        discovery::discover(&bootstrap, &options.endpoint, token, &options.discovery_token_ca_cert_hash).await?;
    files::write(&layout.certificate(pki::CA), found.authority.as_bytes())?;
    settings.joined = Some(Joined { server: found.server.clone() });
    let authority = json!({"certificate-authority": layout.certificate(pki::CA)});
    let text = kubeconfig::kubeconfig(
        "tls-bootstrap-token-user",
        &found.server,
        authority,
        json!({"token": token.to_string()}),
    )?;
    files::write_secret(&bootstrap, text.as_bytes())?;
    let client = node::client_of(bootstrap)?;
    configuration::read(&client, settings).await?;
    refuse_taken_name(&client, &settings.node_name).await?;
    forget_identities(layout)?;
    settings.save(layout)
}

/// The answer to a request, which is made again while the server is busy.
async fn answer<T, F>(what: &str, request: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = kube::Result<T>>,
{
    let end = Instant::now() + ANSWER_TIMEOUT;
    loop {
        let answer = timeout_at(end, request()).await;
        match answer.with_context(|| format!("{what}: no answer within {ANSWER_TIMEOUT:?}"))? {
            Err(kube::Error::Api(status)) if BUSY.contains(&status.code) && Instant::now() + PAUSE < end => {
                sleep(PAUSE).await;
            }
            answer => return answer.with_context(|| what.to_owned()),
        }
    }
}

/// Two machines of one name would write each other's Node.
async fn refuse_taken_name(client: &kube::Client, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = answer("ask for a Node of this name", || nodes.get_opt(name)).await?;
    if node.is_some_and(|node| node::is_ready(&node)) {
        bail!(
            "a Node named {name} is in the cluster and Ready: join with another --node-name, or delete it first \
             (kubectl delete node {name})"
        );
    }
    Ok(())
}

/// What an earlier join left may be of another cluster, or of a Node that was deleted.
fn forget_identities(layout: &Layout) -> Result<()> {
    let files = Part::OF_NODES.into_iter().flat_map(|part| [layout.kubeconfig(part), layout.token(part)]);
    for file in files {
        files::remove_if_present(&file).with_context(|| format!("remove {}", file.display()))?;
    }
    match std::fs::remove_dir_all(layout.kubelet_certificates()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("remove old certificates"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use kube::core::Status;

    use super::*;

    /// What comes of a server's answers, one after the other and the last one for good, and how many seconds that takes.
    async fn told(codes: &[u16]) -> (Result<(), String>, u64) {
        let (start, asked) = (Instant::now(), Cell::new(0));
        let ask = || async {
            let code = codes[asked.replace(asked.get() + 1).min(codes.len() - 1)];
            let refused = || kube::Error::Api(Status::failure("wait", "Because").with_code(code).boxed());
            if code == 200 { Ok(()) } else { Err(refused()) }
        };
        let told = answer("ask", ask).await.map_err(|error| format!("{error:#}"));
        (told, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_waited_for_and_no_other() {
        assert_eq!(told(&[200]).await, (Ok(()), 0));
        assert_eq!(told(&[429, 503, 503, 200]).await, (Ok(()), 3));
        let (refused, seconds) = told(&[503, 403]).await;
        assert!(refused.unwrap_err().starts_with("ask: ") && seconds == 1);
        let (refused, seconds) = told(&[503]).await;
        assert!(refused.unwrap_err().contains("wait") && seconds == 59, "its own words at the end");
        let silent = answer("ask", std::future::pending::<kube::Result<()>>).await;
        assert_eq!(format!("{:#}", silent.unwrap_err()), "ask: no answer within 60s: deadline has elapsed");
    }
}
