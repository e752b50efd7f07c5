//! The container runtime: a containerd of the cluster's own, with everything below the data folder.
//!
//! Enter at [`ensure`], which leaves a runtime that answers and has the pause image; [`keep_running`] sees to it that it
//! stays, [`stop`] ends it; [`load`] brings images from files. A containerd of
//! the machine is left alone even when one runs: its CNI folders, sandbox image and OOM settings are somebody else's,
//! and often wrong for Kubernetes. `config` is pure; `cri` asks the runtime about pods.

mod config;
pub(crate) mod cri;
mod image;
mod load;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use component::shutdown::Shutdown;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixStream;

use tokio::task::JoinSet;

use crate::layout::Layout;
use crate::notify::{self, Listener, Message};
use crate::process;
use crate::settings::Settings;
use crate::{files, machine};

pub(crate) use load::load;

/// Longest that containerd may take to start, and to stop.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Before one that did not start is tried again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Starts containerd unless it runs, and imports the pause image unless it is there.
pub(crate) async fn ensure(layout: &Layout, settings: &Settings) -> Result<()> {
    if let Some(endpoint) = &settings.container_runtime_endpoint {
        let mut runtime = cri::Runtime::connect(endpoint).await?;
        return runtime.version().await.map(|_| ());
    }
    if server_pid(layout).await.is_none() {
        start(layout).await?;
    }
    image::ensure_pause(layout).await
}

/// The process that listens on the cluster's containerd socket.
pub(crate) async fn server_pid(layout: &Layout) -> Option<Pid> {
    let stream = UnixStream::connect(layout.containerd_socket()).await.ok()?;
    stream.peer_cred().ok()?.pid().map(Pid::from_raw)
}

/// Has the runtime that [`ensure`] started kept, by a task.
pub(crate) fn keep(tasks: &mut JoinSet<()>, layout: &Layout, settings: &Settings, shutdown: &Shutdown) {
    let kept = (layout.clone(), settings.clone(), shutdown.clone());
    tasks.spawn(async move { keep_running(&kept.0, &kept.1, &kept.2).await });
}

/// Starts the cluster's own containerd again whenever it has ended, until `shutdown` comes. Containers go on meanwhile:
/// they are their shims' children. A start that has begun is not given up: `down` must find what it is to stop.
async fn keep_running(layout: &Layout, settings: &Settings, shutdown: &Shutdown) {
    if settings.container_runtime_endpoint.is_some() {
        return;
    }
    loop {
        if let Some(pid) = server_pid(layout).await {
            match shutdown.run_until(process::ended(pid)).await {
                Some(Ok(())) => tracing::error!("containerd has ended, starting it again"),
                Some(Err(error)) => tracing::error!("containerd cannot be watched: {error:#}"),
                None => {}
            }
        }
        if shutdown.is_triggered() {
            return;
        }
        if let Err(error) = ensure(layout, settings).await {
            tracing::error!("containerd does not run, trying again: {error:#}");
            let _ = shutdown.run_until(tokio::time::sleep(RESTART_PAUSE)).await;
        }
    }
}

async fn start(layout: &Layout) -> Result<()> {
    let program = machine::find_program("containerd").context("containerd is not installed")?;
    let config = layout.path("containerd/config.toml");
    let text = config::containerd(layout, &config::Host::look());
    files::write(&config, text.as_bytes())?;
    std::fs::create_dir_all(layout.path("containerd/certs.d")).context("make the folder of registry mirrors")?;

    let socket = layout.path("containerd/notify.sock");
    let listener = Listener::bind(&socket)?;
    let log = process::open_log(&layout.path("containerd/containerd.log"))?;
    let mut command = std::process::Command::new(program);
    command.arg("--config").arg(&config).env(notify::VARIABLE, &socket);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Not ended with us: containers live on while the parts stop and start.
    command.process_group(0);
    let mut child = tokio::process::Command::from(command).spawn().context("start containerd")?;
    let ready = async {
        loop {
            if listener.receive().await?.contains(&Message::Ready) {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ready = ready => ready,
        status = child.wait() => bail!("containerd ended at once ({}):\n{}", status?, tail(layout)),
        () = tokio::time::sleep(START_TIMEOUT) => bail!("containerd did not start within {START_TIMEOUT:?}:\n{}", tail(layout)),
    }
}

fn tail(layout: &Layout) -> String {
    process::log_tail(&layout.path("containerd/containerd.log"), 10)
}

/// Ends the cluster's containerd; succeeds when none runs. Containers are not its children and live on.
pub(crate) async fn stop(layout: &Layout) -> Result<()> {
    let Some(pid) = server_pid(layout).await else { return Ok(()) };
    kill(pid, Signal::SIGTERM).or_else(process::gone_is_fine).context("stop containerd")?;
    process::wait_for_exit(pid, STOP_TIMEOUT).await.context("wait for containerd to end")
}

/// The CRI address of the cluster's own containerd.
pub(crate) fn own_endpoint(layout: &Layout) -> String {
    format!("unix://{}", layout.containerd_socket().display())
}

/// Runs `ctr` on the containerd at a socket, in the namespace that CRI uses.
async fn ctr(socket: &Path, arguments: &[&str]) -> Result<()> {
    let program = machine::find_program("ctr").unwrap_or_else(|| Path::new("ctr").to_owned());
    let mut command = tokio::process::Command::new(program);
    command.arg("--address").arg(socket).args(["--namespace", "k8s.io"]).args(arguments);
    let output = command.output().await.context("run ctr")?;
    if !output.status.success() {
        bail!("ctr {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
