//! `skiff up`: starts this program again in the background and shows how far it is until the node is Ready.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::layout::Layout;
use crate::notify::{self, Listener, Message};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::{block_on, cli, daemon, layout, machine, node, process, run};

/// Longest wait for a Ready node. Only a machine far too slow, or a part that fails again and again, takes so long.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) fn up(options: cli::Up) -> Result<()> {
    let layout = layout(options.data_dir.clone())?;
    if daemon::running(&layout)?.is_some() {
        println!("The cluster in {} runs already.", layout.root().display());
        return block_on(node::wait_until_ready(&layout, READY_TIMEOUT));
    }
    let settings = Settings::resolve(&layout, &options)?;
    machine::check(&layout, &settings)?;
    settings.save(&layout)?;
    if options.foreground {
        return run::foreground(layout, settings);
    }
    block_on(in_background(&layout, &settings, Progress::start()))?;
    if settings.joined.is_none() {
        println!("Use it:   export KUBECONFIG={}", layout.admin_kubeconfig().display());
    }
    say_how_to_end(&layout);
    Ok(())
}

pub(crate) fn say_how_to_end(layout: &Layout) {
    let folder = layout.data_dir_flag();
    println!("Stop it:  skiff down{folder}        Remove it:  skiff reset{folder}");
}

/// Starts this program again, without the terminal, and returns once its node is Ready.
pub(crate) async fn in_background(layout: &Layout, settings: &Settings, progress: Progress) -> Result<()> {
    progress.step("starting the parts");
    let listener = Listener::bind(&layout.notify_socket())?;
    let mut child = start(layout)?;
    let ready = async {
        loop {
            for message in listener.receive().await? {
                match message {
                    Message::Status(status) => progress.step(&status),
                    Message::Ready => return anyhow::Ok(()),
                    Message::Stopping => {}
                }
            }
        }
    };
    tokio::select! {
        ready = ready => ready?,
        status = child.wait() => {
            let tail = process::log_tail(&layout.log(), 20);
            bail!("the parts ended at once ({}); {} says:\n{tail}", status.context("wait for the parts")?, layout.log().display());
        }
        () = tokio::time::sleep(READY_TIMEOUT) => {
            bail!("the node is not Ready after {READY_TIMEOUT:?}; the parts still run, see {}", layout.log().display());
        }
    }
    // With a part left out nobody has waited for the node; on a machine that joined somebody always has.
    let is_ready = settings.without.is_empty() || settings.joined.is_some();
    progress.done(if is_ready { "The node is Ready" } else { "The other parts are started" });
    for part in &settings.without {
        println!(
            "Left out: {}, to be run with the arguments in {}",
            part.name(),
            layout.path("flags").join(part.name()).display()
        );
    }
    Ok(())
}

/// Out of the terminal's process group, so that Ctrl-C and a closed terminal do not reach it.
fn start(layout: &Layout) -> Result<tokio::process::Child> {
    let log = process::open_log(&layout.log())?;
    let executable = std::env::current_exe().context("find this program's own file")?;
    let mut command = std::process::Command::new(executable);
    command.args(["up", "--foreground", "--data-dir"]).arg(layout.root());
    command.env(notify::VARIABLE, layout.notify_socket()).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(log.try_clone().context("share the log")?).stderr(log);
    tokio::process::Command::from(command).spawn().context("start the parts")
}
